//! Requests about a run to the API server that failed.

use std::fmt;

/// A request to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Reads the run past the cache.
    ReadRun,
    /// Reads the run's Job past the cache.
    ReadJob,
    /// Reads the run's pod past the cache.
    ReadPod,
    /// Creates the pod of the run's Job as a dry run.
    TryPod,
    /// Lists the warnings of the run's pod.
    ListWarnings,
    /// Looks whether the frozen policy exists.
    ReadFrozenPolicy,
    /// Creates the frozen policy.
    CreateFrozenPolicy,
    /// Creates the run's Job.
    CreateJob,
    /// Writes the run's status.
    WriteStatus,
    /// Annotates the run's pod so that its sidecar stops the agent.
    StopAgent,
    /// Deletes the run's Job.
    DeleteJob,
    /// Deletes the run's pod.
    DeletePod,
    /// Deletes the run.
    DeleteRun,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadRun => "read the run",
            Self::ReadJob => "read the Job",
            Self::ReadPod => "read the pod",
            Self::TryPod => "try to create the pod",
            Self::ListWarnings => "list the pod's events",
            Self::ReadFrozenPolicy => "read the frozen policy",
            Self::CreateFrozenPolicy => "create the frozen policy",
            Self::CreateJob => "create the Job",
            Self::WriteStatus => "write the status",
            Self::StopAgent => "annotate the pod",
            Self::DeleteJob => "delete the Job",
            Self::DeletePod => "delete the pod",
            Self::DeleteRun => "delete the run",
        })
    }
}

/// A request that was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server refused, or there was no answer.
    #[error("failed to {call}: {source}")]
    Api {
        /// What was asked.
        call: Call,
        /// What the API server said.
        #[source]
        source: kube::Error,
    },
    /// A Job of the run's name belongs to someone else.
    #[error("Job {0} exists and is not this run's")]
    Foreign(String),
    /// An object lacks what every stored object has.
    #[error("the object has no metadata.{0}")]
    Incomplete(&'static str),
}

impl CallError {
    /// Whether someone else changed the object since it was read.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source: kube::Error::Api(status), .. } if status.is_conflict())
    }

    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { source: kube::Error::Api(status), .. } if status.code == 404)
    }

    /// Of a failed creation: whether it is certain that no Job came of it, because the API server itself said no or was
    /// not asked. After anything else, such as a broken connection, there may be one.
    pub fn created_nothing(&self) -> bool {
        match self {
            Self::Foreign(_) | Self::Incomplete(_) => true,
            Self::Api { call, source } => {
                let refused = matches!(source, kube::Error::Api(status) if (400..500).contains(&status.code));
                refused || matches!(call, Call::ReadFrozenPolicy | Call::CreateFrozenPolicy)
            }
        }
    }

    /// The API server's own words, if it refused the Job for good: trying again would not change that.
    pub fn refused_job(&self) -> Option<&str> {
        match self {
            Self::Api {
                call: Call::CreateJob,
                source: kube::Error::Api(status),
            } if is_refusal(status.code) => Some(&status.message),
            _ => None,
        }
    }
}

/// Whether an HTTP status says that the same request will always be refused.
pub const fn is_refusal(code: u16) -> bool {
    matches!(code, 400 | 403 | 422)
}

/// Says which call failed.
pub fn failed(call: Call) -> impl FnOnce(kube::Error) -> CallError {
    move |source| CallError::Api { call, source }
}
