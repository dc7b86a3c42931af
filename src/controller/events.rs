//! Audit events on runs and policies, `events.k8s.io/v1`.
//!
//! kube's own recorder folds events of equal reason together and keeps the first one's note, which loses exactly
//! what an auditor wants; so each event here is an object of its own, named by what it says, and created once.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Resource, ResourceExt};

use crate::conditions::bounded;
use cofferdam_api::AgentRun;
use cofferdam_api::names::short_hash;

/// Kubernetes' limit of a note in bytes.
const NOTE_LIMIT: usize = 1024;
/// Kubernetes' limit of reason and action in bytes.
const WORD_LIMIT: usize = 128;
/// Where Kubernetes keeps the events of objects that have no namespace.
const CLUSTER_EVENTS: &str = "default";
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
        self.create(run, notice, "", now).await;
    }

    /// Publishes a notice about something that may change back and forth: the same words at another time are news.
    pub async fn publish_change<K>(&self, object: &K, notice: &Notice, now: Timestamp)
    where
        K: Resource<DynamicType = ()>,
    {
        self.create(object, notice, &now.to_string(), now).await;
    }

    async fn create<K>(&self, object: &K, notice: &Notice, occasion: &str, now: Timestamp)
    where
        K: Resource<DynamicType = ()>,
    {
        let Some(event) = event(object, notice, &self.instance, occasion, now) else {
            return;
        };
        let namespace = event.metadata.namespace.as_deref().unwrap_or(CLUSTER_EVENTS);
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => {
                tracing::warn!(object = object.name_any(), reason = notice.reason, %error, "event lost");
            }
        }
    }
}

/// The event. Its name holds object, content and occasion, so that saying the same twice makes no second one.
fn event<K>(object: &K, notice: &Notice, instance: &str, occasion: &str, now: Timestamp) -> Option<Event>
where
    K: Resource<DynamicType = ()>,
{
    let metadata = object.meta();
    let (name, uid) = (metadata.name.as_deref()?, metadata.uid.as_deref()?);
    let content = short_hash(format!("{uid}/{}/{}{occasion}", notice.reason, notice.note).as_bytes());
    let suffix: String = content.chars().take(16).collect();
    Some(Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{suffix}")),
            namespace: metadata
                .namespace
                .clone()
                .or_else(|| Some(CLUSTER_EVENTS.to_owned())),
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
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            name: Some(name.to_owned()),
            namespace: metadata.namespace.clone(),
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
    use crate::testing;

    #[test]
    fn an_event_is_named_by_its_content_and_carries_no_control_characters() {
        let notice = |note: &str| Notice {
            kind: Kind::Warning,
            reason: "Denied".to_owned(),
            action: "Deny",
            note: note.to_owned(),
        };
        let make = |note: &str| event(&testing::run(), &notice(note), "pod-1", "", testing::at(0)).unwrap();
        let (one, same, other) = (make("a\u{1b}[2J"), make("a\u{1b}[2J"), make("b"));
        assert_eq!(one.metadata.name, same.metadata.name);
        assert_ne!(one.metadata.name, other.metadata.name);
        assert!(!one.note.unwrap().contains('\u{1b}'));
        assert!(make(&"x".repeat(5000)).note.unwrap().len() <= NOTE_LIMIT);
        assert_eq!(one.regarding.unwrap().name.as_deref(), Some("mend-roof"));
    }

    #[test]
    fn what_changes_back_and_forth_is_told_each_time() {
        let notice = Notice {
            kind: Kind::Normal,
            reason: "Ready".to_owned(),
            action: "Judge",
            note: "in order".to_owned(),
        };
        let name = |occasion: &str| {
            let event = event(&testing::policy(), &notice, "pod-1", occasion, testing::at(0)).unwrap();
            assert_eq!(event.regarding.unwrap().kind.as_deref(), Some("SandboxPolicy"));
            event.metadata.name
        };
        assert_ne!(name("morning"), name("evening"));
        assert_eq!(name("morning"), name("morning"));
    }

    #[test]
    fn events_of_cluster_objects_stand_where_kubernetes_keeps_them() {
        let mut policy = cofferdam_api::ClusterSandboxPolicy::new(
            "base",
            cofferdam_api::ClusterSandboxPolicySpec::default(),
        );
        policy.metadata.uid = Some("base-uid".to_owned());
        let notice = Notice {
            kind: Kind::Warning,
            reason: "SelectsNoNamespace".to_owned(),
            action: "Judge",
            note: String::new(),
        };
        let event = event(&policy, &notice, "pod-1", "", testing::at(0)).unwrap();
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(event.regarding.unwrap().namespace, None);
    }
}
