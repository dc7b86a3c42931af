//! `SandboxPolicy` and `ClusterSandboxPolicy`: the ceilings.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::agent_run::Resources;
use super::limits::PolicyLimits;

/// What runs of one namespace that name this policy may have.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "cofferdam.dev",
    version = "v1alpha1",
    kind = "SandboxPolicy",
    plural = "sandboxpolicies",
    shortname = "sbp",
    category = "cofferdam",
    namespaced,
    derive = "PartialEq",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct SandboxPolicySpec {
    /// The ceiling.
    pub limits: PolicyLimits,
    /// What a run gets where it asks for nothing; met with every ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<SandboxPolicyDefaults>,
}

/// What a run gets where it asks for nothing.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SandboxPolicyDefaults {
    /// Resources of the agent's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Seconds from admission to the agent's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timeout_seconds: Option<i32>,
    /// Seconds from the agent's start to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<i32>,
    /// Seconds after its end when a run is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds_after_finished: Option<i32>,
}

/// A ceiling over every run of the namespaces that it selects, whatever policy those runs name.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "cofferdam.dev",
    version = "v1alpha1",
    kind = "ClusterSandboxPolicy",
    plural = "clustersandboxpolicies",
    shortname = "csbp",
    category = "cofferdam",
    derive = "PartialEq",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSandboxPolicySpec {
    /// Namespaces; an empty selector selects all.
    pub namespace_selector: LabelSelector,
    /// The ceiling.
    pub limits: PolicyLimits,
}
