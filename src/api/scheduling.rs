//! Where and how the pods of runs are scheduled: written by whoever writes policies, named by runs.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{placement, rules};

/// One way of scheduling a pod. The fields are those of a pod's spec.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SchedulingProfile {
    /// Its name; `spec.schedulingProfileName` of a run refers to it.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("schedulingProfiles[].name"))]
    pub name: String,
    /// Labels that a node must have. Same as Pod `spec.nodeSelector`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "placement::node_selector")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pod tolerates. Same as Pod `spec.tolerations`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "placement::tolerations")]
    pub tolerations: Vec<Toleration>,
    /// Nodes and pods that attract or repel the pod. Same as Pod `spec.affinity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "placement::affinity")]
    pub affinity: Option<Affinity>,
    /// How pods spread over zones and nodes. Same as Pod `spec.topologySpreadConstraints`. A selector of `cofferdam.dev/run`
    /// with `Exists` counts the pods of runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "placement::topology_spread")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Name of the pod's `PriorityClass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::subdomain("priorityClassName"))]
    pub priority_class_name: Option<String>,
    /// `Avoid`: autoscalers (Cluster Autoscaler, Karpenter) are asked not to evict the pod. `Allow`: they may, which ends
    /// the run, because an agent cannot be resumed.
    #[serde(default)]
    pub disruption: Disruption,
    /// The Kueue `LocalQueue` that admits the Job (label `kueue.x-k8s.io/queue-name`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("queueName"))]
    pub queue_name: Option<String>,
}

/// Whether autoscalers (Cluster Autoscaler, Karpenter) may evict the pod to empty its node. An agent cannot be resumed.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disruption {
    /// They are asked not to.
    #[default]
    Avoid,
    /// They may.
    Allow,
}
