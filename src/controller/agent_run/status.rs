//! Old status + what happened → new status. Pure; nothing else makes a run's status.
//!
//! An explanation stands in `status.message`, and again in the one condition whose message kstatus shows: `Stalled` of a
//! failure, `Reconciling` of a run that goes on, `Ready` of one that rests. Others have an empty message, because each
//! byte of a status costs the API server time.

mod between;
mod evidence;
mod live;
mod notes;
mod outputs;
#[cfg(test)]
mod tests;

pub use self::between::{between, queued, reset_for_attempt, retrying};
pub use self::evidence::{AUDIT_INCOMPLETE, SEALED, ended_at, sealed};
pub use self::live::{is_news_of_start, running, starting, stopped};
pub use self::notes::named;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::observe::End;
use super::plan::Plan;
use crate::conditions::{Desired, MESSAGE_LIMIT, bounded, remove, set, whole_seconds};
use crate::verdict::{Gap, Verdict};
use cofferdam_api::stage::{COMPLETE, FAILED, READY, RECONCILING, STALLED};
use cofferdam_api::{AgentRun, AgentRunStatus, FailureClass, LiveReason, Reason, Stage};

const ADMITTED: &str = "Admitted";
const ISOLATED: &str = "Isolated";

/// The workload and what it was built from.
#[derive(Clone, Copy, Debug)]
pub struct Built<'a> {
    /// The Job.
    pub job: &'a Job,
    /// Its plan.
    pub plan: &'a Plan,
}

/// Why a run is being stopped that has a status of [`Stage::Stopping`].
pub fn stopping(run: &AgentRun) -> Option<Verdict> {
    let status = run
        .status
        .as_ref()
        .filter(|status| status.stage() == Stage::Stopping)?;
    told(status)
}

/// The terminal reason, and the message, that the status of a run tells which is not over.
fn told(status: &AgentRunStatus) -> Option<Verdict> {
    Some(Verdict {
        reason: status.condition(READY)?.reason.parse().ok()?,
        message: status.message.clone().unwrap_or_default(),
    })
}

/// Since when a run without a workload has been waiting: the time that it was suspended or queued does not count.
pub fn waiting_since(run: &AgentRun, now: Timestamp) -> Timestamp {
    let noted = run
        .status
        .as_ref()
        .and_then(|status| status.condition(RECONCILING))
        .map(|going| going.last_transition_time.0);
    let created = run.metadata.creation_timestamp.as_ref().map(|time| time.0);
    noted
        .or(created.filter(|_| !run.stage().is_resting()))
        .unwrap_or(now)
}

/// Whether the status tells already that the run waits for this.
pub fn tells(run: &AgentRun, reason: LiveReason) -> bool {
    run.status
        .as_ref()
        .and_then(|status| status.condition(READY))
        .is_some_and(|ready| ready.reason.parse().is_ok_and(|told: LiveReason| told == reason))
}

/// A run that is suspended.
pub fn suspended(run: &AgentRun, now: Timestamp) -> AgentRunStatus {
    let message = "The run is suspended; nothing is created until spec.suspend is false.";
    resting(run, Stage::Suspended, LiveReason::Suspended, message, now)
}

/// A run that waits and whose clock stands still meanwhile.
fn resting(
    run: &AgentRun,
    stage: Stage,
    reason: LiveReason,
    message: &str,
    now: Timestamp,
) -> AgentRunStatus {
    let (mut status, generation) = open(run);
    say(&mut status, stage.phase(), reason.as_str(), message);
    remove(&mut status.conditions, RECONCILING);
    let not_ready = desired(READY, Some(false), reason.as_str(), message);
    set(&mut status.conditions, not_ready, generation, now);
    status
}

/// A run that cannot start yet.
pub fn waiting(run: &AgentRun, gap: &Gap, now: Timestamp) -> AgentRunStatus {
    let (mut status, generation) = open(run);
    let said = (gap.reason.as_str(), gap.message.as_str());
    goes_on(&mut status, Stage::Waiting, said, generation, now);
    status
}

