//! What every object from the API server and every write to it have in common.

use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions, PropagationPolicy};
use kube::core::DeserializeGuard;
use kube::{Api, Client, Resource, ResourceExt};

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

/// Whether an object's controller is this run, by uid.
pub fn is_owned(metadata: &ObjectMeta, run: &AgentRun) -> bool {
    metadata
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.controller == Some(true) && run.uid().as_deref() == Some(owner.uid.as_str()))
}
