//! Old status + what happened → new status. Pure; the only place that writes a run's status.

mod between;
mod live;
mod notes;
mod outputs;
#[cfg(test)]
mod tests;

pub use self::between::{anew, between, is_resting, queued, retrying, told_place};
pub use self::live::{is_news_of_start, running, starting, stopped};
pub use self::notes::named;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::observe::End;
use super::plan::Plan;
use crate::conditions::{Desired, MESSAGE_LIMIT, bounded, remove, set, whole_seconds};
use crate::verdict::{Gap, Verdict};
use cofferdam_api::{AgentRun, AgentRunStatus, FailureClass, Reason};

const READY: &str = "Ready";
const RECONCILING: &str = "Reconciling";
const STALLED: &str = "Stalled";
const COMPLETE: &str = "Complete";
const FAILED: &str = "Failed";
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

/// What the run is being stopped with: its workload is on its way out, and its terminal status still to come.
pub fn stopping(status: Option<&AgentRunStatus>) -> Option<Verdict> {
    let status = status.filter(|status| status.phase.as_deref() == Some("Stopping"))?;
    Some(Verdict {
        reason: status.reason.as_deref()?.parse().ok()?,
        message: status.message.clone().unwrap_or_default(),
    })
}

/// Since when a run without a workload has been waiting: the time that it was suspended or queued does not count.
pub fn waiting_since(run: &AgentRun, now: Timestamp) -> Timestamp {
    let conditions = run.status.iter().flat_map(|status| &status.conditions);
    let noted = conditions
        .filter(|condition| [RECONCILING, STALLED].contains(&condition.type_.as_str()))
        .map(|condition| condition.last_transition_time.0)
        .min();
    let created = run.metadata.creation_timestamp.as_ref().map(|time| time.0);
    noted
        .or(if is_resting(run) { None } else { created })
        .unwrap_or(now)
}

/// A run that is suspended.
pub fn suspended(run: &AgentRun, now: Timestamp) -> AgentRunStatus {
    let (mut status, generation) = open(run);
    let message = "The run is suspended; nothing is created until spec.suspend is false.";
    say(&mut status, "Suspended", "Suspended", message);
    remove(&mut status.conditions, RECONCILING);
    remove(&mut status.conditions, STALLED);
    set(
        &mut status.conditions,
        desired(READY, Some(false), "Suspended", message),
        generation,
        now,
    );
    status
}

/// A run that cannot start yet.
pub fn waiting(run: &AgentRun, gap: &Gap, now: Timestamp) -> AgentRunStatus {
    let (mut status, generation) = open(run);
    let (reason, message) = (gap.reason.as_str(), gap.message.as_str());
    say(&mut status, "Pending", reason, message);
    let (present, absent) = if gap.stalled {
        (STALLED, RECONCILING)
    } else {
        (RECONCILING, STALLED)
    };
    // The one that comes keeps the time of the one that goes: it is when the waiting began.
    let since = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == absent)
        .map_or(now, |condition| condition.last_transition_time.0);
    remove(&mut status.conditions, absent);
    set(
        &mut status.conditions,
        desired(present, Some(true), reason, message),
        generation,
        since,
    );
    set(
        &mut status.conditions,
        desired(READY, Some(false), reason, message),
        generation,
        now,
    );
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
        let admitted = desired(ADMITTED, Some(false), verdict.reason.as_str(), &verdict.message);
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
        notes::workload(&mut status, built);
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
        let open_fence = desired(
            ISOLATED,
            Some(false),
            end.verdict.reason.as_str(),
            &end.verdict.message,
        );
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

/// The run goes on, and is not ready: `because` is the reason of `Reconciling`, `reason` that of `Ready`.
fn goes_on(
    status: &mut AgentRunStatus,
    because: &str,
    (reason, message): (&str, &str),
    generation: Option<i64>,
    now: Timestamp,
) {
    let conditions = &mut status.conditions;
    remove(conditions, STALLED);
    for (kind, holds, reason) in [(RECONCILING, true, because), (READY, false, reason)] {
        let desired = desired(kind, Some(holds), reason, message);
        set(conditions, desired, generation, now);
    }
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
    remove(conditions, STALLED);
    let end = if success { COMPLETE } else { FAILED };
    set(
        conditions,
        desired(end, Some(true), reason, message),
        generation,
        now,
    );
    set(
        conditions,
        desired(READY, Some(success), reason, message),
        generation,
        now,
    );
    if !success {
        set(
            conditions,
            desired(STALLED, Some(true), reason, message),
            generation,
            now,
        );
    }
}

fn time(at: Timestamp) -> Time {
    Time(whole_seconds(at))
}
