//! What the gateway observed, as the archive keeps it, and what the archive tells the controller at the end.

use serde::{Deserialize, Serialize};

use super::denial::DenialCode;
use super::extensible::Extensible;
use super::output::Receipt;

/// Version of the documents in this file.
pub const VERSION: u32 = 1;

/// One decision or event at the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// RFC 3339 time.
    pub time: String,
    /// Which gateway pod.
    pub source: String,
    /// What happened.
    #[serde(flatten)]
    pub event: RecordEvent,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum RecordEvent {
    /// A request was let through.
    Allowed {
        /// `host:port`.
        host: String,
        /// `CONNECT` or the method of a plain request.
        method: String,
        /// Address that was dialled.
        address: String,
        /// `<layer>/<rule>` that granted it, one for each layer.
        rules: Vec<String>,
        /// Which token asked: `prepare` or `agent`.
        by: String,
    },
    /// A request was denied.
    Denied {
        /// `host:port` as asked for, escaped, at most 100 bytes.
        host: String,
        /// Method.
        method: String,
        /// Why.
        code: Extensible<DenialCode>,
        /// For people: which layer said no.
        message: String,
        /// Which token asked: `prepare` or `agent`.
        by: String,
        /// How many equal denials this record stands for.
        count: u64,
    },
    /// A tunnel or request ended.
    Closed {
        /// `host:port`.
        host: String,
        /// Bytes from the sandbox.
        sent: u64,
        /// Bytes to the sandbox.
        received: u64,
        /// Why.
        cause: Extensible<CloseCause>,
    },
    /// The sidecar saw a hole in the fence; the exit was closed.
    IsolationLost {
        /// Name of the probe.
        probe: String,
        /// What was seen.
        detail: String,
    },
    /// The live pod differs from the built one; nothing was let through.
    PodMutated {
        /// Digest that was built.
        built: String,
        /// Digest of the live pod.
        live: String,
    },
}

/// Why a tunnel or request that was let through ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CloseCause {
    /// One of its ends closed it.
    Ended,
    /// No byte moved for the time limit of the gateway.
    Idle,
    /// The run, or the part of it that asked, ended or was stopped.
    RunEnded,
    /// The gateway's view of the cluster was out of date.
    Stale,
    /// The sidecar saw a hole in the fence.
    IsolationLost,
    /// A cluster policy came to deny where it went.
    DeniedSinceAdmission,
}

/// What the archive knows of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRecord {
    /// [`VERSION`].
    pub version: u32,
    /// The receipt of the run's upload.
    pub receipt: Option<Receipt>,
    /// Requests that were let through.
    pub requests: u64,
    /// Requests that were denied.
    pub denied_requests: u64,
    /// The last denials, newest last, at most 10.
    pub last_denied: Vec<Denial>,
    /// The first hole in the fence that was seen while the run was live.
    pub isolation_lost: Option<String>,
}

/// A denial, first per host and code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// RFC 3339 time of the first.
    pub time: String,
    /// `host:port`, escaped.
    pub host: String,
    /// Why.
    pub code: Extensible<DenialCode>,
    /// For people.
    pub message: String,
    /// How often.
    pub count: u64,
}
