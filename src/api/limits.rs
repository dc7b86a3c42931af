//! What a policy may limit. Absent means "no opinion"; that no layer has one means that nothing is allowed.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits of one layer.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyLimits {
    /// Sandbox runtimes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeLimits>,
    /// Images of agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<ImageLimits>,
    /// Repositories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repositories: Option<RepositoryLimits>,
    /// What the agent may reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<EgressLimits>,
    /// Ceiling of each resource of the agent's container (`cpu`, `memory`, `ephemeral-storage`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_resources: Option<BTreeMap<String, Quantity>>,
    /// Ceiling of `startTimeoutSeconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_start_timeout_seconds: Option<i32>,
    /// Ceiling of `timeoutSeconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_timeout_seconds: Option<i32>,
}

/// Whether a list grants something or nothing. Serializers drop empty lists, so an empty list says neither.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is allowed.
    DenyAll,
    /// What the list names is allowed.
    AllowList,
}

/// Sandbox runtimes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeLimits {
    /// Names of `RuntimeClass`es in order of preference; the first that all layers allow is used.
    #[schemars(length(min = 1, max = 8))]
    pub classes: Vec<String>,
    /// What happens when the sandbox reaches its own node.
    #[serde(default)]
    pub node_reachability: NodeReachability,
}

/// What happens when the sandbox reaches its own node.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeReachability {
    /// The run ends `EgressNotEnforced`.
    #[default]
    Denied,
    /// The run goes on and its status says so.
    Tolerated,
}

/// Images of agents.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ImageLimits {
    /// Whether anything is allowed.
    pub mode: Mode,
    /// Patterns `registry/repository[:tag|@digest]`, whole path segments; `*` stands for one segment, `**` at the end for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub allowed: Vec<String>,
}

/// Repositories.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RepositoryLimits {
    /// Whether anything is allowed.
    pub mode: Mode,
    /// Repositories that may be cloned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Map(vec!["name".into()]))]
    pub read: Vec<RepositoryRule>,
}

/// Repositories that may be cloned.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RepositoryRule {
    /// Name of the rule; refusals refer to it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// `https://host[:port]/path`, whole path segments; `*` stands for one segment, `**` at the end for any.
    #[schemars(length(min = 1, max = 512))]
    pub url: String,
    /// CIDRs that the host may resolve to though they are not globally routable. Never the cluster's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub addresses: Vec<String>,
}

/// What the agent may reach.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct EgressLimits {
    /// Whether anything is allowed.
    pub mode: Mode,
    /// What is allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Map(vec!["name".into()]))]
    pub rules: Vec<EgressRule>,
}

/// Hosts that may be reached.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct EgressRule {
    /// Name of the rule; refusals and records refer to it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Host names, exact or with `*` as the whole left-most label.
    #[schemars(length(min = 1, max = 32))]
    pub hosts: Vec<String>,
    /// CIDRs that these hosts may resolve to though they are not globally routable. Never the cluster's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub addresses: Vec<String>,
    /// Ports; absent means 443.
    #[serde(default = "default_ports")]
    #[schemars(length(min = 1, max = 16))]
    pub ports: Vec<i32>,
    /// How TLS is treated.
    pub tls: TlsMode,
}

fn default_ports() -> Vec<i32> {
    vec![443]
}

/// How TLS is treated.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    /// Bytes are passed on unread once the server name in the TLS hello equals the host.
    Tunnel,
}
