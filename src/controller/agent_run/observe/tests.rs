//! One case for each thing that can be seen of a run.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::testing::{RUN_UID, at, job, plan, pod, whole_pod};
use cofferdam_api::{Completeness, Snapshot};
use cofferdam_wire::output::{CollectRefusal, LeftOut, OutputManifest, PatchManifest, Receipt};

struct Seen {
    job: Job,
    pod: Option<RunPod>,
    changes: Option<Vec<String>>,
    admission: Option<Result<(), String>>,
    warnings: Option<Vec<String>>,
    record: Option<Result<RunRecord, String>>,
    digest: Option<String>,
    now: i64,
}

impl Seen {
    fn pod(status: Value) -> Self {
        Self {
            job: job(),
            pod: Some(pod(status)),
            changes: None,
            admission: None,
            warnings: None,
            record: None,
            digest: None,
            now: 30,
        }
    }

    fn at(mut self, now: i64) -> Self {
        self.now = now;
        self
    }

    fn record(mut self, record: RunRecord) -> Self {
        self.record = Some(Ok(record));
        self
    }

    fn observe(&self) -> Progress {
        let mut plan = plan();
        if let Some(digest) = &self.digest {
            plan.pod_digest.clone_from(digest);
        }
        observe(&Observation {
            run_uid: RUN_UID,
            plan: &plan,
            job: &self.job,
            pod: self.pod.as_ref(),
            admission: self.admission.as_ref(),
            changes: self.changes.as_deref(),
            warnings: self.warnings.as_deref(),
            record: self.record.as_ref(),
            now: at(self.now),
        })
    }

    fn reason(&self) -> Reason {
        match self.observe() {
            Progress::Ended(end) => end.verdict.reason,
            Progress::Kill(verdict) => verdict.reason,
            other => panic!("not an end: {other:?}"),
        }
    }
}

fn receipt() -> RunRecord {
    with_manifest(|_| {})
}

fn with_manifest(change: impl Fn(&mut OutputManifest)) -> RunRecord {
    let mut manifest = OutputManifest {
        version: 1,
        patches: Vec::new(),
        stopped: None,
        refused: Vec::new(),
    };
    change(&mut manifest);
    RunRecord {
        receipt: Some(Receipt {
            version: 1,
            run_uid: RUN_UID.to_owned(),
            received_at: at(29).to_string(),
            manifest,
        }),
        ..RunRecord::default()
    }
}

fn ended(code: i32) -> Value {
    json!({"terminated": {"exitCode": code, "startedAt": at(10).to_string(), "finishedAt": at(20).to_string()}})
}

fn with_message(code: i32, message: &Value) -> Value {
    let mut state = ended(code);
    state["terminated"]["message"] = json!(message.to_string());
    state
}

fn killed() -> Value {
    let mut state = ended(137);
    state["terminated"]["reason"] = json!("OOMKilled");
    state
}

fn proof() -> Value {
    json!({"version": 1, "failure": null, "commits": [{"name": "code", "commit": "c0ffee"}], "nodeOpen": false,
        "provenTime": at(9).to_string(), "probesMade": 12})
}

fn status(phase: &str, prepare: &Value, sidecar: &Value, agent: &Value) -> Value {
    let container = |name: &str, state: &Value| json!({"name": name, "image": format!("image-of-{name}"), "imageID": "", "ready": false, "restartCount": 0, "state": state});
    json!({
        "phase": phase,
        "startTime": at(2).to_string(),
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "PodReadyToStartContainers", "status": "True"},
        ],
        "initContainerStatuses": [container("prepare", prepare)],
        "containerStatuses": [container("agent", agent), container("sidecar", sidecar)],
    })
}

fn over(code: i32) -> Value {
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    status(phase, &with_message(0, &proof()), &ended(0), &ended(code))
}

fn waiting(reason: &str) -> Value {
    let wait = json!({"waiting": {"reason": reason, "message": "because"}});
    status("Pending", &wait, &json!({}), &json!({}))
}

