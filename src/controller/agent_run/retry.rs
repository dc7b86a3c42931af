//! Whether a run whose workload failed before its agent started is tried again. Pure.
//!
//! The right to it is frozen with each attempt ([`Plan::retry`]); the next attempt is a new start, and what it gets the
//! policies of that moment decide. An agent itself never starts twice: what is not known to have failed before the
//! agent's container started is not tried again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::plan::Plan;
use crate::verdict::Verdict;
use cofferdam_api::{Reason, Retry};
use cofferdam_wire::record::RunRecord;

/// Attempts of one run at most, the first included.
pub const MAX_ATTEMPTS: i32 = 3;
/// Pause after the first attempt, and after each later one.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(5);
const LATER_PAUSE: SignedDuration = SignedDuration::from_secs(20);
/// How long an archive that does not answer is asked again.
const ARCHIVE_GRACE: SignedDuration = SignedDuration::from_mins(2);
/// How soon a failed attempt that still goes is looked at again; its pod's changes trigger too.
const GOING_REQUEUE: Duration = Duration::from_secs(2);

/// Whether a failure may be another one next time. Findings about the cluster are not among them: they are to be seen.
const fn passes(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::CloneFailed
            | Reason::ImagePullFailed
            | Reason::StartTimeout
            | Reason::Evicted
            | Reason::NodeLost
            | Reason::RuntimeUnavailable
    )
}

/// Whether an attempt that failed with `reason` may be followed by another, if its agent never started.
pub fn may_follow(plan: &Plan, reason: Reason) -> bool {
    plan.retry == Retry::BeforeAgentStart && plan.attempt < MAX_ATTEMPTS && passes(reason)
}

/// What to tell of an attempt that failed.
pub fn announcement(verdict: &Verdict, attempt: i32) -> Verdict {
    let pause = pause(attempt).as_secs();
    Verdict::new(
        verdict.reason,
        format!(
            "Attempt {attempt} of {MAX_ATTEMPTS} failed before the agent started and is repeated after {pause} s: {}",
            verdict.message
        ),
    )
}

fn pause(attempt: i32) -> SignedDuration {
    if attempt <= 1 { FIRST_PAUSE } else { LATER_PAUSE }
}

/// A run between two attempts, as its status tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Between {
    /// Why the attempt failed.
    pub verdict: Verdict,
    /// Which attempt it was.
    pub attempt: i32,
    /// Uid of its Job.
    pub job_uid: String,
    /// When it failed.
    pub failed_at: Timestamp,
    /// Whether its pod was over, and its agent not started, when the status was written.
    pub unstarted: bool,
}

/// What is known once the failed attempt's Job is gone.
#[derive(Clone, Copy, Debug)]
pub struct Remains<'a> {
    /// Whether a pod of the run is still there.
    pub pods: bool,
    /// Whether the last that was seen of its pod shows that the agent never started.
    pub unstarted: bool,
    /// Whether the next attempt's Job was made already, and is gone too.
    pub made_again: bool,
    /// What the archive said; `None` if it was not asked yet.
    pub record: Option<Result<&'a RunRecord, ()>>,
    /// When this was seen.
    pub now: Timestamp,
}

/// What to do between two attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Look again after this time.
    Wait(Duration),
    /// Ask the archive.
    AskArchive,
    /// Start anew.
    Start,
    /// The run is over.
    End(Verdict),
}

