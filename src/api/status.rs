//! Status of an `AgentRun`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::OnSinkFailure;

/// What is known of a run. `reason` and `phase` are plain strings: a newer controller's word must never be refused.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AgentRunStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// For people: Pending, Queued, Suspended, Running, Retrying, Stopping, Succeeded, Failed. Programs read `conditions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Why the run is where it is; at the end one of the terminal reasons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was wrong, where, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Who has to act on a failure: Agent, Infrastructure, Policy or User.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_class: Option<String>,
    /// Which attempt this is, from 1; above 1 only where policy lets a run be tried again before its agent starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// The workload that carries the run now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = kube::core::cel::MapMerge::Atomic)]
    pub workload: Option<WorkloadRef>,
    /// When the workload was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the agent's container started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_start_time: Option<Time>,
    /// When the run ended, whatever the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Exit code of the agent's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Ready, Reconciling and Stalled (only when true), Complete, Failed, Admitted, Isolated, `RequesterKnown`, Sealed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// What the run's asks came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = kube::core::cel::MapMerge::Atomic)]
    pub resolved: Option<ResolvedRun>,
    /// What proved the sandbox before the agent started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = kube::core::cel::MapMerge::Atomic)]
    pub isolation: Option<Isolation>,
    /// Counters, written at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = kube::core::cel::MapMerge::Atomic)]
    pub usage: Option<Usage>,
    /// The last requests that were denied, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub last_denied: Vec<DeniedRequest>,
    /// What the run left behind in the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = kube::core::cel::MapMerge::Atomic)]
    pub outputs: Option<Outputs>,
    /// Where the chain of the run's records ends, once it is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = kube::core::cel::MapMerge::Atomic)]
    pub evidence: Option<Evidence>,
}

/// Where the chain of a run's records ends: nothing follows, and nothing before can change unseen.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// How many records the chain has.
    #[schemars(range(min = 1))]
    pub sequence: i64,
    /// `sha256:…` of the chain's last line, without its line feed.
    #[schemars(length(max = 80))]
    pub head: String,
    /// When the archive wrote the last record.
    pub sealed_at: Time,
}

/// The workload that carries a run.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct WorkloadRef {
    /// Kind of the workload: `Job`.
    pub kind: String,
    /// Name of the workload, in the run's namespace.
    pub name: String,
    /// uid of the workload; another attempt has another one.
    pub uid: String,
}

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

/// What proved the sandbox before the agent started.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Isolation {
    /// `RuntimeClass` of the live pod.
    pub runtime_class_name: String,
    /// The NetworkPolicy that fences the pod.
    pub fence: String,
    /// Whether the pod reaches its own node. `Denied`: it does not. `Allowed`: it does, and policy allows it.
    pub node_access: ProvenNodeAccess,
    /// When `prepare` had seen the fence closed.
    pub proven_time: Time,
    /// Digest of the live pod's security-relevant projection.
    pub pod_spec_digest: String,
}

/// Whether a pod reaches its own node; many conformant CNIs cannot close that way.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProvenNodeAccess {
    /// It does not.
    Denied,
    /// It does, and policy allows it.
    Allowed,
}

/// Counters of a run.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Requests that the gateway let through.
    pub allowed_requests: i64,
    /// Requests that the gateway denied.
    pub denied_requests: i64,
}

/// A request that was denied.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DeniedRequest {
    /// When the gateway denied it.
    pub time: Time,
    /// Host and port as asked for, escaped, at most 100 bytes.
    pub host: String,
    /// Why: a code of the gateway.
    pub code: String,
}

/// What a run left behind in the archive.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// One patch for each `ReadWrite` repository, and then those of submodules in which something changed, the first ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Atomic)]
    pub patches: Vec<PatchOutput>,
}

/// A patch that the archive holds.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PatchOutput {
    /// Name of the repository within the run.
    pub repository: String,
    /// Path of the submodule whose patch this is: it applies to the commit that the repository names there. Absent: the
    /// patch is of the repository itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submodule: Option<String>,
    /// `sha256:…` of the patch at receipt.
    pub digest: String,
    /// Size of the patch in bytes.
    pub bytes: i64,
    /// Files that the patch touches.
    pub files: i32,
    /// Lines that the patch adds.
    pub insertions: i32,
    /// Lines that the patch removes.
    pub deletions: i32,
    /// `Final`: the agent had ended when the patch was made. `Live`: it was still running, at its deadline or a cancel.
    pub snapshot: Snapshot,
    /// `Complete`: the whole work tree was looked at. `Partial`: collecting ended before; changes of tracked files come
    /// first, then new files, so what is missing are rather new files.
    #[serde(default)]
    pub completeness: Completeness,
    /// Files that Git LFS is to keep (`filter=lfs`), and whose content is in the patch instead of a pointer: whoever applies
    /// the patch adds them with Git LFS. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lfs_files: Option<i64>,
    /// New paths that are not in the patch. Absent: there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = kube::core::cel::MapMerge::Atomic)]
    pub left_out: Option<LeftOut>,
}

/// What of a work tree is not in its patch. Changes of tracked files always are: where one cannot be collected, there is
/// no patch.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many new paths could not be collected; a directory that was not entered is one.
    pub count: i64,
    /// How many new paths ignore rules leave out; they are none of `count`.
    pub ignored: i64,
    /// The first of those that count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Atomic)]
    pub paths: Vec<LeftOutPath>,
}

/// A path that is not in a patch.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct LeftOutPath {
    /// Path within the work tree, escaped, at most 120 characters.
    pub path: String,
    /// Why, one word: see docs/collect.md.
    pub reason: String,
}

/// Whether a whole work tree was looked at.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Completeness {
    /// It was.
    #[default]
    Complete,
    /// Collecting ended before its end.
    Partial,
}

/// Whether the agent had ended when its work tree was read.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// It had.
    Final,
    /// It was still running: time-out or cancel.
    Live,
}
