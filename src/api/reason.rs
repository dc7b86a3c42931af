//! Why a run ended, and why it waits: two closed lists for status, events, metrics and documentation.

use serde::{Deserialize, Serialize};

/// Who has to act on a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureClass {
    /// The agent did not do its work.
    Agent,
    /// The cluster did not do its work.
    Infrastructure,
    /// A policy, a quota or an admission rule said no.
    Policy,
    /// Someone asked for the end.
    User,
}

impl FailureClass {
    /// The word that stands in `status.failureClass`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "Agent",
            Self::Infrastructure => "Infrastructure",
            Self::Policy => "Policy",
            Self::User => "User",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident => $class:expr,)*) => {
        /// Terminal reason of a run. The spelling is stable: it is part of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)* }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word that stands in status, events and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What has happened, in Markdown: the reason's own documentation.
            pub const fn cause(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)* }
            }

            /// Who has to act; `None` for success.
            pub const fn class(self) -> Option<FailureClass> {
                match self { $(Self::$name => $class,)* }
            }
        }
    };
}

reasons! {
    /// The agent exited 0 and the archive holds its patch.
    Completed => None,
    /// No `SandboxPolicy` of the name that the run asks for, or the namespace has not opted in.
    PolicyMissing => Some(FailureClass::Policy),
    /// A policy layer does not grant what the run asks for, or a policy in force has a mistake.
    PolicyDenied => Some(FailureClass::Policy),
    /// The admission guard is not proven live.
    GuardMissing => Some(FailureClass::Infrastructure),
    /// No policy layer allows the run's image, or a layer refuses it for its vulnerabilities.
    ImageDenied => Some(FailureClass::Policy),
    /// The `RuntimeClass` that policy demands does not exist or cannot start the pod.
    RuntimeUnavailable => Some(FailureClass::Infrastructure),
    /// The API server refused the Job or its pod.
    AdmissionRefused => Some(FailureClass::Policy),
    /// A `ResourceQuota` refused the pod, too many runs of the namespace are queued, or its share of the archive is used up.
    QuotaExceeded => Some(FailureClass::Policy),
    /// The agent did not start in `startDeadlineSeconds`.
    StartTimeout => Some(FailureClass::Infrastructure),
    /// An image cannot be pulled.
    ImagePullFailed => Some(FailureClass::Infrastructure),
    /// The sandbox could reach what the fence forbids, or used up what the fence is probed with.
    EgressNotEnforced => Some(FailureClass::Infrastructure),
    /// Another NetworkPolicy widens the fence.
    ForeignNetworkPolicy => Some(FailureClass::Policy),
    /// A Service selects sandbox pods.
    ForeignService => Some(FailureClass::Policy),
    /// The pod that runs is not the pod that was built.
    PodMutated => Some(FailureClass::Infrastructure),
    /// The gateway sees another address than the pod's own.
    PeerAddressRewritten => Some(FailureClass::Infrastructure),
    /// The gateway's address changed while the run was live.
    GatewayChanged => Some(FailureClass::Infrastructure),
    /// A repository could not be cloned: its server did not answer, broke off, or said that it cannot now.
    CloneFailed => Some(FailureClass::Infrastructure),
    /// A repository cannot be cloned as the run names it: it is private, absent, moved or damaged, or has no such `ref`.
    CloneRefused => Some(FailureClass::User),
    /// The ConfigMap holds another prompt than the run names by its digest.
    PromptChanged => Some(FailureClass::User),
    /// A credential that the run's policies name is missing, the gateway has no value for it, or a repository's server does not
    /// take it.
    CredentialFailed => Some(FailureClass::Infrastructure),
    /// The agent exited with another code than 0.
    AgentFailed => Some(FailureClass::Agent),
    /// The agent ran longer than `activeDeadlineSeconds`.
    DeadlineExceeded => Some(FailureClass::Agent),
    /// A container used more memory than its limit.
    OutOfMemory => Some(FailureClass::Agent),
    /// A volume outgrew its limit.
    StorageExceeded => Some(FailureClass::Agent),
    /// The kubelet or the API evicted the pod.
    Evicted => Some(FailureClass::Infrastructure),
    /// The node went away.
    NodeLost => Some(FailureClass::Infrastructure),
    /// Someone else deleted the run's Job or pod.
    WorkloadDeleted => Some(FailureClass::User),
    /// The run was cancelled.
    Cancelled => Some(FailureClass::User),
    /// The work tree could not be collected, or the archive gave no receipt.
    CollectFailed => Some(FailureClass::Infrastructure),
    /// A defect of Cofferdam itself.
    InternalError => Some(FailureClass::Infrastructure),
}

macro_rules! live_reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// Reason of a run that is not over. None of them is a terminal [`Reason`]. The spelling is part of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum LiveReason { $($(#[doc = $doc])+ $name,)* }

        impl LiveReason {
            /// Every such reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word that stands in `status.reason`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Why the run is not over, in Markdown: the reason's own documentation.
            pub const fn cause(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)* }
            }
        }
    };
}

live_reasons! {
    /// `spec.suspend` is true.
    Suspended,
    /// Every slot of `limits.maxRunning` is taken.
    Queued,
    /// The `SandboxPolicy` that the run names does not exist yet.
    WaitingForPolicy,
    /// No `RuntimeClass` that policy allows exists yet.
    WaitingForRuntimeClass,
    /// The scanner's reports that a policy asks for have not been read yet.
    WaitingForReports,
    /// The admission guard is not proven live.
    GuardNotReady,
    /// The namespace's fence is being made.
    FenceNotReady,
    /// Another NetworkPolicy widens the namespace's fence.
    FenceWidened,
    /// A Service of the namespace selects sandbox pods.
    SandboxSelected,
    /// The gateway's Service has no address.
    GatewayNotReady,
    /// A credential that the run's policies name is missing, or the gateway has no value for it yet.
    CredentialUnavailable,
    /// The archive's volume is nearly full: it could not keep what the run leaves.
    AuditUnavailable,
    /// What the runs of the namespace left is as much as a namespace may leave in the archive.
    ArchiveShareExceeded,
    /// The Job exists and the agent has not started.
    Starting,
    /// The agent runs.
    Running,
}

impl std::fmt::Display for LiveReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for LiveReason {
    type Err = UnknownReason;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.iter().copied();
        all.find(|reason| reason.as_str() == text).ok_or(UnknownReason)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Reason {
    type Err = UnknownReason;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == text)
            .ok_or(UnknownReason)
    }
}

/// The text is no reason of the list that was asked.
#[derive(Debug, thiserror::Error)]
#[error("not a reason of a run")]
pub struct UnknownReason;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_as_itself_and_only_success_has_no_class() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse::<Reason>().unwrap(), *reason);
            assert_eq!(reason.class().is_none(), *reason == Reason::Completed);
        }
        assert!("completed".parse::<Reason>().is_err());
    }

    #[test]
    fn live_reasons_are_never_terminal_ones() {
        for reason in LiveReason::ALL {
            assert_eq!(reason.as_str().parse::<LiveReason>().unwrap(), *reason);
            assert!(reason.as_str().parse::<Reason>().is_err(), "{reason}");
        }
        for reason in Reason::ALL {
            assert!(reason.as_str().parse::<LiveReason>().is_err(), "{reason}");
        }
    }
}
