//! The order of writes, and what becomes of a step when some of them fail, against an API server that answers as it is
//! told.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use http::Method;
use parking_lot::Mutex;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::agent_run::run_key;
use crate::agent_run::status::{self, Built};
use crate::events::Publisher;
use crate::memory::Memory;
use crate::slots::{Answer, Slots};
use crate::testing::{RUN_UID, at, client, failure, job, plan, pod, run, workload};
use crate::watches::Trigger;
use cofferdam_api::Reason;

/// What an API server was asked: method, kind, and name or what counts of the body.
type Log = Arc<Mutex<Vec<String>>>;

struct Rig {
    log: Log,
    effects: Effects,
    triggered: UnboundedReceiver<Trigger>,
}

/// `refuse` answers instead of the API server where it returns something.
fn rig(refuse: impl Fn(&str) -> Option<(u16, Value)> + Send + Sync + 'static) -> Rig {
    let log = Log::default();
    let asked = Arc::clone(&log);
    let client = client(Arc::new(move |method: &Method, path: &str, body: &Value| {
        let line = line(method, path, body);
        asked.lock().push(line.clone());
        refuse(&line).unwrap_or_else(|| match *method {
            Method::GET => failure(404, "NotFound"),
            Method::POST => {
                let mut stored = body.clone();
                stored["metadata"]["uid"] = json!("uid-of-created");
                (201, stored)
            }
            Method::PATCH if path.ends_with("/status") => {
                let mut patched = serde_json::to_value(run()).unwrap();
                patched["status"] = body[1]["value"].clone();
                (200, patched)
            }
            Method::PATCH => (
                200,
                json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {}}),
            ),
            Method::DELETE => (
                200,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}),
            ),
            _ => (200, body.clone()),
        })
    }));
    let (triggers, triggered) = unbounded();
    let effects = Effects {
        events: Publisher::new(client.clone(), "pod-1"),
        client,
        memory: Arc::new(Memory::default()),
        slots: Arc::new(Slots::default()),
        triggers,
        sealer: crate::testing::sealer(),
    };
    Rig {
        log,
        effects,
        triggered,
    }
}

fn line(method: &Method, path: &str, body: &Value) -> String {
    let segments: Vec<&str> = path.rsplit('/').collect();
    let kind = match segments.as_slice() {
        ["status", _, kind, ..] => format!("{kind}/status"),
        [kind @ ("jobs" | "configmaps" | "events"), ..] | [_, kind, ..] => (*kind).to_owned(),
        _ => path.to_owned(),
    };
    let what = match kind.as_str() {
        "events" => body["reason"].as_str(),
        "agentruns/status" if *method == Method::PATCH => body[1]["value"]["reason"].as_str(),
        "agentruns/status" => body["status"]["reason"].as_str(),
        "pods" => body["metadata"]["annotations"]["cofferdam.dev/stop"].as_str(),
        _ => None,
    };
    format!("{method} {kind} {}", what.unwrap_or_default())
        .trim()
        .to_owned()
}

impl Rig {
    async fn perform(&self, step: Step, write: Write) -> Result<Outcome, CallError> {
        Box::pin(perform(&run(), step, write, &self.effects, at(100))).await
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    fn holds(&self) -> bool {
        self.effects.slots.count("tenant-a").0 == 1
    }
}

fn verdict() -> Verdict {
    Verdict::new(Reason::GatewayChanged, "The gateway moved.")
}

fn kill() -> Step {
    let (job, plan) = (job(), plan());
    let built = Built {
        job: &job,
        plan: &plan,
    };
    Step {
        slot: Slot::Hold,
        create: None,
        status: Some(Box::new(status::stopped(&run(), built, &verdict(), at(100)))),
        events: vec![crate::agent_run::notices::stopping(verdict().reason, "m")],
        then: Then::Kill {
            job: Arc::new(job.clone()),
            pods: vec![Arc::new(pod(json!({"phase": "Running"})))],
            verdict: verdict(),
        },
        forget: false,
        look: Look::After(Duration::from_secs(2)),
    }
}

fn end() -> Step {
    let status = status::refused(&run(), &verdict(), at(100));
    Step {
        slot: Slot::Release,
        events: vec![crate::agent_run::notices::end(
            verdict().reason,
            &run().spec,
            &status,
        )],
        status: Some(Box::new(status)),
        then: Then::Nothing,
        forget: true,
        look: Look::OnChange,
        ..kill()
    }
}

fn repeat() -> Step {
    Step {
        then: Then::Repeat(Arc::new(job())),
        ..kill()
    }
}

fn create() -> Step {
    Step {
        create: Some(Box::new(workload(&run()))),
        status: None,
        events: Vec::new(),
        then: Then::Nothing,
        forget: true,
        ..kill()
    }
}

#[rstest]
#[case::kill(kill(), &["PUT agentruns/status GatewayChanged", "POST events StoppingGatewayChanged", "DELETE jobs", "DELETE pods"])]
#[case::end(end(), &["PUT agentruns/status GatewayChanged", "POST events GatewayChanged"])]
#[case::end_and_delete(
    Step { then: kill().then, ..end() },
    &["PUT agentruns/status GatewayChanged", "POST events GatewayChanged", "DELETE jobs", "DELETE pods"]
)]
#[case::stop_agent(
    Step { then: Then::StopAgent { pod: Arc::new(pod(json!({}))), verdict: Verdict::new(Reason::Cancelled, "m") }, ..kill() },
    &["PUT agentruns/status GatewayChanged", "POST events StoppingGatewayChanged", "PATCH pods Cancelled"]
)]
#[case::create(create(), &["GET configmaps", "POST configmaps", "POST jobs"])]
#[case::nothing(
    Step { status: None, events: Vec::new(), then: Then::Nothing, ..kill() },
    &[]
)]
#[tokio::test]
async fn order_is_create_status_events_workload(#[case] step: Step, #[case] order: &[&str]) {
    let rig = rig(|_| None);
    assert!(matches!(
        rig.perform(step, Write::IfUnchanged).await.unwrap(),
        Outcome::Done(_)
    ));
    assert_eq!(rig.log(), order);
}

