//! `AgentRun`: one coding agent, working once on copies of repositories.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::{Mode, default_ports};
use super::repository::Repository;
use super::status::AgentRunStatus;
use super::task::{Agent, Task};
use super::{bounds, names, rules};

/// What a run asks for. Everything but `suspend`, `cancel` and `ttlSecondsAfterFinished` is immutable.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "cofferdam.dev",
    version = "v1alpha1",
    kind = "AgentRun",
    doc = "One coding agent, working once on copies of repositories in a sandbox that it cannot leave.",
    plural = "agentruns",
    shortname = "agr",
    category = "cofferdam",
    namespaced,
    status = "AgentRunStatus",
    derive = "PartialEq",
    validation = rules::named_by_label("it becomes part of the pod's name: choose another name"),
    validation = rules::suspend_before_start(),
    selectable = ".spec.agent.image",
    selectable = ".spec.policyRef.name",
    selectable = ".spec.requestedBy.username",
    selectable = ".status.phase",
    selectable = ".status.reason",
    selectable = ".status.resolved.policyHash",
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
        name = "Profile",
        type_ = "string",
        json_path = ".spec.agentProfile",
        priority = 1
    ),
    printcolumn(
        name = "Requester",
        type_ = "string",
        json_path = ".spec.requestedBy.username",
        priority = 1
    ),
    printcolumn(
        name = "Started",
        type_ = "date",
        json_path = ".status.startTime",
        priority = 1
    ),
    printcolumn(
        name = "Completed",
        type_ = "date",
        json_path = ".status.completionTime",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::immutable("policyRef"),
    validation = rules::immutable("task"),
    validation = rules::immutable("agent"),
    validation = rules::immutable("agentProfile"),
    validation = rules::image_or_profile(),
    validation = rules::profile_has_the_command(),
    validation = rules::immutable("repositories"),
    validation = rules::immutable("egress"),
    validation = rules::immutable("resources"),
    validation = rules::immutable("schedulingProfileName"),
    validation = rules::immutable("requestedBy"),
    validation = rules::immutable("onBehalfOf"),
    validation = rules::immutable("startDeadlineSeconds"),
    validation = rules::immutable("activeDeadlineSeconds"),
    validation = rules::cancel_one_way()
)]
pub struct AgentRunSpec {
    /// The `SandboxPolicy` of this namespace that governs the run. Absent: the one named `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_ref: Option<PolicyRef>,
    /// What the agent is to do: exactly one of `prompt` and `promptFrom`.
    pub task: Task,
    /// The agent's container: your image as it is, without any credential. With `agentProfile` it has `args` and `env` at most.
    #[serde(default, skip_serializing_if = "Agent::is_absent")]
    pub agent: Agent,
    /// An agent that a policy in force offers by this name (`agentProfiles`), instead of `agent.image` and `agent.command`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("agentProfile"))]
    pub agent_profile: Option<String>,
    /// Repositories that are cloned for the agent before it starts, at one commit each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(
        merge_strategy = kube::core::cel::ListMerge::Map(vec!["name".into()]),
        validation = rules::directories_unique()
    )]
    pub repositories: Vec<Repository>,
    /// What the agent is to reach at most: it narrows what policies grant and never adds to it. Absent: all of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<EgressAsk>,
    /// Resources of the agent's container. Absent: the policy's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Seconds from admission to the agent's start, without the time spent suspended. Absent: the policy's default,
    /// else 600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub start_deadline_seconds: Option<i32>,
    /// Seconds from the agent's start to its end. Absent: the policy's default, else 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub active_deadline_seconds: Option<i32>,
    /// How the pod is scheduled: a profile of the policy. Absent: the one named `default`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("schedulingProfileName"))]
    pub scheduling_profile_name: Option<String>,
    /// Who asked for the run. The API server refuses anyone else than the user who creates it, and where it serves
    /// `MutatingAdmissionPolicy` v1 fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<Requester>,
    /// For whom the requester says that it acts, such as the author of an issue. A claim that nobody checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::printable("onBehalfOf"))]
    pub on_behalf_of: Option<String>,
    /// While true nothing is created. Can be set only before the run has started.
    #[serde(default)]
    pub suspend: bool,
    /// Ends the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Cancel>,
    /// Seconds after its end when the run is deleted. Absent: the policy's default, else 7 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<i32>,
}

impl AgentRunSpec {
    /// Name of the `SandboxPolicy` that governs the run.
    pub fn policy_name(&self) -> &str {
        self.policy_ref
            .as_ref()
            .map_or(names::DEFAULT_POLICY, |policy| policy.name.as_str())
    }
}

/// Who asked for a run, in the words of the API server's authentication (`UserInfo`).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Requester {
    /// Name of the user, as the API server authenticated it.
    #[schemars(length(min = 1, max = 512))]
    pub username: String,
    /// The user's uid, where the authenticator knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub uid: Option<String>,
    /// The user's groups, the first 64 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 512)))]
    pub groups: Vec<String>,
    /// Which of the user's credentials was used (`authentication.kubernetes.io/credential-id`), where it is known.
    #[serde(default, rename = "credentialID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub credential_id: Option<String>,
}

/// What an agent is to reach at most.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = rules::allow_list_needs("rules"), validation = rules::deny_all_forbids("rules"))]
pub struct EgressAsk {
    /// `AllowList`: the hosts of `rules`, as far as policies allow them. `DenyAll`: nothing.
    pub mode: Mode,
    /// Hosts that the agent is to reach; needed with `AllowList`, forbidden with `DenyAll`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Map(vec!["name".into()]))]
    pub rules: Vec<EgressAskRule>,
}

/// Hosts that an agent is to reach. Addresses are granted by policies alone.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct EgressAskRule {
    /// Name of the rule; records refer to it.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("name of a rule"))]
    pub name: String,
    /// Host names, exact or with `*` as the whole left-most label.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 253)))]
    #[x_kube(
        merge_strategy = kube::core::cel::ListMerge::Set,
        validation = rules::hosts(),
        validation = rules::hosts_are_not_addresses()
    )]
    pub hosts: Vec<String>,
    /// Ports of these hosts. Absent: 443.
    #[serde(default = "default_ports")]
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 65535)))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Set)]
    pub ports: Vec<i32>,
}

/// Name of a `SandboxPolicy` in the run's namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct PolicyRef {
    /// Name of the `SandboxPolicy`, a DNS label.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("policyRef.name"))]
    pub name: String,
}

/// Resources of the agent's container, as in a pod.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = rules::requests_within_limits())]
pub struct Resources {
    /// Amounts that the scheduler sets aside for the agent. Absent: those of `limits`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "bounds::amounts")]
    #[x_kube(
        validation = rules::resource_names(),
        validation = rules::resource_amounts(),
        validation = rules::amounts_of_bytes()
    )]
    pub requests: BTreeMap<String, Quantity>,
    /// Amounts that the agent never exceeds. Absent: the policy's default, else a built-in one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "bounds::amounts")]
    #[x_kube(
        validation = rules::resource_names(),
        validation = rules::resource_amounts(),
        validation = rules::amounts_of_bytes()
    )]
    pub limits: BTreeMap<String, Quantity>,
}

/// Ends the run, and cannot be taken back. `KeepWork`: what the agent did so far is collected as a patch. `DiscardWork`:
/// the pod is stopped at once, without a patch.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// Collect what there is, then stop.
    KeepWork,
    /// Stop at once, without a patch.
    DiscardWork,
}
