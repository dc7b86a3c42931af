//! Status of an `AgentRun`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::resolved::{
    ResolvedAgentProfile, ResolvedEvidence, ResolvedImage, ResolvedPolicy, ResolvedRepository, ResolvedRun,
};

mod resolved;

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