#[test]
fn a_running_agent_carries_its_proof() {
    let running = json!({"running": {"startedAt": at(10).to_string()}});
    let seen = Seen::pod(status("Running", &with_message(0, &proof()), &running, &running));
    let Progress::Running(running) = seen.observe() else {
        panic!("{:?}", seen.observe())
    };
    assert_eq!(running.agent_started, at(10));
    let proof = running.proof.unwrap();
    assert_eq!(
        (proof.node_access, proof.proven_time),
        (ProvenNodeAccess::Denied, at(9))
    );
}

#[test]
fn success_is_exit_0_and_a_receipt() {
    let seen = || Seen::pod(over(0));
    assert_eq!(seen().observe(), Progress::Ask(Question::Record));
    assert_eq!(seen().record(receipt()).reason(), Reason::Completed);
    assert_eq!(
        seen().record(RunRecord::default()).at(79).observe(),
        Progress::Finishing
    );
    assert_eq!(
        seen().record(RunRecord::default()).at(80).reason(),
        Reason::CollectFailed
    );
    let mut unreachable = seen().at(80);
    unreachable.record = Some(Err("no route".to_owned()));
    assert_eq!(unreachable.reason(), Reason::CollectFailed);
}

/// A pod whose containers have all ended and whose phase the kubelet has not set yet.
fn ending() -> Value {
    status("Running", &with_message(0, &proof()), &ended(0), &ended(0))
}

#[test]
fn a_run_ends_with_its_last_container_and_does_not_wait_for_the_phase() {
    let seen = Seen::pod(ending());
    assert_eq!(seen.observe(), Progress::Ask(Question::Record));
    assert_eq!(seen.record(receipt()).reason(), Reason::Completed);
}

#[rstest]
#[case::agent_runs(|status: &mut Value| {
    status["containerStatuses"][0]["state"] = json!({"running": {"startedAt": at(10).to_string()}});
})]
#[case::sidecar_collects(|status: &mut Value| {
    status["containerStatuses"][1]["state"] = json!({"running": {"startedAt": at(9).to_string()}});
})]
#[case::eviction(|status: &mut Value| status["reason"] = json!("Evicted"))]
#[case::disruption(|status: &mut Value| {
    let target = json!({"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"});
    status["conditions"].as_array_mut().unwrap().push(target);
})]
fn a_pod_that_runs_or_is_ended_by_others_ends_with_its_phase(#[case] change: fn(&mut Value)) {
    let mut status = ending();
    change(&mut status);
    let progress = Seen::pod(status).record(receipt()).observe();
    assert!(
        matches!(progress, Progress::Finishing | Progress::Running(_)),
        "{progress:?}"
    );
}

#[test]
fn a_failed_agent_keeps_its_exit_code_and_its_patch() {
    let Progress::Ended(end) = Seen::pod(over(3)).record(receipt()).observe() else {
        panic!()
    };
    assert_eq!(
        (end.verdict.reason, end.exit_code),
        (Reason::AgentFailed, Some(3))
    );
    assert!(end.record.unwrap().receipt.is_some());
}

#[rstest]
#[case(Reason::DeadlineExceeded)]
#[case(Reason::Cancelled)]
#[case(Reason::ForeignNetworkPolicy)]
#[case(Reason::ForeignService)]
#[case(Reason::EgressNotEnforced)]
fn the_reason_of_a_stop_comes_from_the_receipt(#[case] reason: Reason) {
    let stopped = with_manifest(|manifest| manifest.stopped = Some(reason));
    assert_eq!(Seen::pod(over(137)).record(stopped).reason(), reason);
}

#[test]
fn a_stop_for_what_is_no_reason_to_stop_is_a_defect() {
    let stopped = with_manifest(|manifest| manifest.stopped = Some(Reason::Completed));
    assert_eq!(
        Seen::pod(over(137)).record(stopped).reason(),
        Reason::InternalError
    );
}

