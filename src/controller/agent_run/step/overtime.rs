//! When a run's pod is taken away whatever its sandbox does. Pure.
//!
//! The sidecar ends an agent in time, and hands its work over. But it lives in one sandbox with the agent, and a pod
//! whose Job is gone has nobody else. So the controller gives it a bounded time, and then deletes the pod.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::agent_run::observe::{Progress, causes};
use crate::agent_run::seen::Seen;
use crate::api_server::has_controller;
use crate::pod_view::{PodView, is_over};
use crate::run_pod::RunPod;
use crate::verdict::Verdict;
use cofferdam_api::names::CONTAINER_SIDECAR;
use cofferdam_api::{AgentRun, Cancel, Reason};
use cofferdam_wire::output::{COLLECT_BUDGET, UPLOAD_BUDGET};

/// How long a sidecar has to collect, to have the agent ended and to hand over: its own bounds, and 5 s for the agent's end.
pub const ALLOWANCE: SignedDuration =
    SignedDuration::from_secs((COLLECT_BUDGET.as_secs() + UPLOAD_BUDGET.as_secs() + 5).cast_signed());

/// What an agent without a sidecar has: the kubelet's probe finds nobody for 2 s, and its grace is 3 s.
const ABANDONED: SignedDuration = SignedDuration::from_secs(10);

/// When the pod of a live run goes at the latest, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub verdict: Verdict,
}

/// The limit of a run that goes on; `None`: nothing has begun yet that has one.
pub fn limit(progress: &Progress, seen: &Seen) -> Option<Limit> {
    let pod = seen.pods.first()?;
    match progress {
        Progress::Running(_) => [deadline(pod), stop(seen), abandoned(pod)]
            .into_iter()
            .flatten()
            .min_by_key(|limit| limit.at),
        Progress::Finishing => hand_over(pod),
        _ => None,
    }
}

/// Pods that live on without a Job and that nothing in the cluster will end: their owner was taken from them, nobody
/// wants their work, or their time is over.
pub fn unattended(run: &AgentRun, seen: &Seen, now: Timestamp) -> Vec<Arc<RunPod>> {
    let unwanted = run.spec.cancel == Some(Cancel::DiscardWork);
    let live = seen.pods.iter().filter(|pod| !is_over(pod));
    live.filter(|pod| {
        pod.metadata.deletion_timestamp.is_none()
            && (unwanted
                || !has_controller(&pod.metadata)
                || deadline(pod).is_some_and(|limit| limit.at <= now))
    })
    .cloned()
    .collect()
}

/// The end of the agent's time. Its start was written by its node, whose clock may be behind; it was not before the
/// pod was made.
fn deadline(pod: &RunPod) -> Option<Limit> {
    let started = PodView::new(pod).agent_started()?;
    let made = pod.metadata.creation_timestamp.as_ref()?.0;
    let time = pod.spec.active_deadline?;
    let time = SignedDuration::try_from(time).ok()?;
    let message = format!(
        "The agent was still there {} s after its time was over (activeDeadlineSeconds: {}), so its pod was deleted.",
        ALLOWANCE.as_secs(),
        time.as_secs()
    );
    Some(Limit {
        at: after(after(started.max(made), time)?, ALLOWANCE)?,
        verdict: Verdict::new(Reason::DeadlineExceeded, message),
    })
}

/// The end of the time that a stop has.
fn stop(seen: &Seen) -> Option<Limit> {
    let asked = seen.remembered.stop_asked.as_ref()?;
    let Verdict { reason, message } = &asked.verdict;
    let message = format!(
        "{message} The agent was still there {} s after it was to stop, so its pod was deleted.",
        ALLOWANCE.as_secs()
    );
    Some(Limit {
        at: after(asked.at, ALLOWANCE)?,
        verdict: Verdict::new(*reason, message),
    })
}

/// The end of the time that an agent has without a sidecar. Its probe fails then, unless it answers that itself.
fn abandoned(pod: &RunPod) -> Option<Limit> {
    let ended = PodView::new(pod).sidecar_ended()?;
    let message = format!(
        "Container sidecar ended with code {} before the agent, so the pod was deleted; look at its log.",
        ended.exit_code
    );
    Some(Limit {
        at: after(ended.finished_at.as_ref()?.0, ABANDONED)?,
        verdict: Verdict::new(Reason::InternalError, message),
    })
}

/// The end of the time that a sidecar has once its agent has ended.
fn hand_over(pod: &RunPod) -> Option<Limit> {
    let view = PodView::new(pod);
    if view.is_deleted() || view.sidecar_ended().is_some() {
        return None;
    }
    let ended = view.agent_ended()?.finished_at.as_ref()?.0;
    if let Some(waiting) = view.sidecar_unstarted() {
        // The kubelet starts the next container all the same.
        let why = waiting.message.as_deref().unwrap_or_default();
        let verdict = causes::not_started(CONTAINER_SIDECAR, why);
        let message = format!(
            "{} The agent was started beside it, had no way out and has ended; it starts once only.",
            verdict.message
        );
        return Some(Limit {
            at: after(ended, ABANDONED)?,
            verdict: Verdict::new(verdict.reason, message),
        });
    }
    let message = format!(
        "The agent ended, and its work was not handed over in {} s. Look at the log of container sidecar and at the \
         gateway.",
        ALLOWANCE.as_secs()
    );
    Some(Limit {
        at: after(ended, ALLOWANCE)?,
        verdict: Verdict::new(Reason::CollectFailed, message),
    })
}

fn after(time: Timestamp, duration: SignedDuration) -> Option<Timestamp> {
    time.checked_add(duration).ok()
}
