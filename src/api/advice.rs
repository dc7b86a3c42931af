//! What to do about each reason: the second half of the table of reasons in the documentation.

use super::{LiveReason, Reason};

impl Reason {
    /// What whoever reads the reason can do; `status.message` says the same of the run at hand.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Completed => "Nothing. `status.outputs.patches` names the patches.",
            Self::PolicyMissing => {
                "Create the `SandboxPolicy`, name another one in `policyRef`, or have the namespace labelled \
                 `cofferdam.dev/sandbox=enabled`."
            }
            Self::PolicyDenied => {
                "Ask for what `message` says is allowed, or have the policy that it names changed. `kubectl cofferdam explain` \
                 shows every refusal at once."
            }
            Self::GuardMissing => {
                "Install or repair the admission policies of the chart; the controller's log names the one that is missing."
            }
            Self::ImageDenied => "Use an image that policy allows, by the digest if policy asks for digests.",
            Self::RuntimeUnavailable => {
                "Install the runtime and its `RuntimeClass` on nodes of the pool, or change the order in \
                 `limits.runtime.runtimeClassNames`."
            }
            Self::AdmissionRefused => {
                "Read which webhook or policy refused the pod in `message`; exempt the pods of runs there."
            }
            Self::QuotaExceeded => {
                "Ask for less in `resources`, wait for other runs to end, or have the quota or `limits.maxRunning` raised."
            }
            Self::StartTimeout => {
                "Read in `message` what the pod waited for. More nodes, smaller `resources` or a longer `startDeadlineSeconds` \
                 help if it was not scheduled."
            }
            Self::ImagePullFailed => {
                "Check the image's name, and `imagePullSecrets` of the policy; the registry's answer is in `message`."
            }
            Self::EgressNotEnforced => {
                "Check that the cluster's network enforces NetworkPolicy. If only the pod's own node was reached, closing that \
                 way is best; `limits.runtime.nodeAccess: Allow` accepts it."
            }
            Self::ForeignNetworkPolicy => {
                "Change the NetworkPolicy that `message` names so that it does not select pods with the label \
                 `cofferdam.dev/run`."
            }
            Self::ForeignService => {
                "Add a label of your own pods to the selector of the Service that `message` names, or delete the Service."
            }
            Self::PodMutated => {
                "Find what changes pods at admission, such as an injector of sidecars, and exempt the pods of runs."
            }
            Self::PeerAddressRewritten => {
                "Have the network keep the pod's address on its way to the gateway: no masquerading between pods."
            }
            Self::GatewayChanged => "Create the run again. The gateway's Service was made anew.",
            Self::CloneFailed => {
                "Create the run again, or look at the server; git's own words are in `message`. Under \
                 `limits.retry: BeforeAgentStart` it is tried again by itself."
            }
            Self::CloneRefused => {
                "Do what `message` says: check `url` and `ref`. A private repository is cloned with a `SandboxCredential` that \
                 `limits.repositories.clone` names."
            }
            Self::PromptChanged => {
                "Find out who changed the ConfigMap. If the new text is what the agent is to do, create a run with the digest \
                 that `message` names."
            }
            Self::CredentialFailed => {
                "Do what `message` says: create the `SandboxCredential`, or the Secret that it names in the credentials' \
                 namespace, or renew what the Secret holds. `kubectl get sandboxcredentials` shows which are ready."
            }
            Self::AgentFailed => {
                "Read the agent's log. The patch, if there is one, is what it had done by then."
            }
            Self::DeadlineExceeded => "Give the agent more time in `activeDeadlineSeconds`, or less work.",
            Self::OutOfMemory => "Give the agent more memory in `resources.limits`.",
            Self::StorageExceeded => "Give the agent more `ephemeral-storage` in `resources.limits`.",
            Self::Evicted => {
                "Create the run again; `schedulingProfiles[].disruption: Avoid` asks autoscalers to spare it."
            }
            Self::NodeLost => "Create the run again. What the agent had done is lost with the node.",
            Self::WorkloadDeleted => "Nothing, if it was meant. `spec.cancel` ends a run and keeps its work.",
            Self::Cancelled => "Nothing. With `KeepWork` the patch is what the agent had done by then.",
            Self::CollectFailed => {
                "Read in `message` what the collector refused, or check the archive's volume."
            }
            Self::InternalError => "Report it with the controller's log of the run.",
        }
    }
}

impl LiveReason {
    /// The reason with which a run ends that waits for too long.
    pub const fn ends_with(self) -> Option<Reason> {
        match self {
            Self::WaitingForPolicy => Some(Reason::PolicyMissing),
            Self::WaitingForRuntimeClass => Some(Reason::RuntimeUnavailable),
            Self::GuardNotReady => Some(Reason::GuardMissing),
            Self::FenceWidened => Some(Reason::ForeignNetworkPolicy),
            Self::SandboxSelected => Some(Reason::ForeignService),
            Self::CredentialUnavailable => Some(Reason::CredentialFailed),
            Self::ArchiveShareExceeded => Some(Reason::QuotaExceeded),
            Self::WaitingForReports
            | Self::FenceNotReady
            | Self::GatewayNotReady
            | Self::AuditUnavailable
            | Self::Starting => Some(Reason::StartTimeout),
            Self::Suspended | Self::Queued | Self::Running => None,
        }
    }

    /// What whoever reads the reason can do.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Suspended => "Set `spec.suspend: false` to let it start.",
            Self::Queued => {
                "Wait, or have `limits.maxRunning` raised; the oldest run of the namespace goes first."
            }
            Self::WaitingForPolicy => "Create the `SandboxPolicy` within 30 s.",
            Self::WaitingForRuntimeClass => "Create the `RuntimeClass` within 30 s.",
            Self::WaitingForReports => {
                "Wait; if it lasts, check that the controller may list VulnerabilityReports."
            }
            Self::GuardNotReady => {
                "Wait a few seconds after an installation; else repair the admission policies of the chart."
            }
            Self::FenceNotReady => "Wait; if it lasts, `message` says what keeps the fence from being made.",
            Self::FenceWidened => {
                "Change the NetworkPolicy that `message` names so that it does not select pods with the label \
                 `cofferdam.dev/run`."
            }
            Self::SandboxSelected => {
                "Add a label of your own pods to the selector of the Service that `message` names, or delete the Service."
            }
            Self::GatewayNotReady => {
                "Check the gateway's Deployment and Service in the operator's namespace."
            }
            Self::CredentialUnavailable => {
                "Do what `message` says: create the `SandboxCredential`, or the Secret that it names in the credentials' \
                 namespace."
            }
            Self::AuditUnavailable => {
                "Enlarge the claim of the archive's volume, or let the chart's value `evidence.retentionDays` be fewer. Runs \
                 that are under way go on."
            }
            Self::ArchiveShareExceeded => {
                "Wait until the oldest of it is removed, or have the chart's value `evidence.namespaceSharePercent` raised."
            }
            Self::Starting => "Wait; `message` says what the pod waits for.",
            Self::Running => "Nothing. `spec.cancel` ends it.",
        }
    }
}
