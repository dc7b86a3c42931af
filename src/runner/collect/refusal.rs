//! Why a work tree is not made into a patch. Every kind has a stable code; paths are escaped.
//!
//! What is found at a path of the base commit refuses the tree, because a patch without that change would be wrong.
//! What is found at a new path costs that path alone ([`Refusal::costs_the_path`]).

use std::io;

use super::left_out::Reason;
use crate::git::GitError;
use crate::text::escape;

/// One refusal.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Neither file, link nor directory.
    #[error("{path} is a {kind}; only files, directories and symbolic links can be collected")]
    SpecialFile {
        /// Where.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// A name that some file systems read as `.git`.
    #[error("the name of {0} reads as .git on other systems")]
    DotGitAlias(String),
    /// Git follows this file's content on checkout; a link there is an attack.
    #[error("{0} is a symbolic link, which git refuses there")]
    SymlinkedGitFile(String),
    /// A file with a name outside the tree as well.
    #[error("{0} is hard-linked to a file outside of the work tree")]
    HardLink(String),
    /// A changed file larger than allowed.
    #[error("{path} has {size} bytes; {limit} are allowed for a changed file")]
    FileTooLarge {
        /// Where.
        path: String,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// All changed files together larger than allowed.
    #[error("the changed files have more than {0} bytes together")]
    TreeTooLarge(u64),
    /// The patch larger than allowed.
    #[error("the patch is larger than {0} bytes")]
    PatchTooLarge(u64),
    /// No right to read.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It changed each time it was read.
    #[error("{0} changes while it is read")]
    Unstable(String),
    /// Two contents made to have one name.
    #[error("the content of {0} was made to collide with another under SHA-1")]
    HashCollision(String),
    /// The time was over.
    #[error("collecting did not end in time")]
    TimedOut,
    /// A path that git does not take into a tree.
    #[error("git does not take the path {0}")]
    PathRefused(String),
    /// Git would not have it.
    #[error(transparent)]
    Git(GitError),
    /// Our own volumes.
    #[error("the pristine repository cannot be used: {0}")]
    Storage(#[source] io::Error),
}

impl Refusal {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::SpecialFile { .. } => "SpecialFile",
            Self::DotGitAlias(_) => "DotGitAlias",
            Self::SymlinkedGitFile(_) => "SymlinkedGitFile",
            Self::HardLink(_) => "HardLink",
            Self::FileTooLarge { .. } => "FileTooLarge",
            Self::TreeTooLarge(_) => "TreeTooLarge",
            Self::PatchTooLarge(_) => "PatchTooLarge",
            Self::Unreadable { .. } => "Unreadable",
            Self::Unstable(_) => "Unstable",
            Self::HashCollision(_) => "HashCollision",
            Self::TimedOut => "TimedOut",
            Self::PathRefused(_) => "PathRefused",
            Self::Git(_) => "GitRefused",
            Self::Storage(_) => "StorageFailed",
        }
    }

    /// A path of the tree as it stands in messages.
    pub fn shown(path: &[u8]) -> String {
        if path.is_empty() {
            "the work tree".to_owned()
        } else {
            escape(path)
        }
    }

    /// Something at `path` could not be opened or read.
    pub fn unreadable(path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Unreadable {
            path: Self::shown(path),
            source: source.into(),
        }
    }

    /// Why a new path is left out for which this was found; nothing: the whole tree is refused.
    pub const fn costs_the_path(&self) -> Option<Reason> {
        match self {
            Self::SpecialFile { .. } => Some(Reason::SpecialFile),
            Self::SymlinkedGitFile(_) => Some(Reason::SymlinkedGitFile),
            Self::HardLink(_) => Some(Reason::HardLink),
            Self::FileTooLarge { .. } => Some(Reason::FileTooLarge),
            Self::TreeTooLarge(_) => Some(Reason::TreeTooLarge),
            Self::Unreadable { .. } => Some(Reason::Unreadable),
            Self::Unstable(_) => Some(Reason::Unstable),
            Self::HashCollision(_) => Some(Reason::HashCollision),
            Self::PathRefused(_) => Some(Reason::PathRefused),
            Self::DotGitAlias(_)
            | Self::PatchTooLarge(_)
            | Self::TimedOut
            | Self::Git(_)
            | Self::Storage(_) => None,
        }
    }
}

impl From<GitError> for Refusal {
    fn from(error: GitError) -> Self {
        match error {
            GitError::TimedOut(_) => Self::TimedOut,
            error => Self::Git(error),
        }
    }
}
