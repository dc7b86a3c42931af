//! The gateway's control routes for the containers of a run's pod.

use serde::{Deserialize, Serialize};

use super::runner::RunIdentity;
use cofferdam_api::Reason;

/// Path of [`WhoAmI`].
pub const WHOAMI: &str = "/v1/whoami";
/// Path of the additional trusted CAs, PEM.
pub const TRUST: &str = "/v1/trust";
/// Path of the long poll for [`RunState`]; query `after=<revision>`.
pub const STATE: &str = "/v1/state";
/// Path of the upload ([`super::output`]).
pub const OUTPUT: &str = "/v1/output";
/// Path of [`IsolationLost`].
pub const ISOLATION: &str = "/v1/isolation";
/// The long poll answers after this many seconds at the latest.
pub const STATE_POLL_SECONDS: u64 = 25;

/// Who the gateway takes the caller for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WhoAmI {
    /// The run.
    pub run: RunIdentity,
    /// Uid of the pod.
    pub pod_uid: String,
    /// Address that the API shows for the pod.
    pub pod_address: String,
    /// Address that the connection came from.
    pub peer_address: String,
}

/// What the sidecar waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunState {
    /// Grows with every change; hand it back as `after`.
    pub revision: u64,
    /// RFC 3339 time of the agent's start.
    pub agent_started_at: Option<String>,
    /// Whether the agent has ended.
    pub agent_ended: bool,
    /// Why the run is to stop; absent: it is not.
    pub stop: Option<Reason>,
}

/// The sidecar saw a hole in the fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsolationLost {
    /// Name of the probe.
    pub probe: String,
    /// What was seen.
    pub detail: String,
}

/// Body of every refusal on a control route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable short code.
    pub code: String,
    /// For people.
    pub message: String,
}
