//! The aggregated API `output.cofferdam.dev`: what the API server hands on to the role `output`, and what users read.

use http::header::HeaderName;
use serde::{Deserialize, Serialize};

use crate::record::RunRecord;

/// Group of the API.
pub const GROUP: &str = "output.cofferdam.dev";
/// Its one version.
pub const VERSION: &str = "v1alpha1";
/// Kind of [`RunSummary`].
pub const SUMMARY_KIND: &str = "AgentRunSummary";

/// The digest of a whole patch, whatever part of it is in the answer.
pub const DIGEST_HEADER: HeaderName = HeaderName::from_static("cofferdam-digest");
/// Bytes of the whole patch.
pub const LENGTH_HEADER: HeaderName = HeaderName::from_static("cofferdam-length");
/// Name of the repository that a patch is of.
pub const REPOSITORY_HEADER: HeaderName = HeaderName::from_static("cofferdam-repository");
/// The commit that a patch applies to.
pub const BASE_HEADER: HeaderName = HeaderName::from_static("cofferdam-base-commit");
/// Uid of the run that an answer is of.
pub const UID_HEADER: HeaderName = HeaderName::from_static("cofferdam-run-uid");
/// Present where nothing more will come: the run is over.
pub const COMPLETE_HEADER: HeaderName = HeaderName::from_static("cofferdam-complete");

/// Path of a subresource of a run.
pub fn path(namespace: &str, run: &str, subresource: &str) -> String {
    format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/agentruns/{run}/{subresource}")
}

/// `summary`: what the archive knows of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunSummary {
    /// `output.cofferdam.dev/v1alpha1`.
    pub api_version: String,
    /// [`SUMMARY_KIND`].
    pub kind: String,
    /// Which run.
    pub metadata: RunName,
    /// What the archive knows of it.
    pub record: RunRecord,
}

/// Which run an answer is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunName {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
}

impl RunSummary {
    /// The summary of a run.
    pub fn new(metadata: RunName, record: RunRecord) -> Self {
        Self {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: SUMMARY_KIND.to_owned(),
            metadata,
            record,
        }
    }
}
