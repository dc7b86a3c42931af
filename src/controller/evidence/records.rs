//! What the chain of a run says in the controller's name. Pure.

use std::fmt::Display;

use kube::ResourceExt;

use crate::agent_run::plan::Plan;
use crate::agent_run::workload::Workload;
use cofferdam_api::names::FROZEN_POLICY_KEY;
use cofferdam_api::{AgentRun, AgentRunStatus, ResolvedEvidence, ResolvedPolicy, canonical};
use cofferdam_wire::run_record::RunEvent;

/// What is known at the end of a run of what the chain has already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Before<'a> {
    /// Uid of the run's namespace.
    pub namespace_uid: Option<&'a str>,
    /// Whether the chain tells of the run's admission.
    pub admitted: bool,
    /// The frozen policy, where it is needed and still there.
    pub policy: Option<&'a str>,
}

/// `namespace/name`.
pub fn name(run: &AgentRun) -> String {
    format!("{}/{}", run.namespace().unwrap_or_default(), run.name_any())
}

/// The text of a spec, by which its digest is made.
pub fn spec(run: &AgentRun) -> String {
    // A spec has no fraction, so there is always a canonical form.
    canonical::to_string(&run.spec).unwrap_or_default()
}

/// Policies let the run start in the namespace of this uid: what was decided, with the text of it.
pub fn admitted(run: &AgentRun, namespace_uid: Option<&str>, workload: &Workload) -> Vec<RunEvent> {
    let Ok(plan) = Plan::of(&workload.job) else {
        return Vec::new();
    };
    let event = admission(
        run,
        Admission {
            namespace_uid,
            attempt: plan.attempt,
            policy_hash: &plan.policy_hash,
            policies: &plan.policies,
            image: &plan.image,
            runtime_class_name: &plan.runtime_class_name,
            pod_digest: Some(plan.pod_digest.clone()),
            evidence: plan.evidence,
        },
    );
    let frozen = workload.frozen_policy.data.as_ref();
    let policy = frozen.and_then(|data| data.get(FROZEN_POLICY_KEY));
    let mut events = with_documents(event, run, policy.map(String::as_str));
    let profile = workload.profile.iter();
    events.extend(profile.flat_map(|text| RunEvent::document("agentProfile", text)));
    events
}

/// How the run ended, after whatever of its admission the chain lacks.
pub fn ended(run: &AgentRun, status: &AgentRunStatus, before: Before<'_>) -> Vec<RunEvent> {
    let mut events = if before.admitted {
        Vec::new()
    } else {
        admitted_before(run, status, before)
    };
    events.extend(prepared(status));
    let resolved = status.resolved.as_ref();
    let images = resolved.map(|resolved| resolved.images.iter());
    events.push(RunEvent::Ended {
        run: name(run),
        namespace_uid: before.namespace_uid.map(str::to_owned),
        reason: status.reason.clone().unwrap_or_default(),
        message: status.message.clone().unwrap_or_default(),
        attempt: status.attempt,
        exit_code: status.exit_code,
        agent_start_time: status.agent_start_time.as_ref().map(|time| text(time.0)),
        prompt_digest: run.spec.task.prompt_digest(),
        images: images
            .into_iter()
            .flatten()
            .map(|image| format!("{} {}", image.name, image.image_id))
            .collect(),
        pod_digest: status
            .isolation
            .as_ref()
            .map(|proof| proof.pod_spec_digest.clone()),
    });
    events
}

fn text(value: impl Display) -> String {
    value.to_string()
}

struct Admission<'a> {
    namespace_uid: Option<&'a str>,
    attempt: i32,
    policy_hash: &'a str,
    policies: &'a [ResolvedPolicy],
    image: &'a str,
    runtime_class_name: &'a str,
    pod_digest: Option<String>,
    evidence: Option<ResolvedEvidence>,
}

fn admission(run: &AgentRun, of: Admission<'_>) -> RunEvent {
    let policy = |policy: &ResolvedPolicy| {
        format!(
            "{}/{} {} {}",
            policy.kind, policy.name, policy.uid, policy.generation
        )
    };
    let requester = run.spec.requested_by.as_ref();
    RunEvent::Admitted {
        run: name(run),
        namespace_uid: of.namespace_uid.map(str::to_owned),
        attempt: of.attempt,
        requested_by: requester.map(|requester| requester.username.clone()),
        on_behalf_of: run.spec.on_behalf_of.clone(),
        spec_digest: cofferdam_api::names::digest(spec(run).as_bytes()),
        policy_hash: of.policy_hash.to_owned(),
        policies: of.policies.iter().map(policy).collect(),
        image: of.image.to_owned(),
        runtime_class_name: of.runtime_class_name.to_owned(),
        pod_digest: of.pod_digest,
        evidence: of.evidence,
    }
}

fn with_documents(event: RunEvent, run: &AgentRun, policy: Option<&str>) -> Vec<RunEvent> {
    let policy = policy.map(|policy| RunEvent::document("policy", policy));
    std::iter::once(event)
        .chain(policy.into_iter().flatten())
        .chain(RunEvent::document("spec", &spec(run)))
        .collect()
}

/// An admission that the chain does not tell of: the archive was away then. A run that was refused has none.
fn admitted_before(run: &AgentRun, status: &AgentRunStatus, before: Before<'_>) -> Vec<RunEvent> {
    match (&status.resolved, status.attempt) {
        (Some(resolved), Some(attempt)) => {
            let event = admission(
                run,
                Admission {
                    namespace_uid: before.namespace_uid,
                    attempt,
                    policy_hash: &resolved.policy_hash,
                    policies: &resolved.policies,
                    image: &resolved.image,
                    runtime_class_name: &resolved.runtime_class_name,
                    pod_digest: None,
                    evidence: resolved.evidence,
                },
            );
            with_documents(event, run, before.policy)
        }
        _ => RunEvent::document("spec", &spec(run)),
    }
}

/// What `prepare` said, if it got that far.
fn prepared(status: &AgentRunStatus) -> Option<RunEvent> {
    let repositories = status.resolved.as_ref().map(|resolved| &resolved.repositories);
    let proof = status.isolation.as_ref();
    let commits: Vec<String> = repositories
        .into_iter()
        .flatten()
        .map(|repository| format!("{} {}", repository.name, repository.commit))
        .collect();
    if commits.is_empty() && proof.is_none() {
        return None;
    }
    Some(RunEvent::Prepared {
        commits,
        proven_time: proof.map(|proof| text(proof.proven_time.0)),
        node_access: proof.map(|proof| format!("{:?}", proof.node_access)),
    })
}
