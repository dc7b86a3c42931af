//! Does what a step says. The only writer of this reconciler, in one order for every way a run can go:
//! slot, create, status, events, workload.
//!
//! A status says why a Job goes before the Job goes. But a status that cannot be written never keeps a Job that must
//! go: its verdict is remembered first, and the Job is deleted all the same.

mod create;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt};

pub use self::write::Write;
use super::call::CallError;
use super::context::Effects;
use super::step::{Look, Step, Then};
use crate::evidence::records;
use crate::run_pod::RunPod;
use crate::slots::Slot;
use crate::verdict::Verdict;
use cofferdam_api::{AgentRun, AgentRunStatus};

/// What became of a step.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// All of it was done.
    Done(Action),
    /// The API server refuses the Job for good; the rest was not done.
    JobRefused(Verdict),
    /// Someone changed the run since it was read, so its status was not written. A Job that had to go is deleted.
    RunChanged,
}

/// Does what a step says.
///
/// # Errors
/// A request failed. Each can be made again without harm.
pub async fn perform(
    run: &AgentRun,
    step: Step,
    write: Write,
    effects: &Effects,
    now: Timestamp,
) -> Result<Outcome, CallError> {
    let Step {
        slot,
        create,
        status,
        events,
        then,
        forget,
        look,
    } = step;
    let run_uid = run.uid().unwrap_or_default();
    if slot == Slot::Hold {
        effects.set_slot(run, &run_uid, slot);
    }
    let creates = create.is_some();
    if let Some(workload) = create {
        let namespace_uid = effects.sealer.namespace_uid(run);
        let admitted = records::admitted(run, namespace_uid.as_deref(), &workload);
        match create::create(&effects.client, run, *workload).await {
            Ok(job) => {
                let job_uid = job.uid().unwrap_or_default();
                effects.memory.note_created(&run_uid, &job_uid);
                effects.sealer.tell_admitted(&run_uid, &admitted);
            }
            Err(error) => return not_created(run, &run_uid, error, effects),
        }
    }
    if let Then::Kill { verdict, .. } = &then {
        effects.memory.note_stopping(&run_uid, verdict);
    }
    let written = match status {
        Some(status) => write_status(run, *status, write, effects).await,
        None => Ok(()),
    };
    if written.is_ok() {
        for event in &events {
            effects.events.publish(run, event, now).await;
        }
    }
    if written.is_ok() || !then.needs_status() {
        change_workload(run, then, effects, now).await?;
    }
    match written {
        Err(error) if error.is_conflict() && write == Write::IfUnchanged => return Ok(Outcome::RunChanged),
        written => written?,
    }
    if forget && !creates {
        effects.memory.forget(&run_uid);
    }
    if slot != Slot::Hold {
        effects.set_slot(run, &run_uid, slot);
    }
    Ok(Outcome::Done(match look {
        Look::OnChange => Action::await_change(),
        Look::After(time) => Action::requeue(time),
    }))
}

/// The Job was not created: what the API server refuses for good ends the run, anything else is tried again.
fn not_created(
    run: &AgentRun,
    run_uid: &str,
    error: CallError,
    effects: &Effects,
) -> Result<Outcome, CallError> {
    if error.created_nothing() {
        effects.set_slot(run, run_uid, Slot::Release);
    }
    let refused = error.refused_job();
    if let Some(message) = refused {
        return Ok(Outcome::JobRefused(Verdict::of_refused("the Job", message)));
    }
    if let CallError::Foreign(_) = error {
        let verdict = Verdict::new(cofferdam_api::Reason::AdmissionRefused, error.to_string());
        return Ok(Outcome::JobRefused(verdict));
    }
    Err(error)
}

async fn write_status(
    run: &AgentRun,
    status: AgentRunStatus,
    write: Write,
    effects: &Effects,
) -> Result<(), CallError> {
    if run.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let ends = status.is_finished() && !run.is_finished();
    let reason = status.reason.clone();
    let written = write::status(&effects.client, run, &status, write).await;
    let written = match written {
        // What is sealed is how the run ended, whatever was changed of it meanwhile: nothing else may be decided now.
        Err(error) if error.is_conflict() && status.evidence.is_some() => {
            write::status(&effects.client, run, &status, Write::Always).await
        }
        written => written,
    };
    match written {
        // Someone deleted the run meanwhile: nobody is left to be told.
        Err(error) if error.is_not_found() => return Ok(()),
        written => written?,
    }
    if ends {
        tracing::info!(
            run = run.name_any(),
            namespace = run.namespace(),
            reason,
            "run ended"
        );
    }
    Ok(())
}

async fn change_workload(
    run: &AgentRun,
    then: Then,
    effects: &Effects,
    now: Timestamp,
) -> Result<(), CallError> {
    let client = &effects.client;
    match then {
        Then::Nothing => Ok(()),
        Then::StopAgent { pod, verdict } => {
            write::ask_to_stop(client, &pod, verdict.reason).await?;
            let run_uid = run.uid().unwrap_or_default();
            effects.memory.note_stop_asked(&run_uid, &verdict, now);
            Ok(())
        }
        Then::Kill { job, pods, .. } => {
            // The Job first: it would make no other pod, but a pod that is gone before it looks like a failure of its own.
            write::delete_job(client, &job).await?;
            delete_pods(client, &pods).await
        }
        Then::DeletePods(pods) => delete_pods(client, &pods).await,
        Then::Repeat(job) | Then::DeleteJob(job) => write::delete_job(client, &job).await,
        Then::DeleteRun => write::delete_run(client, run).await,
    }
}

async fn delete_pods(client: &Client, pods: &[Arc<RunPod>]) -> Result<(), CallError> {
    for pod in pods {
        write::delete_pod(client, pod).await?;
    }
    Ok(())
}

/// How soon a run is tried again that others keep changing.
pub const CONFLICT_REQUEUE: Duration = Duration::from_millis(200);
