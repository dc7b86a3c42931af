//! What the controller keeps of a run's pod. The pod of a sandbox takes some 80 KiB in memory as Kubernetes' types hold
//! it, most of it volumes, and a thousand may be live.

use std::borrow::Cow;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus};
use kube::Resource;
use kube::api::ObjectMeta;
use serde::Deserialize;

use cofferdam_api::names::ANNOTATION_STOP;
use cofferdam_wire::pod::pod_digest;
use cofferdam_wire::runner::active_deadline;

/// A pod of a run, as it is kept: what it is and how it stands, and of what it was made the digest.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "Pod")]
pub struct RunPod {
    /// Without managed fields, and without annotations but [`ANNOTATION_STOP`].
    pub metadata: ObjectMeta,
    /// What its node said of it.
    pub status: Option<PodStatus>,
    /// What is kept of its spec.
    pub spec: SpecFacts,
}

/// What is kept of a pod's spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecFacts {
    /// Its digest ([`pod_digest`]), or why it has none: what cannot be digested is not what was built.
    pub digest: String,
    /// The node that it is bound to.
    pub node: Option<String>,
    /// Whether it was built with a user namespace of its own.
    pub has_user_namespace: bool,
    /// The agent's time, from its start, as the sidecar was told it. The digest covers it.
    pub active_deadline: Option<Duration>,
}

impl SpecFacts {
    fn of(spec: &PodSpec) -> Self {
        Self {
            digest: pod_digest(spec).unwrap_or_else(|error| error.to_string()),
            node: spec.node_name.clone().filter(|node| !node.is_empty()),
            has_user_namespace: spec.host_users == Some(false),
            active_deadline: active_deadline(spec),
        }
    }
}

impl From<Pod> for RunPod {
    fn from(pod: Pod) -> Self {
        let Pod {
            mut metadata,
            spec,
            status,
        } = pod;
        metadata.managed_fields = None;
        if let Some(annotations) = &mut metadata.annotations {
            annotations.retain(|name, _| name == ANNOTATION_STOP);
        }
        Self {
            metadata,
            status,
            // The API server stores no pod without a spec.
            spec: spec.as_ref().map(SpecFacts::of).unwrap_or_default(),
        }
    }
}

impl Resource for RunPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(dt: &()) -> Cow<'_, str> {
        Pod::kind(dt)
    }

    fn group(dt: &()) -> Cow<'_, str> {
        Pod::group(dt)
    }

    fn version(dt: &()) -> Cow<'_, str> {
        Pod::version(dt)
    }

    fn plural(dt: &()) -> Cow<'_, str> {
        Pod::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{plan, whole_pod};

    #[test]
    fn of_a_pod_its_state_stays_and_of_its_spec_the_digest() {
        let mut whole = whole_pod(json!({"phase": "Running"}));
        whole.spec.as_mut().unwrap().node_name = Some("node-a".to_owned());
        whole.metadata.managed_fields = Some(vec![
            serde_json::from_value(json!({"manager": "kubelet"})).unwrap(),
        ]);
        let annotations = whole.metadata.annotations.get_or_insert_default();
        annotations.insert(ANNOTATION_STOP.to_owned(), "Cancelled".to_owned());
        annotations.insert("notes".to_owned(), "x".repeat(200_000));

        let sent: Value = serde_json::to_value(&whole).unwrap();
        let kept: RunPod = serde_json::from_value(sent).unwrap();

        assert_eq!(
            kept.spec,
            SpecFacts {
                digest: plan().pod_digest,
                node: Some("node-a".to_owned()),
                has_user_namespace: false,
                active_deadline: Some(Duration::from_hours(1)),
            }
        );
        assert_eq!(kept.status, whole.status);
        let annotations = kept.metadata.annotations.unwrap();
        assert_eq!(annotations.keys().collect::<Vec<_>>(), [ANNOTATION_STOP]);
        assert_eq!(
            (
                kept.metadata.labels,
                kept.metadata.owner_references,
                kept.metadata.managed_fields
            ),
            (whole.metadata.labels, whole.metadata.owner_references, None)
        );
    }

    #[test]
    fn pod_that_cannot_be_digested_has_no_digest_of_a_plan() {
        let mut whole = whole_pod(json!({}));
        whole.spec.as_mut().unwrap().active_deadline_seconds = Some(i64::MAX);
        let kept = RunPod::from(whole);
        assert!(!kept.spec.digest.starts_with("sha256:"), "{}", kept.spec.digest);
    }
}
