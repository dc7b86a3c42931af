//! Where records go.

use bytes::Bytes;
use futures::future::BoxFuture;

use cofferdam_wire::record::StreamId;

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The archive could not be asked or could not answer; it is tried again.
    #[error("the archive is unreachable: {0}")]
    Unreachable(String),
    /// The archive takes no more of this run.
    #[error("the archive refuses the records: {0}")]
    Refused(String),
}

/// Where records go.
pub trait Sink: Send + Sync {
    /// Stores JSON lines of one run. A record whose number of that stream was stored before is not stored again.
    fn store<'a>(
        &'a self,
        run_uid: &'a str,
        stream: &'a StreamId,
        lines: Bytes,
    ) -> BoxFuture<'a, Result<(), SinkError>>;
}
