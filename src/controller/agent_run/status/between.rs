//! What a status says of a run that has no workload but may get one: queued, or between two attempts.

use jiff::Timestamp;

use super::{Built, admitted, goes_on, notes, open, resting, told};
use crate::agent_run::retry::{self, Between};
use crate::conditions::remove;
use crate::slots::WaitsFor;
use crate::verdict::Verdict;
use cofferdam_api::stage::RECONCILING;
use cofferdam_api::{AgentRun, AgentRunStatus, LiveReason, Stage};

/// A run that waits for a slot. It says nothing that changes while it waits, so that it is written once.
pub fn queued(run: &AgentRun, waits_for: WaitsFor<'_>, now: Timestamp) -> AgentRunStatus {
    resting(
        run,
        Stage::Queued,
        LiveReason::Queued,
        &waits_for.to_string(),
        now,
    )
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
    notes::workload(&mut status, run, built);
    admitted(&mut status, run, now);
    // Set anew, so that its time is that of the failure: pause and start deadline run from there.
    remove(&mut status.conditions, RECONCILING);
    let stage = if unstarted {
        Stage::RetryingUnstarted
    } else {
        Stage::Retrying
    };
    let said = (announced.reason.as_str(), announced.message.as_str());
    goes_on(&mut status, stage, said, generation, now);
    status
}

/// What [`retrying`] wrote.
pub fn between(run: &AgentRun) -> Option<Between> {
    let status = run.status.as_ref()?;
    let unstarted = match status.stage() {
        Stage::Retrying => false,
        Stage::RetryingUnstarted => true,
        _ => return None,
    };
    Some(Between {
        verdict: told(status)?,
        attempt: status.attempt?,
        job_uid: status.workload.as_ref()?.uid.clone(),
        failed_at: status.condition(RECONCILING)?.last_transition_time.0,
        unstarted,
    })
}

/// The run as it is before its next attempt: everything that its status says of the failed one is gone, but its number.
pub fn reset_for_attempt(run: &AgentRun) -> AgentRun {
    let mut run = run.clone();
    if let Some(status) = &mut run.status {
        status.workload = None;
        status.start_time = None;
        status.resolved = None;
        status.isolation = None;
    }
    run
}
