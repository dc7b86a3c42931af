//! A run that has a Job: where it stands, and what that calls for.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

use super::next::{ENDING_REQUEUE, Look, Next, RUNNING_REQUEUE, STARTING_REQUEUE, Step, Then};
use super::{ending, overtime, retrying};
use crate::agent_run::observe::{Observation, Progress, observe};
use crate::agent_run::plan::Plan;
use crate::agent_run::seen::{Question, Seen};
use crate::agent_run::status::{self, Built};
use crate::agent_run::{notices, retry};
use crate::slots::Slot;
use crate::verdict::Verdict;
use cofferdam_api::names::ANNOTATION_STOP;
use cofferdam_api::{AgentRun, Cancel, Reason, Stage};

/// The next step of a run whose Job exists.
pub fn step(run: &AgentRun, job: &Arc<Job>, seen: &Seen, now: Timestamp) -> Next {
    let failed_attempt =
        status::between(run).is_some_and(|between| job.metadata.uid.as_ref() == Some(&between.job_uid));
    if failed_attempt {
        return Step::look(Slot::Hold, Look::After(ENDING_REQUEUE))
            .then(Then::DeleteJob(Arc::clone(job)))
            .into();
    }
    if let Some(verdict) = status::stopping(run) {
        return ending::remove(job, seen, verdict).into();
    }
    let plan = match Plan::of(job) {
        Ok(plan) => plan,
        Err(error) => return ending::unreadable(run, job, seen, &error.to_string(), now).into(),
    };
    let built = Built { job, plan: &plan };
    if let Some(verdict) = &seen.remembered.stopping {
        return ending::kill(run, built, job, seen, verdict, now).into();
    }
    match look(built, seen, now) {
        Progress::Ask(question) => Next::Ask(Question::Observed(question)),
        Progress::Ended(end) if end.unstarted && retry::may_follow(&plan, end.verdict.reason) => {
            retrying::repeat(run, built, job, &end.verdict, true, now).into()
        }
        Progress::Ended(end) => ending::ended(run, Some(built), &end, seen, now).into(),
        Progress::Kill(verdict) if !seen.pods.is_empty() && retry::may_follow(&plan, verdict.reason) => {
            retrying::repeat(run, built, job, &verdict, false, now).into()
        }
        Progress::Kill(verdict) => ending::kill(run, built, job, seen, &verdict, now).into(),
        live => {
            let limit = overtime::limit(&live, seen);
            let over = limit.as_ref().filter(|limit| limit.at <= now);
            match unwanted(run, &plan, &live, seen).or_else(|| over.map(|limit| limit.verdict.clone())) {
                Some(verdict) => ending::kill(run, built, job, seen, &verdict, now).into(),
                None => go_on(run, built, &live, seen, now)
                    .by(limit.map(|limit| limit.at), now)
                    .into(),
            }
        }
    }
}

fn look(built: Built<'_>, seen: &Seen, now: Timestamp) -> Progress {
    let answers = &seen.answers;
    observe(&Observation {
        run_uid: &seen.run_uid,
        plan: built.plan,
        job: built.job,
        // A Job with `backoffLimit: 0` makes one pod; should there be more, the oldest.
        pod: seen.pods.first().map(Arc::as_ref),
        admission: answers.admission.as_ref(),
        changes: answers.changes.as_deref(),
        warnings: answers.warnings.as_deref(),
        record: answers.record.as_ref(),
        now,
    })
}

/// Why a run that would go on must not.
fn unwanted(run: &AgentRun, plan: &Plan, progress: &Progress, seen: &Seen) -> Option<Verdict> {
    let started = !matches!(progress, Progress::Starting { .. });
    match run.spec.cancel {
        Some(Cancel::DiscardWork) => {
            return Some(Verdict::new(
                Reason::Cancelled,
                "The run was cancelled at once; nothing was collected.",
            ));
        }
        Some(Cancel::KeepWork) if !started => {
            return Some(Verdict::new(
                Reason::Cancelled,
                "The run was cancelled before its agent started.",
            ));
        }
        _ => {}
    }
    let gateway = seen.gateway.map(|gateway| gateway.to_string());
    if gateway.is_some_and(|gateway| gateway != plan.gateway) && *progress != Progress::Finishing {
        return Some(Verdict::new(
            Reason::GatewayChanged,
            format!(
                "The gateway's address changed from {}, which the pod was given.",
                plan.gateway
            ),
        ));
    }
    let foreign = seen.foreign.as_ref().filter(|_| !started)?;
    Some(Verdict::new(foreign.ends_with, foreign.message.clone()))
}

/// A run that goes on: its status tells what its start waits for if that takes long, and that its agent runs; the agent
/// is asked to stop where it should.
fn go_on(run: &AgentRun, built: Built<'_>, progress: &Progress, seen: &Seen, now: Timestamp) -> Step {
    let running = match progress {
        Progress::Running(running) => running,
        Progress::Starting { detail } => {
            let step = Step::look(Slot::Hold, Look::After(STARTING_REQUEUE));
            return if status::is_news_of_start(run, built, detail, now) {
                step.status(status::starting(run, built, detail, now))
            } else {
                step
            };
        }
        _ => return Step::look(Slot::Hold, Look::After(ENDING_REQUEUE)),
    };
    let mut step = Step::look(Slot::Hold, Look::After(RUNNING_REQUEUE));
    if run.stage() != Stage::Running {
        step = step.status(status::running(run, built, running, now));
    }
    let Some(pod) = seen.pods.first() else { return step };
    let asked = pod.annotations().get(ANNOTATION_STOP);
    if let Some(verdict) = graceful_stop(run, seen).or_else(|| asked.map(|reason| asked_before(reason))) {
        if asked.is_none() {
            step = step.events(vec![notices::stopping(verdict.reason, &verdict.message)]);
        }
        // Asking again changes nothing of the pod; it lets this process know since when the agent is to stop.
        if asked.is_none() || seen.remembered.stop_asked.is_none() {
            step = step.then(Then::StopAgent {
                pod: Arc::clone(pod),
                verdict,
            });
        }
    }
    step
}

/// A stop that another process of ours asked for, and whose cause is no more.
fn asked_before(reason: &str) -> Verdict {
    let known = Reason::ALL.iter().find(|known| known.as_str() == reason);
    Verdict::new(
        known.copied().unwrap_or(Reason::InternalError),
        "The agent was asked to stop.",
    )
}

/// Why a running agent is asked to stop, with time to collect its work.
fn graceful_stop(run: &AgentRun, seen: &Seen) -> Option<Verdict> {
    if run.spec.cancel.is_some() {
        return Some(Verdict::new(
            Reason::Cancelled,
            "spec.cancel asks for a stop that keeps the work.",
        ));
    }
    let foreign = seen.foreign.as_ref()?;
    Some(Verdict::new(foreign.ends_with, foreign.message.clone()))
}