#[test]
fn a_work_tree_that_was_refused_fails_the_run() {
    let refused = with_manifest(|manifest| {
        manifest.refused.push(CollectRefusal {
            repository: "code".into(),
            code: "Fifo".into(),
            message: "a FIFO".into(),
        });
    });
    let Progress::Ended(end) = Seen::pod(over(0)).record(refused).observe() else {
        panic!()
    };
    assert_eq!(end.verdict.reason, Reason::CollectFailed);
    assert!(end.verdict.message.contains("code") && end.verdict.message.contains("Fifo"));
}

#[test]
fn a_partial_patch_fails_the_run_and_one_that_names_what_it_lacks_does_not() {
    let record = |completeness: Completeness| {
        with_manifest(|manifest| {
            manifest.patches.push(PatchManifest {
                repository: "code".into(),
                submodule: None,
                base_commit: "c0ffee".into(),
                bytes: 0,
                digest: "sha256:1".into(),
                files: 0,
                insertions: 0,
                deletions: 0,
                snapshot: Snapshot::Final,
                completeness,
                lfs_files: 0,
                left_out: Some(LeftOut {
                    count: 1,
                    ..LeftOut::default()
                }),
            });
        })
    };
    let verdict = |completeness: Completeness| {
        let Progress::Ended(end) = Seen::pod(over(0)).record(record(completeness)).observe() else {
            panic!()
        };
        end.verdict
    };
    assert_eq!(verdict(Completeness::Complete).reason, Reason::Completed);
    let partial = verdict(Completeness::Partial);
    assert_eq!(partial.reason, Reason::CollectFailed);
    assert!(partial.message.contains("code") && partial.message.contains("partial"));
}

#[test]
fn a_hole_in_the_fence_outweighs_a_success() {
    let record = RunRecord {
        isolation_lost: Some("kubelet".into()),
        ..receipt()
    };
    assert_eq!(
        Seen::pod(over(0)).record(record).reason(),
        Reason::EgressNotEnforced
    );
}

#[rstest]
#[case(Reason::EgressNotEnforced)]
#[case(Reason::CloneFailed)]
#[case(Reason::PeerAddressRewritten)]
fn prepare_reports_its_own_failure(#[case] reason: Reason) {
    let report = json!({"version": 1, "failure": {"reason": reason, "message": "so it was"}, "commits": [],
        "nodeOpen": null, "provenTime": null, "probesMade": 3});
    let seen = Seen::pod(status(
        "Failed",
        &with_message(1, &report),
        &json!({}),
        &json!({}),
    ))
    .record(RunRecord::default());
    assert_eq!(seen.reason(), reason);
}

#[rstest]
#[case::silent(ended(2), Reason::InternalError)]
#[case::killed(killed(), Reason::OutOfMemory)]
fn prepare_that_reports_nothing(#[case] state: Value, #[case] reason: Reason) {
    let seen = Seen::pod(status("Failed", &state, &json!({}), &json!({}))).record(RunRecord::default());
    assert_eq!(seen.reason(), reason);
}

#[test]
fn an_agent_that_ate_all_memory() {
    let seen =
        Seen::pod(status("Failed", &with_message(0, &proof()), &ended(0), &killed())).record(receipt());
    assert_eq!(seen.reason(), Reason::OutOfMemory);
}

#[test]
fn a_sidecar_that_says_it_failed_is_not_waited_for() {
    let report =
        json!({"version": 1, "failure": {"reason": "CollectFailed", "message": "too big"}, "stopped": null});
    let pod = status(
        "Succeeded",
        &with_message(0, &proof()),
        &with_message(1, &report),
        &ended(0),
    );
    let Progress::Ended(end) = Seen::pod(pod).record(RunRecord::default()).observe() else {
        panic!()
    };
    assert_eq!(
        (end.verdict.reason, end.verdict.message.as_str()),
        (Reason::CollectFailed, "too big")
    );
}

