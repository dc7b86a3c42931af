//! What a run was resolved to: policies, images, commits, and what policies say of its evidence.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::limits::OnSinkFailure;

/// What a run's asks came to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedRun {
    /// The agent's image as asked for, or as the profile has it.
    pub image: String,
    /// The profile by which the agent was started. Absent: the run names an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = kube::core::cel::MapMerge::Atomic)]
    pub agent_profile: Option<ResolvedAgentProfile>,
    /// What ran: the image of each container as the node pulled it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Atomic)]
    pub images: Vec<ResolvedImage>,
    /// Digest of the prompt, `sha256:…`, also of one that stands in the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_digest: Option<String>,
    /// `RuntimeClass` of the pod.
    pub runtime_class_name: String,
    /// Commit of each repository.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Atomic)]
    pub repositories: Vec<ResolvedRepository>,
    /// Every policy that was met.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Atomic)]
    pub policies: Vec<ResolvedPolicy>,
    /// Hash of the frozen policy.
    pub policy_hash: String,
    /// What policies say of the run's evidence. Absent: nothing, so `Stop`, and the installation's days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = kube::core::cel::MapMerge::Atomic)]
    pub evidence: Option<ResolvedEvidence>,
}

/// What policies came to on the evidence of a run.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedEvidence {
    /// `Continue`: the run keeps its way out while the archive does not acknowledge its records. Absent: `Stop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_sink_failure: Option<OnSinkFailure>,
    /// Days for which records are kept at least. Absent: the installation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_records_days: Option<i32>,
    /// Days for which patches are kept at least. Absent: the installation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_patches_days: Option<i32>,
}

impl ResolvedEvidence {
    /// This, where it says anything.
    pub fn of(
        on_sink_failure: OnSinkFailure,
        keep_records_days: Option<i32>,
        keep_patches_days: Option<i32>,
    ) -> Option<Self> {
        let evidence = Self {
            on_sink_failure: (on_sink_failure != OnSinkFailure::default()).then_some(on_sink_failure),
            keep_records_days,
            keep_patches_days,
        };
        (evidence != Self::default()).then_some(evidence)
    }
}

/// The profile by which an agent was started, as its policy offered it then.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedAgentProfile {
    /// Name of the profile, as `spec.agentProfile` has it.
    pub name: String,
    /// `SandboxPolicy` or `ClusterSandboxPolicy`: which offered it.
    pub policy_kind: String,
    /// Name of the policy that offered the profile.
    pub policy_name: String,
    /// `sha256:…` of the profile as canonical JSON (RFC 8785); the chain of records has the text.
    #[schemars(length(max = 80))]
    pub digest: String,
}

/// The image of a container.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ResolvedImage {
    /// Name of the container: `prepare`, `sidecar` or `agent`.
    pub name: String,
    /// The image as the node names it, with the digest of what runs.
    #[serde(rename = "imageID")]
    pub image_id: String,
}

/// Commit of a repository.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedRepository {
    /// Name of the repository within the run.
    pub name: String,
    /// Full id of the commit that was cloned.
    pub commit: String,
    /// Checks of `git fsck` that the cloned history fails and that are let pass as harmless, such as `badTimezone`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 64)))]
    pub tolerated_faults: Vec<String>,
}

/// A policy that was met.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ResolvedPolicy {
    /// `SandboxPolicy` or `ClusterSandboxPolicy`.
    pub kind: String,
    /// Name of the policy at admission.
    pub name: String,
    /// uid of the policy at admission.
    pub uid: String,
    /// Generation of the policy at admission.
    pub generation: i64,
}
