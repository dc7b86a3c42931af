//! `SandboxPolicy` and `ClusterSandboxPolicy`: the ceilings.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::agent_run::Resources;
use super::exclude::Exclude;
use super::limits::PolicyLimits;
use super::policy_status::{ClusterSandboxPolicyStatus, SandboxPolicyStatus};
use super::profile::AgentProfile;
use super::scheduling::SchedulingProfile;
use super::{bounds, rules};

/// What runs of one namespace that name this policy may have.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "cofferdam.dev",
    version = "v1alpha1",
    kind = "SandboxPolicy",
    doc = "What runs of its namespace that name this policy may have, and what they get where they ask for nothing.",
    plural = "sandboxpolicies",
    shortname = "sbp",
    category = "cofferdam",
    namespaced,
    status = "SandboxPolicyStatus",
    derive = "PartialEq",
    validation = rules::named_by_label("runs and records refer to it: choose another name"),
    validation = rules::tunnels_are_granted_above(),
    validation = rules::continue_is_granted_above(),
    validation = rules::clear_text_is_granted_above(),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Runtime",
        type_ = "string",
        json_path = ".spec.limits.runtime.runtimeClassNames"
    ),
    printcolumn(name = "Images", type_ = "string", json_path = ".spec.limits.images.mode"),
    printcolumn(
        name = "Repositories",
        type_ = "string",
        json_path = ".spec.limits.repositories.mode"
    ),
    printcolumn(name = "Egress", type_ = "string", json_path = ".spec.limits.egress.mode")
)]
#[serde(rename_all = "camelCase")]
pub struct SandboxPolicySpec {
    /// The most that a run may have. Every cluster policy over the namespace counts too.
    pub limits: PolicyLimits,
    /// What a run gets where it asks for nothing; met with every ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<SandboxPolicyDefaults>,
    /// Where and how pods are scheduled; a run names one of these. One named `default` is for runs that name none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Map(vec!["name".into()]))]
    pub scheduling_profiles: Vec<SchedulingProfile>,
    /// Agents that runs start by a name (`spec.agentProfile`). A profile allows nothing: `limits` of every policy judge its
    /// values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Map(vec!["name".into()]))]
    pub agent_profiles: Vec<AgentProfile>,
    /// Secrets of this namespace with which images are pulled; no container sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Map(vec!["name".into()]))]
    pub image_pull_secrets: Vec<SecretName>,
}

/// A Secret of the policy's namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretName {
    /// Name of a Secret of type `kubernetes.io/dockerconfigjson` in the policy's namespace.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::subdomain("imagePullSecrets[].name"))]
    pub name: String,
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
    #[schemars(range(min = 1, max = 86400))]
    pub start_deadline_seconds: Option<i32>,
    /// Seconds from the agent's start to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub active_deadline_seconds: Option<i32>,
    /// Seconds after its end when a run is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// New files that are not collected of any repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Exclude>,
}

/// A ceiling over every run of the namespaces that it selects, whatever policy those runs name.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "cofferdam.dev",
    version = "v1alpha1",
    kind = "ClusterSandboxPolicy",
    doc = "A ceiling over every run of the namespaces that it selects, whatever policy those runs name.",
    plural = "clustersandboxpolicies",
    shortname = "csbp",
    category = "cofferdam",
    status = "ClusterSandboxPolicyStatus",
    derive = "PartialEq",
    validation = rules::named_by_label("runs and records refer to it: choose another name"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Runtime",
        type_ = "string",
        json_path = ".spec.limits.runtime.runtimeClassNames"
    ),
    printcolumn(name = "Images", type_ = "string", json_path = ".spec.limits.images.mode"),
    printcolumn(
        name = "Repositories",
        type_ = "string",
        json_path = ".spec.limits.repositories.mode"
    ),
    printcolumn(name = "Egress", type_ = "string", json_path = ".spec.limits.egress.mode")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSandboxPolicySpec {
    /// Namespaces; an empty selector selects all.
    #[schemars(schema_with = "bounds::selector")]
    #[x_kube(validation = rules::selector_values())]
    pub namespace_selector: LabelSelector,
    /// The most that a run of these namespaces may have.
    pub limits: PolicyLimits,
    /// Agents that runs of these namespaces start by a name (`spec.agentProfile`), whatever `SandboxPolicy` they name. A profile
    /// allows nothing: `limits` of every policy judge its values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Map(vec!["name".into()]))]
    pub agent_profiles: Vec<AgentProfile>,
}