#[test]
fn sidecar_that_broke_is_the_reason_and_not_the_agent_that_was_ended_for_it() {
    let broken = json!({"terminated": {"exitCode": 1, "reason": "FailedPostStartHook", "message": "it does not serve",
        "startedAt": at(9).to_string(), "finishedAt": at(19).to_string()}});
    let pod = status("Failed", &with_message(0, &proof()), &broken, &ended(137));
    let Progress::Ended(end) = Seen::pod(pod).record(RunRecord::default()).at(90).observe() else {
        panic!()
    };
    assert_eq!(end.verdict.reason, Reason::InternalError);
    assert!(
        end.verdict.message.contains("it does not serve"),
        "{}",
        end.verdict.message
    );
}

#[rstest]
#[case::memory("Evicted", "The node was low on resource: memory.", None, Reason::Evicted)]
#[case::volume(
    "Evicted",
    "Usage of EmptyDir volume \"tmp\" exceeds the limit \"16Gi\".",
    None,
    Reason::StorageExceeded
)]
#[case::storage(
    "Evicted",
    "Pod ephemeral local storage usage exceeds the total limit",
    None,
    Reason::StorageExceeded
)]
#[case::drained("", "", Some("EvictionByEvictionAPI"), Reason::Evicted)]
#[case::preempted("", "", Some("PreemptionByScheduler"), Reason::Evicted)]
#[case::tainted("", "", Some("DeletionByTaintManager"), Reason::NodeLost)]
#[case::orphaned("", "", Some("DeletionByPodGC"), Reason::NodeLost)]
fn pods_that_are_taken_away(
    #[case] reason: &str,
    #[case] message: &str,
    #[case] target: Option<&str>,
    #[case] expected: Reason,
) {
    let mut status = over(137);
    status["reason"] = json!(reason);
    status["message"] = json!(message);
    if let Some(target) = target {
        status["conditions"] = json!([{"type": "DisruptionTarget", "status": "True", "reason": target}]);
    }
    assert_eq!(Seen::pod(status).record(receipt()).reason(), expected);
}

#[rstest]
#[case("ErrImageNeverPull", 2)]
#[case("InvalidImageName", 2)]
#[case("ErrImagePull", 62)]
#[case("ImagePullBackOff", 62)]
fn an_image_that_does_not_come(#[case] reason: &str, #[case] at: i64) {
    assert_eq!(
        Seen::pod(waiting(reason)).at(at).reason(),
        Reason::ImagePullFailed
    );
    assert!(matches!(
        Seen::pod(waiting("ContainerCreating")).at(at).observe(),
        Progress::Starting { .. }
    ));
}

#[test]
fn a_pull_that_fails_for_a_moment_is_waited_for() {
    assert!(matches!(
        Seen::pod(waiting("ErrImagePull")).at(61).observe(),
        Progress::Starting { .. }
    ));
}

#[test]
fn a_runtime_that_cannot_make_a_sandbox() {
    let mut status = waiting("ContainerCreating");
    status["conditions"] = json!([{"type": "PodScheduled", "status": "True"}, {"type": "PodReadyToStartContainers", "status": "False"}]);
    let seen = |warnings: Option<&str>| {
        let mut seen = Seen::pod(status.clone());
        seen.warnings = warnings.map(|warning| vec![warning.to_owned()]);
        seen
    };
    assert!(matches!(seen(None).at(21).observe(), Progress::Starting { .. }));
    assert_eq!(seen(None).at(22).observe(), Progress::Ask(Question::Warnings));
    let no_handler = "Failed to create pod sandbox: no runtime for \"runsc\" is configured";
    assert_eq!(seen(Some(no_handler)).at(22).reason(), Reason::RuntimeUnavailable);
    let mount = "MountVolume.SetUp failed for volume \"input\": configmap \"tasks\" not found";
    assert!(
        matches!(seen(Some(mount)).at(22).observe(), Progress::Starting { detail } if detail.contains("tasks"))
    );
}

