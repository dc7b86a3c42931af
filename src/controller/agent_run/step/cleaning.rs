//! A run that is over or being deleted: what is left to be removed.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::next::{ENDING_REQUEUE, Look, Step, Then};
use super::overtime;
use crate::agent_run::cleanup::{self, Cleanup};
use crate::agent_run::seen::{Seen, SeenJob};
use crate::agent_run::status;
use crate::slots::Slot;
use cofferdam_api::AgentRun;

/// How soon a Job that was deleted is looked for again.
const DELETED_REQUEUE: Duration = Duration::from_secs(30);

/// A run that is over. Most of the time there is nothing to do.
pub fn finished(run: &AgentRun, seen: &Seen, now: Timestamp) -> Step {
    let live = seen.has_live_pods();
    let slot = if live { Slot::Hold } else { Slot::Release };
    if let Some(status) = status::observed_again(run) {
        return Step::look(slot, Look::OnChange).status(status).forget();
    }
    let job = match &seen.job {
        SeenJob::Present(job) => Some(job),
        _ => None,
    };
    let cleanup = cleanup::next(run, job.map(Arc::as_ref), live, seen.policy_ttl, now);
    let step = match (cleanup, job) {
        (Cleanup::DeleteJob, Some(job)) => {
            Step::look(slot, Look::After(DELETED_REQUEUE)).then(Then::DeleteJob(Arc::clone(job)))
        }
        (Cleanup::DeleteJob, None) => Step::look(slot, Look::After(DELETED_REQUEUE)),
        (Cleanup::DeleteRun, _) => Step::look(slot, Look::OnChange).then(Then::DeleteRun),
        // What has no Job any more outlived its run, and nobody else looks after it.
        (Cleanup::Sleep(_), None) if live => Step::look(slot, Look::After(DELETED_REQUEUE))
            .then(Then::delete_pods(overtime::unattended(run, seen, now))),
        (Cleanup::Sleep(time), _) => {
            let time = Duration::try_from(time).unwrap_or(DELETED_REQUEUE) + Duration::from_millis(100);
            Step::look(slot, Look::After(time))
        }
    };
    step.forget()
}

/// A run that someone deleted and that a finalizer keeps: its Job is deleted at once, and its slot is given back when
/// nothing of it is left. Without a finalizer the run is gone before this, and Kubernetes deletes its Job.
pub fn deleted(run: &AgentRun, seen: &Seen, now: Timestamp) -> Step {
    match &seen.job {
        SeenJob::Present(job) => {
            // A Job whose run is not over may still make a pod.
            let slot = if run.is_finished() && !seen.has_live_pods() {
                Slot::Release
            } else {
                Slot::Hold
            };
            let step = Step::look(slot, Look::After(ENDING_REQUEUE));
            step.then(Then::DeleteJob(Arc::clone(job)))
        }
        _ if seen.has_live_pods() => Step::look(Slot::Hold, Look::After(ENDING_REQUEUE))
            .then(Then::delete_pods(overtime::unattended(run, seen, now))),
        _ => Step::look(Slot::Release, Look::OnChange).forget(),
    }
}
