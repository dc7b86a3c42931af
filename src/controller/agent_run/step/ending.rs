//! How a run ends: killed, refused, ended by itself, or found without its workload.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

use super::next::{ENDING_REQUEUE, Look, Next, Step, Then};
use super::overtime;
use crate::agent_run::notices;
use crate::agent_run::observe::{self, End};
use crate::agent_run::seen::{Question, Seen};
use crate::agent_run::status::{self, Built};
use crate::events::Notice;
use crate::slots::Slot;
use crate::verdict::Verdict;
use cofferdam_api::names::workload_name;
use cofferdam_api::{AgentRun, AgentRunStatus, Cancel, Reason};

/// Writes the terminal status, then tells: denials first, and one event that sums the run up.
fn end(run: &AgentRun, reason: Reason, status: AgentRunStatus, denials: Vec<Notice>, slot: Slot) -> Step {
    let mut events = denials;
    events.push(notices::end(reason, &run.spec, &status));
    Step::look(slot, Look::OnChange).status(status).events(events)
}

/// A run that is over before it had a workload.
pub fn refused(run: &AgentRun, verdict: &Verdict, slot: Slot, now: Timestamp) -> Step {
    let status = status::refused(run, verdict, now);
    end(run, verdict.reason, status, Vec::new(), slot).forget()
}

/// A run whose workload is over.
pub fn ended(run: &AgentRun, built: Option<Built<'_>>, ended: &End, seen: &Seen, now: Timestamp) -> Step {
    let denials = ended.record.as_ref().map(notices::denials).unwrap_or_default();
    let status = status::ended(run, built, ended, now);
    end(run, ended.verdict.reason, status, denials, slot_after(seen)).forget()
}

/// Stops a run by deleting its Job. The status says why first: once the Job is gone nothing else would know.
pub fn kill(
    run: &AgentRun,
    built: Built<'_>,
    job: &Arc<Job>,
    seen: &Seen,
    verdict: &Verdict,
    now: Timestamp,
) -> Step {
    remove(job, seen, verdict.clone())
        .status(status::stopped(run, built, verdict, now))
        .events(vec![notices::stopping(verdict.reason, &verdict.message)])
}

/// Deletes the Job of a run whose status says why already.
pub fn remove(job: &Arc<Job>, seen: &Seen, verdict: Verdict) -> Step {
    Step::look(Slot::Hold, Look::After(ENDING_REQUEUE)).then(Then::Kill {
        job: Arc::clone(job),
        pods: seen.pods.clone(),
        verdict,
    })
}

/// A Job whose plan cannot be read: another version made it, or it was changed past the guard. It is not followed
/// further. The slot stays taken until the caches show no live pod.
pub fn unreadable(run: &AgentRun, job: &Arc<Job>, seen: &Seen, why: &str, now: Timestamp) -> Step {
    let verdict = Verdict::new(Reason::InternalError, why);
    let status = status::refused(run, &verdict, now);
    end(run, verdict.reason, status, Vec::new(), Slot::Hold).then(Then::Kill {
        job: Arc::clone(job),
        pods: seen.pods.clone(),
        verdict,
    })
}

/// A run whose Job is gone: it ends when its pods are over, too.
pub fn gone(run: &AgentRun, seen: &Seen, now: Timestamp) -> Next {
    if seen.has_live_pods() {
        return Step::look(Slot::Hold, Look::After(ENDING_REQUEUE))
            .then(Then::delete_pods(overtime::unattended(run, seen, now)))
            .into();
    }
    let Some(record) = &seen.answers.record else {
        return Next::Ask(Question::Observed(observe::Question::Record));
    };
    let verdict = status::stopping(run)
        .or_else(|| seen.remembered.stopping.clone())
        .unwrap_or_else(|| {
            let job = workload_name(&run.name_any(), &seen.run_uid);
            Verdict::new(
                Reason::WorkloadDeleted,
                format!("Someone deleted Job {job} while the run was live."),
            )
        });
    let mut record = record.as_ref().ok().cloned();
    if run.spec.cancel == Some(Cancel::DiscardWork)
        && let Some(record) = &mut record
    {
        // Nobody wants the patch; a pod that was told to end may have sent one all the same.
        record.receipt = None;
    }
    ended(run, None, &End::without_pod(verdict, record), seen, now).into()
}

/// A slot is given back when no pod of the run is live any more.
fn slot_after(seen: &Seen) -> Slot {
    if seen.has_live_pods() {
        Slot::Hold
    } else {
        Slot::Release
    }
}
