//! The status of each `SandboxPolicy`: written when it changes, so that whoever owns a policy learns before any run
//! does that nothing could start under it.

pub mod judge;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::controller::Action;
use kube::{Api, Client, ResourceExt};

pub(super) use self::judge::READY;
use self::judge::{Facts, judge};
use super::events::{Kind, Notice, Publisher};
use super::stores::{Guarded, Stores};
use crate::api_server::{post, superseded_is_fine};
use crate::backoff::Failures;
use cofferdam_api::{SandboxPolicy, SandboxPolicyStatus};

/// What the reconcilers of policies need.
pub struct Context {
    /// Access to the API server.
    pub client: Client,
    /// What the watches see.
    pub stores: Arc<Stores>,
    /// Audit events.
    pub events: Publisher,
    /// Image of Cofferdam's own containers in every sandbox.
    pub runner_image: String,
    /// Policies that fail, by uid.
    pub failures: Failures<String>,
}

/// A status that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to write the status of {kind}/{name}: {source}")]
pub struct StatusError {
    /// Kind of the policy.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What the API server said.
    #[source]
    pub source: kube::Error,
}

/// Brings a policy's status up to date. What it rests on triggers it, so nothing is looked at by the clock.
///
/// # Errors
/// The API server did not take it; it is tried again.
pub async fn reconcile(
    policy: Arc<Guarded<SandboxPolicy>>,
    context: Arc<Context>,
) -> Result<Action, StatusError> {
    let policy = match &policy.0 {
        Ok(policy) if policy.metadata.deletion_timestamp.is_none() => policy,
        Ok(_) => return Ok(Action::await_change()),
        Err(error) => {
            // The schema forbids it, so an older or newer version stored it. Runs that name it end PolicyMissing.
            tracing::warn!(%error, "a policy cannot be read");
            return Ok(Action::await_change());
        }
    };
    let now = Timestamp::now();
    let new = judge(policy, &facts(policy, &context), now);
    if policy.status.as_ref() != Some(&new) {
        write(policy, &new, &context).await?;
        if let Some(notice) = news(policy.status.as_ref(), &new) {
            context.events.publish_change(policy, &notice, now).await;
        }
    }
    context.failures.succeeded(&policy.uid().unwrap_or_default());
    Ok(Action::await_change())
}

/// What to do after a failure.
#[expect(clippy::needless_pass_by_value, reason = "the signature is the runtime's")]
pub fn on_error(policy: Arc<Guarded<SandboxPolicy>>, error: &StatusError, context: Arc<Context>) -> Action {
    let delay = context.failures.failed(&policy.uid().unwrap_or_default());
    tracing::warn!(namespace = policy.namespace(), %error, retry_ms = delay.as_millis(), "will try again");
    Action::requeue(delay)
}

fn facts(policy: &SandboxPolicy, context: &Context) -> Facts {
    let namespace = policy.namespace().unwrap_or_default();
    let stores = &context.stores;
    Facts {
        namespace_labels: stores.namespace_labels(&namespace),
        cluster_policies: stores.cluster_policies(),
        runtime_classes: stores.runtime_classes(),
        widening: stores.widening_policy(&namespace),
        runner_image: context.runner_image.clone(),
        readings: Arc::clone(&stores.readings),
    }
}

async fn write(
    policy: &SandboxPolicy,
    status: &SandboxPolicyStatus,
    context: &Context,
) -> Result<(), StatusError> {
    let api: Api<SandboxPolicy> =
        Api::namespaced(context.client.clone(), &policy.namespace().unwrap_or_default());
    let mut changed = policy.clone();
    changed.status = Some(status.clone());
    let written = api.replace_status(&policy.name_any(), &post(), &changed).await;
    superseded_is_fine(written.map(drop)).map_err(|source| StatusError {
        kind: "SandboxPolicy",
        name: policy.name_any(),
        source,
    })
}

/// What is to be told of a status: its `Ready`, if that says anything new.
fn news(old: Option<&SandboxPolicyStatus>, new: &SandboxPolicyStatus) -> Option<Notice> {
    let before = old.and_then(|status| ready(&status.conditions));
    told(before, ready(&new.conditions)?)
}

fn ready(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == READY)
}

/// The event for a `Ready` that has changed.
pub(super) fn told(before: Option<&Condition>, now: &Condition) -> Option<Notice> {
    let same = |old: &Condition| {
        (&old.status, &old.reason, &old.message) == (&now.status, &now.reason, &now.message)
    };
    if before.is_some_and(same) {
        return None;
    }
    Some(Notice {
        kind: if now.status == "True" {
            Kind::Normal
        } else {
            Kind::Warning
        },
        reason: now.reason.clone(),
        action: "Judge",
        note: now.message.clone(),
    })
}
