//! The archive's routes for gateway and controller.

use http::header::HeaderName;

/// Names a batch of records: a batch that is sent again under its name is stored once.
pub const BATCH_HEADER: HeaderName = HeaderName::from_static("cofferdam-batch");
/// `namespace/name` of the run of an upload.
pub const RUN_HEADER: HeaderName = HeaderName::from_static("cofferdam-run");

/// `GET`: everything about a run, as [`super::record::RunRecord`].
pub fn run_path(run_uid: &str) -> String {
    format!("/v1/runs/{run_uid}")
}

/// `POST`: JSON lines of [`super::record::Record`].
pub fn records_path(run_uid: &str) -> String {
    format!("/v1/runs/{run_uid}/records")
}

/// `PUT`: the run's one upload ([`super::output`]).
pub fn output_path(run_uid: &str) -> String {
    format!("/v1/runs/{run_uid}/output")
}

/// `GET`: the bytes of one patch.
pub fn patch_path(run_uid: &str, repository: &str) -> String {
    format!("/v1/runs/{run_uid}/patches/{repository}")
}
