//! The one upload of a run: a manifest on the first line, then the patches in its order, nothing between them.

use serde::{Deserialize, Serialize};

use cofferdam_api::{Reason, Snapshot};

/// Version of the documents in this file.
pub const VERSION: u32 = 1;
/// Upper bound of a whole upload in bytes.
pub const UPLOAD_LIMIT: u64 = 64 * 1024 * 1024;
/// Upper bound of the manifest's line in bytes.
pub const MANIFEST_LIMIT: usize = 64 * 1024;

/// First line of an upload. Everything in it was reported by the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OutputManifest {
    /// [`VERSION`].
    pub version: u32,
    /// Patches that follow, in this order.
    pub patches: Vec<PatchManifest>,
    /// Why the agent was stopped; absent: it ended by itself.
    pub stopped: Option<Reason>,
    /// Repositories that could not be collected, with a message each.
    pub refused: Vec<CollectRefusal>,
}

/// One patch of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PatchManifest {
    /// Name of the repository within the run.
    pub repository: String,
    /// Commit that the patch applies to.
    pub base_commit: String,
    /// Size in bytes.
    pub bytes: u64,
    /// `sha256:…` as the sandbox computed it.
    pub digest: String,
    /// Files that it touches.
    pub files: u32,
    /// Lines that it adds.
    pub insertions: u32,
    /// Lines that it removes.
    pub deletions: u32,
    /// Whether the agent had ended.
    pub snapshot: Snapshot,
}

/// A work tree that could not be made into a patch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectRefusal {
    /// Name of the repository within the run.
    pub repository: String,
    /// Stable code of the walker's refusal.
    pub code: String,
    /// What was found, where.
    pub message: String,
}

/// What the archive gives for an upload that is safe on its volume. Digests are its own, at receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Receipt {
    /// [`VERSION`].
    pub version: u32,
    /// Uid of the run.
    pub run_uid: String,
    /// RFC 3339 time of receipt.
    pub received_at: String,
    /// The manifest, its digests verified against the bytes.
    pub manifest: OutputManifest,
}