#[tokio::test]
async fn pod_that_is_over_or_about_to_end_is_left_alone() {
    let with = |change: fn(&mut crate::run_pod::RunPod)| {
        let mut pod = pod(json!({"phase": "Running"}));
        change(&mut pod);
        Arc::new(pod)
    };
    let cases = [
        (with(|_| {}), true),
        (
            with(|pod| pod.metadata.deletion_grace_period_seconds = Some(60)),
            true,
        ),
        (
            with(|pod| pod.metadata.deletion_grace_period_seconds = Some(5)),
            false,
        ),
        (
            with(|pod| pod.status.as_mut().unwrap().phase = Some("Failed".to_owned())),
            false,
        ),
    ];
    for (pod, is_deleted) in cases {
        let rig = rig(|_| None);
        let step = Step {
            status: None,
            events: Vec::new(),
            then: Then::DeletePods(vec![pod]),
            ..kill()
        };
        rig.perform(step, Write::IfUnchanged).await.unwrap();
        assert_eq!(rig.log().contains(&"DELETE pods".to_owned()), is_deleted);
    }
}

#[tokio::test]
async fn status_that_is_there_already_is_not_written() {
    let rig = rig(|_| None);
    let step = end();
    let mut there = run();
    there.status = step.status.as_deref().cloned();
    perform(&there, step, Write::IfUnchanged, &rig.effects, at(100))
        .await
        .unwrap();
    assert_eq!(rig.log(), ["POST events GatewayChanged"]);
}

#[rstest]
#[case::conflict(409)]
#[case::server_error(500)]
#[case::refused(422)]
#[tokio::test]
async fn status_that_cannot_be_written_never_holds_back_a_kill(#[case] code: u16) {
    let rig = rig(move |line| {
        line.contains("agentruns/status")
            .then(|| failure(code, if code == 409 { "Conflict" } else { "Other" }))
    });
    let outcome = rig.perform(kill(), Write::IfUnchanged).await;
    assert_eq!(
        rig.log(),
        [
            "PUT agentruns/status GatewayChanged",
            "DELETE jobs",
            "DELETE pods"
        ]
    );
    assert_eq!(
        rig.effects.memory.of(RUN_UID).stopping,
        Some(verdict()),
        "the reason is not lost"
    );
    match code {
        409 => assert_eq!(outcome.unwrap(), Outcome::RunChanged),
        _ => assert!(outcome.is_err(), "it is tried again"),
    }
}

#[tokio::test]
async fn verdict_is_remembered_before_anything_is_asked() {
    let rig = rig(|_| Some(failure(500, "Down")));
    assert!(rig.perform(kill(), Write::IfUnchanged).await.is_err());
    assert_eq!(rig.effects.memory.of(RUN_UID).stopping, Some(verdict()));
    assert!(rig.holds());
}

#[tokio::test]
async fn attempt_is_not_removed_before_its_status_says_that_another_follows() {
    let rig = rig(|line| {
        line.contains("agentruns/status")
            .then(|| failure(409, "Conflict"))
    });
    let outcome = rig.perform(repeat(), Write::IfUnchanged).await.unwrap();
    assert_eq!(outcome, Outcome::RunChanged);
    assert_eq!(rig.log(), ["PUT agentruns/status GatewayChanged"]);
}

#[tokio::test]
async fn slot_and_memory_stay_until_the_end_is_written() {
    let refusing = rig(|line| {
        line.contains("agentruns/status")
            .then(|| failure(409, "Conflict"))
    });
    refusing.effects.set_slot(&run(), RUN_UID, Slot::Hold);
    refusing.effects.memory.note_stopping(RUN_UID, &verdict());
    refusing.perform(end(), Write::IfUnchanged).await.unwrap();
    assert!(refusing.holds() && refusing.effects.memory.of(RUN_UID).stopping.is_some());
    assert_eq!(
        refusing.log(),
        ["PUT agentruns/status GatewayChanged"],
        "nothing is told"
    );

    let rig = rig(|_| None);
    rig.effects.set_slot(&run(), RUN_UID, Slot::Hold);
    rig.effects.memory.note_stopping(RUN_UID, &verdict());
    rig.perform(end(), Write::IfUnchanged).await.unwrap();
    assert!(!rig.holds() && rig.effects.memory.of(RUN_UID).stopping.is_none());
}

