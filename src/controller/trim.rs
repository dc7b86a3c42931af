//! What the caches keep of objects that others fill. Of a run its author writes most, up to a megabyte, and 20,000 finished
//! runs may wait for the end of their time to live.
//!
//! An object is trimmed as it leaves its page of a list, before the next page is asked for (`watches.rs`). Until the last
//! page has come the cache keeps what it held before, too: that is `kube`'s, and counts twice what is kept, not what was
//! sent.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, PodTemplateSpec};
use kube::ResourceExt as _;
use kube::api::ObjectMeta;

use super::api_server::Guarded;
use cofferdam_api::names::LABEL_LEGAL_HOLD;
use cofferdam_api::{Agent, AgentRun, AgentRunSpec, AgentRunStatus, Task};

/// Leaves of a run what the controller reads of it: no annotations, and of a finished one only what its deletion rests
/// on.
pub fn run(run: &mut Guarded<AgentRun>) {
    run.managed_fields_mut().clear();
    run.annotations_mut().clear();
    if let Ok(run) = &mut run.0 {
        run.metadata.managed_fields = None;
        run.metadata.annotations = None;
        if is_settled(run) {
            run.metadata.labels = run.metadata.labels.take().map(held);
            forget_asks(&mut run.spec);
            run.status = run.status.take().map(remains);
        }
    }
}

/// Leaves of a Job what it says of itself. Its pod's template is most of it, and nothing is decided by that: the digest
/// stands in the plan.
pub fn job(job: &mut Job) {
    job.metadata.managed_fields = None;
    if let Some(spec) = &mut job.spec {
        spec.template = PodTemplateSpec::default();
    }
}

