use proptest::prelude::*;

use super::*;
use crate::controller::agent_run::fixtures::{at, finished_run, job, plan, run};

fn condition<'a>(status: &'a AgentRunStatus, kind: &str) -> Option<&'a str> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)
        .map(|condition| condition.status.as_str())
}

fn gap(stalled: bool) -> Gap {
    Gap {
        reason: Reason::GuardMissing,
        message: "No guard.".to_owned(),
        stalled,
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
    };
    let verdict = Verdict::new(Reason::AgentFailed, "3");
    let good = End::without_pod(Verdict::new(Reason::Completed, "done"), None);
    let bad = End::without_pod(verdict.clone(), None);
    for (status, expected) in [
        (suspended(&run(), at(1)), "InProgress"),
        (waiting(&run(), &gap(false), at(1)), "InProgress"),
        (waiting(&run(), &gap(true), at(1)), "Failed"),
        (running(&run(), built, &running_now, at(10)), "InProgress"),
        (stopped(&run(), built, &verdict, at(10)), "InProgress"),
        (ended(&run(), Some(built), &good, at(20)), "Current"),
        (ended(&run(), Some(built), &bad, at(20)), "Failed"),
        (refused(&run(), &verdict, at(1)), "Failed"),
    ] {
        assert_eq!(kstatus(&status), expected, "{status:#?}");
        assert_eq!(status.observed_generation, Some(1));
    }
}

#[test]
fn the_waiting_clock_runs_on_through_its_reasons_and_stands_still_while_suspended() {
    assert_eq!(waiting_since(&run(), at(5)), at(0));
    let first = with_status(waiting(&run(), &gap(false), at(5)));
    let second = with_status(waiting(&first, &gap(true), at(50)));
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
    assert_eq!(stopping(Some(&status)), Some(verdict));
    assert!(!is_finished(Some(&status)));
    assert_eq!(stopping(Some(&waiting(&run(), &gap(true), at(1)))), None);
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

proptest! {
    #[test]
    fn every_end_is_final_and_says_who_has_to_act(index in 0..Reason::ALL.len(), message in ".{0,600}") {
        let reason = Reason::ALL[index];
        let status = refused(&run(), &Verdict::new(reason, message), at(3));
        prop_assert!(is_finished(Some(&status)));
        prop_assert!(status.message.as_ref().unwrap().len() <= MESSAGE_LIMIT);
        prop_assert_eq!(status.failure_class.as_deref(), reason.class().map(FailureClass::as_str));
        prop_assert_eq!(condition(&status, COMPLETE).is_some(), reason == Reason::Completed);
        prop_assert_eq!(condition(&status, FAILED).is_some(), reason != Reason::Completed);
        prop_assert_eq!(condition(&status, RECONCILING), None);
        prop_assert_eq!(status.completion_time, Some(time(at(3))));
    }
}
