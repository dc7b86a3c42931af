//! What the gateway observed, as the archive keeps it, and what the archive tells the controller at the end.
//!
//! Records are lines of JSON. A reader of an older version passes over fields that it does not know and reads an event
//! of a type that it does not know as [`RecordEvent::Unknown`]; the archive stores every line as it came. So a new
//! gateway may write to an old archive, and the other way round.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::denial::DenialCode;
use super::extensible::Extensible;
use super::output::Receipt;

/// Version of [`RunRecord`].
pub const VERSION: u32 = 1;
/// Version of [`Record`]. 2 added the version itself, the request's id and the layer of a denial.
pub const RECORD_VERSION: u32 = 2;

/// Tells one request at the gateway from all others, of all gateways and for ever.
///
/// Readers compare ids and take nothing out of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(String);

impl RequestId {
    /// The id of request `number`, from 1, on connection `connection` of the gateway's process `process`.
    pub fn new(process: ProcessId, connection: u64, number: u64) -> Self {
        Self(format!("{process}-{connection}-{number}"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A random number that a process draws when it starts. Numbers that it counts from 0 are unique together with it,
/// also when a container restarts in its pod and keeps the pod's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessId(pub u64);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One decision or event at the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// [`RECORD_VERSION`] of the writer; lines of version 1 do not have it.
    #[serde(default = "first_version")]
    pub version: u32,
    /// RFC 3339 time.
    pub time: String,
    /// Which gateway pod.
    pub source: String,
    /// The request that it is about: the same in its `Allowed` and its `Closed`. Absent in lines of version 1, and where
    /// no request is behind the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// What happened.
    #[serde(flatten)]
    pub event: RecordEvent,
}

const fn first_version() -> u32 {
    1
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum RecordEvent {
    /// A request was let through.
    Allowed {
        /// `host:port`.
        host: String,
        /// `CONNECT` or the method of a request that was read.
        method: String,
        /// The path of a request that was read, escaped and cut to 300 bytes, with the digest of the query where it has
        /// one; absent for bytes that pass unread.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// Address that was dialled.
        address: String,
        /// `Kind/name/rule` of each rule of each policy layer that allowed it.
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
        /// The path, as in `Allowed`; absent where no request was read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// Why.
        code: Extensible<DenialCode>,
        /// `Kind/name` of the policy layer that denied it; absent where none did, and in lines of version 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        layer: Option<String>,
        /// For people: which layer denied it and what that layer allows.
        message: String,
        /// Which token asked: `prepare` or `agent`.
        by: String,
        /// How many equal denials this record stands for; the request's id is that of the first.
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
    /// An event of a newer version. Only readers meet it; nobody writes it.
    #[serde(other)]
    Unknown,
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
    /// One of its ends read nothing for the time limit of the gateway, while bytes waited for it.
    Blocked,
    /// The run held more of the gateway's memory than its share, and of its connections this one waited longest.
    LimitExceeded,
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn closed() -> Record {
        Record {
            version: RECORD_VERSION,
            time: "2026-11-25T10:00:00Z".to_owned(),
            source: "gateway-1".to_owned(),
            request: Some(RequestId::new(ProcessId(0xabc), 7, 1)),
            event: RecordEvent::Closed {
                host: "a.test:443".to_owned(),
                sent: 1,
                received: 2,
                cause: CloseCause::Ended.into(),
            },
        }
    }

    #[test]
    fn golden_line_of_version_2() {
        let line = r#"{"version":2,"time":"2026-11-25T10:00:00Z","source":"gateway-1","request":"0000000000000abc-7-1","type":"Closed","host":"a.test:443","sent":1,"received":2,"cause":"Ended"}"#;
        assert_eq!(serde_json::to_string(&closed()).unwrap(), line);
        assert_eq!(serde_json::from_str::<Record>(line).unwrap(), closed());
    }

    #[test]
    fn golden_line_of_version_1_is_read() {
        let line = r#"{"time":"2026-11-25T10:00:00Z","source":"gateway-1","type":"Closed","host":"a.test:443","sent":1,"received":2,"cause":"Ended"}"#;
        let expected = Record {
            version: 1,
            request: None,
            ..closed()
        };
        assert_eq!(serde_json::from_str::<Record>(line).unwrap(), expected);
    }

    /// A later version adds fields, an event, and values to vocabularies.
    #[test]
    fn later_lines_are_read_as_far_as_they_are_known() {
        let later = |event: Value| {
            let mut line =
                json!({"version": 9, "time": "t", "source": "g", "request": "x/y", "class": "Observed"});
            line.as_object_mut()
                .unwrap()
                .extend(event.as_object().unwrap().clone());
            serde_json::from_value::<Record>(line).unwrap()
        };
        let record = later(json!({"type": "Reserved", "tokens": 5}));
        assert_eq!((record.version, record.event), (9, RecordEvent::Unknown));
        let record = later(
            json!({"type": "Closed", "host": "h", "sent": 1, "received": 2, "cause": "Budget", "ms": 3}),
        );
        assert!(
            matches!(record.event, RecordEvent::Closed { cause: Extensible::Unknown(cause), .. } if cause == "Budget")
        );
    }

    #[test]
    fn ids_differ_by_process_connection_and_number() {
        let ids = [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2), (1, 11, 1), (1, 1, 11)].map(
            |(process, connection, number)| {
                RequestId::new(ProcessId(process), connection, number).to_string()
            },
        );
        let distinct: std::collections::HashSet<&String> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }
}
