//! What the gateway observed, as the archive keeps it, and what the archive tells the controller at the end.
//!
//! Records are lines of JSON, to which the archive adds what links them ([`super::chain`]). A reader of an older version
//! passes over fields that it does not know and reads an event of a type that it does not know as
//! [`RecordEvent::Unknown`]; the archive keeps every field as it came. So a new gateway may write to an old archive, and
//! the other way round.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::archive::ChainState;
use super::denial::DenialCode;
use super::extensible::Extensible;
use super::output::Receipt;

/// Version of [`RunRecord`].
pub const VERSION: u32 = 1;
/// Version of [`Record`]. 3 put what happened into `data` and numbered the records of a source.
pub const RECORD_VERSION: u32 = 3;

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

/// Tells the records that one process writes about one run from all others. Its records are numbered from 1 without a
/// gap: a number that the archive does not have is a record that was lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StreamId(String);

impl StreamId {
    /// The stream that is the `number`th of the process `process`.
    pub fn new(process: ProcessId, number: u64) -> Self {
        Self(format!("{process}-{number}"))
    }

    /// The text, which fits into a header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text names no stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stream is named by 1 to 64 lower-case letters, digits and hyphens")]
pub struct NotAStream;

impl FromStr for StreamId {
    type Err = NotAStream;

    fn from_str(text: &str) -> Result<Self, NotAStream> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAStream)
        }
    }
}

/// One decision or event at the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// [`RECORD_VERSION`] of the writer.
    pub version: u32,
    /// Which record of its stream this is, from 1.
    pub source_seq: u64,
    /// RFC 3339 time.
    pub time: String,
    /// The request that it is about: the same in its `Allowed` and its `Closed`. Absent where no request is behind the
    /// event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// What happened.
    #[serde(flatten, deserialize_with = "event")]
    pub event: RecordEvent,
}

