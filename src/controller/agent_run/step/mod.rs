//! What is to be done about a run, from what was seen of it. Pure: the same input gives the same step.
//!
//! Each arm returns a [`Step`] or a question; none calls another driver, and none touches the cluster.

mod cleaning;
mod ending;
mod following;
mod next;
mod overtime;
mod retrying;
mod sealing;
mod starting;
#[cfg(test)]
mod tests;

use jiff::Timestamp;

pub use self::next::{Look, Next, Step, Then};
use super::seen::{Seen, SeenJob};
use super::status;
use crate::slots::Slot;
use cofferdam_api::AgentRun;

/// The next step of a run.
pub fn step(run: &AgentRun, seen: &Seen, now: Timestamp) -> Next {
    sealing::before_the_end(run, seen, now, decide(run, seen, now))
}

fn decide(run: &AgentRun, seen: &Seen, now: Timestamp) -> Next {
    if run.metadata.deletion_timestamp.is_some() {
        return cleaning::deleted(run, seen, now).into();
    }
    if run.is_finished() {
        return cleaning::finished(run, seen, now).into();
    }
    match &seen.job {
        SeenJob::None => starting::step(run, seen, now),
        SeenJob::Refused(verdict) => ending::refused(run, verdict, Slot::Release, now).into(),
        SeenJob::Present(job) => following::step(run, job, seen, now),
        SeenJob::Gone => match status::between(run) {
            Some(between) => retrying::between(run, &between, seen, now),
            None => ending::gone(run, seen, now),
        },
    }
}
