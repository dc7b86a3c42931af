//! The standing fence of each namespace of sandboxes: made, healed, and taken away only when no pod needs it.
//!
//! No run owns it. Nothing that happens to a run, a policy or the namespace itself removes it while a sandbox pod
//! is still there, a terminating one included.

mod carried;
pub mod foreign;
pub mod objects;
pub mod services;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Patch, PatchParams, PropagationPolicy};
use kube::runtime::controller::Action;
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::stores::{Stores, is_opted_in};
use crate::api_server::{delete, is_code};
use crate::backoff::Failures;
use crate::verdict::Gap;
use cofferdam_api::names::{FENCE, FENCE_FINALIZER, FIELD_MANAGER, SANDBOX_SERVICE_ACCOUNT};
use cofferdam_api::{LiveReason, Reason};

/// Looked at again after this long even if no watch said so.
const RESYNC_REQUEUE: Duration = Duration::from_mins(5);
/// How soon a fence that waits for pods to go is looked at again; their going triggers too.
const PODS_REQUEUE: Duration = Duration::from_secs(5);

/// What the fence's reconciler needs.
pub struct Context {
    /// Access to the API server.
    pub client: Client,
    /// What the watches see.
    pub stores: Arc<Stores>,
    /// The operator's namespace, where the gateway is.
    pub operator_namespace: String,
    /// Namespaces that fail.
    pub failures: Failures<String>,
}

/// A change of the fence that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("failed to {step} in namespace {namespace}: {source}")]
pub struct FenceError {
    step: &'static str,
    namespace: String,
    #[source]
    source: kube::Error,
}

/// Brings a namespace to what its label says.
///
/// # Errors
/// The API server did not do it; it is tried again.
pub async fn reconcile(namespace: Arc<Namespace>, context: Arc<Context>) -> Result<Action, FenceError> {
    let name = namespace.name_any();
    let fence = context.stores.fence(&name);
    if is_opted_in(&namespace) {
        raise(&context, &name, fence.as_deref()).await
    } else {
        lower(&context, &name, fence.as_deref()).await
    }
}

/// What to do after a failure.
#[expect(clippy::needless_pass_by_value, reason = "the signature is the runtime's")]
pub fn on_error(namespace: Arc<Namespace>, error: &FenceError, context: Arc<Context>) -> Action {
    let delay = context.failures.failed(&namespace.name_any());
    tracing::warn!(%error, retry_ms = delay.as_millis(), "fence not in order");
    Action::requeue(delay)
}

async fn raise(
    context: &Context,
    namespace: &str,
    live: Option<&NetworkPolicy>,
) -> Result<Action, FenceError> {
    let account = objects::service_account(namespace);
    if !context
        .stores
        .account(namespace)
        .is_some_and(|live| objects::account_stands(&live, &account))
    {
        apply(context, namespace, &account, "apply the ServiceAccount").await?;
    }
    let fence = objects::fence(namespace, &context.operator_namespace);
    match live {
        Some(live) if objects::fence_stands(live, &fence) => {}
        // Someone deleted it. It holds until its finalizer goes; then it is made anew.
        Some(live) if live.metadata.deletion_timestamp.is_some() => {
            if context.stores.has_live_pods(namespace) {
                return Ok(Action::requeue(PODS_REQUEUE));
            }
            release(context, namespace, live).await?;
            return Ok(Action::requeue(Duration::from_secs(1)));
        }
        _ => apply(context, namespace, &fence, "apply the fence").await?,
    }
    context.failures.succeeded(&namespace.to_owned());
    Ok(Action::requeue(RESYNC_REQUEUE))
}

async fn lower(
    context: &Context,
    namespace: &str,
    live: Option<&NetworkPolicy>,
) -> Result<Action, FenceError> {
    let Some(live) = live else {
        context.failures.succeeded(&namespace.to_owned());
        return Ok(Action::await_change());
    };
    if context.stores.has_live_pods(namespace) {
        return Ok(Action::requeue(PODS_REQUEUE));
    }
    if objects::has_finalizer(live) {
        release(context, namespace, live).await?;
    }
    delete(&context.client, live, PropagationPolicy::Background)
        .await
        .map_err(failed("delete the fence", namespace))?;
    if let Some(account) = context.stores.account(namespace) {
        delete(&context.client, &*account, PropagationPolicy::Background)
            .await
            .map_err(failed("delete the ServiceAccount", namespace))?;
    }
    context.failures.succeeded(&namespace.to_owned());
    Ok(Action::await_change())
}

