//! Where a run stands, read from the conditions of its status. `phase` and messages are for people.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::agent_run::AgentRun;
use super::reason::LiveReason;
use super::status::AgentRunStatus;

/// Condition that is true once a run has succeeded.
pub const READY: &str = "Ready";
/// Condition that is true while the controller works on a run; its reason is the [`Stage`].
pub const RECONCILING: &str = "Reconciling";
/// Condition that is true once a run has failed and nothing will change that.
pub const STALLED: &str = "Stalled";
/// Condition that is true once a run has succeeded.
pub const COMPLETE: &str = "Complete";
/// Condition that is true once a run has failed.
pub const FAILED: &str = "Failed";

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// No controller has written a status yet.
    New,
    /// Nothing is created until the run is resumed.
    Suspended,
    /// It could start and waits for a slot of its namespace.
    Queued,
    /// It waits for something else before its Job can be created.
    Waiting,
    /// Its Job exists and its agent has not started.
    Starting,
    /// Its agent runs.
    Running,
    /// Its Job is being removed; the terminal status comes when the Job is gone.
    Stopping,
    /// An attempt failed before its agent started, and is repeated.
    Retrying,
    /// Like [`Stage::Retrying`], and it is known that the agent of the failed attempt never started.
    RetryingUnstarted,
    /// It is over.
    Finished,
}

/// Stages in which the controller works on the run: each is a reason of [`RECONCILING`].
const RECONCILED: [(Stage, &str); 6] = [
    (Stage::Waiting, "Waiting"),
    (Stage::Starting, "Starting"),
    (Stage::Running, "Running"),
    (Stage::Stopping, "Stopping"),
    (Stage::Retrying, "Retrying"),
    (Stage::RetryingUnstarted, "AgentNeverStarted"),
];

impl Stage {
    /// The reason of [`RECONCILING`] in this stage; `None` where the controller has nothing to do.
    pub fn reconciling(self) -> Option<&'static str> {
        RECONCILED
            .iter()
            .find_map(|(stage, word)| (*stage == self).then_some(*word))
    }

    /// The phase that people read in this stage; a finished run has `Succeeded` or `Failed` instead.
    pub const fn phase(self) -> &'static str {
        match self {
            Self::New | Self::Waiting | Self::Starting => "Pending",
            Self::Suspended => "Suspended",
            Self::Queued => "Queued",
            Self::Running => "Running",
            Self::Stopping => "Stopping",
            Self::Retrying | Self::RetryingUnstarted => "Retrying",
            Self::Finished => "Finished",
        }
    }

    /// Whether the run waits in a way that does not use up `startDeadlineSeconds`.
    pub const fn is_resting(self) -> bool {
        matches!(self, Self::Suspended | Self::Queued)
    }
}

impl AgentRunStatus {
    /// A condition by type.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }

    fn is_true(&self, type_: &str) -> bool {
        self.condition(type_)
            .is_some_and(|condition| condition.status == "True")
    }

    /// Whether the run is over. After that only `observedGeneration` changes.
    pub fn is_finished(&self) -> bool {
        self.is_true(COMPLETE) || self.is_true(FAILED)
    }

    /// Where the run stands.
    pub fn stage(&self) -> Stage {
        if self.is_finished() {
            return Stage::Finished;
        }
        if let Some(going) = self.condition(RECONCILING).filter(|going| going.status == "True") {
            let known = RECONCILED.iter().find(|(_, word)| *word == going.reason);
            return known.map_or(Stage::New, |(stage, _)| *stage);
        }
        let reason = self.condition(READY).and_then(|ready| ready.reason.parse().ok());
        match reason {
            Some(LiveReason::Suspended) => Stage::Suspended,
            Some(LiveReason::Queued) => Stage::Queued,
            _ => Stage::New,
        }
    }
}

impl AgentRun {
    /// Whether the run is over.
    pub fn is_finished(&self) -> bool {
        self.status.as_ref().is_some_and(AgentRunStatus::is_finished)
    }

    /// Where the run stands.
    pub fn stage(&self) -> Stage {
        self.status.as_ref().map_or(Stage::New, AgentRunStatus::stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn condition(type_: &str, status: &str, reason: &str) -> Condition {
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time("2026-11-25T00:00:00Z".parse().unwrap()),
        }
    }

    fn stage(conditions: &[(&str, &str, &str)]) -> Stage {
        AgentRunStatus {
            // Neither of these is ever looked at.
            phase: Some("Succeeded".to_owned()),
            message: Some("1st of 2 in the queue".to_owned()),
            conditions: conditions
                .iter()
                .map(|(type_, status, reason)| condition(type_, status, reason))
                .collect(),
            ..AgentRunStatus::default()
        }
        .stage()
    }

    #[test]
    fn stage_is_read_from_conditions_alone() {
        assert_eq!(stage(&[]), Stage::New);
        assert_eq!(stage(&[(READY, "Unknown", "Pending")]), Stage::New);
        for (expected, word) in RECONCILED {
            assert_eq!(
                stage(&[(READY, "False", "CloneFailed"), (RECONCILING, "True", word)]),
                expected
            );
        }
        assert_eq!(stage(&[(READY, "False", "Queued")]), Stage::Queued);
        assert_eq!(stage(&[(READY, "False", "Suspended")]), Stage::Suspended);
        assert_eq!(stage(&[(RECONCILING, "True", "SomethingNewer")]), Stage::New);
    }

    #[test]
    fn finished_comes_before_everything_else() {
        for end in [COMPLETE, FAILED] {
            assert_eq!(
                stage(&[(RECONCILING, "True", "Running"), (end, "True", "Completed")]),
                Stage::Finished
            );
            assert_eq!(stage(&[(end, "False", "Completed")]), Stage::New);
        }
    }
}
