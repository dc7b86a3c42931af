//! Audit events on runs, `events.k8s.io/v1`.
//!
//! kube's own recorder folds events of equal reason together and keeps the first one's note, which loses exactly
//! what an auditor wants; so each event here is an object of its own, named by what it says, and created once.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Resource, ResourceExt};

use crate::api::AgentRun;
use crate::api::names::short_hash;
use crate::conditions::bounded;

/// Kubernetes' limit of a note in bytes.
const NOTE_LIMIT: usize = 1024;
/// Kubernetes' limit of reason and action in bytes.
const WORD_LIMIT: usize = 128;
const CONTROLLER: &str = "cofferdam.dev/controller";

/// How loud an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As it should be.
    Normal,
    /// Someone should look.
    Warning,
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How loud.
    pub kind: Kind,
    /// One word.
    pub reason: String,
    /// What was done.
    pub action: &'static str,
    /// For people.
    pub note: String,
}

/// Publishes events as one instance of the controller.
#[derive(Clone)]
pub struct Publisher {
    client: Client,
    instance: String,
}

impl Publisher {
    /// A publisher that calls itself `instance`.
    pub fn new(client: Client, instance: &str) -> Self {
        Self {
            client,
            instance: bounded(instance, WORD_LIMIT),
        }
    }

    /// Publishes a notice about a run, once. Events are news, not state: a failure is logged and not tried again.
    pub async fn publish(&self, run: &AgentRun, notice: &Notice, now: Timestamp) {
        let Some(event) = event(run, notice, &self.instance, now) else {
            return;
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &run.namespace().unwrap_or_default());
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => tracing::warn!(run = run.name_any(), reason = notice.reason, %error, "event lost"),
        }
    }
}

/// The event. Its name holds run and content, so that saying the same twice makes no second one.
fn event(run: &AgentRun, notice: &Notice, instance: &str, now: Timestamp) -> Option<Event> {
    let (name, uid) = (run.metadata.name.as_deref()?, run.metadata.uid.as_deref()?);
    let content = short_hash(format!("{uid}/{}/{}", notice.reason, notice.note).as_bytes());
    let suffix: String = content.chars().take(16).collect();
    Some(Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{suffix}")),
            namespace: run.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        type_: Some(
            match notice.kind {
                Kind::Normal => "Normal",
                Kind::Warning => "Warning",
            }
            .to_owned(),
        ),
        reason: Some(bounded(&notice.reason, WORD_LIMIT)),
        action: Some(notice.action.to_owned()),
        note: Some(bounded(&notice.note, NOTE_LIMIT)),
        event_time: Some(MicroTime(now)),
        regarding: Some(ObjectReference {
            api_version: Some(AgentRun::api_version(&()).into_owned()),
            kind: Some(AgentRun::kind(&()).into_owned()),
            name: Some(name.to_owned()),
            namespace: run.metadata.namespace.clone(),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        ..Event::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::agent_run::fixtures;

    #[test]
    fn an_event_is_named_by_its_content_and_carries_no_control_characters() {
        let notice = |note: &str| Notice {
            kind: Kind::Warning,
            reason: "Denied".to_owned(),
            action: "Deny",
            note: note.to_owned(),
        };
        let make = |note: &str| event(&fixtures::run(), &notice(note), "pod-1", fixtures::at(0)).unwrap();
        let (one, same, other) = (make("a\u{1b}[2J"), make("a\u{1b}[2J"), make("b"));
        assert_eq!(one.metadata.name, same.metadata.name);
        assert_ne!(one.metadata.name, other.metadata.name);
        assert!(!one.note.unwrap().contains('\u{1b}'));
        assert!(make(&"x".repeat(5000)).note.unwrap().len() <= NOTE_LIMIT);
        assert_eq!(one.regarding.unwrap().name.as_deref(), Some("mend-roof"));
    }
}
