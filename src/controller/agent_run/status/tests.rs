use proptest::prelude::*;

use super::*;
use crate::agent_run::observe::Running;
use crate::slots::WaitsFor;
use crate::testing::{at, finished_run, job, plan, run};
use cofferdam_api::{Requester, ResolvedImage};
use cofferdam_policy::source::Sourced;

fn condition<'a>(status: &'a AgentRunStatus, kind: &str) -> Option<&'a str> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)
        .map(|condition| condition.status.as_str())
}

fn gap(reason: LiveReason) -> Gap {
    Gap {
        reason,
        ends_with: Reason::GuardMissing,
        message: "No guard.".to_owned(),
        actionable: true,
    }
}

fn with_status(status: AgentRunStatus) -> AgentRun {
    AgentRun {
        status: Some(status),
        ..run()
    }
}

/// What kstatus makes of an object: its rules, in its order.
fn kstatus(status: &AgentRunStatus) -> &'static str {
    match (
        condition(status, STALLED),
        condition(status, RECONCILING),
        condition(status, READY),
    ) {
        (Some("True"), _, _) => "Failed",
        (_, Some("True"), _) | (_, _, Some("False" | "Unknown")) => "InProgress",
        _ => "Current",
    }
}

/// tests/gitops reads the snapshot, and has kstatus itself and the Lua of Argo CD say the same of each state.
#[test]
fn each_state_is_what_gitops_tools_take_it_for() {
    let (job, plan) = (job(), plan());
    let built = Built {
        job: &job,
        plan: &plan,
    };
    let running_now = Running {
        agent_started: at(9),
        proof: None,
        images: Vec::new(),
    };
    let verdict = Verdict::new(Reason::AgentFailed, "3");
    let good = End::without_pod(Verdict::new(Reason::Completed, "done"), None);
    let bad = End::without_pod(verdict.clone(), None);
    let waits = waiting(&run(), &gap(LiveReason::FenceNotReady), at(1));
    let (going, over) = (("InProgress", "Progressing"), ("Failed", "Degraded"));
    let states = [
        ("suspended", suspended(&run(), at(1)), ("InProgress", "Suspended")),
        ("queued", in_queue(&run(), 5), going),
        ("waiting", waits, going),
        (
            "starting",
            starting(&run(), built, "It waits for a node.", at(5)),
            going,
        ),
        ("running", running(&run(), built, &running_now, at(10)), going),
        ("stopped", stopped(&run(), built, &verdict, at(10)), going),
        ("retrying", retrying(&run(), built, &verdict, true, at(50)), going),
        (
            "completed",
            ended(&run(), Some(built), &good, at(20)),
            ("Current", "Healthy"),
        ),
        ("failed", ended(&run(), Some(built), &bad, at(20)), over),
        ("refused", refused(&run(), &verdict, at(1)), over),
    ];
    let states = states.map(|(name, status, (expected, argo))| {
        assert_eq!(kstatus(&status), expected, "{status:#?}");
        assert_eq!(status.observed_generation, Some(1));
        let mut told = serde_json::to_value(status).unwrap();
        // Nobody judges a run by what it was resolved to, and the hash there changes with the form of frozen policies.
        told.as_object_mut().unwrap().remove("resolved");
        serde_json::json!({"name": name, "kstatus": expected, "argo": argo, "status": told})
    });
    insta::assert_snapshot!("states", serde_json::to_string_pretty(&states).unwrap());
}

#[test]
fn the_waiting_clock_runs_on_through_its_reasons_and_stands_still_while_suspended() {
    assert_eq!(waiting_since(&run(), at(5)), at(0));
    let first = with_status(waiting(&run(), &gap(LiveReason::FenceNotReady), at(5)));
    let second = with_status(waiting(&first, &gap(LiveReason::GuardNotReady), at(50)));
    assert_eq!(waiting_since(&second, at(60)), at(5));
    let paused = with_status(suspended(&second, at(70)));
    assert_eq!(waiting_since(&paused, at(1000)), at(1000));
}

#[test]
fn stopping_remembers_its_reason() {
    let (job, plan) = (job(), plan());
    let verdict = Verdict::new(Reason::ImagePullFailed, "no such image");
    let status = stopped(
        &run(),
        Built {
            job: &job,
            plan: &plan,
        },
        &verdict,
        at(10),
    );
    assert!(!status.is_finished());
    assert_eq!(stopping(&with_status(status)), Some(verdict));
    let waits = waiting(&run(), &gap(LiveReason::GuardNotReady), at(1));
    assert_eq!(stopping(&with_status(waits)), None);
}

#[test]
fn a_finished_run_only_ever_observes_again() {
    let mut run = finished_run(at(10));
    assert_eq!(observed_again(&run), None);
    run.metadata.generation = Some(2);
    let again = observed_again(&run).unwrap();
    let before = run.status.clone().unwrap();
    assert_eq!(
        AgentRunStatus {
            observed_generation: before.observed_generation,
            ..again
        },
        before
    );
}

