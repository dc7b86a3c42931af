//! From one attempt of a run to the next: does what [`retry`] says.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;

use super::next::{ENDING_REQUEUE, Look, Next, Step, Then};
use super::{ending, overtime, starting};
use crate::agent_run::notices;
use crate::agent_run::observe::{self, End};
use crate::agent_run::retry::{self, Between, Remains};
use crate::agent_run::seen::{Question, Seen};
use crate::agent_run::status::{self, Built};
use crate::slots::Slot;
use crate::verdict::Verdict;
use cofferdam_api::AgentRun;

/// Gives up an attempt that may be repeated. The status says so before the Job is deleted; whether the agent stayed
/// unstarted to the last is known when the pod is gone.
pub fn repeat(
    run: &AgentRun,
    built: Built<'_>,
    job: &Arc<Job>,
    verdict: &Verdict,
    unstarted: bool,
    now: Timestamp,
) -> Step {
    let attempt = built.plan.attempt;
    Step::look(Slot::Hold, Look::After(ENDING_REQUEUE))
        .status(status::retrying(run, built, verdict, unstarted, now))
        .events(vec![notices::retrying(verdict.reason, &verdict.message, attempt)])
        .then(Then::Repeat(Arc::clone(job)))
}

/// A run whose failed attempt's Job is gone: starts again when it may, and takes no slot until then.
pub fn between(run: &AgentRun, between: &Between, seen: &Seen, now: Timestamp) -> Next {
    let made_again = seen
        .remembered
        .job_uid
        .as_ref()
        .is_some_and(|created| *created != between.job_uid);
    let record = seen.answers.record.as_ref();
    let next = retry::next(
        between,
        &Remains {
            pods: !seen.pods.is_empty(),
            unstarted: seen.remembered.unstarted,
            made_again,
            record: record.map(|answer| answer.as_ref().map_err(drop)),
            now,
        },
    );
    match next {
        retry::Next::AskArchive => Next::Ask(Question::Observed(observe::Question::Record)),
        retry::Next::Wait(time) => {
            let slot = if seen.pods.is_empty() {
                Slot::Release
            } else {
                Slot::Hold
            };
            Step::look(slot, Look::After(time))
                .then(Then::delete_pods(overtime::unattended(run, seen, now)))
                .into()
        }
        retry::Next::Start => match starting::step(&status::reset_for_attempt(run), seen, now) {
            Next::Do(step) => step.forget().into(),
            ask @ Next::Ask(_) => ask,
        },
        retry::Next::End(verdict) => {
            let record = record.and_then(|answer| answer.as_ref().ok()).cloned();
            ending::ended(run, None, &End::without_pod(verdict, record), seen, now).into()
        }
    }
}
