//! The records of one request.

use std::net::SocketAddr;
use std::sync::Arc;

use super::recorder::Recorder;
use crate::caller::Caller;
use crate::denial::{Denial, printable};
use cofferdam_api::names::digest;
use cofferdam_policy::dimension::requests::Request;
use cofferdam_policy::pattern::path::Target;
use cofferdam_wire::record::{CloseCause, RecordEvent, RequestId};

/// Longest message of a denial in a record, in characters.
const MESSAGE_LIMIT: usize = 300;
/// Longest path in a record, in bytes.
const PATH_LIMIT: usize = 300;

/// Writes the records of one request; each carries the request's id.
pub struct RequestLog {
    recorder: Arc<Recorder>,
    run_uid: String,
    by: &'static str,
    connection: u64,
    id: RequestId,
    host: String,
    method: String,
    path: Option<String>,
}

/// The path, and of a query only its digest: queries carry what nobody wants to keep.
fn shown(target: &Target) -> String {
    let path = cofferdam_text::bounded(target.path(), PATH_LIMIT);
    match target.query() {
        Some(query) => format!("{path}?{}", digest(query.as_bytes())),
        None => path,
    }
}

impl RequestLog {
    /// For the caller's request on connection `connection`, by its authority and method as they were sent.
    pub fn new(
        recorder: &Arc<Recorder>,
        connection: u64,
        caller: &Caller,
        authority: &str,
        method: &str,
    ) -> Self {
        Self {
            recorder: Arc::clone(recorder),
            run_uid: caller.run.uid.clone(),
            by: caller.kind.as_str(),
            connection,
            id: recorder.request_id(connection, 1),
            host: printable(authority),
            method: printable(method),
            path: None,
        }
    }

    /// For the request of this number, from 1, on the same connection to the same host.
    pub fn of_request(&self, number: u64) -> Self {
        Self {
            recorder: Arc::clone(&self.recorder),
            run_uid: self.run_uid.clone(),
            by: self.by,
            connection: self.connection,
            id: self.recorder.request_id(self.connection, number),
            host: self.host.clone(),
            method: self.method.clone(),
            path: None,
        }
    }

    /// What the request asks for, once it has been read.
    pub fn set_request(&mut self, request: &Request) {
        self.method = printable(request.method.as_str());
        self.path = Some(shown(&request.target));
    }

    /// The method of the request inside the tunnel that was asked for first.
    pub fn set_method(&mut self, method: &str) {
        self.method = printable(method);
    }

    /// Records that the request was let through to `address` by `rules`, with `credential` where it gets one.
    pub fn allowed(&self, address: SocketAddr, rules: &[String], credential: Option<&str>) {
        self.record(RecordEvent::Allowed {
            host: self.host.clone(),
            method: self.method.clone(),
            path: self.path.clone(),
            address: address.to_string(),
            rules: rules.to_vec(),
            credential: credential.map(str::to_owned),
            by: self.by.to_owned(),
        });
    }

    /// Records that the request was denied.
    pub fn denied(&self, denial: &Denial) {
        self.record(RecordEvent::Denied {
            host: self.host.clone(),
            method: self.method.clone(),
            path: self.path.clone(),
            code: denial.code.into(),
            layer: denial.layer.as_ref().map(ToString::to_string),
            message: denial.message.chars().take(MESSAGE_LIMIT).collect(),
            by: self.by.to_owned(),
            count: 1,
        });
    }

    /// Records that a request which was let through has ended.
    pub fn closed(&self, sent: u64, received: u64, cause: CloseCause) {
        self.record(RecordEvent::Closed {
            host: self.host.clone(),
            sent,
            received,
            cause: cause.into(),
        });
    }

    fn record(&self, event: RecordEvent) {
        self.recorder.record(&self.run_uid, Some(self.id.clone()), event);
    }
}
