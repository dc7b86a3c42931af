//! A run without a Job: decides, and if it may start and there is a slot, has its Job created.

use std::net::SocketAddr;

use jiff::Timestamp;

use super::ending;
use super::next::{Look, Next, QUEUED_REQUEUE, QUIET_REQUEUE, STARTING_REQUEUE, Step, WAITING_REQUEUE};
use crate::agent_run::decide::{Decision, Facts, decide};
use crate::agent_run::seen::{Question, Seen};
use crate::agent_run::workload::{Input, build};
use crate::agent_run::{notices, status};
use crate::conditions::seconds_since;
use crate::slots::{Answer, Slot, WaitsFor};
use crate::verdict::{Gap, Verdict};
use cofferdam_api::{AgentRun, Reason};
use cofferdam_policy::decide::Admitted;
use cofferdam_policy::source::Sourced;

/// Seconds for which a run that cannot start yet is not told so: most gaps of a new run close by themselves.
const QUIET_SECONDS: i64 = 3;

/// The next step of a run without a Job.
pub fn step(run: &AgentRun, seen: &Seen, now: Timestamp) -> Next {
    let Some(facts) = &seen.answers.facts else {
        return Next::Ask(Question::Facts);
    };
    match decide(run, facts, now) {
        Decision::Start { admitted, gateway } => match &seen.answers.slot {
            None => Next::Ask(Question::Slot(admitted.max_running)),
            Some(Answer::Start) => create(run, &admitted, gateway, seen, now).into(),
            Some(Answer::Wait) => queue(run, &admitted.max_running, now).into(),
            Some(Answer::Refused(full)) => {
                let verdict = Verdict::new(Reason::QuotaExceeded, full.to_string());
                ending::refused(run, &verdict, Slot::Leave, now).into()
            }
        },
        Decision::Suspended => Step::look(Slot::Release, Look::OnChange)
            .status(status::suspended(run, now))
            .into(),
        Decision::Wait(gap) => wait(run, &gap, facts, now).into(),
        Decision::End(verdict) => ending::refused(run, &verdict, Slot::Release, now).into(),
    }
}

fn create(run: &AgentRun, admitted: &Admitted, gateway: SocketAddr, seen: &Seen, now: Timestamp) -> Step {
    let failed = run.status.as_ref().and_then(|status| status.attempt).unwrap_or(0);
    let input = Input {
        run,
        admitted,
        config: &seen.installation.sandbox,
        gateway,
        attempt: failed + 1,
    };
    match build(&input, &seen.installation.operator_namespace) {
        Ok(workload) => {
            let again = (failed > 0).then(|| notices::attempt(input.attempt));
            Step {
                create: Some(Box::new(workload)),
                ..Step::look(Slot::Hold, Look::After(STARTING_REQUEUE)).events(again.into_iter().collect())
            }
        }
        Err(error) => {
            let verdict = Verdict::new(Reason::InternalError, error.to_string());
            ending::refused(run, &verdict, Slot::Release, now)
        }
    }
}

fn queue(run: &AgentRun, ceiling: &Sourced<i32>, now: Timestamp) -> Step {
    let namespace = run.metadata.namespace.as_deref().unwrap_or_default();
    let waits_for = WaitsFor { namespace, ceiling };
    Step::look(Slot::Keep, Look::After(QUEUED_REQUEUE)).status(status::queued(run, waits_for, now))
}

fn wait(run: &AgentRun, gap: &Gap, facts: &Facts, now: Timestamp) -> Step {
    let told = status::tells(run, gap.reason);
    // A run that rested is told at once: its clock runs only from then on.
    if !told && !run.stage().is_resting() && seconds_since(facts.waiting_since, now) < QUIET_SECONDS {
        return Step::look(Slot::Release, Look::After(QUIET_REQUEUE));
    }
    let event = (!told && gap.actionable).then(|| notices::waiting(gap.reason, &gap.message));
    Step::look(Slot::Release, Look::After(WAITING_REQUEUE))
        .status(status::waiting(run, gap, now))
        .events(event.into_iter().collect())
}
