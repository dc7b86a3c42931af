//! How much of a repository is cloned.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// How much of a repository is cloned. What all repositories of a run come to is bounded by `limits.maxCloneBytes` of the
/// policies.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CloneOptions {
    /// Commits of history, counted from the tip of each branch that is cloned; 0: all of it.
    #[serde(default = "default_depth")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub depth: i32,
    /// `Single`: what `ref` names. `All`: every branch and tag of the remote as well, as `origin/…` and tags.
    #[serde(default)]
    pub branches: CloneBranches,
    /// Directories whose files are in the work tree, with the files of the directories above them; the others are in the
    /// repository only, and unchanged in a patch unless the agent puts them there. Absent: all files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 255)))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Set, validation = rules::sparse_directories())]
    pub sparse: Vec<String>,
    /// `None`: submodules are empty directories. `Direct`: those of the repository are cloned. `Recursive`: theirs as well.
    /// Each must be granted by `limits.repositories.clone` as a repository is.
    #[serde(default)]
    pub submodules: CloneSubmodules,
    /// `Pointers`: files of Git LFS are their pointers. `Files`: they are their contents, fetched from the server beside the
    /// repository. Each host that it names must be one of `limits.repositories.clone`.
    #[serde(default)]
    pub lfs: CloneLfs,
}

fn default_depth() -> i32 {
    1
}

impl Default for CloneOptions {
    fn default() -> Self {
        Self {
            depth: default_depth(),
            branches: CloneBranches::default(),
            sparse: Vec::new(),
            submodules: CloneSubmodules::default(),
            lfs: CloneLfs::default(),
        }
    }
}

/// Which branches are cloned.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloneBranches {
    /// What `ref` names.
    #[default]
    Single,
    /// Every branch and tag.
    All,
}

/// Which submodules are cloned.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloneSubmodules {
    /// None: they are empty directories.
    #[default]
    None,
    /// Those of the repository.
    Direct,
    /// Those of the repository, theirs, and so on.
    Recursive,
}

/// What stands for files of Git LFS.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloneLfs {
    /// Their pointers.
    #[default]
    Pointers,
    /// Their contents.
    Files,
}