#[test]
fn the_end_of_a_run_in_full() {
    let (job, plan) = (job(), plan());
    let record = serde_json::from_value(serde_json::json!({
        "version": 1, "requests": 7, "deniedRequests": 2, "isolationLost": null,
        "lastDenied": [{"time": at(15).to_string(), "host": "denied.example:443", "code": "HostNotListed", "message": "m", "count": 2}],
        "receipt": {"version": 1, "runUid": "u", "receivedAt": at(19).to_string(), "manifest": {"version": 1, "stopped": null, "refused": [],
            "patches": [{"repository": "code", "baseCommit": "c0ffee", "bytes": 120, "digest": "sha256:aa", "files": 1, "insertions": 2, "deletions": 3, "snapshot": "Final"}]}},
    }))
    .unwrap();
    let end = End {
        exit_code: Some(0),
        agent_started: Some(at(9)),
        ..End::without_pod(Verdict::new(Reason::Completed, "done"), Some(record))
    };
    insta::assert_yaml_snapshot!(ended(
        &run(),
        Some(Built {
            job: &job,
            plan: &plan
        }),
        &end,
        at(20)
    ));
}

fn in_queue(run: &AgentRun, now: i64) -> AgentRunStatus {
    let waits_for = WaitsFor {
        namespace: "tenant-a",
        ceiling: &Sourced::built_in(4),
    };
    queued(run, waits_for, at(now))
}

#[test]
fn queued_run_names_the_limit_and_its_clock_stands_still() {
    let status = in_queue(&run(), 5);
    assert_eq!(status.phase.as_deref(), Some("Queued"));
    assert_eq!(status.reason.as_deref(), Some("Queued"));
    assert!(
        status
            .message
            .as_ref()
            .unwrap()
            .contains("limits.maxRunning allows 4")
    );
    assert_eq!(kstatus(&status), "InProgress");
    assert_eq!(status.stage(), Stage::Queued);
    let run = with_status(status);
    assert_eq!(
        in_queue(&run, 500),
        run.status.clone().unwrap(),
        "nothing of it grows old"
    );
    assert_eq!(waiting_since(&run, at(100_000)), at(100_000));
    let held = with_status(waiting(&run, &gap(LiveReason::GuardNotReady), at(200)));
    assert_eq!(waiting_since(&held, at(300)), at(200));
}

/// The one place that holds an explanation beside `status.message`.
#[test]
fn explanation_stands_in_the_condition_that_kstatus_shows() {
    let verdict = Verdict::new(Reason::AgentFailed, "Why it failed.");
    let done = End::without_pod(Verdict::new(Reason::Completed, "It is done."), None);
    for (status, condition) in [
        (
            waiting(&run(), &gap(LiveReason::FenceNotReady), at(1)),
            RECONCILING,
        ),
        (in_queue(&run(), 1), READY),
        (suspended(&run(), at(1)), READY),
        (refused(&run(), &verdict, at(1)), STALLED),
        (ended(&run(), None, &done, at(1)), COMPLETE),
    ] {
        let message = status.message.as_deref().unwrap();
        let with_it: Vec<&str> = status
            .conditions
            .iter()
            .filter(|each| each.message == message)
            .map(|each| each.type_.as_str())
            .collect();
        assert_eq!(with_it, [condition]);
    }
}

#[test]
fn a_failed_attempt_is_remembered_until_the_next_one_has_a_workload() {
    let (first, plan) = (job(), plan());
    let built = Built {
        job: &first,
        plan: &plan,
    };
    let verdict = Verdict::new(Reason::CloneFailed, "no such repository");
    let waited = with_status(waiting(&run(), &gap(LiveReason::FenceNotReady), at(2)));
    for unstarted in [true, false] {
        let status = retrying(&waited, built, &verdict, unstarted, at(50));
        assert_eq!(kstatus(&status), "InProgress");
        assert!(!status.is_finished());
        let remembered = between(&with_status(status)).unwrap();
        assert_eq!(
            (
                remembered.verdict.reason,
                remembered.attempt,
                remembered.job_uid.as_str()
            ),
            (Reason::CloneFailed, 1, "job-uid")
        );
        assert_eq!((remembered.failed_at, remembered.unstarted), (at(50), unstarted));
    }
    let failed = with_status(retrying(&waited, built, &verdict, true, at(50)));
    let next = reset_for_attempt(&failed);
    assert_eq!(
        waiting_since(&next, at(60)),
        at(50),
        "the time-out is the attempt's own"
    );
    let status = next.status.as_ref().unwrap();
    assert_eq!(
        (status.attempt, &status.workload, &status.resolved),
        (Some(1), &None, &None)
    );
    let queued = with_status(in_queue(&next, 60));
    assert_eq!(between(&queued), None);
    let mut second = job();
    second.metadata.uid = Some("job-uid-2".to_owned());
    let mut again = plan.clone();
    again.attempt = 2;
    again.runtime_class_name = "kata".to_owned();
    let built = Built {
        job: &second,
        plan: &again,
    };
    for before in [&failed, &queued] {
        let status = stopped(before, built, &verdict, at(90));
        assert_eq!(status.attempt, Some(2));
        assert_eq!(status.resolved.unwrap().runtime_class_name, "kata");
    }
}

