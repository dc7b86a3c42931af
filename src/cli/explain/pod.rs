//! The pod that stands in for a run's when the API server is asked: the agent's image, resources and confinement under
//! a name of its own. Pure.
//!
//! The real pod cannot be tried: nobody but the controller may make a pod with Cofferdam's names and labels. So what
//! depends on these, and on Cofferdam's own two containers (they add to a quota's sum), is not asked here.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, LocalObjectReference, Pod, PodSecurityContext, PodSpec, ResourceRequirements,
    SeccompProfile, SecurityContext,
};
use kube::api::ObjectMeta;

use cofferdam_api::names::SANDBOX_UID;
use cofferdam_api::{AgentRun, RunAsUser, SchedulingProfile};
use cofferdam_policy::decide::Admitted;

/// Prefix of its name; the API server adds to it.
const NAME_PREFIX: &str = "explain-";

/// A pod as confined as the run's.
pub fn build(run: &AgentRun, admitted: &Admitted) -> Pod {
    let uid = match admitted.run_as_user {
        RunAsUser::Fixed => Some(SANDBOX_UID),
        RunAsUser::PlatformAssigned => None,
    };
    let secrets = admitted
        .image_pull_secrets
        .iter()
        .map(|name| LocalObjectReference { name: name.clone() });
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(NAME_PREFIX.to_owned()),
            namespace: run.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: vec![container(run, admitted, uid)],
            restart_policy: Some("Never".to_owned()),
            runtime_class_name: Some(admitted.runtime_class.clone()),
            host_users: admitted.user_namespace.then_some(false),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            image_pull_secrets: Some(secrets.collect::<Vec<_>>()).filter(|list| !list.is_empty()),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: uid,
                run_as_group: uid,
                fs_group: uid,
                seccomp_profile: Some(runtime_default()),
                ..PodSecurityContext::default()
            }),
            ..scheduled(admitted.scheduling.as_ref())
        }),
        status: None,
    }
}

fn container(run: &AgentRun, admitted: &Admitted, uid: Option<i64>) -> Container {
    Container {
        name: "agent".to_owned(),
        image: Some(run.spec.agent.image.clone()),
        image_pull_policy: admitted.pull_policy.map(|policy| format!("{policy:?}")),
        resources: Some(ResourceRequirements {
            requests: Some(admitted.resources.requests.clone()),
            limits: Some(admitted.resources.limits.clone()),
            claims: None,
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                add: None,
                drop: Some(vec!["ALL".to_owned()]),
            }),
            privileged: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            run_as_user: uid,
            run_as_group: uid,
            seccomp_profile: Some(runtime_default()),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn scheduled(profile: Option<&SchedulingProfile>) -> PodSpec {
    let Some(profile) = profile else {
        return PodSpec::default();
    };
    PodSpec {
        node_selector: Some(profile.node_selector.clone()),
        tolerations: Some(profile.tolerations.clone()),
        affinity: profile.affinity.clone(),
        priority_class_name: profile.priority_class_name.clone(),
        // How pods spread depends on labels, which this pod does not carry.
        ..PodSpec::default()
    }
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile {
        type_: "RuntimeDefault".to_owned(),
        localhost_profile: None,
    }
}
