//! What a status says of a run that has no workload but may get one: queued, or between two attempts.

use jiff::Timestamp;

use super::{Built, READY, RECONCILING, STALLED, admitted, desired, goes_on, notes, open, say};
use crate::agent_run::queue::Place;
use crate::agent_run::retry::{self, Between};
use crate::conditions::{remove, set};
use crate::verdict::Verdict;
use cofferdam_api::{AgentRun, AgentRunStatus};

const QUEUED: &str = "Queued";
const RETRYING: &str = "Retrying";
/// Reason of `Reconciling` of a failed attempt whose agent is known not to have started.
const UNSTARTED: &str = "AgentNeverStarted";

/// Whether the run's clock stands still: it is suspended or queued.
pub fn is_resting(run: &AgentRun) -> bool {
    let phase = run.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Suspended" | QUEUED))
}

/// The position in the queue that the status tells, if it tells one of this generation of the run.
pub fn told_place(run: &AgentRun) -> Option<usize> {
    let status = run.status.as_ref()?;
    let current =
        status.phase.as_deref() == Some(QUEUED) && status.observed_generation == run.metadata.generation;
    Place::told(status.message.as_deref().filter(|_| current)?)
}

/// A run that waits for its turn.
pub fn queued(run: &AgentRun, place: &Place, now: Timestamp) -> AgentRunStatus {
    let (mut status, generation) = open(run);
    let message = place.to_string();
    say(&mut status, QUEUED, QUEUED, &message);
    remove(&mut status.conditions, RECONCILING);
    remove(&mut status.conditions, STALLED);
    set(
        &mut status.conditions,
        desired(READY, Some(false), QUEUED, &message),
        generation,
        now,
    );
    status
}

/// A run whose attempt failed and is to be repeated: its workload is removed first.
///
/// `unstarted`: whether it is known already that the agent never started.
pub fn retrying(
    run: &AgentRun,
    built: Built<'_>,
    verdict: &Verdict,
    unstarted: bool,
    now: Timestamp,
) -> AgentRunStatus {
    let (mut status, generation) = open(run);
    let announced = retry::announcement(verdict, built.plan.attempt);
    let (reason, message) = (announced.reason.as_str(), announced.message.as_str());
    say(&mut status, RETRYING, reason, message);
    notes::workload(&mut status, built);
    admitted(&mut status, run, now);
    // Set anew, so that its time is that of the failure: pause and start time-out run from there.
    remove(&mut status.conditions, RECONCILING);
    let because = if unstarted { UNSTARTED } else { reason };
    goes_on(&mut status, because, (reason, message), generation, now);
    status
}

/// What [`retrying`] wrote.
pub fn between(status: Option<&AgentRunStatus>) -> Option<Between> {
    let status = status.filter(|status| status.phase.as_deref() == Some(RETRYING))?;
    let going = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == RECONCILING)?;
    Some(Between {
        verdict: Verdict {
            reason: status.reason.as_deref()?.parse().ok()?,
            message: status.message.clone().unwrap_or_default(),
        },
        attempt: status.attempt?,
        job_uid: status.workload.as_ref()?.uid.clone(),
        failed_at: going.last_transition_time.0,
        unstarted: going.reason == UNSTARTED,
    })
}

/// The run as it is before its next attempt: everything that its status says of the failed one is gone, but its number.
pub fn anew(run: &AgentRun) -> AgentRun {
    let mut run = run.clone();
    if let Some(status) = &mut run.status {
        status.workload = None;
        status.start_time = None;
        status.resolved = None;
        status.isolation = None;
    }
    run
}
