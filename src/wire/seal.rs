//! The end of a run's chain: what the controller sends for it, and what the archive answers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::chain::{Class, Head};

/// Version of [`SealRequest`] and [`Seal`].
pub const VERSION: u32 = 1;
/// Longest request in bytes.
pub const SEAL_LIMIT: usize = 2 * 1024 * 1024;
/// Longest statement in bytes.
pub const STATEMENT_LIMIT: usize = 512 * 1024;
/// `source` of the records that the archive itself writes.
pub const ARCHIVE_SOURCE: &str = "archive/-/seal";
/// `type` of the last record of a sealed chain.
pub const SEALED: &str = "Sealed";
/// Gaps that a seal lists.
pub const GAPS: usize = 32;
/// Runs that one answer lists as not sealed.
pub const UNSEALED: usize = 5000;

/// Why a chain is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SealCause {
    /// The run came to its end, and the controller saw it.
    RunEnded,
    /// The run was deleted before its end, or before its chain was sealed.
    RunDeleted,
    /// Nobody knows of a run with this uid: nothing in its chain tells that one was admitted.
    RunUnknown,
}

/// One record of the controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SealEntry {
    /// Whether the controller saw it, or was told by somebody in the sandbox.
    pub class: Class,
    /// The record, as any sender writes one.
    pub record: Map<String, Value>,
}

/// What the controller asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealRequest {
    /// [`VERSION`].
    pub version: u32,
    /// Why; `RunDeleted` becomes `RunUnknown` where the chain knows of no run.
    pub cause: SealCause,
    /// Seal also if a stream of records was not closed.
    pub incomplete: bool,
    /// The stream of the records below ([`super::record::StreamId`]).
    pub stream: String,
    /// The last records of the run.
    pub records: Vec<SealEntry>,
}

/// The records of a source that are not all there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Whose they are.
    pub source: String,
    /// How many of its numbers are missing.
    pub missing: u64,
    /// Whether it opened a stream and never closed it: then an unknown number is missing, too.
    pub open: bool,
}

/// A patch, as the archive received it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedPatch {
    /// Its name among the run's patches ([`super::output::PatchManifest::name`]).
    pub name: String,
    /// `sha256:…` of its bytes at receipt.
    pub digest: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// `data` of the record [`SEALED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedData {
    /// Why.
    pub cause: SealCause,
    /// Whether every source's records are all there.
    pub complete: bool,
    /// How many numbers are missing, of all sources together. Absent: none, or an archive sealed the chain that is older than
    /// this field; then it is the sum over `gaps`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing: u64,
    /// The sources whose records are not all there, the first [`GAPS`] of them.
    pub gaps: Vec<Gap>,
    /// Requests that were let through.
    pub requests: u64,
    /// Requests that were denied.
    pub denied_requests: u64,
    /// The patches that the archive holds of the run.
    pub patches: Vec<SealedPatch>,
    /// What is kept of the containers' logs: nothing.
    pub logs: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A sealed chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seal {
    /// [`VERSION`].
    pub version: u32,
    /// Where the chain ends, for ever.
    pub head: Head,
    /// RFC 3339 time.
    pub sealed_at: String,
    /// What the last record says.
    #[serde(flatten)]
    pub data: SealedData,
    /// Whether the archive has the run's statement.
    pub signed: bool,
}

/// A run that has no statement yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unsealed {
    /// Its uid.
    pub run: String,
    /// Seconds since something was written to it.
    pub idle_seconds: u64,
}
