//! The Job of a run: one pod, once.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::ObjectMeta;

use super::{BuildError, Identity, Input, scheduling};
use crate::agent_run::plan::Plan;
use cofferdam_api::AgentRun;
use cofferdam_api::names::{
    ANNOTATION_PLAN, ANNOTATION_POD_DIGEST, CONTAINER_AGENT, LABEL_POLICY_HASH, LABEL_RUN, LABEL_RUN_UID,
    workload_name,
};

/// Seconds that a pod has to end after it was told to.
pub const GRACE_SECONDS: i64 = 60;
/// Seconds by which the Job's own deadline lies behind everything that should have ended the run before.
const BACKSTOP_SECONDS: i64 = 120;

/// The Job. Its deadline is a backstop only: it deletes the pod, and with it what could have been collected.
pub fn job(input: &Input<'_>, identity: &Identity, plan: &Plan, spec: PodSpec) -> Result<Job, BuildError> {
    let labels = labels(identity, &plan.policy_hash);
    let profile = input.admitted.scheduling.as_ref();
    let mut job_labels = labels.clone();
    job_labels.extend(scheduling::job_labels(profile));
    let mut annotations = template_annotations(&plan.pod_digest);
    annotations.extend(scheduling::annotations(profile));
    let deadline = i64::from(input.admitted.start_deadline_seconds)
        + i64::from(input.admitted.active_deadline_seconds)
        + GRACE_SECONDS
        + BACKSTOP_SECONDS;
    Ok(Job {
        metadata: ObjectMeta {
            name: Some(workload_name(&identity.name, &identity.uid)),
            namespace: Some(identity.namespace.clone()),
            labels: Some(job_labels),
            annotations: Some([(ANNOTATION_PLAN.to_owned(), plan.to_json()?)].into()),
            owner_references: Some(vec![owner(identity)]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            parallelism: Some(1),
            completions: Some(1),
            // An agent is money and side effects: it starts at most once, and never twice at a time.
            backoff_limit: Some(0),
            pod_replacement_policy: Some("Failed".to_owned()),
            active_deadline_seconds: Some(deadline),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(template_labels(labels)),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(spec),
            },
            ..JobSpec::default()
        }),
        status: None,
    })
}

/// A controller reference that never blocks the owner's deletion: nothing of the run has to outlive its pod.
fn owner(identity: &Identity) -> OwnerReference {
    OwnerReference {
        api_version: AgentRun::api_version(&()).into_owned(),
        kind: AgentRun::kind(&()).into_owned(),
        name: identity.name.clone(),
        uid: identity.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}

fn labels(identity: &Identity, policy_hash: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_RUN.to_owned(), identity.name.clone()),
        (LABEL_RUN_UID.to_owned(), identity.uid.clone()),
        (LABEL_POLICY_HASH.to_owned(), policy_hash.to_owned()),
    ])
}

/// Service meshes read their opt-out from a label or an annotation, depending on their age: both are set. A mesh's
/// proxy in the pod would be a second way out, and its injection a mutated pod.
fn template_labels(mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.insert("sidecar.istio.io/inject".to_owned(), "false".to_owned());
    labels
}

fn template_annotations(digest: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (ANNOTATION_POD_DIGEST.to_owned(), digest.to_owned()),
        ("sidecar.istio.io/inject".to_owned(), "false".to_owned()),
        ("linkerd.io/inject".to_owned(), "disabled".to_owned()),
        // What `kubectl logs` shows where no container is named.
        (
            "kubectl.kubernetes.io/default-container".to_owned(),
            CONTAINER_AGENT.to_owned(),
        ),
    ])
}