async fn apply<K>(
    context: &Context,
    namespace: &str,
    object: &K,
    step: &'static str,
) -> Result<(), FenceError>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(context.client.clone(), namespace);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&object.name_any(), &params, &Patch::Apply(object))
        .await
        .map(drop)
        .map_err(failed(step, namespace))
}

/// Takes our finalizer off, unless the fence has changed since it was looked at.
async fn release(context: &Context, namespace: &str, live: &NetworkPolicy) -> Result<(), FenceError> {
    let api: Api<NetworkPolicy> = Api::namespaced(context.client.clone(), namespace);
    let others: Vec<&String> = live
        .metadata
        .finalizers
        .iter()
        .flatten()
        .filter(|finalizer| *finalizer != FENCE_FINALIZER)
        .collect();
    let patch = json!({"metadata": {
        "uid": live.metadata.uid, "resourceVersion": live.metadata.resource_version, "finalizers": others,
    }});
    let patched = api
        .patch_metadata(&live.name_any(), &PatchParams::default(), &Patch::Merge(patch))
        .await;
    match patched {
        Err(error) if is_code(&error, 404) => Ok(()),
        patched => patched.map(drop).map_err(failed("release the fence", namespace)),
    }
}

fn failed(step: &'static str, namespace: &str) -> impl FnOnce(kube::Error) -> FenceError {
    let namespace = namespace.to_owned();
    move |source| FenceError {
        step,
        namespace,
        source,
    }
}

/// What is missing before a sandbox may start in a namespace; `None`: it is fenced.
pub fn gap(stores: &Stores, namespace: &str, operator_namespace: &str) -> Option<Gap> {
    if let Some(gap) = foreign_gap(stores, namespace) {
        return Some(gap);
    }
    let fence = objects::fence(namespace, operator_namespace);
    let account = objects::service_account(namespace);
    let stands = stores
        .fence(namespace)
        .is_some_and(|live| objects::fence_stands(&live, &fence))
        && stores
            .account(namespace)
            .is_some_and(|live| objects::account_stands(&live, &account));
    (!stands).then(|| Gap {
        reason: LiveReason::FenceNotReady,
        ends_with: Reason::StartTimeout,
        message: format!(
            "NetworkPolicy {FENCE} and ServiceAccount {SANDBOX_SERVICE_ACCOUNT} of namespace {namespace} are not there yet."
        ),
        actionable: false,
    })
}

/// Whether a NetworkPolicy of someone else may widen a namespace's fence, or a Service leads into its sandboxes.
pub fn foreign_gap(stores: &Stores, namespace: &str) -> Option<Gap> {
    if let Some(name) = stores.selecting_services.first_of(namespace) {
        return Some(Gap {
            reason: LiveReason::SandboxSelected,
            ends_with: Reason::ForeignService,
            message: selected(&name, namespace),
            actionable: true,
        });
    }
    let name = stores.widening_policy(namespace)?;
    Some(Gap {
        reason: LiveReason::FenceWidened,
        ends_with: Reason::ForeignNetworkPolicy,
        message: format!(
            "NetworkPolicy {name} of namespace {namespace} may open the sandbox. Make its podSelector leave \
             sandboxes out: matchExpressions: [{{key: cofferdam.dev/run, operator: DoesNotExist}}]."
        ),
        actionable: true,
    })
}

/// What is said of a Service that selects sandboxes.
pub fn selected(service: &str, namespace: &str) -> String {
    format!(
        "Service {service} of namespace {namespace} can select sandbox pods, because they may carry every label of its \
         selector. Add a label of your own pods to its spec.selector, such as app, or delete the Service."
    )
}