#[tokio::test]
async fn status_is_written_whatever_a_tenant_changes_meanwhile() {
    let rig = rig(|_| None);
    rig.perform(kill(), Write::Always).await.unwrap();
    assert_eq!(rig.log()[0], "PATCH agentruns/status GatewayChanged");
}

#[tokio::test]
async fn conflict_of_a_patch_is_an_error_and_no_reason_to_read_again() {
    let rig = rig(|line| {
        line.contains("agentruns/status")
            .then(|| failure(409, "Conflict"))
    });
    assert!(rig.perform(kill(), Write::Always).await.is_err());
    assert!(rig.log().contains(&"DELETE jobs".to_owned()));
}

#[tokio::test]
async fn run_that_is_gone_needs_no_status() {
    let rig = rig(|line| {
        line.contains("agentruns/status")
            .then(|| failure(404, "NotFound"))
    });
    assert!(matches!(
        rig.perform(kill(), Write::IfUnchanged).await.unwrap(),
        Outcome::Done(_)
    ));
    assert!(rig.log().contains(&"DELETE jobs".to_owned()));
}

#[rstest]
#[case::quota(403, "exceeded quota: small", Some(Reason::QuotaExceeded), false)]
#[case::policy(422, "denied", Some(Reason::AdmissionRefused), false)]
#[case::busy(429, "slow down", None, false)]
#[case::unknown(500, "timed out", None, true)]
#[tokio::test]
async fn refused_job_ends_the_run_and_doubt_keeps_its_slot(
    #[case] code: u16,
    #[case] message: &'static str,
    #[case] reason: Option<Reason>,
    #[case] holds: bool,
) {
    let rig = rig(move |line| (line == "POST jobs").then(|| failure(code, message)));
    let outcome = rig.perform(create(), Write::IfUnchanged).await;
    match (reason, outcome) {
        (Some(reason), Ok(Outcome::JobRefused(verdict))) => assert_eq!(verdict.reason, reason),
        (None, Err(_)) => {}
        (_, other) => panic!("{other:?}"),
    }
    assert_eq!(rig.holds(), holds);
    assert_eq!(rig.effects.memory.of(RUN_UID).job_uid, None);
}

#[tokio::test]
async fn created_job_is_remembered_though_the_last_attempt_is_forgotten() {
    let rig = rig(|_| None);
    rig.effects
        .memory
        .note_created(RUN_UID, "job-of-the-last-attempt");
    rig.perform(create(), Write::IfUnchanged).await.unwrap();
    let job_uid = rig.effects.memory.of(RUN_UID).job_uid;
    assert_eq!(job_uid.as_deref(), Some("uid-of-created"));
}

#[tokio::test]
async fn freed_slot_wakes_the_run_that_it_can_serve() {
    let mut rig = rig(|_| None);
    let other = |name: &str, uid: &str| {
        let mut other = run();
        (other.metadata.name, other.metadata.uid) = (Some(name.to_owned()), Some(uid.to_owned()));
        other
    };
    let ceiling = cofferdam_policy::source::Sourced::built_in(1);
    assert_eq!(rig.effects.take_slot(&run(), &ceiling), Answer::Start);
    for (name, uid) in [("second", "uid-2"), ("third", "uid-3")] {
        assert_eq!(rig.effects.take_slot(&other(name, uid), &ceiling), Answer::Wait);
        assert!(run_key(&other(name, uid)).is_some());
    }
    rig.perform(end(), Write::IfUnchanged).await.unwrap();
    let woken = rig.triggered.next().now_or_never().flatten();
    assert!(
        matches!(&woken, Some(Trigger::Run(run)) if run.name == "second"),
        "{woken:?}"
    );
    assert!(rig.triggered.next().now_or_never().is_none(), "one slot, one run");
}

/// The chain says how the run ended, so nothing else may be decided now.
#[tokio::test]
async fn a_sealed_end_is_written_over_whatever_was_changed_of_the_run_meanwhile() {
    let conflict = |line: &str| {
        line.starts_with("PUT agentruns/status")
            .then(|| failure(409, "Conflict"))
    };
    let mut step = end();
    let status = step.status.take().unwrap();
    let sealed = status::sealed(&status, &run(), &crate::testing::sealed(), at(100));
    step.status = Some(Box::new(sealed));
    let rig_of_sealed = rig(conflict);
    let outcome = rig_of_sealed.perform(step, Write::IfUnchanged).await.unwrap();
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert_eq!(
        rig_of_sealed.log(),
        [
            "PUT agentruns/status GatewayChanged",
            "PATCH agentruns/status GatewayChanged",
            "POST events GatewayChanged"
        ]
    );
    // What is not sealed is decided again.
    let outcome = rig(conflict).perform(end(), Write::IfUnchanged).await.unwrap();
    assert_eq!(outcome, Outcome::RunChanged);
}
