//! How a run's pod is scheduled: a profile of the policy, word for word.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;

use cofferdam_api::{Disruption, SchedulingProfile};
use cofferdam_policy::dimension::scheduling::disruption;

/// By this label Kueue knows the queue of a Job. It reads it on the Job; on the pod it would be a queue of pods.
const QUEUE: &str = "kueue.x-k8s.io/queue-name";
/// By these annotations of a pod the autoscalers leave its node alone: Cluster Autoscaler, Karpenter.
const KEPT: [(&str, &str); 2] = [
    ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
    ("karpenter.sh/do-not-disrupt", "true"),
];

/// `spec`, scheduled as `profile` says. The pod's digest leaves these fields out (`wire::pod`).
pub fn scheduled(spec: PodSpec, profile: Option<&SchedulingProfile>) -> PodSpec {
    let Some(profile) = profile.cloned() else {
        return spec;
    };
    PodSpec {
        node_selector: Some(profile.node_selector).filter(|labels| !labels.is_empty()),
        tolerations: Some(profile.tolerations).filter(|list| !list.is_empty()),
        affinity: profile.affinity,
        topology_spread_constraints: Some(profile.topology_spread_constraints)
            .filter(|list| !list.is_empty()),
        priority_class_name: profile.priority_class_name,
        ..spec
    }
}

/// Annotations of the pod: an agent cannot be resumed, so its node is not emptied under it unless policy says so.
pub fn annotations(profile: Option<&SchedulingProfile>) -> BTreeMap<String, String> {
    match disruption(profile) {
        Disruption::Avoid => owned(&KEPT),
        Disruption::Allow => BTreeMap::new(),
    }
}

/// Labels of the Job alone.
pub fn job_labels(profile: Option<&SchedulingProfile>) -> BTreeMap<String, String> {
    profile
        .and_then(|profile| profile.queue_name.as_deref())
        .map(|queue| owned(&[(QUEUE, queue)]))
        .unwrap_or_default()
}

fn owned(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}
