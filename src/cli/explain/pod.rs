//! The pod that stands in for a run's when the API server is asked: the agent's image, resources and confinement under
//! a name of its own. Pure.
//!
//! The real pod cannot be tried: nobody but the controller may make a pod with Cofferdam's names and labels. So what
//! depends on these, and on Cofferdam's own two containers (they add to a quota's sum), is not asked here.

use k8s_openapi::api::core::v1::{Container, LocalObjectReference, Pod, PodSpec, ResourceRequirements};
use kube::api::ObjectMeta;

use cofferdam_api::confinement::{container_security_context, pod_security_context};
use cofferdam_api::{AgentRun, SchedulingProfile};
use cofferdam_policy::decide::Admitted;

/// Prefix of its name; the API server adds to it.
const NAME_PREFIX: &str = "explain-";

/// A pod as confined as the run's.
pub fn build(run: &AgentRun, admitted: &Admitted) -> Pod {
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
            containers: vec![container(admitted)],
            restart_policy: Some("Never".to_owned()),
            runtime_class_name: Some(admitted.runtime_class.clone()),
            host_users: admitted.user_namespace.then_some(false),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            image_pull_secrets: Some(secrets.collect::<Vec<_>>()).filter(|list| !list.is_empty()),
            security_context: Some(pod_security_context(admitted.run_as_user)),
            ..scheduled(admitted.scheduling.as_ref())
        }),
        status: None,
    }
}

fn container(admitted: &Admitted) -> Container {
    Container {
        name: "agent".to_owned(),
        image: Some(admitted.agent_image.to_string()),
        image_pull_policy: admitted.pull_policy.map(|policy| format!("{policy:?}")),
        resources: Some(ResourceRequirements {
            requests: Some(admitted.resources.requests.clone()),
            limits: Some(admitted.resources.limits.clone()),
            claims: None,
        }),
        security_context: Some(container_security_context(admitted.run_as_user)),
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
