//! The built objects, whole: a changed line in a snapshot is a changed sandbox.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use serde_json::json;

use crate::testing;
use cofferdam_api::{AgentRun, Disruption, KernelCheck, PullPolicy, RunAsUser, SchedulingProfile};
use cofferdam_policy::decide::Admitted;
use cofferdam_wire::pod::pod_digest;
use cofferdam_wire::runner::{MountedPrompt, PREPARE_ENV, PrepareSpec, PromptSpec};

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

/// The order to `prepare`.
fn order(job: &Job) -> PrepareSpec {
    let prepare = &spec(job).init_containers.as_ref().unwrap()[0];
    let env = prepare.env.as_ref().unwrap();
    let order = env.iter().find(|variable| variable.name == PREPARE_ENV).unwrap();
    serde_json::from_str(order.value.as_ref().unwrap()).unwrap()
}

fn with(change: &serde_json::Value) -> AgentRun {
    let mut run = serde_json::to_value(testing::run()).unwrap();
    json_patch::merge(&mut run, &json!({"spec": change}));
    serde_json::from_value(run).unwrap()
}

#[test]
fn the_job_of_a_run() {
    insta::assert_yaml_snapshot!(testing::workload(&testing::run()).job);
}

#[test]
fn the_frozen_policy_of_a_run() {
    insta::assert_yaml_snapshot!(testing::workload(&testing::run()).frozen_policy);
}

#[test]
fn the_prompt_arrives_as_it_was_written() {
    let order = order(&testing::workload(&testing::run()).job);
    assert_eq!(order.prompt, PromptSpec::Text("Mend $(HOME).".to_owned()));
}

