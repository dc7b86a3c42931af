//! The built objects, whole: a changed line in a snapshot is a changed sandbox.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use serde_json::json;

use crate::api::AgentRun;
use crate::controller::agent_run::fixtures;
use crate::wire::runner::{PREPARE_ENV, PrepareSpec};

fn spec(job: &Job) -> &PodSpec {
    job.spec.as_ref().unwrap().template.spec.as_ref().unwrap()
}

fn containers(spec: &PodSpec) -> Vec<&Container> {
    spec.init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
        .collect()
}

fn with(change: &serde_json::Value) -> AgentRun {
    let mut run = serde_json::to_value(fixtures::run()).unwrap();
    json_patch::merge(&mut run, &json!({"spec": change}));
    serde_json::from_value(run).unwrap()
}

#[test]
fn the_job_of_a_run() {
    insta::assert_yaml_snapshot!(fixtures::workload(&fixtures::run()).job);
}

#[test]
fn the_frozen_policy_of_a_run() {
    insta::assert_yaml_snapshot!(fixtures::workload(&fixtures::run()).frozen_policy);
}

#[test]
fn the_prompt_arrives_as_it_was_written() {
    let job = fixtures::workload(&fixtures::run()).job;
    let prepare = &spec(&job).init_containers.as_ref().unwrap()[0];
    let env = prepare.env.as_ref().unwrap();
    let order = env.iter().find(|variable| variable.name == PREPARE_ENV).unwrap();
    let order: PrepareSpec = serde_json::from_str(order.value.as_ref().unwrap()).unwrap();
    assert_eq!(order.prompt.as_deref(), Some("Mend $(HOME)."));
}

#[test]
fn a_prompt_from_a_config_map_is_mounted_in_prepare_alone() {
    let run = with(
        &json!({"task": {"prompt": null, "promptFrom": {"configMapKeyRef": {"name": "tasks", "key": "today"}}}}),
    );
    let job = fixtures::workload(&run).job;
    let mounting: Vec<&str> = containers(spec(&job))
        .into_iter()
        .filter(|container| {
            container
                .volume_mounts
                .iter()
                .flatten()
                .any(|mount| mount.name == "input")
        })
        .map(|container| container.name.as_str())
        .collect();
    assert_eq!(mounting, ["prepare"]);
}

#[test]
fn a_run_without_repositories_has_an_empty_workspace() {
    let job = fixtures::workload(&with(&json!({"repositories": null}))).job;
    let agent = &spec(&job).containers[0];
    assert_eq!(agent.working_dir.as_deref(), Some("/workspace"));
    assert!(
        agent
            .volume_mounts
            .iter()
            .flatten()
            .any(|mount| mount.name == "workspace" && mount.read_only.is_none())
    );
}

#[test]
fn every_container_is_confined_and_limited() {
    let job = fixtures::workload(&fixtures::run()).job;
    for container in containers(spec(&job)) {
        let security = container.security_context.as_ref().unwrap();
        assert_eq!(security.read_only_root_filesystem, Some(true));
        assert_eq!(security.allow_privilege_escalation, Some(false));
        assert_eq!(
            security.capabilities.as_ref().unwrap().drop,
            Some(vec!["ALL".to_owned()])
        );
        let resources = container.resources.as_ref().unwrap();
        for list in [&resources.requests, &resources.limits] {
            let keys: Vec<&str> = list.as_ref().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys, ["cpu", "ephemeral-storage", "memory"], "{}", container.name);
        }
    }
}

#[test]
fn the_agent_mounts_no_token_and_nothing_pristine() {
    let job = fixtures::workload(&fixtures::run()).job;
    let agent = &spec(&job).containers[0];
    for mount in agent.volume_mounts.iter().flatten() {
        assert!(
            !mount.name.starts_with("token-") && mount.name != "git" && mount.name != "scratch",
            "{}",
            mount.name
        );
    }
    let read_only: Vec<&str> = agent
        .volume_mounts
        .iter()
        .flatten()
        .filter(|mount| mount.read_only == Some(true))
        .map(|mount| mount.name.as_str())
        .collect();
    assert_eq!(read_only, ["repo-docs", "contract", "ca", "ca"]);
}