#[test]
fn a_node_that_cannot_make_a_user_namespace_says_so() {
    let mut status = waiting("ContainerCreating");
    status["conditions"] = json!([{"type": "PodScheduled", "status": "True"}, {"type": "PodReadyToStartContainers", "status": "False"}]);
    let warning = "Failed to create pod sandbox: OCI runtime create failed: error setting namespace of type user: invalid argument";
    let mut seen = Seen::pod(status).at(22);
    seen.warnings = Some(vec![warning.to_owned()]);
    let message = |seen: &Seen| match seen.observe() {
        Progress::Kill(verdict) if verdict.reason == Reason::RuntimeUnavailable => verdict.message,
        other => panic!("{other:?}"),
    };
    assert!(
        !message(&seen).contains("userNamespaces"),
        "the control: it asked for none"
    );
    let before = seen.pod.take().unwrap();
    let mut built = whole_pod(json!({}));
    built.spec.as_mut().unwrap().host_users = Some(false);
    built.status = before.status;
    let built = RunPod::from(built);
    seen.digest = Some(built.spec.digest.clone());
    seen.pod = Some(built);
    let message = message(&seen);
    assert!(
        message.contains("namespace of type user") && message.contains("limits.runtime.userNamespaces"),
        "{message}"
    );
}

#[rstest]
#[case::created("CreateContainerError", "prepare", true)]
#[case::run("RunContainerError", "prepare", true)]
#[case::the_agents_command("RunContainerError", "agent", false)]
fn a_container_that_the_runtime_cannot_start(#[case] why: &str, #[case] container: &str, #[case] ends: bool) {
    let mut pod = waiting("PodInitializing");
    let wait = json!({"waiting": {"reason": why, "message": "error setting namespace of type user"}});
    let list = if container == "agent" {
        "containerStatuses"
    } else {
        "initContainerStatuses"
    };
    pod[list][0]["state"] = wait;
    assert!(matches!(
        Seen::pod(pod.clone()).at(21).observe(),
        Progress::Starting { .. }
    ));
    match Seen::pod(pod).at(22).observe() {
        Progress::Kill(verdict) => {
            assert!(
                ends && verdict.message.contains("namespace of type user"),
                "{verdict:?}"
            );
            assert_eq!(verdict.reason, Reason::RuntimeUnavailable);
        }
        other => assert!(!ends, "{other:?}"),
    }
}

#[test]
fn a_prepare_that_the_runtime_could_not_start() {
    let state = json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": "error setting namespace of type user",
        "startedAt": "1970-01-01T00:00:00Z", "finishedAt": at(20).to_string()}});
    let seen = Seen::pod(status("Failed", &state, &json!({}), &json!({}))).record(RunRecord::default());
    assert_eq!(seen.reason(), Reason::RuntimeUnavailable);
}

#[test]
fn a_job_that_its_queue_holds_is_waited_for_and_its_time_runs_from_its_start() {
    let mut held = without_pod(5000);
    held.job.spec.as_mut().unwrap().suspend = Some(true);
    assert!(matches!(held.observe(), Progress::Starting { detail } if detail.contains("queue")));
    let mut admitted = without_pod(5000);
    admitted.job.spec.as_mut().unwrap().suspend = Some(false);
    admitted.job.status = serde_json::from_value(json!({"startTime": at(4401).to_string()})).unwrap();
    assert!(!matches!(admitted.observe(), Progress::Kill(_)), "599 s");
    assert_eq!(admitted.at(5001).reason(), Reason::StartTimeout);
}

#[test]
fn an_agent_that_does_not_start_in_time() {
    let mut seen = Seen::pod(waiting("ContainerCreating")).at(600);
    assert_eq!(seen.observe(), Progress::Ask(Question::Warnings));
    seen.warnings = Some(Vec::new());
    assert_eq!(seen.reason(), Reason::StartTimeout);
}

#[test]
fn a_command_that_does_not_exist_is_the_agents_failure() {
    let state = json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": "no such file",
        "startedAt": "1970-01-01T00:00:00Z", "finishedAt": at(20).to_string()}});
    let seen = Seen::pod(status("Failed", &with_message(0, &proof()), &ended(0), &state))
        .record(RunRecord::default());
    let Progress::Ended(end) = seen.observe() else {
        panic!()
    };
    assert_eq!((end.verdict.reason, end.exit_code), (Reason::AgentFailed, None));
    assert!(end.verdict.message.contains("no such file"));
}

