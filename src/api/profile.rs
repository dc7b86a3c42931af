//! Agents that policies offer by a name, so that a run need not say how one is started.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::agent_run::EgressAsk;
use super::rules;
use super::task::EnvVar;

/// An agent that runs start by the name of the profile (`spec.agentProfile`). A profile allows nothing: its values are judged by
/// `limits` of every policy in force, as if the run had them.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentProfile {
    /// Its name, to which `spec.agentProfile` of a run refers.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("agentProfiles[].name"))]
    pub name: String,
    /// One line for people who choose an agent by its profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::printable("description"))]
    pub description: Option<String>,
    /// Image of the agent, by digest: `registry/repository@sha256:…`. What was reviewed is what runs.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = rules::image_reference(), validation = rules::image_by_digest())]
    pub image: String,
    /// Replaces the image's entrypoint. A run cannot replace it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 2048)))]
    pub command: Vec<String>,
    /// Arguments of the entrypoint or of `command`, unless the run has `agent.args`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 2048)))]
    pub args: Vec<String>,
    /// Environment. The run's `agent.env` adds to it, and a variable that both have gets the run's value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// Hosts that the agent is to reach at most, unless the run has `egress`. Absent: all that policies allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<EgressAsk>,
}
