//! What is to be done about a run, from what was seen of it. Pure: the same input gives the same step.
//!
//! Each arm returns a [`Step`] or a question; none calls another driver, and none touches the cluster.

mod cleaning;
mod ending;
mod following;
mod retrying;
mod starting;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;

use super::seen::{Question, Seen, SeenJob};
use super::status;
use super::workload::Workload;
use crate::events::Notice;
use crate::verdict::Verdict;
use cofferdam_api::{AgentRun, AgentRunStatus, Reason};

/// How soon a run that waits is reconciled again; what it waits for triggers too.
const WAITING_REQUEUE: Duration = Duration::from_secs(5);
/// A queued run is woken when its turn may have come; this is for a change that no watch told of.
const QUEUED_REQUEUE: Duration = Duration::from_mins(5);
/// How soon a run is reconciled again that has waited too briefly to say so.
const QUIET_REQUEUE: Duration = Duration::from_secs(1);
/// How soon a run that is starting is reconciled again; its pod's changes trigger too.
const STARTING_REQUEUE: Duration = Duration::from_secs(5);
/// How soon a running run is reconciled again; its pod's changes trigger too.
const RUNNING_REQUEUE: Duration = Duration::from_mins(1);
/// How soon a run whose pod ends is reconciled again; its pod's changes trigger too.
const ENDING_REQUEUE: Duration = Duration::from_secs(2);

/// Everything that is to be done about a run now. [`super::perform`] does it, in the order of the fields.
#[derive(Clone, Debug)]
pub struct Step {
    /// What becomes of its slot.
    pub slot: Slot,
    /// The objects to create.
    pub create: Option<Box<Workload>>,
    /// Its new status; nothing is written if it has this one.
    pub status: Option<Box<AgentRunStatus>>,
    /// What to tell, once the status is written.
    pub events: Vec<Notice>,
    /// What to do to its workload, or to itself, after that.
    pub then: Then,
    /// Whether what this process remembers of it is of no more use.
    pub forget: bool,
    /// When to look at it again.
    pub look: Look,
}

/// What becomes of a run's slot in its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// It stays as it is.
    Keep,
    /// The run has one, whatever the ceiling.
    Hold,
    /// The run does not wait for one; if it has one, it keeps it.
    Leave,
    /// The run has none, and waits for none.
    Release,
}

/// What follows a status and its events.
#[derive(Clone, Debug)]
pub enum Then {
    /// Nothing.
    Nothing,
    /// Ask the sidecar to collect and to stop the agent, through an annotation that makes the gateway close its exit.
    StopAgent {
        /// The run's pod.
        pod: Arc<Pod>,
        /// Why.
        reason: Reason,
    },
    /// Delete the Job because of this verdict, also if the status could not be written.
    Kill {
        /// The Job.
        job: Arc<Job>,
        /// What the run will end with.
        verdict: Verdict,
    },
    /// Delete the Job of a failed attempt, but only once the status says that another follows.
    Repeat(Arc<Job>),
    /// Delete the Job.
    DeleteJob(Arc<Job>),
    /// Delete the run.
    DeleteRun,
}

impl Then {
    /// Whether it must not be done before the status is written.
    pub const fn needs_status(&self) -> bool {
        matches!(self, Self::Repeat(_))
    }
}

/// When to look at a run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// When something about it changes.
    OnChange,
    /// After this time at the latest.
    After(Duration),
}

impl Step {
    /// Nothing but looking again.
    const fn look(slot: Slot, look: Look) -> Self {
        Self {
            slot,
            create: None,
            status: None,
            events: Vec::new(),
            then: Then::Nothing,
            forget: false,
            look,
        }
    }

    fn status(self, status: AgentRunStatus) -> Self {
        Self {
            status: Some(Box::new(status)),
            ..self
        }
    }

    fn events(self, events: Vec<Notice>) -> Self {
        Self { events, ..self }
    }

    fn then(self, then: Then) -> Self {
        Self { then, ..self }
    }

    fn forget(self) -> Self {
        Self { forget: true, ..self }
    }
}

/// The next step of a run, or what has to be known first.
#[derive(Clone, Debug)]
pub enum Next {
    /// Answer this, and ask for the step again.
    Ask(Question),
    /// Do this.
    Do(Box<Step>),
}

impl From<Step> for Next {
    fn from(step: Step) -> Self {
        Self::Do(Box::new(step))
    }
}

/// The next step of a run.
pub fn step(run: &AgentRun, seen: &Seen, now: Timestamp) -> Next {
    if run.metadata.deletion_timestamp.is_some() {
        return cleaning::deleted(run, seen).into();
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
