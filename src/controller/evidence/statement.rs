//! The statement of a run: SLSA provenance of what its agent made. Pure.

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use super::records::{name, spec};
use cofferdam_api::{AgentRun, AgentRunStatus, Repository, ResolvedRun, names};
use cofferdam_wire::seal::Seal;
use cofferdam_wire::statement::{
    BUILD_TYPE, BuildDefinition, Builder, Metadata, PREDICATE_TYPE, Provenance, Resource, RunDetails,
    STATEMENT_TYPE, Statement,
};

/// What all statements of an installation have in common.
#[derive(Clone, Debug)]
pub struct Origin {
    /// URI of the installation.
    pub builder: String,
    /// Image of the containers beside the agent.
    pub runner_image: String,
}

/// The statement of a run that came to its end.
pub fn of_run(run: &AgentRun, status: &AgentRunStatus, seal: &Seal, origin: &Origin) -> Statement {
    let definition = BuildDefinition {
        build_type: BUILD_TYPE.to_owned(),
        external_parameters: external(run),
        internal_parameters: internal(run, status),
        resolved_dependencies: dependencies(run, status.resolved.as_ref()),
    };
    let started = status.start_time.as_ref().map(|time| time.0);
    let finished = status.completion_time.as_ref().map(|time| time.0);
    let outcome = json!({
        "reason": status.reason,
        "message": status.message,
        "exitCode": status.exit_code,
        "attempt": status.attempt,
        "class": "Observed",
    });
    let uid = run.uid().unwrap_or_default();
    statement(&uid, definition, (started, finished), outcome, seal, origin)
}

/// The statement of a run of which nothing is left but its chain.
pub fn of_chain(run_uid: &str, seal: &Seal, origin: &Origin) -> Statement {
    let definition = BuildDefinition {
        build_type: BUILD_TYPE.to_owned(),
        external_parameters: json!({"runUID": run_uid}),
        internal_parameters: json!({}),
        resolved_dependencies: Vec::new(),
    };
    let outcome = json!({"reason": seal.data.cause, "class": "Observed"});
    statement(run_uid, definition, (None, None), outcome, seal, origin)
}

fn statement(
    run_uid: &str,
    build_definition: BuildDefinition,
    (started, finished): (Option<Timestamp>, Option<Timestamp>),
    outcome: Value,
    seal: &Seal,
    origin: &Origin,
) -> Statement {
    Statement {
        kind: STATEMENT_TYPE.to_owned(),
        subject: subjects(seal),
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate: Provenance {
            build_definition,
            run_details: RunDetails {
                builder: Builder {
                    id: origin.builder.clone(),
                    version: json!({
                        "controller": env!("CARGO_PKG_VERSION"),
                        "runner": origin.runner_image,
                    }),
                },
                metadata: Metadata {
                    invocation_id: run_uid.to_owned(),
                    started_on: started.map(|time| time.to_string()),
                    finished_on: finished.map(|time| time.to_string()),
                },
                byproducts: vec![
                    chain(seal),
                    byproduct("outcome", outcome),
                    usage(seal),
                    logs(seal),
                ],
            },
        },
    }
}

/// The patches, by the digests that the archive computed, and the last line of the chain: a statement has a subject also
/// where the run left no patch.
fn subjects(seal: &Seal) -> Vec<Resource> {
    let patches = seal.data.patches.iter().map(|patch| Resource {
        name: Some(format!("{}.patch", patch.name)),
        digest: sha256(&patch.digest),
        ..Resource::default()
    });
    let last = Resource {
        name: Some("chain.jsonl: last line".to_owned()),
        digest: json!({"sha256": seal.head.sha256}),
        ..Resource::default()
    };
    patches.chain([last]).collect()
}

/// `sha256:…` as in-toto writes it.
fn sha256(digest: &str) -> Value {
    json!({"sha256": digest.strip_prefix("sha256:").unwrap_or(digest)})
}

fn byproduct(name: &str, annotations: Value) -> Resource {
    Resource {
        name: Some(name.to_owned()),
        annotations,
        ..Resource::default()
    }
}

fn chain(seal: &Seal) -> Resource {
    let data = &seal.data;
    Resource {
        digest: json!({"sha256": seal.head.sha256}),
        ..byproduct(
            "chain",
            json!({
                "seq": seal.head.seq,
                "sealedAt": seal.sealed_at,
                "cause": data.cause,
                "complete": data.complete,
                "gaps": data.gaps,
                "class": "Observed",
            }),
        )
    }
}

