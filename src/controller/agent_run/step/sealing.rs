//! Before a run's terminal status: its chain of records is sealed, so that the status can name where the chain ends.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::next::{Look, Next, Step, Then};
use crate::agent_run::seen::{Question, Sealing, Seen};
use crate::agent_run::{notices, status};
use crate::evidence::seal::SealOutcome;
use cofferdam_api::AgentRun;

/// How soon a seal is asked for again: a gateway closes its records of a run within a second or two of the pod's end.
const SEALING_REQUEUE: Duration = Duration::from_secs(1);
/// How long a run that is over waits for open records and for an archive that does not answer.
const PATIENCE: SignedDuration = SignedDuration::from_secs(15);

/// Puts the seal before a step that ends the run. What is killed is killed first: nothing waits for the archive there, and
/// the sweep seals it (`evidence/unsealed.rs`).
pub fn before_the_end(run: &AgentRun, seen: &Seen, now: Timestamp, next: Next) -> Next {
    let Next::Do(step) = next else { return next };
    let Some(status) = step.status.as_ref().filter(|status| status.is_finished()) else {
        return Next::Do(step);
    };
    if run.is_finished() || matches!(step.then, Then::Kill { .. }) {
        return Next::Do(step);
    }
    match &seen.answers.sealing {
        None => Next::Ask(Question::Seal(status.clone())),
        Some(sealing) if may_wait(sealing, seen, now) => {
            Step::look(step.slot, Look::After(SEALING_REQUEUE)).into()
        }
        Some(sealing) => {
            let status = status::ended_at(status, sealing.since);
            let status = status::sealed(&status, run, &sealing.outcome, now);
            let incomplete = notices::incomplete(&status);
            let mut step = step.status(status);
            step.events.extend(incomplete);
            step.into()
        }
    }
}

/// Whether another answer may come soon.
fn may_wait(sealing: &Sealing, seen: &Seen, now: Timestamp) -> bool {
    let is_late = now.duration_since(sealing.since) >= PATIENCE;
    // It was waited for already.
    let was_away = seen.answers.record.as_ref().is_some_and(Result::is_err);
    match &sealing.outcome {
        SealOutcome::Sealed { unsigned: None, .. } | SealOutcome::Refused(_) => false,
        SealOutcome::Sealed { .. } | SealOutcome::Open(_) => !is_late,
        SealOutcome::Unavailable(_) => !is_late && !was_away,
    }
}
