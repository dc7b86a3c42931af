//! What goes into a run, as one digest: runs with equal inputs have equal digests, whoever asked for them, under which policy,
//! and whatever came out. Pure, and computed by whoever asks from the run itself, so that runs of before this function have
//! one too.

use serde::Serialize;
use serde_json::{Map, Value};

use super::canonical::{self, CanonicalError};
use super::names;
use super::{AgentRun, names::CONTAINER_AGENT};

/// Version of the document that is hashed: another choice of fields is another version.
const VERSION: u32 = 1;

/// Fields of a spec that say who asks, who permits, or when it happens, and not what the agent is given.
const NOT_INPUTS: [&str; 8] = [
    "cancel",
    "onBehalfOf",
    "policyRef",
    "requestedBy",
    "schedulingProfileName",
    "startDeadlineSeconds",
    "suspend",
    "ttlSecondsAfterFinished",
];

/// Why the inputs of a run are not known exactly.
#[derive(Debug, thiserror::Error)]
pub enum InputsError {
    /// The image has a digest neither in the spec nor in the status.
    #[error("it does not say by which digest its image {0} ran")]
    Image(String),
    /// The run names a profile, and its status does not say what that was.
    #[error("it does not say what its profile {0} was")]
    Profile(String),
    /// A repository has a commit neither in the spec nor in the status.
    #[error("it does not say which commit of repository {0} it worked on")]
    Commit(String),
    /// There is no prompt.
    #[error("it has no prompt")]
    Prompt,
    /// The spec has no canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inputs {
    version: u32,
    image_digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_profile: Option<String>,
    prompt_digest: String,
    commits: Vec<Commit>,
    spec: Map<String, Value>,
}

#[derive(Serialize)]
struct Commit {
    repository: String,
    commit: String,
}

/// `sha256:…` of what went into a run: the image by its digest, the prompt by its digest, each repository at its commit,
/// and every other field of the spec that an agent notices.
///
/// # Errors
/// Something of it is not known exactly.
pub fn digest(run: &AgentRun) -> Result<String, InputsError> {
    let prompt = run.spec.task.prompt_digest().ok_or(InputsError::Prompt)?;
    let mut spec = match serde_json::to_value(&run.spec).map_err(CanonicalError::from)? {
        Value::Object(spec) => spec,
        _ => Map::new(),
    };
    spec.retain(|name, _| name != "task" && name != "agentProfile" && !NOT_INPUTS.contains(&name.as_str()));
    // What these were asked for as is no input: what they came to is.
    if let Some(agent) = spec.get_mut("agent").and_then(Value::as_object_mut) {
        agent.remove("image");
    }
    for repository in spec
        .get_mut("repositories")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(repository) = repository.as_object_mut() {
            repository.remove("ref");
        }
    }
    let inputs = Inputs {
        version: VERSION,
        image_digest: image_digest(run).ok_or_else(|| {
            let named = run.spec.agent.image.as_ref().or(run.spec.agent_profile.as_ref());
            InputsError::Image(named.cloned().unwrap_or_default())
        })?,
        agent_profile: profile_digest(run)?,
        prompt_digest: prompt,
        commits: commits(run)?,
        spec,
    };
    Ok(names::digest(canonical::to_string(&inputs)?.as_bytes()))
}

/// The digest of the profile by which the agent was started; nothing for a run that names an image.
fn profile_digest(run: &AgentRun) -> Result<Option<String>, InputsError> {
    let Some(name) = &run.spec.agent_profile else {
        return Ok(None);
    };
    let resolved = run.status.as_ref().and_then(|status| status.resolved.as_ref());
    let profile = resolved.and_then(|resolved| resolved.agent_profile.as_ref());
    match profile {
        Some(profile) => Ok(Some(profile.digest.clone())),
        None => Err(InputsError::Profile(name.clone())),
    }
}

/// The digest of the agent's image: the one that is asked for, else that of what ran.
pub fn image_digest(run: &AgentRun) -> Option<String> {
    let of = |image: &str| {
        let (_, digest) = image.rsplit_once('@')?;
        digest.starts_with("sha256:").then(|| digest.to_owned())
    };
    run.spec.agent.image.as_deref().and_then(of).or_else(|| {
        let resolved = run.status.as_ref()?.resolved.as_ref()?;
        let ran = resolved
            .images
            .iter()
            .find(|image| image.name == CONTAINER_AGENT)?;
        of(&ran.image_id)
    })
}

fn commits(run: &AgentRun) -> Result<Vec<Commit>, InputsError> {
    let resolved = run.status.as_ref().and_then(|status| status.resolved.as_ref());
    let commit = |repository: &super::Repository| {
        let ran = resolved
            .into_iter()
            .flat_map(|resolved| &resolved.repositories)
            .find(|resolved| resolved.name == repository.name)
            .map(|resolved| resolved.commit.clone());
        let asked = repository.reference.clone().filter(|text| is_commit(text));
        let commit = ran
            .or(asked)
            .ok_or_else(|| InputsError::Commit(repository.name.clone()))?;
        Ok(Commit {
            repository: repository.name.clone(),
            commit,
        })
    };
    run.spec.repositories.iter().map(commit).collect()
}