#[test]
fn a_late_start_is_told_once_for_each_kind_of_thing_that_it_waits_for() {
    let (mut job, plan) = (job(), plan());
    job.metadata.creation_timestamp = Some(Time(at(0)));
    let built = Built {
        job: &job,
        plan: &plan,
    };
    let one = "The pod is not scheduled: 0/1 nodes are available: 1 Insufficient cpu.";
    assert!(!is_news_of_start(&run(), built, one, at(19)));
    assert!(is_news_of_start(&run(), built, one, at(20)));
    let status = starting(&run(), built, one, at(20));
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref()),
        (Some("Pending"), Some("Starting"))
    );
    assert_eq!(status.message.as_deref(), Some(one));
    assert_eq!(kstatus(&status), "InProgress");
    assert!(status.workload.is_some());
    let told = with_status(status);
    let other_counts = "The pod is not scheduled: 0/2 nodes are available: 2 Insufficient cpu.";
    assert!(!is_news_of_start(&told, built, other_counts, at(30)));
    assert!(is_news_of_start(
        &told,
        built,
        "The repositories are being prepared.",
        at(30)
    ));
    // What was said of a wait before the Job was made is not what is said of the pod.
    let waited = with_status(waiting(&run(), &gap(LiveReason::FenceNotReady), at(5)));
    assert!(is_news_of_start(&waited, built, one, at(20)));
}

#[test]
fn images_are_told_while_it_runs_and_completed_at_the_end() {
    let (job, plan) = (job(), plan());
    let built = Built {
        job: &job,
        plan: &plan,
    };
    let image = |name: &str, image_id: &str| ResolvedImage {
        name: name.to_owned(),
        image_id: image_id.to_owned(),
    };
    let seen = Running {
        agent_started: at(9),
        proof: None,
        images: vec![
            image("sidecar", "sha256:5"),
            image("agent", "a.example/agent@sha256:1"),
        ],
    };
    let running = with_status(running(&run(), built, &seen, at(10)));
    let digests = |status: &AgentRunStatus| {
        let images = status.resolved.clone().unwrap().images;
        images.into_iter().map(|image| image.image_id).collect::<Vec<_>>()
    };
    assert_eq!(
        digests(running.status.as_ref().unwrap()),
        ["a.example/agent@sha256:1", "sha256:5"]
    );
    let verdict = Verdict::new(Reason::AgentFailed, "3");
    let with_pod = End {
        images: vec![image("prepare", "sha256:3")],
        ..End::without_pod(verdict.clone(), None)
    };
    let status = ended(&running, Some(built), &with_pod, at(20));
    assert_eq!(
        digests(&status),
        ["a.example/agent@sha256:1", "sha256:3", "sha256:5"]
    );
    let status = ended(&running, None, &End::without_pod(verdict, None), at(20));
    assert_eq!(
        digests(&status).len(),
        2,
        "what a pod that is gone cannot say stays"
    );
}

#[test]
fn who_asked_is_told_with_the_admission_and_cannot_break_the_line() {
    let mut known = run();
    known.spec.requested_by = Some(Requester {
        username: "jane\u{202e}`\u{1b}".to_owned(),
        ..Requester::default()
    });
    for (run, status, reason, word) in [
        (known, "True", "Checked", "`jane\\u{202e}'\\u{1b}`"),
        (run(), "False", "NotGiven", "spec.requestedBy"),
    ] {
        let (job, plan) = (job(), plan());
        let built = Built {
            job: &job,
            plan: &plan,
        };
        let verdict = Verdict::new(Reason::PolicyDenied, "no");
        for written in [
            refused(&run, &verdict, at(1)),
            stopped(&run, built, &verdict, at(1)),
            retrying(&run, built, &verdict, true, at(1)),
            ended(&run, Some(built), &End::without_pod(verdict.clone(), None), at(1)),
        ] {
            let told = written
                .conditions
                .iter()
                .find(|each| each.type_ == "RequesterKnown")
                .unwrap();
            assert_eq!((told.status.as_str(), told.reason.as_str()), (status, reason));
            assert!(told.message.contains(word), "{}", told.message);
        }
    }
}

proptest! {
    #[test]
    fn every_end_is_final_and_says_who_has_to_act(index in 0..Reason::ALL.len(), message in ".{0,600}") {
        let reason = Reason::ALL[index];
        let status = refused(&run(), &Verdict::new(reason, message), at(3));
        prop_assert!(status.is_finished());
        prop_assert!(status.message.as_ref().unwrap().len() <= MESSAGE_LIMIT);
        prop_assert_eq!(status.failure_class.as_deref(), reason.class().map(FailureClass::as_str));
        prop_assert_eq!(condition(&status, COMPLETE).is_some(), reason == Reason::Completed);
        prop_assert_eq!(condition(&status, FAILED).is_some(), reason != Reason::Completed);
        prop_assert_eq!(condition(&status, RECONCILING), None);
        prop_assert_eq!(status.completion_time, Some(time(at(3))));
    }
}
