//! The three containers of a run's pod, and what they have in common.

use k8s_openapi::api::core::v1::{
    Container, EnvVar, EnvVarSource, ExecAction, HTTPGetAction, Lifecycle, LifecycleHandler,
    ObjectFieldSelector, Probe,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;

use super::agent_env::{self, literal};
use super::storage::Storage;
use super::{BuildError, Identity, Input, pulling, resources, specs, volumes};
use cofferdam_api::confinement::container_security_context;
use cofferdam_api::names::{CONTAINER_AGENT, CONTAINER_PREPARE, CONTAINER_SIDECAR, PROBE_PORT};
use cofferdam_api::{Access, AgentRun};
use cofferdam_wire::runner::{NODE_IP_ENV, PREPARE_ENV, SIDECAR_ENV};

/// Where the binary stands in the runner image.
const BINARY: &str = "/usr/bin/cofferdam";
/// Path of the sidecar's HTTP server for the kubelet.
const AGENT_PATH: &str = "/agent";

/// Proves the fence and clones, then ends; the agent starts only after it.
pub fn prepare(input: &Input<'_>, identity: &Identity) -> Result<Container, BuildError> {
    Ok(Container {
        command: Some(runner_command("prepare")),
        env: Some(vec![
            literal(PREPARE_ENV, document(&specs::prepare(input, identity))?),
            node_address(),
        ]),
        resources: Some(resources::prepare(Storage::of(input))),
        volume_mounts: Some(volumes::prepare_mounts(input)),
        ..ours(CONTAINER_PREPARE, input)
    })
}

/// Forwards, keeps the clock and collects. Listed before the agent: the kubelet starts containers one after the other,
/// and the next one only when the hook of the one before has returned.
pub fn sidecar(input: &Input<'_>, identity: &Identity) -> Result<Container, BuildError> {
    Ok(Container {
        command: Some(runner_command("sidecar")),
        env: Some(vec![
            literal(SIDECAR_ENV, document(&specs::sidecar(input, identity))?),
            node_address(),
        ]),
        resources: Some(resources::sidecar(Storage::of(input))),
        volume_mounts: Some(volumes::sidecar_mounts(input)),
        lifecycle: Some(Lifecycle {
            post_start: Some(LifecycleHandler {
                exec: Some(ExecAction {
                    command: Some(runner_command("ready")),
                }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        ..ours(CONTAINER_SIDECAR, input)
    })
}

/// The user's image as it is, by its full name.
pub fn agent(input: &Input<'_>, identity: &Identity) -> Container {
    let agent = &input.admitted.agent;
    let credentials = input.admitted.frozen.credentials().iter();
    let placeholders: Vec<(&str, String)> = credentials
        .filter_map(|credential| credential.placeholder(&identity.uid))
        .collect();
    let image = input.admitted.agent_image.to_string();
    Container {
        image_pull_policy: Some(pulling::agent(&image, input.admitted.pull_policy).to_owned()),
        image: Some(image),
        command: non_empty(&agent.command),
        args: non_empty(&agent.args),
        env: Some(agent_env::variables(&agent.env, &placeholders)),
        working_dir: Some(working_directory(input.run)),
        resources: Some(resources::agent(&input.admitted.resources)),
        volume_mounts: Some(volumes::agent_mounts(input)),
        // The sidecar answers 200 until it wants the agent gone; an agent that ignores SIGTERM has 3 s. The kubelet
        // gives it the probe's grace only as long as another container, the sidecar, goes on: else the pod's.
        liveness_probe: Some(liveness()),
        ..common(CONTAINER_AGENT, input)
    }
}

fn ours(name: &str, input: &Input<'_>) -> Container {
    Container {
        image: Some(input.config.runner_image.clone()),
        image_pull_policy: Some(
            pulling::ours(input.config.image_pull_policy, input.admitted.pull_policy).to_owned(),
        ),
        ..common(name, input)
    }
}

fn common(name: &str, input: &Input<'_>) -> Container {
    Container {
        name: name.to_owned(),
        termination_message_path: Some("/dev/termination-log".to_owned()),
        termination_message_policy: Some("File".to_owned()),
        security_context: Some(container_security_context(input.admitted.run_as_user)),
        ..Container::default()
    }
}

fn runner_command(container: &str) -> Vec<String> {
    [BINARY, "runner", container].map(str::to_owned).to_vec()
}

fn liveness() -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(AGENT_PATH.to_owned()),
            port: IntOrString::Int(i32::from(PROBE_PORT)),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(1),
        success_threshold: Some(1),
        failure_threshold: Some(2),
        timeout_seconds: Some(5),
        termination_grace_period_seconds: Some(3),
        ..Probe::default()
    }
}

/// JSON that survives Kubernetes' expansion of `$(NAME)` and `$$` in values: a prompt must arrive as it was written.
fn document<T: Serialize>(order: &T) -> Result<String, serde_json::Error> {
    // Outside of strings JSON has no dollar sign.
    Ok(serde_json::to_string(order)?.replace('$', "\\u0024"))
}

fn node_address() -> EnvVar {
    EnvVar {
        name: NODE_IP_ENV.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: "status.hostIP".to_owned(),
            }),
            ..EnvVarSource::default()
        }),
    }
}

/// The first repository that the agent may change; without one, the first; without any, the empty workspace.
fn working_directory(run: &AgentRun) -> String {
    let repositories = &run.spec.repositories;
    repositories
        .iter()
        .find(|repository| repository.access == Access::ReadWrite)
        .or_else(|| repositories.first())
        .map_or_else(
            || volumes::WORKSPACE.to_owned(),
            |repository| volumes::work_tree(repository.directory()),
        )
}

fn non_empty(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

#[cfg(test)]
mod tests {
    #[test]
    fn dollar_signs_reach_the_container_as_they_are() {
        let json = super::document(&"costs $$5 in $(HOME)").unwrap();
        assert!(!json.contains('$'));
        assert_eq!(
            serde_json::from_str::<String>(&json).unwrap(),
            "costs $$5 in $(HOME)"
        );
    }
}