/// A run that is over before it had a workload.
pub fn refused(run: &AgentRun, verdict: &Verdict, now: Timestamp) -> AgentRunStatus {
    let (mut status, generation) = open(run);
    let denied = matches!(
        verdict.reason,
        Reason::PolicyMissing | Reason::PolicyDenied | Reason::ImageDenied | Reason::RuntimeUnavailable
    );
    if denied {
        let admitted = desired(ADMITTED, Some(false), verdict.reason.as_str(), "");
        set(&mut status.conditions, admitted, generation, now);
    }
    notes::requester(&mut status, run, now);
    finish(&mut status, verdict, generation, now);
    status
}

/// A run that is over.
pub fn ended(run: &AgentRun, built: Option<Built<'_>>, end: &End, now: Timestamp) -> AgentRunStatus {
    let (mut status, generation) = open(run);
    if let Some(built) = built {
        notes::workload(&mut status, run, built);
        admitted(&mut status, run, now);
        notes::proof(&mut status, built.plan, end.proof.as_ref(), generation, now);
    }
    notes::requester(&mut status, run, now);
    notes::images(&mut status, &end.images);
    if let Some(started) = end.agent_started {
        status.agent_start_time = Some(time(started));
    }
    status.exit_code = end.exit_code;
    if let Some(record) = &end.record {
        outputs::note(&mut status, record);
    }
    if end.verdict.reason == Reason::EgressNotEnforced {
        let open_fence = desired(ISOLATED, Some(false), end.verdict.reason.as_str(), "");
        set(&mut status.conditions, open_fence, generation, now);
    }
    finish(&mut status, &end.verdict, generation, now);
    status
}

/// The status of a finished run whose spec has changed since: only what it speaks of changes.
pub fn observed_again(run: &AgentRun) -> Option<AgentRunStatus> {
    let status = run.status.as_ref()?;
    (status.observed_generation != run.metadata.generation).then(|| AgentRunStatus {
        observed_generation: run.metadata.generation,
        ..status.clone()
    })
}

fn open(run: &AgentRun) -> (AgentRunStatus, Option<i64>) {
    let generation = run.metadata.generation;
    let mut status = run.status.clone().unwrap_or_default();
    status.observed_generation = generation;
    (status, generation)
}

/// Policy let the run start; who asked for it is told at the same time.
fn admitted(status: &mut AgentRunStatus, run: &AgentRun, now: Timestamp) {
    let admitted = desired(ADMITTED, Some(true), "Admitted", "");
    set(&mut status.conditions, admitted, run.metadata.generation, now);
    notes::requester(status, run, now);
}

/// The run goes on, and is not ready for `reason`.
fn goes_on(
    status: &mut AgentRunStatus,
    stage: Stage,
    (reason, message): (&str, &str),
    generation: Option<i64>,
    now: Timestamp,
) {
    say(status, stage.phase(), reason, message);
    let conditions = &mut status.conditions;
    if let Some(word) = stage.reconciling() {
        set(
            conditions,
            desired(RECONCILING, Some(true), word, message),
            generation,
            now,
        );
    }
    set(
        conditions,
        desired(READY, Some(false), reason, ""),
        generation,
        now,
    );
}

fn say(status: &mut AgentRunStatus, phase: &str, reason: &str, message: &str) {
    status.phase = Some(phase.to_owned());
    status.reason = Some(reason.to_owned());
    status.message = Some(bounded(message, MESSAGE_LIMIT));
}

fn desired(type_: &'static str, holds: Option<bool>, reason: &str, message: &str) -> Desired {
    Desired {
        type_,
        holds,
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

fn finish(status: &mut AgentRunStatus, verdict: &Verdict, generation: Option<i64>, now: Timestamp) {
    let success = verdict.reason == Reason::Completed;
    let (reason, message) = (verdict.reason.as_str(), verdict.message.as_str());
    say(
        status,
        if success { "Succeeded" } else { "Failed" },
        reason,
        message,
    );
    status.failure_class = verdict
        .reason
        .class()
        .map(FailureClass::as_str)
        .map(str::to_owned);
    status.completion_time = Some(time(now));
    let conditions = &mut status.conditions;
    remove(conditions, RECONCILING);
    let ends: &[(&'static str, bool, &str)] = if success {
        &[(COMPLETE, true, message), (READY, true, "")]
    } else {
        &[(FAILED, true, ""), (READY, false, ""), (STALLED, true, message)]
    };
    for (type_, holds, message) in ends {
        let desired = desired(type_, Some(*holds), reason, message);
        set(conditions, desired, generation, now);
    }
}

fn time(at: Timestamp) -> Time {
    Time(whole_seconds(at))
}