/// What to do now that the failed attempt's Job is gone.
pub fn next(between: &Between, remains: &Remains<'_>) -> Next {
    let age = remains.now.duration_since(between.failed_at);
    let end = |why: &str| {
        Next::End(Verdict::new(
            between.verdict.reason,
            format!("{} It was not tried again: {why}", between.verdict.message),
        ))
    };
    if remains.made_again {
        return Next::End(Verdict::new(
            Reason::WorkloadDeleted,
            format!("Someone deleted the Job of attempt {}.", between.attempt + 1),
        ));
    }
    if remains.pods {
        return Next::Wait(GOING_REQUEUE);
    }
    if !between.unstarted && !remains.unstarted {
        return end("whether its agent had started is not known.");
    }
    match remains.record {
        None => Next::AskArchive,
        Some(Err(())) if age < ARCHIVE_GRACE => Next::Wait(GOING_REQUEUE),
        Some(Err(())) => end("the archive does not answer, so what the sandbox did is not known."),
        Some(Ok(record)) => {
            if let Some(seen) = &record.isolation_lost {
                return Next::End(Verdict::new(
                    Reason::EgressNotEnforced,
                    format!("The sandbox's fence was not proven any more: {seen}"),
                ));
            }
            if record.receipt.is_some() {
                return end("the archive holds an output of it, so its agent had started.");
            }
            let left = pause(between.attempt) - age;
            if left.is_positive() {
                return Next::Wait(Duration::try_from(left).unwrap_or(GOING_REQUEUE));
            }
            Next::Start
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::testing::{at, plan};

    fn between(unstarted: bool) -> Between {
        Between {
            verdict: Verdict::new(Reason::CloneFailed, "No such repository."),
            attempt: 1,
            job_uid: "job-uid".to_owned(),
            failed_at: at(100),
            unstarted,
        }
    }

    fn remains(record: Option<Result<&RunRecord, ()>>, now: i64) -> Remains<'_> {
        Remains {
            pods: false,
            unstarted: false,
            made_again: false,
            record,
            now: at(now),
        }
    }

    #[test]
    fn only_what_policy_allows_and_may_pass_is_tried_again_and_twice_at_most() {
        let with = |retry, attempt| {
            let mut plan = plan();
            (plan.retry, plan.attempt) = (retry, attempt);
            plan
        };
        for reason in Reason::ALL {
            let passing = [
                "CloneFailed",
                "ImagePullFailed",
                "StartTimeout",
                "Evicted",
                "NodeLost",
                "RuntimeUnavailable",
            ]
            .contains(&reason.as_str());
            for attempt in [1, 2] {
                assert_eq!(
                    may_follow(&with(Retry::BeforeAgentStart, attempt), *reason),
                    passing,
                    "{reason}"
                );
            }
            assert!(!may_follow(&with(Retry::Never, 1), *reason));
            assert!(!may_follow(&with(Retry::BeforeAgentStart, 3), *reason));
        }
    }

    #[test]
    fn it_starts_anew_after_the_pause_once_everything_is_gone() {
        let clean = RunRecord::default();
        let at_second = |now| next(&between(true), &remains(Some(Ok(&clean)), now));
        assert_eq!(next(&between(true), &remains(None, 100)), Next::AskArchive);
        assert_eq!(at_second(101), Next::Wait(Duration::from_secs(4)));
        assert_eq!(at_second(105), Next::Start);
        let later = Between {
            attempt: 2,
            ..between(true)
        };
        let of_later = |now| next(&later, &remains(Some(Ok(&clean)), now));
        assert_eq!(of_later(105), Next::Wait(Duration::from_secs(15)));
        assert_eq!(of_later(120), Next::Start);
        let going = Remains {
            pods: true,
            ..remains(Some(Ok(&clean)), 200)
        };
        assert_eq!(next(&between(true), &going), Next::Wait(GOING_REQUEUE));
    }

    #[test]
    fn what_the_watch_saw_last_is_as_good_as_what_the_status_says() {
        let clean = RunRecord::default();
        let seen = Remains {
            unstarted: true,
            ..remains(Some(Ok(&clean)), 105)
        };
        assert_eq!(next(&between(false), &seen), Next::Start);
        let unseen = next(&between(false), &remains(Some(Ok(&clean)), 105));
        assert!(
            matches!(&unseen, Next::End(end) if end.reason == Reason::CloneFailed && end.message.contains("not known")),
            "{unseen:?}"
        );
    }

    #[rstest]
    #[case::hole(RunRecord { isolation_lost: Some("kubelet".into()), ..RunRecord::default() }, Reason::EgressNotEnforced)]
    #[case::output(
        RunRecord {
            receipt: serde_json::from_str(r#"{"version":1,"runUid":"u","receivedAt":"t","manifest":
                {"version":1,"patches":[],"stopped":null,"refused":[]}}"#).unwrap(),
            ..RunRecord::default()
        },
        Reason::CloneFailed
    )]
    fn what_the_archive_holds_may_forbid_it(#[case] record: RunRecord, #[case] reason: Reason) {
        let next = next(&between(true), &remains(Some(Ok(&record)), 105));
        assert!(
            matches!(&next, Next::End(end) if end.reason == reason),
            "{next:?}"
        );
    }

    #[test]
    fn an_archive_that_is_silent_is_asked_again_for_a_while() {
        let silent = |now| next(&between(true), &remains(Some(Err(())), now));
        assert_eq!(silent(219), Next::Wait(GOING_REQUEUE));
        assert!(matches!(silent(220), Next::End(_)));
    }

    #[test]
    fn a_second_attempt_that_someone_deleted_is_not_a_first_that_failed() {
        let clean = RunRecord::default();
        let made = Remains {
            made_again: true,
            ..remains(Some(Ok(&clean)), 105)
        };
        assert!(
            matches!(next(&between(true), &made), Next::End(end) if end.reason == Reason::WorkloadDeleted)
        );
    }
}