/// Reads an event. Serde reads a type that it does not know only where there is no `data`, so that is tried first.
fn event<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RecordEvent, D::Error> {
    #[derive(Deserialize)]
    struct Tagged {
        r#type: String,
        #[serde(default)]
        data: Value,
    }
    let Tagged { r#type, data } = Tagged::deserialize(deserializer)?;
    let without_data = RecordEvent::deserialize(json!({ "type": r#type }));
    without_data.or_else(|_| {
        RecordEvent::deserialize(json!({ "type": r#type, "data": data })).map_err(D::Error::custom)
    })
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all_fields = "camelCase")]
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
        /// The credential that the gateway added; absent: none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credential: Option<String>,
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
        /// `Kind/name` of the policy layer that denied it; absent where none did.
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
    /// GitHub made a token of an App for the run.
    CredentialIssued {
        /// Name of the credential.
        credential: String,
        /// The repositories that it is for, `owner/name`.
        repositories: Vec<String>,
        /// What it may do there, such as `contents: read`.
        permissions: Vec<String>,
        /// RFC 3339 time at which it ends by itself.
        expires: String,
    },
    /// A token of an App that was made for the run has been revoked.
    CredentialRevoked {
        /// Name of the credential.
        credential: String,
        /// The repositories that it was for.
        repositories: Vec<String>,
    },
    /// A token of an App that was made for the run could not be revoked: at the latest it ends by itself.
    RevocationUnknown {
        /// Name of the credential.
        credential: String,
        /// The repositories that it is for.
        repositories: Vec<String>,
        /// RFC 3339 time at which it ends by itself.
        expires: String,
        /// Why.
        message: String,
    },
    /// Policy let the run go on though the archive had not acknowledged its records. Once for each time that it stays away.
    SinkFailed {
        /// How long the oldest of them had waited.
        waited_seconds: u64,
    },
    /// The first record of a stream: it is stored before the first request of the run is let through here.
    StreamOpened,
    /// The last record of a stream. A stream that was opened and has none lost its end.
    StreamClosed {
        /// How many records the stream has before this one.
        count: u64,
        /// Why it ends.
        cause: Extensible<StreamEnd>,
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

/// Why a stream of records ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StreamEnd {
    /// The run has no live pod any more.
    RunEnded,
    /// The gateway was stopped.
    GatewayEnded,
    /// The gateway's process was killed; the next one in its pod sent what was left. Denials that were only counted up
    /// since they were first recorded may be missing from their counts.
    ProcessKilled,
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
    /// How far its records go; absent: the archive is older than this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainState>,
    /// How many attempts the chain tells were admitted.
    #[serde(default)]
    pub admitted: u32,
    /// Whether the patches of the receipt were removed, for the days that they are kept are over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub patches_removed: bool,
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

    fn closed() -> Record {
        Record {
            version: RECORD_VERSION,
            source_seq: 5,
            time: "2026-11-25T10:00:00Z".to_owned(),
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
    fn golden_line_of_version_3() {
        let line = r#"{"version":3,"sourceSeq":5,"time":"2026-11-25T10:00:00Z","request":"0000000000000abc-7-1","type":"Closed","data":{"host":"a.test:443","sent":1,"received":2,"cause":"Ended"}}"#;
        assert_eq!(serde_json::to_string(&closed()).unwrap(), line);
        assert_eq!(serde_json::from_str::<Record>(line).unwrap(), closed());
    }

    /// A later version adds fields, an event, and values to vocabularies; the archive adds what links lines.
    #[test]
    fn later_lines_are_read_as_far_as_they_are_known() {
        let later = |kind: &str, data: Value| {
            let line = json!({
                "version": 9, "sourceSeq": 1, "time": "t", "request": "x/y", "class": "Observed", "seq": 1,
                "type": kind, "data": data,
            });
            serde_json::from_value::<Record>(line).unwrap()
        };
        for data in [json!({"tokens": 5}), json!(null), json!([1]), json!("text")] {
            let record = later("Reserved", data);
            assert_eq!((record.version, record.event), (9, RecordEvent::Unknown));
        }
        let record = later(
            "Closed",
            json!({"host": "h", "sent": 1, "received": 2, "cause": "Budget", "ms": 3}),
        );
        assert!(
            matches!(record.event, RecordEvent::Closed { cause: Extensible::Unknown(cause), .. } if cause == "Budget")
        );
    }

    #[test]
    fn ends_of_streams_are_read() {
        let opened = r#"{"version":3,"sourceSeq":1,"time":"t","type":"StreamOpened"}"#;
        let closed = r#"{"version":3,"sourceSeq":8,"time":"t","type":"StreamClosed","data":{"count":7,"cause":"RunEnded"}}"#;
        let cause = StreamEnd::RunEnded.into();
        for (line, event) in [
            (opened, RecordEvent::StreamOpened),
            (closed, RecordEvent::StreamClosed { count: 7, cause }),
        ] {
            let record: Record = serde_json::from_str(line).unwrap();
            assert_eq!(record.event, event);
            assert_eq!(serde_json::to_string(&record).unwrap(), line);
        }
    }

    #[test]
    fn golden_lines_of_tokens_and_of_what_went_on() {
        for line in [
            r#"{"version":3,"sourceSeq":2,"time":"t","type":"SinkFailed","data":{"waitedSeconds":5}}"#,
            r#"{"version":3,"sourceSeq":2,"time":"t","type":"CredentialIssued","data":{"credential":"github","repositories":["a/one"],"permissions":["contents: read"],"expires":"2026-11-25T11:00:00Z"}}"#,
            r#"{"version":3,"sourceSeq":3,"time":"t","type":"CredentialRevoked","data":{"credential":"github","repositories":["a/one"]}}"#,
            r#"{"version":3,"sourceSeq":4,"time":"t","type":"RevocationUnknown","data":{"credential":"github","repositories":["a/one"],"expires":"2026-11-25T11:00:00Z","message":"no answer"}}"#,
        ] {
            let record: Record = serde_json::from_str(line).unwrap();
            assert_ne!(record.event, RecordEvent::Unknown, "{line}");
            assert_eq!(serde_json::to_string(&record).unwrap(), line);
        }
    }

    #[test]
    fn names_of_streams_fit_into_headers_and_sources() {
        let name = StreamId::new(ProcessId(7), 12);
        assert_eq!(name.as_str().parse(), Ok(name));
        for text in ["", "a/b", "A", "a b", "ä", "a\n", &"a".repeat(65)] {
            assert_eq!(text.parse::<StreamId>(), Err(NotAStream), "{text}");
        }
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
