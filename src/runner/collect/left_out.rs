//! What of a work tree is not in its patch, and why: a stray file costs itself, not the work beside it.

use std::collections::BTreeSet;

use crate::text::escape_within;

/// Paths that are listed; the others are counted.
pub const LISTED: usize = 10;
/// Characters of a listed path.
const SHOWN: usize = 120;

/// Why a path is not in the patch. Where more paths are left out than are listed, the first reasons come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Neither file, link nor directory.
    SpecialFile,
    /// A name outside of the tree leads to the same file.
    HardLink,
    /// No right to read it.
    Unreadable,
    /// Larger than a changed file may be.
    FileTooLarge,
    /// With it the changed files would be too large together.
    TreeTooLarge,
    /// With it the patch would be too large.
    PatchTooLarge,
    /// Nested too deep.
    TooDeep,
    /// A path that is too long.
    PathTooLong,
    /// It changed each time it was read.
    Unstable,
    /// Made to have the name of another content.
    HashCollision,
    /// A symbolic link where git does not take one.
    SymlinkedGitFile,
    /// A path that git does not take into a tree.
    PathRefused,
    /// What stands in the directory of a submodule.
    Submodule,
    /// Another work tree of the same repository.
    LinkedWorktree,
    /// The history of a repository inside; its files are in the patch.
    NestedRepository,
    /// The tree has more entries than are looked at; this directory is not read to its end.
    TooManyEntries,
    /// More new files than a patch may have; newer ones are in it.
    TooManyFiles,
    /// Only a rule that the agent added ignores it.
    IgnoredByNewRule,
    /// A patch holds no directories.
    EmptyDirectory,
}

impl Reason {
    /// Every one of them.
    #[cfg(test)]
    pub const ALL: [Self; 19] = [
        Self::SpecialFile,
        Self::HardLink,
        Self::Unreadable,
        Self::FileTooLarge,
        Self::TreeTooLarge,
        Self::PatchTooLarge,
        Self::TooDeep,
        Self::PathTooLong,
        Self::Unstable,
        Self::HashCollision,
        Self::SymlinkedGitFile,
        Self::PathRefused,
        Self::Submodule,
        Self::LinkedWorktree,
        Self::NestedRepository,
        Self::TooManyEntries,
        Self::TooManyFiles,
        Self::IgnoredByNewRule,
        Self::EmptyDirectory,
    ];

    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SpecialFile => "SpecialFile",
            Self::HardLink => "HardLink",
            Self::Unreadable => "Unreadable",
            Self::FileTooLarge => "FileTooLarge",
            Self::TreeTooLarge => "TreeTooLarge",
            Self::PatchTooLarge => "PatchTooLarge",
            Self::TooDeep => "TooDeep",
            Self::PathTooLong => "PathTooLong",
            Self::Unstable => "Unstable",
            Self::HashCollision => "HashCollision",
            Self::SymlinkedGitFile => "SymlinkedGitFile",
            Self::PathRefused => "PathRefused",
            Self::Submodule => "Submodule",
            Self::LinkedWorktree => "LinkedWorktree",
            Self::NestedRepository => "NestedRepository",
            Self::TooManyEntries => "TooManyEntries",
            Self::TooManyFiles => "TooManyFiles",
            Self::IgnoredByNewRule => "IgnoredByNewRule",
            Self::EmptyDirectory => "EmptyDirectory",
        }
    }
}

/// What was left out of one work tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many paths; a directory that was not entered is one.
    pub count: u64,
    /// How many paths ignore rules leave out; they are none of `count`.
    pub ignored: u64,
    listed: BTreeSet<(Reason, String)>,
}

impl LeftOut {
    /// Counts `path`, and lists it if its reason is among the first.
    pub fn note(&mut self, reason: Reason, path: &[u8]) {
        self.count += 1;
        let full = self.listed.len() >= LISTED;
        if full && self.listed.last().is_some_and(|(last, _)| *last < reason) {
            return;
        }
        // The tree itself has no name of its own.
        let shown = if path.is_empty() { b"." } else { path };
        self.listed.insert((reason, escape_within(shown, SHOWN)));
        if self.listed.len() > LISTED {
            self.listed.pop_last();
        }
    }

    /// Whether nothing was left out.
    pub const fn is_empty(&self) -> bool {
        self.count == 0 && self.ignored == 0
    }

    /// At most [`LISTED`] paths, escaped, and their reasons.
    pub fn listed(&self) -> impl Iterator<Item = (&str, Reason)> {
        self.listed.iter().map(|(reason, path)| (path.as_str(), *reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_most_is_listed_and_the_rest_is_counted() {
        let mut left_out = LeftOut::default();
        for number in 0..1000 {
            left_out.note(Reason::EmptyDirectory, format!("{number:04}").as_bytes());
        }
        left_out.note(Reason::HardLink, b"z\x1b");
        left_out.note(Reason::SpecialFile, &[b'x'; 4000]);
        assert_eq!(left_out.count, 1002);
        let listed: Vec<_> = left_out.listed().collect();
        assert_eq!(listed.len(), LISTED);
        assert_eq!(listed[0].0.chars().count(), SHOWN);
        assert_eq!(listed[1], ("z\\u{1b}", Reason::HardLink));
        assert_eq!(listed[2], ("0000", Reason::EmptyDirectory));
    }
}
