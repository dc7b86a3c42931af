//! The one upload of a run: a manifest on the first line, then the patches in its order, nothing between them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use cofferdam_api::{Completeness, Reason, Snapshot};

/// Version of the documents in this file.
pub const VERSION: u32 = 1;
/// Upper bound of a whole upload in bytes.
pub const UPLOAD_LIMIT: u64 = 64 * 1024 * 1024;
/// Upper bound of the manifest's line in bytes.
pub const MANIFEST_LIMIT: usize = 64 * 1024;
/// Paths of one repository, with its submodules, that are listed as left out.
pub const LEFT_OUT_PATHS: usize = 10;
/// Patches of submodules in one upload.
pub const SUBMODULE_PATCHES: usize = 24;
/// Refused work trees of one upload.
pub const REFUSALS: usize = 16;
/// How long a sidecar may take to collect all work trees together.
pub const COLLECT_BUDGET: Duration = Duration::from_mins(1);
/// How long it may take to hand them over, all tries together.
pub const UPLOAD_BUDGET: Duration = Duration::from_secs(25);

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
    /// Path within it of the submodule whose patch this is; absent: the patch is of the repository itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submodule: Option<String>,
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
    /// Whether the whole work tree was looked at.
    #[serde(default)]
    pub completeness: Completeness,
    /// Files that Git LFS is to keep, and whose content is in the patch instead of a pointer.
    #[serde(default)]
    pub lfs_files: u64,
    /// What of the work tree is not in the patch; absent: nothing is known of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
}

impl PatchManifest {
    /// As people name it: the repository, and the submodule's path behind it.
    pub fn path(&self) -> String {
        match &self.submodule {
            Some(path) => format!("{}/{path}", self.repository),
            None => self.repository.clone(),
        }
    }

    /// Whether `text` is its name or its path.
    pub fn is_called(&self, text: &str) -> bool {
        text == self.name() || text == self.path()
    }

    /// Its name among the patches of a run: the repository's, and behind it twelve digits of the digest of the submodule's
    /// path. A repository's name has no dot.
    pub fn name(&self) -> String {
        use std::fmt::Write as _;
        let Some(path) = &self.submodule else {
            return self.repository.clone();
        };
        let digest = Sha256::digest(path);
        let mut name = format!("{}.", self.repository);
        for byte in digest.iter().take(6) {
            // Writing to a String cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        name
    }
}

/// What of a work tree is not in its patch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// How many new paths could not be collected; a directory that was not entered is one.
    pub count: u64,
    /// How many new paths ignore rules leave out; they are none of `count`.
    pub ignored: u64,
    /// The first of those that count, at most [`LEFT_OUT_PATHS`].
    pub paths: Vec<LeftOutPath>,
}

/// A path that is not in a patch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOutPath {
    /// Path within the work tree, escaped and bounded.
    pub path: String,
    /// Stable word for why.
    pub reason: String,
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
