//! What a policy may limit. Absent means "no opinion"; that no layer has one means that nothing is allowed.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{bounds, rules};

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
    /// Ceiling of each resource of the agent's container (`cpu`, `memory`, `ephemeral-storage`). A resource that no
    /// policy names has a built-in ceiling: 16, 64Gi, 100Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::amounts")]
    #[x_kube(validation = rules::resource_names(), validation = rules::resource_amounts())]
    pub max_resources: Option<BTreeMap<String, Quantity>>,
    /// Ceiling of `startTimeoutSeconds`; without one in any policy, 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub max_start_timeout_seconds: Option<i32>,
    /// Ceiling of `timeoutSeconds`; without one in any policy, 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub max_timeout_seconds: Option<i32>,
}

/// `AllowList` allows what the list names, `DenyAll` nothing. Serializers drop empty lists, so an empty list says neither.
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
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 253)))]
    #[x_kube(
        merge_strategy = kube::core::cel::ListMerge::Set,
        validation = rules::subdomains("classes")
    )]
    pub classes: Vec<String>,
    /// What happens when the sandbox reaches its own node.
    #[serde(default)]
    pub node_reachability: NodeReachability,
}

/// What happens when the sandbox reaches its own node: `Denied` ends the run, `Tolerated` lets it go on and shows it
/// in the status. Tolerated only if every policy with a `runtime` says so.
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
#[x_kube(validation = rules::allow_list_needs("allowed"), validation = rules::deny_all_forbids("allowed"))]
pub struct ImageLimits {
    /// Whether anything is allowed.
    pub mode: Mode,
    /// Patterns `registry/repository[:tag|@digest]`, whole path segments; `*` stands for one segment, `**` at the end for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
    #[x_kube(
        merge_strategy = kube::core::cel::ListMerge::Set,
        validation = rules::image_patterns()
    )]
    pub allowed: Vec<String>,
}

/// Repositories.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = rules::allow_list_needs("read"), validation = rules::deny_all_forbids("read"))]
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
    #[x_kube(validation = rules::label("name of a rule"))]
    pub name: String,
    /// `https://host[:port]/path`, whole path segments; `*` stands for one segment, `**` at the end for any.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = rules::repository_pattern())]
    pub url: String,
    /// CIDRs that the host may resolve to though they are not globally routable. Never the cluster's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 49)))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Set, validation = rules::cidrs())]
    pub addresses: Vec<String>,
}

/// What the agent may reach.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = rules::allow_list_needs("rules"), validation = rules::deny_all_forbids("rules"))]
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
    #[x_kube(validation = rules::label("name of a rule"))]
    pub name: String,
    /// Host names, exact or with `*` as the whole left-most label.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 253)))]
    #[x_kube(
        merge_strategy = kube::core::cel::ListMerge::Set,
        validation = rules::hosts(),
        validation = rules::hosts_are_not_addresses()
    )]
    pub hosts: Vec<String>,
    /// CIDRs that these hosts may resolve to though they are not globally routable. Never the cluster's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 49)))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Set, validation = rules::cidrs())]
    pub addresses: Vec<String>,
    /// Ports; absent means 443.
    #[serde(default = "default_ports")]
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 65535)))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Set)]
    pub ports: Vec<i32>,
    /// How TLS is treated.
    pub tls: TlsMode,
}

fn default_ports() -> Vec<i32> {
    vec![443]
}

/// How TLS is treated: with `Tunnel`, bytes pass unread once the server name in the TLS hello equals the host.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    /// Bytes are passed on unread once the server name in the TLS hello equals the host.
    Tunnel,
}
