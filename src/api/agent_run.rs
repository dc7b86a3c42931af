//! `AgentRun`: one coding agent, working once on copies of repositories.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::AgentRunStatus;

/// What a run asks for. Everything but `suspend`, `cancel` and `ttlSecondsAfterFinished` is immutable.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "cofferdam.dev",
    version = "v1alpha1",
    kind = "AgentRun",
    plural = "agentruns",
    shortname = "agr",
    category = "cofferdam",
    namespaced,
    status = "AgentRunStatus",
    derive = "PartialEq",
    selectable = ".spec.policyRef.name",
    selectable = ".status.phase",
    selectable = ".status.reason",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policyRef.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Runtime",
        type_ = "string",
        json_path = ".status.resolved.runtimeClassName",
        priority = 1
    ),
    printcolumn(
        name = "Workload",
        type_ = "string",
        json_path = ".status.workload.name",
        priority = 1
    ),
    printcolumn(
        name = "Completed",
        type_ = "date",
        json_path = ".status.completionTime",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct AgentRunSpec {
    /// The `SandboxPolicy` of this namespace that governs the run. Absent: the one named `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_ref: Option<PolicyRef>,
    /// What the agent is to do.
    pub task: Task,
    /// The agent's container.
    pub agent: Agent,
    /// Repositories that are cloned for the agent before it starts, at one commit each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<Repository>,
    /// Resources of the agent's container. Absent: the policy's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Seconds from admission to the agent's start, without the time spent suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timeout_seconds: Option<i32>,
    /// Seconds from the agent's start to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<i32>,
    /// While true nothing is created. Can be set only before the run has started.
    #[serde(default)]
    pub suspend: bool,
    /// Ends the run. `Graceful` keeps what the agent did so far as a patch, `Immediate` does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Cancel>,
    /// Seconds after its end when the run is deleted. Absent: 7 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds_after_finished: Option<i32>,
}

/// Name of a `SandboxPolicy` in the run's namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct PolicyRef {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// What the agent is to do: exactly one of `prompt` and `promptFrom`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// The prompt itself, at most 2048 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Where a longer prompt stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_from: Option<PromptSource>,
}

/// Source of a prompt.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PromptSource {
    /// A key of a ConfigMap in the run's namespace.
    pub config_map_key_ref: ConfigMapKeyRef,
}

/// A key of a ConfigMap in the run's namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ConfigMapKeyRef {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// The agent's container: the user's image as it is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Image reference.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Replaces the image's entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment, literals only: a sandbox holds no secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
}

/// One environment variable.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct EnvVar {
    /// Its name.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 2048))]
    pub value: String,
}

/// A repository that is cloned for the agent.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Name within the run, a DNS label.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
    /// `https://…` without credentials.
    #[schemars(length(min = 1, max = 512))]
    pub url: String,
    /// Branch, tag or full commit. Absent: the remote's HEAD.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Directory below `/workspace`, one DNS label. Absent: `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What the agent may do with its copy.
    #[serde(default)]
    pub access: Access,
}

impl Repository {
    /// Directory of the work tree below `/workspace`.
    pub fn directory(&self) -> &str {
        self.path.as_deref().unwrap_or(&self.name)
    }
}

/// What the agent may do with its copy of a repository.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// The copy is mounted read-only.
    #[default]
    ReadOnly,
    /// The copy is collected as a patch.
    ReadWrite,
}

/// Resources of the agent's container, as in a pod.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// What is set aside. Absent: the limits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, Quantity>,
    /// What is never exceeded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Quantity>,
}

/// How a run is ended.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// Collect what there is, then stop.
    Graceful,
    /// Stop at once, without a patch.
    Immediate,
}
