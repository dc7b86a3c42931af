//! Keeps the status of policies of both kinds and of credentials: written when it changes, so that the owner of one learns
//! before any run does that nothing could start under it, or with it.

use std::fmt::Debug;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::object::HasStatus;
use kube::runtime::controller::Action;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api_server::{Guarded, post, superseded_is_fine};
use super::backoff::Failures;
use super::conditions::{self, Desired};
use super::events::{Kind, Notice, Publisher};
use super::stores::Stores;

/// Condition that says whether runs can rely on an object.
pub const READY: &str = "Ready";

/// What the reconcilers of policies need.
pub struct Context {
    /// Access to the API server.
    pub client: Client,
    /// What the watches see.
    pub stores: Arc<Stores>,
    /// Audit events.
    pub events: Publisher,
    /// Policies that fail, by uid.
    pub failures: Failures<String>,
}

/// A status that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to write the status of {kind}/{name}: {source}")]
pub struct StatusError {
    kind: String,
    name: String,
    #[source]
    source: kube::Error,
}

/// A kind of object whose status says whether runs can rely on it: both kinds of policies, and credentials.
pub trait Judged:
    Resource<DynamicType = ()>
    + HasStatus<Status: Clone + PartialEq>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
{
    /// What it means that one cannot be read; the schema forbids it, so another version stored it.
    const UNREADABLE: &'static str;

    /// Access to the kind, in the policy's namespace if it has one.
    fn api(&self, client: &Client) -> Api<Self>;

    /// The status that the policy should have.
    fn judge(&self, context: &Context, now: Timestamp) -> Self::Status;

    /// The conditions of a status.
    fn conditions(status: &Self::Status) -> &[Condition];
}

/// Brings a policy's status up to date. What it rests on triggers it, so nothing is reconciled by the clock.
///
/// # Errors
/// The API server did not take it; it is tried again.
pub async fn reconcile<P: Judged>(
    policy: Arc<Guarded<P>>,
    context: Arc<Context>,
) -> Result<Action, StatusError> {
    let policy = match &policy.0 {
        Ok(policy) if policy.meta().deletion_timestamp.is_none() => policy,
        Ok(_) => return Ok(Action::await_change()),
        Err(error) => {
            tracing::warn!(kind = %P::kind(&()), %error, "{}", P::UNREADABLE);
            return Ok(Action::await_change());
        }
    };
    let now = Timestamp::now();
    let new = policy.judge(&context, now);
    if policy.status() != Some(&new) {
        write(policy, &new, &context).await?;
        let before = policy.status().and_then(|status| ready(P::conditions(status)));
        if let Some(notice) = ready(P::conditions(&new)).and_then(|ready| news(before, ready)) {
            context.events.publish_change(policy, &notice, now).await;
        }
    }
    context.failures.succeeded(&policy.uid().unwrap_or_default());
    Ok(Action::await_change())
}

/// What to do after a failure.
#[expect(clippy::needless_pass_by_value, reason = "the signature is the runtime's")]
pub fn on_error<P: Judged>(policy: Arc<Guarded<P>>, error: &StatusError, context: Arc<Context>) -> Action {
    let delay = context.failures.failed(&policy.uid().unwrap_or_default());
    tracing::warn!(namespace = policy.namespace(), %error, retry_ms = delay.as_millis(), "will try again");
    Action::requeue(delay)
}

/// Writes a status. A policy that changed or went meanwhile is reconciled again because of just that.
async fn write<P: Judged>(policy: &P, status: &P::Status, context: &Context) -> Result<(), StatusError> {
    let mut changed = policy.clone();
    *changed.status_mut() = Some(status.clone());
    let name = policy.name_any();
    let written = policy
        .api(&context.client)
        .replace_status(&name, &post(), &changed)
        .await;
    superseded_is_fine(written.map(drop)).map_err(|source| StatusError {
        kind: P::kind(&()).into_owned(),
        name,
        source,
    })
}

/// What is found of an object: whether runs can rely on it, the reason, and that for people with what to do.
pub struct Found {
    /// Whether they can; `None`: it is not known yet.
    pub holds: Option<bool>,
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Found {
    /// Something is wrong.
    pub fn wrong(reason: &str, message: impl Into<String>) -> Self {
        Self {
            holds: Some(false),
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    /// The conditions of `object`, which has had `conditions` until now, with `Ready` as it is found.
    pub fn into_ready<K: Resource>(
        self,
        object: &K,
        conditions: Option<&Vec<Condition>>,
        now: Timestamp,
    ) -> Vec<Condition> {
        let mut conditions = conditions.cloned().unwrap_or_default();
        let desired = Desired {
            type_: READY,
            holds: self.holds,
            reason: self.reason,
            message: self.message,
        };
        conditions::set(&mut conditions, desired, object.meta().generation, now);
        conditions
    }
}

fn ready(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == READY)
}

/// The event for a `Ready` that has changed.
pub fn news(before: Option<&Condition>, now: &Condition) -> Option<Notice> {
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
