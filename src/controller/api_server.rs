//! What every object from the API server and every write to it have in common.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions, PropagationPolicy};
use kube::core::DeserializeGuard;
use kube::{Api, Client, Resource, ResourceExt};

use super::pod_view::is_over;
use super::run_pod::RunPod;
use cofferdam_api::AgentRun;
use cofferdam_api::names::FIELD_MANAGER;

/// A resource that may be malformed: one broken object must not stop the watch of all.
pub type Guarded<K> = DeserializeGuard<K>;

/// Parameters of a write in the controller's name.
pub fn post() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// Whether the API server answered with this code.
pub fn is_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// Accepts that the object is gone, or is no longer the one that was looked at: its change triggers another look.
///
/// # Errors
/// Anything but 404 and 409.
pub fn superseded_is_fine(result: kube::Result<()>) -> kube::Result<()> {
    match result {
        Err(error) if is_code(&error, 404) || is_code(&error, 409) => Ok(()),
        result => result,
    }
}

/// Deletes an object unless it is being deleted already. Another object of the same name is never touched.
///
/// # Errors
/// The API server did not do it.
pub async fn delete<K>(client: &Client, object: &K, propagation: PropagationPolicy) -> kube::Result<()>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    if object.meta().deletion_timestamp.is_some() {
        return Ok(());
    }
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let params = DeleteParams {
        propagation_policy: Some(propagation),
        preconditions: Some(Preconditions {
            uid: object.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    superseded_is_fine(api.delete(&object.name_any(), &params).await.map(drop))
}

/// Seconds from SIGTERM to SIGKILL for an agent that is not asked any more. By force (0) nothing waits for its end.
const KILL_GRACE_SECONDS: u32 = 5;

/// Has a pod end in seconds, also one that is being deleted and has more time.
///
/// # Errors
/// The API server did not do it.
pub async fn end_pod(client: &Client, pod: &RunPod) -> kube::Result<()> {
    let has_left = pod.metadata.deletion_grace_period_seconds;
    if is_over(pod) || has_left.is_some_and(|seconds| seconds <= i64::from(KILL_GRACE_SECONDS)) {
        return Ok(());
    }
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let params = DeleteParams {
        grace_period_seconds: Some(KILL_GRACE_SECONDS),
        preconditions: Some(Preconditions {
            uid: pod.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    superseded_is_fine(api.delete(&pod.name_any(), &params).await.map(drop))
}

/// Whether an object has a controller, which ends it or which the garbage collector asks after.
pub fn has_controller(metadata: &ObjectMeta) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true))
}

/// Whether an object's controller is this run, by uid.
pub fn is_owned(metadata: &ObjectMeta, run: &AgentRun) -> bool {
    metadata
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.controller == Some(true) && run.uid().as_deref() == Some(owner.uid.as_str()))
}