#[test]
fn another_pod_than_the_built_one_is_stopped_at_once() {
    let running = json!({"running": {"startedAt": at(10).to_string()}});
    let good = status("Running", &with_message(0, &proof()), &running, &running);
    assert!(matches!(Seen::pod(good.clone()).observe(), Progress::Running(_)));
    let place = |place: &str| vec![place.to_owned()];
    let mut host = whole_pod(good.clone());
    host.spec.as_mut().unwrap().host_network = Some(true);
    let mut other = whole_pod(good.clone());
    other.spec.as_mut().unwrap().containers.last_mut().unwrap().image = Some("other".into());
    // It has no canonical form, and so no digest.
    let mut endless = whole_pod(good.clone());
    endless.spec.as_mut().unwrap().active_deadline_seconds = Some(i64::MAX);
    let mut another = whole_pod(good);
    let labels = another.metadata.labels.as_mut().unwrap();
    labels.insert(LABEL_RUN_UID.into(), "another".into());
    for (pod, changes, said) in [
        (host.clone(), place("hostNetwork"), "it differs in hostNetwork."),
        (host, Vec::new(), "digest sha256:"),
        (
            other,
            place("containers[agent].image"),
            "it differs in containers[agent].image.",
        ),
        (
            endless,
            place("activeDeadlineSeconds"),
            "it differs in activeDeadlineSeconds.",
        ),
        (another, Vec::new(), "labels name another run"),
    ] {
        let mut seen = Seen::pod(json!({}));
        seen.pod = Some(pod.into());
        assert_eq!(seen.observe(), Progress::Ask(Question::Changes), "{said}");
        seen.changes = Some(changes);
        let Progress::Kill(verdict) = seen.observe() else {
            panic!("{said}")
        };
        assert_eq!(verdict.reason, Reason::PodMutated);
        assert!(verdict.message.contains(said), "{}", verdict.message);
    }
}

fn without_pod(now: i64) -> Seen {
    Seen {
        pod: None,
        ..Seen::pod(json!({}))
    }
    .at(now)
}

#[rstest]
#[case(
    "pods \"x\" is forbidden: exceeded quota: none, requested: pods=1",
    Reason::QuotaExceeded
)]
#[case(
    "pods \"x\" is forbidden: violates PodSecurity \"restricted\"",
    Reason::AdmissionRefused
)]
fn a_pod_that_the_api_server_refuses(#[case] message: &str, #[case] reason: Reason) {
    assert!(matches!(without_pod(9).observe(), Progress::Starting { .. }));
    assert_eq!(without_pod(10).observe(), Progress::Ask(Question::Admission));
    let mut seen = without_pod(10);
    seen.admission = Some(Err(message.to_owned()));
    assert_eq!(seen.reason(), reason);
    seen.admission = Some(Ok(()));
    assert!(matches!(seen.observe(), Progress::Starting { .. }));
    assert_eq!(without_pod(600).reason(), Reason::StartTimeout);
}

#[rstest]
#[case("BackoffLimitExceeded", Reason::WorkloadDeleted)]
#[case("DeadlineExceeded", Reason::DeadlineExceeded)]
fn a_failed_job_without_a_pod(#[case] why: &str, #[case] reason: Reason) {
    let mut seen = without_pod(30).record(RunRecord::default());
    seen.job.status =
        serde_json::from_value(json!({"conditions": [{"type": "Failed", "status": "True", "reason": why}]}))
            .unwrap();
    assert_eq!(seen.reason(), reason);
}

#[test]
fn a_pod_that_someone_deletes() {
    let mut seen = Seen::pod(over(143)).record(RunRecord::default()).at(100);
    assert_eq!(seen.reason(), Reason::AgentFailed);
    seen.pod.as_mut().unwrap().metadata.deletion_timestamp = seen.job.metadata.creation_timestamp.clone();
    assert_eq!(seen.reason(), Reason::WorkloadDeleted);
}

