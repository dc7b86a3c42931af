//! What the controller tells the containers of a run's pod, and what they report by their termination messages.

use std::time::Duration;

use k8s_openapi::api::core::v1::PodSpec;
use serde::{Deserialize, Serialize};

use cofferdam_api::names::CONTAINER_SIDECAR;
use cofferdam_api::{Access, CloneOptions, Reason};

/// Version of every document in this file.
pub const VERSION: u32 = 1;
/// Environment variable of `prepare` that carries a [`PrepareSpec`].
pub const PREPARE_ENV: &str = "COFFERDAM_PREPARE";
/// Environment variable of `sidecar` that carries a [`SidecarSpec`].
pub const SIDECAR_ENV: &str = "COFFERDAM_SIDECAR";
/// Environment variable of both: address of the pod's node, from the downward API.
pub const NODE_IP_ENV: &str = "COFFERDAM_NODE_IP";
/// Kubernetes cuts termination messages at this many bytes.
pub const TERMINATION_MESSAGE_LIMIT: usize = 4096;

/// Which run this is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunIdentity {
    /// Namespace.
    pub namespace: String,
    /// Name of the `AgentRun`.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// Order to `prepare`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PrepareSpec {
    /// [`VERSION`].
    pub version: u32,
    /// The run.
    pub run: RunIdentity,
    /// `address:port` of the gateway.
    pub gateway: String,
    /// What must not be reachable.
    pub probes: Vec<Probe>,
    /// Whether an open way to the pod's own node ends the run.
    pub node_access_allowed: bool,
    /// What to clone.
    pub repositories: Vec<RepositorySpec>,
    /// From where submodules may come: what each policy lets be cloned. Empty where no repository asks for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub submodule_grants: Vec<CloneGrant>,
    /// Bytes that all clones together come to at most.
    pub max_clone_bytes: u64,
    /// Seconds from the run's admission to its agent's start: what clones take at most.
    pub start_deadline_seconds: u32,
    /// Whether a kernel that is not gVisor's ends the run before anything is cloned.
    pub gvisor_required: bool,
    /// What the agent is to do.
    pub prompt: PromptSpec,
}

/// What the agent is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum PromptSpec {
    /// The prompt itself.
    Text(String),
    /// It stands in the file `/cofferdam/input/prompt`.
    Mounted(MountedPrompt),
}

/// A prompt that a ConfigMap of the run's namespace holds, where others can change it until the pod starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MountedPrompt {
    /// Name of the ConfigMap, for messages.
    pub config_map: String,
    /// Its key, for messages.
    pub key: String,
    /// `sha256:…` of the text that the run was asked for with.
    pub digest: String,
}

/// Order to `sidecar`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SidecarSpec {
    /// [`VERSION`].
    pub version: u32,
    /// The run.
    pub run: RunIdentity,
    /// `address:port` of the gateway.
    pub gateway: String,
    /// What must not be reachable.
    pub probes: Vec<Probe>,
    /// Whether an open way to the pod's own node ends the run.
    pub node_access_allowed: bool,
    /// What to collect: `ReadWrite` repositories only.
    pub repositories: Vec<RepositorySpec>,
    /// Seconds from the agent's start to its stop.
    pub active_deadline_seconds: i32,
    /// Whether patches are printed to the log too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub print_patches: bool,
}

/// How long the agent of a run's pod may work, as its sidecar was told; `None`: the pod has no such order.
///
/// The pod's digest covers the order, so that who sees a pod as it was built need not be told the time by anybody else.
/// Only this one field is read, so that a pod of another [`VERSION`] has its time, too.
pub fn active_deadline(pod: &PodSpec) -> Option<Duration> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Order {
        active_deadline_seconds: u32,
    }
    let containers = pod.containers.iter().chain(pod.init_containers.iter().flatten());
    let variable = containers
        .filter(|container| container.name == CONTAINER_SIDECAR)
        .flat_map(|sidecar| sidecar.env.iter().flatten())
        .find(|variable| variable.name == SIDECAR_ENV)?;
    let order: Order = serde_json::from_str(variable.value.as_deref()?).ok()?;
    Some(Duration::from_secs(order.active_deadline_seconds.into()))
}

