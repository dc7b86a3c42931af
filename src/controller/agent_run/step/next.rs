//! What can follow for a run: a step, or a question that comes first.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;

use crate::agent_run::seen::Question;
use crate::agent_run::workload::Workload;
use crate::events::Notice;
use crate::run_pod::RunPod;
use crate::slots::Slot;
use crate::verdict::Verdict;
use cofferdam_api::AgentRunStatus;

/// How soon a run that waits is reconciled again; what it waits for triggers too.
pub const WAITING_REQUEUE: Duration = Duration::from_secs(5);
/// A queued run is woken when its turn may have come; this is for a change that no watch told of.
pub const QUEUED_REQUEUE: Duration = Duration::from_mins(5);
/// How soon a run is reconciled again that has waited too briefly to say so.
pub const QUIET_REQUEUE: Duration = Duration::from_secs(1);
/// How soon a run that is starting is reconciled again; its pod's changes trigger too.
pub const STARTING_REQUEUE: Duration = Duration::from_secs(5);
/// How soon a running run is reconciled again; its pod's changes trigger too.
pub const RUNNING_REQUEUE: Duration = Duration::from_mins(1);
/// How soon a run whose pod ends is reconciled again; its pod's changes trigger too.
pub const ENDING_REQUEUE: Duration = Duration::from_secs(2);

/// Everything that is to be done about a run now. [`perform`](crate::agent_run::perform) does it, in the order of the fields.
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

/// What follows a status and its events.
#[derive(Clone, Debug)]
pub enum Then {
    /// Nothing.
    Nothing,
    /// Ask the sidecar to collect and to stop the agent, through an annotation that makes the gateway close its exit.
    StopAgent {
        /// The run's pod.
        pod: Arc<RunPod>,
        /// Why.
        verdict: Verdict,
    },
    /// Delete the Job, and have its pods end in seconds, because of this verdict; also if the status could not be
    /// written.
    Kill {
        /// The Job.
        job: Arc<Job>,
        /// Its pods.
        pods: Vec<Arc<RunPod>>,
        /// What the run will end with.
        verdict: Verdict,
    },
    /// Have pods end in seconds that no Job has any more.
    DeletePods(Vec<Arc<RunPod>>),
    /// Delete the Job of a failed attempt, but only once the status says that another follows.
    Repeat(Arc<Job>),
    /// Delete the Job.
    DeleteJob(Arc<Job>),
    /// Delete the run.
    DeleteRun,
}

impl Then {
    /// Has these pods end, if there are any.
    pub fn delete_pods(pods: Vec<Arc<RunPod>>) -> Self {
        if pods.is_empty() {
            Self::Nothing
        } else {
            Self::DeletePods(pods)
        }
    }

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
    pub const fn look(slot: Slot, look: Look) -> Self {
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

    pub fn status(self, status: AgentRunStatus) -> Self {
        Self {
            status: Some(Box::new(status)),
            ..self
        }
    }

    pub fn events(self, events: Vec<Notice>) -> Self {
        Self { events, ..self }
    }

    pub fn then(self, then: Then) -> Self {
        Self { then, ..self }
    }

    /// Looks again at this time, unless it does so before.
    pub fn by(self, at: Option<Timestamp>, now: Timestamp) -> Self {
        let until = at.and_then(|at| Duration::try_from(at.duration_since(now)).ok());
        match (self.look, until) {
            (Look::After(time), Some(until)) => Self {
                look: Look::After(time.min(until)),
                ..self
            },
            _ => self,
        }
    }

    pub fn forget(self) -> Self {
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