/// Leaves of a namespace its name, its age, its labels and whether it goes: projects of a platform keep long annotations there.
pub fn namespace(namespace: &mut Namespace) {
    let ObjectMeta {
        name,
        uid,
        resource_version,
        labels,
        creation_timestamp,
        deletion_timestamp,
        ..
    } = std::mem::take(&mut namespace.metadata);
    *namespace = Namespace {
        metadata: ObjectMeta {
            name,
            uid,
            resource_version,
            labels,
            creation_timestamp,
            deletion_timestamp,
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
}

/// Of the labels the one that says that the run is held.
fn held(mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.retain(|name, _| name == LABEL_LEGAL_HOLD);
    labels
}

/// Whether no status of the run is going to be written any more: one that is written from a trimmed run would lose what
/// was trimmed.
fn is_settled(run: &AgentRun) -> bool {
    run.is_finished()
        && run
            .status
            .as_ref()
            .is_some_and(|status| status.observed_generation == run.metadata.generation)
}

fn forget_asks(spec: &mut AgentRunSpec) {
    // Without `..`: a new field is kept or forgotten because someone decided so.
    let AgentRunSpec {
        // Whether the run waits, and how long it is kept.
        policy_ref: _,
        suspend: _,
        cancel: _,
        ttl_seconds_after_finished: _,
        // Numbers.
        start_deadline_seconds: _,
        active_deadline_seconds: _,
        task,
        agent,
        agent_profile,
        repositories,
        egress,
        resources,
        scheduling_profile_name,
        requested_by,
        on_behalf_of,
    } = spec;
    *task = Task {
        prompt: None,
        prompt_from: None,
    };
    *agent = Agent::default();
    *agent_profile = None;
    *repositories = Vec::new();
    *egress = None;
    *resources = None;
    *scheduling_profile_name = None;
    *requested_by = None;
    *on_behalf_of = None;
}

/// What is left of a settled status: that it is final, since when, and of which Job.
fn remains(status: AgentRunStatus) -> AgentRunStatus {
    let mut conditions = status.conditions;
    for condition in &mut conditions {
        condition.message = String::new();
    }
    AgentRunStatus {
        observed_generation: status.observed_generation,
        phase: status.phase,
        reason: status.reason,
        workload: status.workload,
        completion_time: status.completion_time,
        conditions,
        ..AgentRunStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use kube::core::DeserializeGuard;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::agent_run::cleanup::{self, PolicyTtl};
    use crate::testing::{at, finished_run, job};

    /// A run of which its author wrote as much as the API server takes.
    fn large(mut run: AgentRun) -> Guarded<AgentRun> {
        run.metadata.annotations = Some([("notes".to_owned(), "x".repeat(250_000))].into());
        run.metadata.managed_fields = Some(vec![
            serde_json::from_value(json!({"manager": "kubectl"})).unwrap(),
        ]);
        run.spec.agent.args = vec!["x".repeat(4096); 64];
        run.spec.task.prompt = Some("x".repeat(32_768));
        DeserializeGuard(Ok(run))
    }

    fn kept(run: &Guarded<AgentRun>) -> &AgentRun {
        run.0.as_ref().unwrap()
    }

    #[rstest]
    #[case::now(0)]
    #[case::job_kept(599)]
    #[case::job_deleted(600)]
    #[case::run_kept(899)]
    #[case::run_deleted(900)]
    fn a_settled_run_is_small_and_cleaned_up_as_before(#[case] second: i64) {
        let mut whole = finished_run(at(0));
        whole.spec.ttl_seconds_after_finished = Some(900);
        let whole = large(whole);
        let mut trimmed = whole.clone();
        run(&mut trimmed);
        let size = serde_json::to_string(kept(&trimmed)).unwrap().len();
        assert!(size < 2_000, "{size} bytes");
        let next = |run| cleanup::next(run, Some(&job()), false, PolicyTtl::default(), at(second));
        assert_eq!(next(kept(&trimmed)), next(kept(&whole)));
        assert!(kept(&trimmed).is_finished());
        assert_eq!(kept(&trimmed).uid(), kept(&whole).uid());
    }

    #[test]
    fn of_the_labels_of_a_settled_run_the_one_that_holds_it_is_kept() {
        let mut whole = finished_run(at(0));
        let labels = [(LABEL_LEGAL_HOLD, "true"), ("team", "a")];
        whole.metadata.labels = Some(
            labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        );
        let mut trimmed = large(whole);
        run(&mut trimmed);
        let labels = kept(&trimmed).metadata.labels.clone().unwrap();
        assert_eq!(labels.len(), 1);
        assert_eq!(labels[LABEL_LEGAL_HOLD], "true");
        assert!(crate::holds::is_held(&trimmed));
    }

    #[test]
    fn a_run_whose_status_is_written_again_keeps_all_of_it() {
        let mut changed = finished_run(at(0));
        changed.metadata.generation = changed.metadata.generation.map(|generation| generation + 1);
        let whole = large(changed);
        let mut trimmed = whole.clone();
        run(&mut trimmed);
        assert_eq!(kept(&trimmed).status, kept(&whole).status);
        assert_eq!(kept(&trimmed).metadata.annotations, None);
    }

    #[test]
    fn an_open_run_keeps_what_its_workload_is_made_of() {
        let whole = large(crate::testing::run());
        let mut trimmed = whole.clone();
        run(&mut trimmed);
        assert_eq!(kept(&trimmed).spec, kept(&whole).spec);
        assert_eq!(kept(&trimmed).metadata.annotations, None);
        assert_eq!(kept(&trimmed).metadata.managed_fields, None);
    }

    #[test]
    fn of_a_namespace_little_is_kept() {
        let mut trimmed: Namespace = serde_json::from_value(json!({
            "metadata": {
                "name": "team-a", "uid": "u", "resourceVersion": "7", "labels": {"tier": "gold"},
                "annotations": {"notes": "x".repeat(250_000)}, "managedFields": [{"manager": "kubectl"}],
                "creationTimestamp": "2026-11-26T09:00:00Z", "deletionTimestamp": "2026-11-26T10:00:00Z",
            },
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Terminating"},
        }))
        .unwrap();
        namespace(&mut trimmed);
        assert_eq!(
            serde_json::to_value(&trimmed).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {
                    "name": "team-a", "uid": "u", "resourceVersion": "7", "labels": {"tier": "gold"},
                    "creationTimestamp": "2026-11-26T09:00:00Z", "deletionTimestamp": "2026-11-26T10:00:00Z",
                },
            })
        );
    }
}
