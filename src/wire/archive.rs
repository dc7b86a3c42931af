//! The archive's routes for the other roles.

use http::header::HeaderName;
use serde::{Deserialize, Serialize};

use crate::chain::Head;

/// Names the stream that a batch of records belongs to ([`super::record::StreamId`]). A record is stored once, however
/// often its number of that stream is sent.
pub const STREAM_HEADER: HeaderName = HeaderName::from_static("cofferdam-stream");
/// `namespace/name` of the run of an upload.
pub const RUN_HEADER: HeaderName = HeaderName::from_static("cofferdam-run");

/// `GET`: everything about a run, as [`super::record::RunRecord`].
pub fn run_path(run_uid: &str) -> String {
    format!("/v1/runs/{run_uid}")
}

/// Longest batch of records in bytes.
pub const BATCH_LIMIT: usize = 1024 * 1024;

/// `POST`: JSON lines of [`super::record::Record`].
pub fn records_path(run_uid: &str) -> String {
    format!("/v2/runs/{run_uid}/records")
}

/// `POST`: seals the run's chain ([`super::seal`]).
pub fn seal_path(run_uid: &str) -> String {
    format!("/v1/runs/{run_uid}/seal")
}

/// `PUT`, `GET`: the run's signed statement, a DSSE envelope ([`super::statement`]).
pub fn statement_path(run_uid: &str) -> String {
    format!("/v1/runs/{run_uid}/statement")
}

/// `GET`: runs that have no statement yet, as a list of [`super::seal::Unsealed`].
pub const UNSEALED_PATH: &str = "/v1/unsealed";

/// `PUT`: which credentials a gateway could send, as a list of [`super::credential::CredentialHealth`]; `GET`: what all
/// gateways that told it lately come to. It is kept in memory.
pub const CREDENTIALS_PATH: &str = "/v1/credentials";

/// `PUT`: the run's one upload ([`super::output`]).
pub fn output_path(run_uid: &str) -> String {
    format!("/v1/runs/{run_uid}/output")
}

/// `GET`: the bytes of one patch.
pub fn patch_path(run_uid: &str, repository: &str) -> String {
    format!("/v1/runs/{run_uid}/patches/{repository}")
}

/// `GET`: the run's chain of records, from byte `from` on. The answer's headers are [`HEAD_HEADER`] or [`FAULT_HEADER`].
pub fn chain_path(run_uid: &str, from: u64) -> String {
    format!("/v1/runs/{run_uid}/records?from={from}")
}

/// `GET`: the runs that had this name, as [`Named`].
pub fn named_path(namespace: &str, name: &str) -> String {
    format!("/v1/names/{namespace}/{name}")
}

/// Where a run's chain ends, as JSON of [`Head`].
pub const HEAD_HEADER: HeaderName = HeaderName::from_static("cofferdam-head");
/// What is wrong with a run's chain, in place of [`HEAD_HEADER`].
pub const FAULT_HEADER: HeaderName = HeaderName::from_static("cofferdam-fault");

/// How far a run's chain goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainState {
    /// Bytes of it.
    pub bytes: u64,
    /// Where it ends; absent: it does not verify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// The first fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// Runs of one name: those that left an output first, of these and of the others the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Named {
    /// The runs.
    pub runs: Vec<NamedRun>,
}

/// A run that had a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedRun {
    /// Its uid.
    pub run_uid: String,
    /// RFC 3339 time at which its output was received, or, where it left none, at which it was admitted or ended.
    pub received_at: String,
    /// Uid of its namespace, as the controller told it; absent: the controller told none before it was newer than this
    /// field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_uid: Option<String>,
    /// Whether it left an output. An archive that is older than this field lists no other runs.
    #[serde(default = "left_output")]
    pub left_output: bool,
}

const fn left_output() -> bool {
    true
}
