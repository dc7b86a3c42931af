//! Finds what stands in a work tree beside the files of the base commit. Nothing is opened but directories; what cannot
//! be in a patch is left out and named.
//!
//! Names that differ only in case are kept: the system of the sandbox tells them apart.

mod listing;

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Stat, statat};
use rustix::io::Errno;

use self::listing::{Chunk, Listed, Stop};
use super::base::Base;
use super::directories::open;
use super::found::size;
use super::ignores::{Ignores, Verdict};
use super::left_out::{LISTED, LeftOut, Reason};
use super::limits::Limits;
use super::newest::{Candidate, Newest};
use super::refusal::Refusal;
use super::spelling::{self, Spelling};
use super::worktree;
use crate::deadline::Deadline;

/// One search.
#[derive(Debug)]
pub struct Search<'a> {
    /// What is known already.
    pub base: &'a Base,
    /// What is passed over.
    pub ignores: Ignores,
    /// Bounds.
    pub limits: &'a Limits,
    /// When it ends.
    pub deadline: &'a Deadline,
    /// What is not in the patch.
    pub left_out: &'a mut LeftOut,
    /// Where linked work trees of the repository say that they belong.
    pub worktrees: &'a [u8],
    /// Submodules that are collected for themselves.
    pub apart: &'a BTreeSet<Vec<u8>>,
    /// What was found.
    pub newest: Newest,
    /// Directory entries that were looked at.
    pub seen: usize,
}

impl Search<'_> {
    /// Searches the tree below `root`; gives new files and links, the newest first, and whether the whole tree was
    /// looked at.
    pub fn run(mut self, root: BorrowedFd<'_>) -> Result<(Vec<Candidate>, bool), Refusal> {
        let complete = match self.directory(root, b"", 0) {
            Ok(_) => true,
            Err(Stop::Time | Stop::Entries) => false,
            Err(Stop::Refused(refusal)) => return Err(refusal),
        };
        Ok((self.newest.into_newest_first(), complete))
    }

    /// Looks through a directory; says whether anything stands in it.
    fn directory(&mut self, directory: BorrowedFd<'_>, path: &[u8], depth: usize) -> Result<bool, Stop> {
        let Ok(mut entries) = Dir::read_from(directory) else {
            self.left_out.note(Reason::Unreadable, path);
            return Ok(true);
        };
        self.ignores.enter(directory, path)?;
        let mut contents = Contents::default();
        loop {
            let Chunk {
                new,
                known,
                filled,
                read,
                stop,
            } = self.chunk(&mut entries, directory, path);
            contents.any |= filled;
            // Names that are at hand come before directories, in which the search may come to its end.
            let (directories, files): (Vec<Listed>, Vec<Listed>) = self
                .without_ignored(new, &mut contents)?
                .into_iter()
                .partition(|listed| listed.kind == FileType::Directory);
            contents.kept |= !(files.is_empty() && directories.is_empty() && known.is_empty());
            for listed in files.into_iter().chain(directories) {
                if self.deadline.passed() {
                    return Err(Stop::Time);
                }
                self.take_new(directory, listed, depth)?;
            }
            for Listed { name, path, .. } in known {
                if let Some(below) = self.open(directory, &name, &path) {
                    self.directory(below.as_fd(), &path, depth + 1)?;
                }
            }
            match stop {
                Some(stop) => return Err(stop),
                None if !read => break,
                None => {}
            }
        }
        self.note_hidden(path, &contents);
        Ok(contents.any)
    }

    /// Names what only the agent's rules ignore; a directory that holds nothing else is named itself.
    fn note_hidden(&mut self, path: &[u8], contents: &Contents) {
        if contents.hidden == 0 {
            return;
        }
        let new_directory = !path.is_empty() && !self.base.has_below(path);
        if new_directory && !contents.kept {
            self.left_out.note(Reason::IgnoredByNewRule, path);
            return;
        }
        for path in &contents.first_hidden {
            self.left_out.note(Reason::IgnoredByNewRule, path);
        }
        self.left_out.count += contents.hidden - contents.first_hidden.len() as u64;
    }

    /// Drops what rules ignore.
    fn without_ignored(&mut self, new: Vec<Listed>, contents: &mut Contents) -> Result<Vec<Listed>, Stop> {
        let asked: Vec<(&[u8], bool)> = new
            .iter()
            .map(|listed| (listed.path.as_slice(), listed.kind == FileType::Directory))
            .collect();
        let verdicts = self.ignores.ask(&asked, self.deadline)?;
        let mut kept = Vec::with_capacity(new.len());
        for (listed, verdict) in new.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Kept => kept.push(listed),
                Verdict::Ignored => self.left_out.ignored += 1,
                Verdict::ByNewRule => contents.hide(listed.path),
            }
        }
        Ok(kept)
    }

    fn take_new(&mut self, directory: BorrowedFd<'_>, listed: Listed, depth: usize) -> Result<(), Stop> {
        let Listed { name, path, kind } = listed;
        if spelling::of(name.to_bytes()) == Spelling::Alias {
            return Err(Refusal::DotGitAlias(Refusal::shown(&path)).into());
        }
        match kind {
            FileType::Directory => self.new_directory(directory, &name, &path, depth)?,
            FileType::RegularFile | FileType::Symlink => self.file(directory, &name, path, kind),
            _ => self.left_out.note(Reason::SpecialFile, &path),
        }
        Ok(())
    }

    fn new_directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        depth: usize,
    ) -> Result<(), Stop> {
        if depth >= self.limits.depth {
            self.left_out.note(Reason::TooDeep, path);
            return Ok(());
        }
        let Some(directory) = self.open(parent, name, path) else {
            return Ok(());
        };
        if worktree::is_linked(directory.as_fd(), path, self.worktrees) {
            self.left_out.note(Reason::LinkedWorktree, path);
            return Ok(());
        }
        if !self.directory(directory.as_fd(), path, depth + 1)? {
            self.left_out.note(Reason::EmptyDirectory, path);
        }
        Ok(())
    }

    fn file(&mut self, directory: BorrowedFd<'_>, name: &CStr, path: Vec<u8>, kind: FileType) {
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return,
            Err(_) => return self.left_out.note(Reason::Unreadable, &path),
        };
        if kind == FileType::RegularFile && size(&stat) > self.limits.file_bytes {
            return self.left_out.note(Reason::FileTooLarge, &path);
        }
        let gone = self.newest.push(Candidate {
            modified: modified(&stat),
            path,
            link: kind == FileType::Symlink,
        });
        for older in gone {
            self.left_out.note(Reason::TooManyFiles, &older.path);
        }
    }

    /// A directory; nothing if it is gone, or if it cannot be opened, which is then noted.
    fn open(&mut self, parent: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Option<OwnedFd> {
        open(parent, name).unwrap_or_else(|_| {
            self.left_out.note(Reason::Unreadable, path);
            None
        })
    }
}

/// What was found in a directory.
#[derive(Default)]
struct Contents {
    /// Whether anything stands there.
    any: bool,
    /// Whether anything of it is collected, or is left out for another reason than a rule.
    kept: bool,
    /// Names that only the agent's rules ignore.
    hidden: u64,
    /// The first of them.
    first_hidden: Vec<Vec<u8>>,
}

impl Contents {
    fn hide(&mut self, path: Vec<u8>) {
        self.hidden += 1;
        if self.first_hidden.len() < LISTED {
            self.first_hidden.push(path);
        }
    }
}

fn modified(stat: &Stat) -> (i64, i64) {
    (
        stat.st_mtime,
        i64::try_from(stat.st_mtime_nsec).unwrap_or_default(),
    )
}