/// A repository of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositorySpec {
    /// Name within the run: `/cofferdam/git/<name>.git`.
    pub name: String,
    /// Canonical URL.
    pub url: String,
    /// Branch, tag, other reference or commit; absent: the remote's HEAD.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// Directory below `/workspace`.
    pub directory: String,
    /// What the agent may do with it.
    pub access: Access,
    /// How much of it is cloned.
    pub clone: CloneOptions,
    /// Name of the `SandboxCredential` that the gateway adds to what is asked of its server; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// What is not collected beside what its own rules ignore.
    #[serde(default, skip_serializing_if = "Exclude::is_built_in")]
    pub exclude: Exclude,
}

/// Patterns beside the rules of a repository, in the spelling of `.gitignore`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Exclude {
    /// Whether the runner's own list of what tools leave behind does not count.
    pub keep_litter: bool,
    /// More patterns.
    pub patterns: Vec<String>,
}

impl Exclude {
    /// Whether nobody asked for anything.
    pub fn is_built_in(&self) -> bool {
        *self == Self::default()
    }
}

/// What one policy lets be cloned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloneGrant {
    /// The policy.
    pub layer: String,
    /// Its patterns of URLs.
    pub urls: Vec<String>,
}

/// Something that a sandbox must not reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Name in reports, such as `api-server`.
    pub name: String,
    /// `address:port`; `node` as the address stands for the pod's own node.
    pub address: String,
    /// How it is tried.
    pub protocol: ProbeProtocol,
}

/// How a probe tries to get out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeProtocol {
    /// A TCP connection that opens is a hole.
    Tcp,
    /// An answer to a datagram is a hole.
    Udp,
    /// An answer to a DNS query over UDP is a hole.
    DnsUdp,
    /// An answer to an ICMP echo request is a hole, where the sandbox can send one; the port is nothing.
    Echo,
}

/// What `prepare` reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PrepareReport {
    /// [`VERSION`].
    pub version: u32,
    /// Absent: all went well.
    pub failure: Option<Failure>,
    /// Commits of the repositories.
    pub commits: Vec<RepositoryCommit>,
    /// Whether the pod's own node could be reached; absent: not proven yet.
    pub node_open: Option<bool>,
    /// RFC 3339 time when the fence was seen closed.
    pub proven_time: Option<String>,
    /// Probes that were made until then.
    pub probes_made: u32,
}

/// What `sidecar` reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SidecarReport {
    /// [`VERSION`].
    pub version: u32,
    /// Absent: the receipt is at the archive.
    pub failure: Option<Failure>,
    /// Why the agent was stopped before its own end.
    pub stopped: Option<Reason>,
}

/// A failure with its stable reason and a message for the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// One of the reasons of a run.
    pub reason: Reason,
    /// What was wrong, where, and what to do; at most 1 KiB.
    pub message: String,
}

/// Commit of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositoryCommit {
    /// Name within the run.
    pub name: String,
    /// Full commit id.
    pub commit: String,
    /// Checks of git that the history failed and that were let pass, such as `badTimezone`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerated: Vec<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(containers: &Value) -> Option<Duration> {
        active_deadline(&serde_json::from_value(containers.clone()).unwrap())
    }

    #[test]
    fn time_of_the_agent_is_the_sidecars_order() {
        let order = |name: &str, variable: &str, value: &str| json!({"name": name, "env": [{"name": variable, "value": value}]});
        let sidecar = order(
            "sidecar",
            SIDECAR_ENV,
            r#"{"version":9,"activeDeadlineSeconds":90,"new":1}"#,
        );
        let agent = json!({"name": "agent"});
        let minutes = Some(Duration::from_secs(90));
        assert_eq!(read(&json!({"containers": [sidecar, agent]})), minutes);
        assert_eq!(
            read(&json!({"containers": [agent], "initContainers": [sidecar]})),
            minutes
        );
        for other in [
            order("agent", SIDECAR_ENV, r#"{"activeDeadlineSeconds":90}"#),
            order("sidecar", "OTHER", r#"{"activeDeadlineSeconds":90}"#),
            order("sidecar", SIDECAR_ENV, r#"{"activeDeadlineSeconds":-1}"#),
            order("sidecar", SIDECAR_ENV, "{}"),
            order("sidecar", SIDECAR_ENV, ""),
        ] {
            assert_eq!(read(&json!({"containers": [other]})), None, "{other}");
        }
    }
}