fn unstarted(seen: &Seen) -> bool {
    match seen.observe() {
        Progress::Ended(end) => end.unstarted,
        other => panic!("not an end: {other:?}"),
    }
}

fn failed_clone(agent: &Value) -> Value {
    let report = json!({"version": 1, "failure": {"reason": "CloneFailed", "message": "gone"}, "commits": [],
        "nodeOpen": null, "provenTime": null, "probesMade": 3});
    status("Failed", &with_message(1, &report), &json!({}), agent)
}

#[test]
fn a_clone_that_failed_is_known_to_have_failed_before_the_agent() {
    let waits = json!({"waiting": {"reason": "PodInitializing"}});
    let seen = |agent: &Value| {
        Seen::pod(failed_clone(agent))
            .record(RunRecord::default())
            .at(200)
    };
    assert!(unstarted(&seen(&waits)));
    let unknown =
        json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "finishedAt": null}});
    assert!(unstarted(&seen(&unknown)), "the runtime never had it");
    for started in [
        ended(1),
        json!({"running": {"startedAt": at(10).to_string()}}),
        json!({"terminated": {"exitCode": 128, "reason": "StartError"}}),
    ] {
        assert!(!unstarted(&seen(&started)), "{started}");
    }
}

#[rstest]
#[case::created(|pod: &mut Value| agent(pod)["containerID"] = json!("containerd://1"))]
#[case::restarted(|pod: &mut Value| agent(pod)["restartCount"] = json!(1))]
#[case::began(|pod: &mut Value| agent(pod)["started"] = json!(true))]
#[case::before(|pod: &mut Value| agent(pod)["lastState"] = ended(1))]
#[case::lost_node(|pod: &mut Value| pod["conditions"] = json!([{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}]))]
#[case::no_word(|pod: &mut Value| pod["containerStatuses"] = json!([]))]
fn any_trace_of_the_agent_forbids_another_attempt(#[case] change: fn(&mut Value)) {
    let mut pod = failed_clone(&json!({"waiting": {"reason": "PodInitializing"}}));
    change(&mut pod);
    assert!(!unstarted(&Seen::pod(pod).record(RunRecord::default())));
}

fn agent(status: &mut Value) -> &mut Value {
    &mut status["containerStatuses"][0]
}

#[test]
fn a_pod_that_someone_deleted_is_not_tried_again_and_one_that_was_drained_is() {
    let waits = json!({"waiting": {"reason": "PodInitializing"}});
    let mut seen = Seen::pod(failed_clone(&waits)).record(RunRecord::default());
    let going = seen.job.metadata.creation_timestamp.clone();
    seen.pod.as_mut().unwrap().metadata.deletion_timestamp = going.clone();
    seen.pod.as_mut().unwrap().spec.node = None;
    assert!(!unstarted(&seen));
    let mut drained = status("Failed", &ended(143), &json!({}), &waits);
    drained["conditions"] =
        json!([{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]);
    let mut seen = Seen::pod(drained).record(RunRecord::default());
    seen.pod.as_mut().unwrap().metadata.deletion_timestamp = going;
    assert_eq!(seen.reason(), Reason::Evicted);
    assert!(unstarted(&seen));
}

#[test]
fn images_are_what_the_node_says_and_cannot_break_a_line() {
    let running = json!({"running": {"startedAt": at(10).to_string()}});
    let mut pod = status("Running", &with_message(0, &proof()), &running, &running);
    pod["containerStatuses"][0]["imageID"] = json!("images.example/agent@sha256:a1");
    pod["containerStatuses"][1]["imageID"] = json!("sha256:b2\u{202e}");
    let Progress::Running(running) = Seen::pod(pod).observe() else {
        panic!("it runs")
    };
    let images: Vec<_> = running
        .images
        .iter()
        .map(|image| (image.name.as_str(), image.image_id.as_str()))
        .collect();
    assert_eq!(
        images,
        [
            ("agent", "images.example/agent@sha256:a1"),
            ("sidecar", "sha256:b2\\u{202e}")
        ]
    );
}