fn usage(seal: &Seal) -> Resource {
    let data = &seal.data;
    byproduct(
        "usage",
        json!({
            "allowedRequests": data.requests,
            "deniedRequests": data.denied_requests,
            "class": "Observed",
        }),
    )
}

fn logs(seal: &Seal) -> Resource {
    byproduct("logs", json!({"state": seal.data.logs}))
}

/// What the requester chose. Values of variables stay in the spec, which is named by its digest.
fn external(run: &AgentRun) -> Value {
    let spec_of = &run.spec;
    let repository = |repository: &Repository| {
        without_null(json!({
            "name": repository.name,
            "url": repository.url,
            "ref": repository.reference,
            "path": repository.path,
            "access": repository.access,
        }))
    };
    without_null(json!({
        "run": name(run),
        "specDigest": names::digest(spec(run).as_bytes()),
        "promptDigest": spec_of.task.prompt_digest(),
        "agentProfile": spec_of.agent_profile,
        "image": spec_of.agent.image,
        "command": spec_of.agent.command,
        "args": spec_of.agent.args,
        "policyRef": spec_of.policy_ref.as_ref().map(|policy| &policy.name),
        "repositories": spec_of.repositories.iter().map(repository).collect::<Vec<_>>(),
        "startDeadlineSeconds": spec_of.start_deadline_seconds,
        "activeDeadlineSeconds": spec_of.active_deadline_seconds,
    }))
}

/// What the installation and its policies made of it, who asked, and what proved the sandbox.
fn internal(run: &AgentRun, status: &AgentRunStatus) -> Value {
    let resolved = status.resolved.as_ref();
    let requester = run.spec.requested_by.as_ref();
    without_null(json!({
        "policyHash": resolved.map(|resolved| &resolved.policy_hash),
        "policies": resolved.map(|resolved| &resolved.policies),
        "runtimeClassName": resolved.map(|resolved| &resolved.runtime_class_name),
        "agentProfile": resolved.and_then(|resolved| resolved.agent_profile.as_ref()),
        "evidence": resolved.and_then(|resolved| resolved.evidence),
        "requestedBy": requester.map(|requester| &requester.username),
        "onBehalfOf": run.spec.on_behalf_of,
        "isolation": status.isolation,
    }))
}

/// Images by the node's word, commits and prompt by that of `prepare`, the policy by its hash.
fn dependencies(run: &AgentRun, resolved: Option<&ResolvedRun>) -> Vec<Resource> {
    let mut found = Vec::new();
    let Some(resolved) = resolved else { return found };
    found.extend(resolved.images.iter().map(|image| {
        Resource {
            name: Some(image.name.clone()),
            uri: Some(image.image_id.clone()),
            digest: image
                .image_id
                .rsplit_once('@')
                .map_or(Value::Null, |(_, digest)| sha256(digest)),
            annotations: json!({"class": "Observed"}),
        }
    }));
    found.extend(resolved.repositories.iter().map(|cloned| {
        let mut asked = run.spec.repositories.iter();
        let url = asked
            .find(|asked| asked.name == cloned.name)
            .map(|asked| &asked.url);
        Resource {
            name: Some(cloned.name.clone()),
            uri: url.map(|url| format!("git+{url}@{}", cloned.commit)),
            digest: json!({"gitCommit": cloned.commit}),
            annotations: json!({"class": "Reported"}),
        }
    }));
    found.extend(run.spec.task.prompt_digest().map(|digest| Resource {
        name: Some("prompt".to_owned()),
        digest: sha256(&digest),
        ..Resource::default()
    }));
    found.extend(hex(&resolved.policy_hash).map(|digest| Resource {
        name: Some("policy".to_owned()),
        digest: json!({"sha256": digest}),
        annotations: json!({"class": "Observed"}),
        ..Resource::default()
    }));
    found
}

/// A policy's hash is all of a SHA-256 in base32.
fn hex(hash: &str) -> Option<String> {
    use std::fmt::Write as _;
    let alphabet = base32::Alphabet::Rfc4648Lower { padding: false };
    let bytes = base32::decode(alphabet, hash).filter(|bytes| bytes.len() == 32)?;
    Some(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Fields that are not known are absent.
fn without_null(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let known = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(known.collect::<Map<_, _>>())
        }
        other => other,
    }
}
