//! What a policy may limit. Absent means "no opinion"; that no layer has one means that nothing is allowed.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{bounds, rules};

pub use self::evidence::{EvidenceLimits, OnSinkFailure};
pub use self::images::{DigestMode, ImageLimits, OnMissingReport, PullPolicy, Severity, VulnerabilityLimits};
pub(crate) use self::reach::default_ports;
pub use self::reach::{
    ClearText, EgressLimits, EgressRule, Preset, RepositoryLimits, RepositoryRule, ServicePort, TlsMode,
};
pub use self::runtime::{KernelCheck, NodeAccess, RunAsUser, RuntimeLimits, UserNamespaces};

mod evidence;
mod images;
mod reach;
mod runtime;

/// Limits of one layer.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyLimits {
    /// How the sandbox is isolated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeLimits>,
    /// Images of every container of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<ImageLimits>,
    /// Repositories that may be cloned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repositories: Option<RepositoryLimits>,
    /// Hosts that the agent may reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<EgressLimits>,
    /// Whether rules may say `tls: Tunnel`. Absent in every policy: `Deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnels: Option<Tunnels>,
    /// What becomes of a run's evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceLimits>,
    /// Ceiling of each resource of the agent's container (`cpu`, `memory`, `ephemeral-storage`). A resource that no
    /// policy names has a built-in ceiling: 16, 64Gi, 100Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::amounts")]
    #[x_kube(
        validation = rules::resource_names(),
        validation = rules::resource_amounts(),
        validation = rules::amounts_of_bytes()
    )]
    pub max_resources: Option<BTreeMap<String, Quantity>>,
    /// Ceiling of `startDeadlineSeconds`; without one in any policy, 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub max_start_deadline_seconds: Option<i32>,
    /// Ceiling of `activeDeadlineSeconds`; without one in any policy, 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub max_active_deadline_seconds: Option<i32>,
    /// Ceiling of `ttlSecondsAfterFinished`; without one in any policy, 365 days.
    #[serde(
        default,
        rename = "maxTTLSecondsAfterFinished",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub max_ttl_seconds_after_finished: Option<i32>,
    /// Runs of one namespace that may have a pod at a time; further ones wait, oldest first. Without one in any policy, 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_running: Option<i32>,
    /// Bytes that the clones of one run come to at most: their objects, submodules included, and the files of their work
    /// trees. Without a ceiling in any policy, 17179869184 (16 GiB).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 17_179_869_184_i64))]
    pub max_clone_bytes: Option<i64>,
    /// Whether a run that failed before its agent started may be tried again. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Whether a run must say who asked for it. Absent: it need not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<RequesterMode>,
}

/// Whether TLS of the agent may pass the gateway unread (`tls: Tunnel` of a rule). `Deny`: it may not, and rules that say so
/// refuse every run under them. `Allow`: it may; only a ClusterSandboxPolicy can say so, and `Deny` of any policy overrules
/// it. Absent: `Deny`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tunnels {
    /// Every request is read.
    #[default]
    Deny,
    /// What policies let pass unread passes unread.
    Allow,
}

impl PolicyLimits {
    /// The names of the `SandboxCredential`s that rules name; one that several rules name comes several times.
    pub fn credentials(&self) -> impl Iterator<Item = &str> {
        let egress = self.egress.iter().flat_map(|egress| &egress.rules);
        let clone = self
            .repositories
            .iter()
            .flat_map(|repositories| &repositories.clone);
        let of_egress = egress.filter_map(|rule| rule.credential.as_deref());
        of_egress.chain(clone.filter_map(|rule| rule.credential.as_deref()))
    }
}

/// Whether a run that failed before its agent's container started is tried again; an agent never starts twice. `Never`:
/// the failure ends the run. `BeforeAgentStart`: the run is tried again if the infrastructure failed. Absent: `Never`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It may not.
    Never,
    /// It may, if the failure was the infrastructure's.
    BeforeAgentStart,
}

/// Whether a run must carry `requestedBy`, which the API server checks against the user who creates it. `Optional`: it
/// need not. `Required`: a run without it is refused. Absent: `Optional`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequesterMode {
    /// It need not.
    Optional,
    /// A run without it is refused.
    Required,
}

/// `AllowList` allows what the list names, `DenyAll` nothing. An empty list cannot stand for `DenyAll`, because serializers
/// drop empty lists.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is allowed.
    DenyAll,
    /// What the list names is allowed.
    AllowList,
}
