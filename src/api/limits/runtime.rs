//! What a policy says of how a sandbox is isolated.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// How a sandbox is isolated: its runtime, its users and its own node.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeLimits {
    /// Names of `RuntimeClass`es in order of preference; the first that all layers allow is used.
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 253)))]
    #[x_kube(
        merge_strategy = kube::core::cel::ListMerge::Set,
        validation = rules::subdomains("runtimeClassNames")
    )]
    pub runtime_class_names: Vec<String>,
    /// When a sandbox can reach its own node: `Deny` ends the run as `EgressNotEnforced`, `Allow` lets it go on and shows it
    /// in the status. `Allow` counts only if every policy with a `runtime` says so.
    #[serde(default)]
    pub node_access: NodeAccess,
    /// Who chooses the uid of the containers. Absent in every policy: `Fixed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as_user: Option<RunAsUser>,
    /// Whether the pod has a user namespace of its own. Absent in every policy: `Disabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_namespaces: Option<UserNamespaces>,
    /// Whether `prepare` must find itself under gVisor's own kernel. Absent in every policy: `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_check: Option<KernelCheck>,
}

/// Who chooses the uid of a sandbox's containers. `Fixed`: uid and gid 65532. `PlatformAssigned`: the platform assigns one
/// at admission, never root; counts only if every policy that sets this field says so. Absent: `Fixed`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunAsUser {
    /// Cofferdam: uid and gid 65532.
    #[default]
    Fixed,
    /// The platform assigns one at admission; root is refused all the same.
    PlatformAssigned,
}

/// Whether a sandbox's pod has a user namespace of its own (`hostUsers: false`). `Disabled`: no. `Preferred`: if all nodes
/// with the runtime support it. `Required`: yes, else the run ends `RuntimeUnavailable`. Absent: `Disabled`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserNamespaces {
    /// It has none.
    #[default]
    Disabled,
    /// It has one if every node that has the runtime's handler advertises them for it.
    Preferred,
    /// It has one; where no node advertises them the run ends `RuntimeUnavailable`.
    Required,
}

/// Which kernel a run checks for before it clones anything. `None`: no check. `GVisor`: a kernel that is not gVisor's ends
/// the run as `RuntimeUnavailable`, which finds a `RuntimeClass` with a misleading name. Absent: `None`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelCheck {
    /// It does not look.
    #[default]
    None,
    /// A kernel that is not gVisor's ends the run `RuntimeUnavailable` before anything is cloned.
    GVisor,
}

/// What happens when the sandbox reaches its own node: `Deny` ends the run, `Allow` lets it go on and shows it
/// in the status. Allowed only if every policy with a `runtime` says so.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeAccess {
    /// The run ends `EgressNotEnforced`.
    #[default]
    Deny,
    /// The run goes on and its status says so.
    Allow,
}