/// A full id, which means one commit for ever.
fn is_commit(text: &str) -> bool {
    text.len() == 40
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_profile_is_an_input_by_what_it_was_and_not_by_its_name() {
        let by = |name: &str, digest: Option<&str>| -> Result<String, String> {
            let profile = digest.map(|digest| json!({"name": name, "policyKind": "SandboxPolicy", "policyName": "default", "digest": digest}));
            let run = json!({
                "metadata": {"name": "fix"}, "spec": {"task": {"prompt": "fix it"}, "agentProfile": name},
                "status": {"resolved": {"image": "i", "agentProfile": profile, "runtimeClassName": "gvisor", "policyHash": "h",
                    "images": [{"name": "agent", "imageID": format!("ghcr.io/a/agent@sha256:{}", "1".repeat(64))}]}},
            });
            super::digest(&serde_json::from_value(run).unwrap()).map_err(|error| error.to_string())
        };
        assert_eq!(by("a", Some("sha256:1")), by("b", Some("sha256:1")));
        assert_ne!(by("a", Some("sha256:1")), by("a", Some("sha256:2")));
        assert_eq!(
            by("a", None).unwrap_err(),
            "it does not say what its profile a was"
        );
    }

    fn run() -> Value {
        json!({
            "metadata": {"name": "fix", "namespace": "team-a"},
            "spec": {"task": {"prompt": "fix it"}, "agent": {"image": "ghcr.io/a/agent:1", "args": ["-v"], "env": [{"name": "A", "value": "1"}]},
                "policyRef": {"name": "strict"}, "requestedBy": {"username": "anna"},
                "activeDeadlineSeconds": 600, "resources": {"limits": {"cpu": "2"}},
                "repositories": [{"name": "app", "url": "https://git.test/app", "ref": "main", "access": "ReadWrite"}]},
            "status": {"resolved": {"image": "ghcr.io/a/agent:1", "runtimeClassName": "gvisor", "policyHash": "h",
                "images": [{"name": "sidecar", "imageID": format!("x@sha256:{}", "9".repeat(64))},
                    {"name": "agent", "imageID": format!("ghcr.io/a/agent@sha256:{}", "1".repeat(64))}],
                "repositories": [{"name": "app", "commit": "c".repeat(40)}]}},
        })
    }

    fn of(run: &Value) -> Result<String, String> {
        digest(&serde_json::from_value(run.clone()).unwrap()).map_err(|error| error.to_string())
    }

    fn with(path: &str, value: Value) -> Value {
        let mut run = run();
        let (parent, field) = path.rsplit_once('/').unwrap();
        run.pointer_mut(parent).unwrap()[field] = value;
        run
    }

    /// Another digest than this one is another version.
    #[test]
    fn golden_digest_of_version_1() {
        assert_eq!(
            of(&run()).unwrap(),
            "sha256:33a9c85f0dc0adfd90cbddfac8079ed50efba25a4ed7843bb7507ff4e2c3c3ba"
        );
    }

    #[test]
    fn who_asks_who_permits_and_when_is_no_input() {
        for (path, value) in [
            ("/metadata/name", json!("again")),
            ("/metadata/labels", json!({"a": "b"})),
            ("/spec/policyRef", json!({"name": "wide"})),
            ("/spec/requestedBy", json!({"username": "bert"})),
            ("/spec/onBehalfOf", json!("carl")),
            ("/spec/suspend", json!(true)),
            ("/spec/cancel", json!("KeepWork")),
            ("/spec/ttlSecondsAfterFinished", json!(5)),
            ("/spec/startDeadlineSeconds", json!(5)),
            ("/spec/schedulingProfileName", json!("night")),
            ("/status/resolved/policyHash", json!("other")),
            ("/status/phase", json!("Failed")),
            // Another name of what was given.
            ("/spec/agent/image", json!("ghcr.io/a/agent:latest")),
            (
                "/spec/agent/image",
                json!(format!("other.test/agent@sha256:{}", "1".repeat(64))),
            ),
            (
                "/spec/task",
                json!({"promptFrom": {"configMapKeyRef": {"name": "p", "key": "k", "digest": names::digest(b"fix it")}}}),
            ),
            ("/spec/repositories/0/ref", json!("c".repeat(40))),
        ] {
            assert_eq!(of(&with(path, value)), of(&run()), "{path}");
        }
    }

    #[test]
    fn what_an_agent_is_given_is_an_input() {
        let mut digests = vec![of(&run()).unwrap()];
        for (path, value) in [
            ("/spec/task/prompt", json!("fix that")),
            ("/spec/agent/args", json!(["-vv"])),
            ("/spec/agent/env/0/value", json!("2")),
            ("/spec/activeDeadlineSeconds", json!(601)),
            ("/spec/resources/limits/cpu", json!("3")),
            ("/spec/egress", json!({"mode": "DenyAll"})),
            ("/spec/repositories/0/url", json!("https://git.test/other")),
            ("/spec/repositories/0/access", json!("ReadOnly")),
            ("/status/resolved/repositories/0/commit", json!("d".repeat(40))),
            (
                "/status/resolved/images/1/imageID",
                json!(format!("ghcr.io/a/agent@sha256:{}", "2".repeat(64))),
            ),
        ] {
            digests.push(of(&with(path, value)).unwrap());
        }
        let count = digests.len();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }

    #[test]
    fn what_is_not_known_exactly_has_no_digest() {
        let mut early = run();
        early.as_object_mut().unwrap().remove("status");
        assert_eq!(
            of(&early).unwrap_err(),
            "it does not say by which digest its image ghcr.io/a/agent:1 ran"
        );
        early["spec"]["agent"]["image"] = json!(format!("a@sha256:{}", "1".repeat(64)));
        assert_eq!(
            of(&early).unwrap_err(),
            "it does not say which commit of repository app it worked on"
        );
        // Pinned before it starts.
        early["spec"]["repositories"][0]["ref"] = json!("c".repeat(40));
        assert_eq!(of(&early), of(&run()));
        assert!(of(&with("/status/resolved/images/1/imageID", json!("sha256:00"))).is_err());
        assert!(of(&with("/spec/task", json!({}))).is_err());
    }
}
