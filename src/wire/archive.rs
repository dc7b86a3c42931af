//! The archive's routes for gateway and controller.

use http::header::HeaderName;

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

/// `PUT`: the run's one upload ([`super::output`]).
pub fn output_path(run_uid: &str) -> String {
    format!("/v1/runs/{run_uid}/output")
}

/// `GET`: the bytes of one patch.
pub fn patch_path(run_uid: &str, repository: &str) -> String {
    format!("/v1/runs/{run_uid}/patches/{repository}")
}