#[test]
fn a_prompt_from_a_config_map_is_mounted_in_prepare_alone() {
    let digest = cofferdam_api::names::digest(b"Mend the roof.");
    let source = json!({"configMapKeyRef": {"name": "tasks", "key": "today", "digest": digest}});
    let run = with(&json!({"task": {"prompt": null, "promptFrom": source}}));
    let job = testing::workload(&run).job;
    assert_eq!(
        order(&job).prompt,
        PromptSpec::Mounted(MountedPrompt {
            config_map: "tasks".to_owned(),
            key: "today".to_owned(),
            digest,
        })
    );
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
    let job = testing::workload(&with(&json!({"repositories": null}))).job;
    let agent = spec(&job).containers.last().unwrap();
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
    let job = testing::workload(&testing::run()).job;
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
    let job = testing::workload(&testing::run()).job;
    let agent = spec(&job).containers.last().unwrap();
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

/// The Job of the usual run where policy made something else of it.
fn job_where(change: impl Fn(&mut Admitted)) -> Job {
    let run = testing::run();
    let mut admitted = testing::admitted(&run);
    change(&mut admitted);
    testing::workload_of(&run, &admitted).job
}

fn profile() -> SchedulingProfile {
    serde_json::from_value(json!({
        "name": "batch",
        "nodeSelector": {"pool": "sandboxes"},
        "tolerations": [{"key": "sandboxes", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        "priorityClassName": "low",
        "disruption": "Allow",
        "queueName": "agents",
    }))
    .unwrap()
}

#[test]
fn a_profile_says_where_the_pod_goes_and_changes_nothing_else_of_it() {
    let plain = testing::workload(&testing::run()).job;
    let placed = job_where(|admitted| admitted.scheduling = Some(profile()));
    let pod = spec(&placed);
    let said = json!({
        "nodeSelector": pod.node_selector, "tolerations": pod.tolerations, "affinity": pod.affinity,
        "topologySpreadConstraints": pod.topology_spread_constraints, "priorityClassName": pod.priority_class_name,
    });
    let mut wanted = serde_json::to_value(profile()).unwrap();
    for own in ["name", "disruption", "queueName"] {
        wanted.as_object_mut().unwrap().remove(own);
    }
    assert_eq!(said, wanted);
    assert_eq!(pod_digest(pod).unwrap(), pod_digest(spec(&plain)).unwrap());
    assert_eq!(spec(&plain).node_selector, None);
}

#[test]
fn a_queue_is_named_on_the_job_alone() {
    const QUEUE: &str = "kueue.x-k8s.io/queue-name";
    let queued = job_where(|admitted| admitted.scheduling = Some(profile()));
    assert_eq!(queued.metadata.labels.as_ref().unwrap()[QUEUE], "agents");
    let template = queued.spec.unwrap().template.metadata.unwrap();
    assert!(!template.labels.unwrap().contains_key(QUEUE));
    let plain = testing::workload(&testing::run()).job;
    assert!(!plain.metadata.labels.unwrap().contains_key(QUEUE));
}

#[test]
fn autoscalers_leave_the_pod_alone_unless_policy_says_otherwise() {
    let kept = |job: Job| {
        let annotations = job.spec.unwrap().template.metadata.unwrap().annotations.unwrap();
        let value = |key: &str| annotations.get(key).cloned();
        (
            value("cluster-autoscaler.kubernetes.io/safe-to-evict"),
            value("karpenter.sh/do-not-disrupt"),
        )
    };
    let avoided = (Some("false".to_owned()), Some("true".to_owned()));
    assert_eq!(kept(job_where(|admitted| admitted.scheduling = None)), avoided);
    assert_eq!(
        kept(job_where(|admitted| {
            admitted.scheduling = Some(SchedulingProfile {
                disruption: Disruption::Avoid,
                ..profile()
            });
        })),
        avoided
    );
    assert_eq!(
        kept(job_where(|admitted| admitted.scheduling = Some(profile()))),
        (None, None)
    );
}

#[test]
fn images_are_pulled_as_policy_says_with_its_secrets() {
    let pulled = |policy| {
        let job = job_where(|admitted| admitted.pull_policy = policy);
        containers(spec(&job))
            .into_iter()
            .map(|container| container.image_pull_policy.clone().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(pulled(None), ["Never", "Never", "IfNotPresent"]);
    assert_eq!(
        pulled(Some(PullPolicy::IfNotPresent)),
        ["Never", "Never", "IfNotPresent"]
    );
    assert_eq!(pulled(Some(PullPolicy::Always)), ["Always", "Always", "Always"]);
    let job =
        job_where(|admitted| admitted.image_pull_secrets = vec!["registry".to_owned(), "mirror".to_owned()]);
    let names: Vec<&str> = spec(&job)
        .image_pull_secrets
        .iter()
        .flatten()
        .map(|secret| secret.name.as_str())
        .collect();
    assert_eq!(names, ["registry", "mirror"]);
}

#[test]
fn a_platform_that_assigns_uids_finds_none_and_root_stays_ruled_out() {
    let users = |job: &Job| {
        let pod = spec(job).security_context.clone().unwrap();
        let mut users = vec![(
            pod.run_as_user,
            pod.run_as_group,
            pod.fs_group,
            pod.run_as_non_root,
        )];
        users.extend(containers(spec(job)).into_iter().map(|container| {
            let own = container.security_context.clone().unwrap();
            (own.run_as_user, own.run_as_group, None, own.run_as_non_root)
        }));
        users
    };
    let (own, root) = (Some(65_532), Some(true));
    let fixed = testing::workload(&testing::run()).job;
    assert_eq!(users(&fixed)[0], (own, own, own, root));
    assert_eq!(users(&fixed)[1..], [(own, own, None, root); 3]);
    let left = job_where(|admitted| admitted.run_as_user = RunAsUser::PlatformAssigned);
    assert_eq!(users(&left), [(None, None, None, root); 4]);
    assert_ne!(
        pod_digest(spec(&left)).unwrap(),
        pod_digest(spec(&fixed)).unwrap()
    );
}

#[test]
fn the_agents_image_is_pulled_by_the_name_that_was_judged() {
    for (asked, pulled) in [
        ("busybox", "docker.io/library/busybox:latest"),
        ("team/agent:2", "docker.io/team/agent:2"),
        ("localhost/agent:2", "localhost/agent:2"),
        ("images.example/agent:v1", "images.example/agent:v1"),
    ] {
        let job = job_where(|admitted| admitted.agent_image = asked.parse().unwrap());
        assert_eq!(
            spec(&job).containers.last().unwrap().image.as_deref(),
            Some(pulled)
        );
    }
}

#[test]
fn a_user_namespace_is_asked_for_only_where_policy_decided_so() {
    let users = |own| spec(&job_where(|admitted| admitted.user_namespace = own)).host_users;
    assert_eq!(users(true), Some(false));
    assert_eq!(users(false), None);
}

#[test]
fn prepare_is_told_to_look_at_the_kernel() {
    let told = |mode| {
        let job = job_where(|admitted| admitted.kernel_check = mode);
        order(&job).gvisor_required
    };
    assert!(told(KernelCheck::GVisor));
    assert!(!told(KernelCheck::None));
}
