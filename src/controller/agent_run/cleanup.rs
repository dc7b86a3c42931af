//! What is still to be done for a run that is over. Pure, and nothing at all most of the time.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;

use crate::holds;
use cofferdam_api::AgentRun;

/// How long the Job and its pod are kept after the end, for `kubectl logs`.
const JOB_KEPT: SignedDuration = SignedDuration::from_mins(10);
/// Seconds after its end when a run is deleted that neither says so itself nor has a policy that does: 7 days.
const DEFAULT_TTL_SECONDS: i32 = 7 * 24 * 3600;

/// What policies say, in seconds, of how long a run is kept after its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct PolicyTtl {
    /// For runs that say nothing.
    pub default: Option<i32>,
    /// The most that any run has.
    pub ceiling: Option<i32>,
}

/// How long a pod that outlived its run is left alone.
const LIVE_POD_KEPT: SignedDuration = SignedDuration::from_mins(1);
/// How soon a run is looked at again that is held beyond its time to live.
const HELD_LOOK: SignedDuration = SignedDuration::from_hours(1);
/// Looking again sooner than this is of no use.
const SHORTEST_SLEEP: SignedDuration = SignedDuration::from_secs(30);

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Delete the Job and with it the pod.
    DeleteJob,
    /// Delete the run.
    DeleteRun,
    /// Nothing before this much time has passed.
    Sleep(SignedDuration),
}

/// What to do for a finished run.
///
/// `live_pod`: whether a pod of the run still runs. After the run's end that is a pod that outlived it.
pub fn next(run: &AgentRun, job: Option<&Job>, live_pod: bool, policy: PolicyTtl, now: Timestamp) -> Cleanup {
    let completed = run
        .status
        .as_ref()
        .and_then(|status| status.completion_time.as_ref());
    let Some(completed) = completed.map(|time| time.0) else {
        return Cleanup::Sleep(JOB_KEPT);
    };
    let age = now.duration_since(completed);
    let ttl = SignedDuration::from_secs(i64::from(time_to_live(run, policy)));
    // With the object its label would go, and what it holds in the archive.
    let is_held = holds::is_held(run);
    if age >= ttl && !is_held {
        return Cleanup::DeleteRun;
    }
    let ttl = if is_held { age + HELD_LOOK } else { ttl };
    match job {
        Some(job) if job.metadata.deletion_timestamp.is_none() && age >= kept(live_pod) => Cleanup::DeleteJob,
        Some(_) => Cleanup::Sleep((kept(live_pod) - age).max(SHORTEST_SLEEP).min(ttl - age)),
        None => Cleanup::Sleep(ttl - age),
    }
}

/// Seconds that a run is kept. It can be raised after the run was admitted, so the ceiling is met here again.
fn time_to_live(run: &AgentRun, policy: PolicyTtl) -> i32 {
    let wanted = run
        .spec
        .ttl_seconds_after_finished
        .or(policy.default)
        .unwrap_or(DEFAULT_TTL_SECONDS);
    policy.ceiling.map_or(wanted, |ceiling| wanted.min(ceiling))
}

const fn kept(live_pod: bool) -> SignedDuration {
    if live_pod { LIVE_POD_KEPT } else { JOB_KEPT }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, finished_run, job};
    use cofferdam_api::names::{LABEL_LEGAL_HOLD, LEGAL_HOLD};

    #[test]
    fn a_run_that_is_held_outlives_its_time_to_live_and_its_job_does_not() {
        let mut run = finished_run(at(0));
        let labels = run.metadata.labels.get_or_insert_default();
        labels.insert(LABEL_LEGAL_HOLD.to_owned(), LEGAL_HOLD.to_owned());
        let next = |run: &AgentRun, job: Option<&Job>| {
            super::next(run, job, false, PolicyTtl::default(), at(30 * 24 * 3600))
        };
        assert_eq!(next(&run, Some(&job())), Cleanup::DeleteJob);
        assert_eq!(next(&run, None), Cleanup::Sleep(HELD_LOOK));
        run.metadata.labels = None;
        assert_eq!(next(&run, None), Cleanup::DeleteRun);
    }

    #[test]
    fn a_finished_run_keeps_its_job_for_ten_minutes_and_itself_for_its_time_to_live() {
        let mut run = finished_run(at(0));
        let next = |run: &AgentRun, job: Option<&Job>, default, now| {
            let policy = PolicyTtl {
                default,
                ceiling: None,
            };
            super::next(run, job, false, policy, at(now))
        };
        assert_eq!(
            next(&run, Some(&job()), None, 599),
            Cleanup::Sleep(SHORTEST_SLEEP)
        );
        assert_eq!(next(&run, Some(&job()), None, 600), Cleanup::DeleteJob);
        assert!(matches!(next(&run, None, None, 600), Cleanup::Sleep(_)));
        assert_eq!(next(&run, None, None, 7 * 24 * 3600), Cleanup::DeleteRun);
        assert_eq!(next(&run, None, Some(100), 100), Cleanup::DeleteRun);
        run.spec.ttl_seconds_after_finished = Some(0);
        assert_eq!(next(&run, Some(&job()), Some(100), 0), Cleanup::DeleteRun);
    }

    #[test]
    fn no_run_outlives_the_ceiling_whatever_it_says_later() {
        let mut run = finished_run(at(0));
        let policy = PolicyTtl {
            default: Some(500),
            ceiling: Some(300),
        };
        let is_deleted = |run: &AgentRun, policy, second| {
            super::next(run, None, false, policy, at(second)) == Cleanup::DeleteRun
        };
        for ttl in [None, Some(1000), Some(31_536_000)] {
            run.spec.ttl_seconds_after_finished = ttl;
            assert!(!is_deleted(&run, policy, 299), "{ttl:?}");
            assert!(is_deleted(&run, policy, 300), "{ttl:?}");
            assert!(!is_deleted(&run, PolicyTtl::default(), 500), "{ttl:?}");
        }
        run.spec.ttl_seconds_after_finished = Some(30);
        assert!(is_deleted(&run, policy, 30));
    }

    #[test]
    fn a_pod_that_outlived_its_run_goes_soon() {
        assert_eq!(
            next(
                &finished_run(at(0)),
                Some(&job()),
                true,
                PolicyTtl::default(),
                at(60)
            ),
            Cleanup::DeleteJob
        );
    }
}
