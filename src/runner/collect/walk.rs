//! Reads a work tree that an agent may have made to deceive: plain files and links, nothing followed, nothing
//! executed, everything bounded.
//!
//! Each name is opened relative to its directory's descriptor, alone and without following links, so that no
//! exchange of a path's parts leads out of the tree. Any `.git` is passed over, whatever it is; so is what the
//! base commit's rules ignore; a directory at the place of a submodule counts as the unchanged submodule. Names
//! that differ only in case are kept: the system of the sandbox tells them apart.

mod content;

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode as Permissions, OFlags, openat, statat};
use rustix::io::Errno;

use self::content::special;
use super::base::{Base, Mode, Oid};
use super::ignores::Ignores;
use super::limits::Limits;
use super::objects::Objects;
use super::refusal::Refusal;
use super::spelling::{self, Spelling};
use crate::deadline::Deadline;

/// One entry of the tree that is collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path within the tree.
    pub path: Vec<u8>,
    /// What it is.
    pub mode: Mode,
    /// Its object.
    pub oid: Oid,
}

/// One walk.
#[derive(Debug)]
pub struct Walk<'a> {
    /// What is compared with.
    pub base: &'a Base,
    /// What is passed over.
    pub ignores: Ignores,
    /// Where changed contents go.
    pub objects: Objects,
    /// Bounds.
    pub limits: &'a Limits,
    /// When it must end.
    pub deadline: &'a Deadline,
    /// Whether the agent still runs: a file that never holds still is then taken as it was read last.
    pub live: bool,
    /// What was found.
    pub entries: Vec<Entry>,
    /// Counters against the bounds, and names of hard-linked files.
    pub counts: Counts,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Counts {
    seen: usize,
    added: usize,
    bytes: u64,
    links: HashMap<(u64, u64), Links>,
}

#[derive(Debug)]
struct Links {
    path: Vec<u8>,
    all: u64,
    found: u64,
}

/// A name in a directory, and what it was when it was listed.
struct Listed {
    name: CString,
    path: Vec<u8>,
    kind: FileType,
}

impl Walk<'_> {
    /// Walks the tree below `root`; returns its entries in git's order.
    pub fn run(mut self, root: &OwnedFd) -> Result<Vec<Entry>, Refusal> {
        self.directory(root.as_fd(), b"", 0)?;
        if let Some(links) = self.counts.links.values().find(|links| links.found < links.all) {
            return Err(Refusal::HardLink(Refusal::shown(&links.path)));
        }
        self.entries
            .sort_unstable_by(|one, other| one.path.cmp(&other.path));
        Ok(self.entries)
    }

    fn directory(&mut self, directory: BorrowedFd<'_>, path: &[u8], depth: usize) -> Result<(), Refusal> {
        if depth > self.limits.depth {
            return Err(Refusal::TooDeep {
                path: Refusal::shown(path),
                limit: self.limits.depth,
            });
        }
        let listed = self.list(directory, path)?;
        let listed = self.without_ignored(listed)?;
        self.count_added(&listed)?;
        for each in listed {
            if self.deadline.passed() {
                return Err(Refusal::TimedOut);
            }
            self.entry(directory, &each, depth)?;
        }
        Ok(())
    }

    /// The names in a directory, without `.git`, in a fixed order.
    fn list(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<Listed>, Refusal> {
        let unreadable = |error: Errno| Refusal::unreadable(path, error);
        let mut listed = Vec::new();
        for entry in Dir::read_from(directory).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let bytes = entry.file_name().to_bytes();
            if matches!(bytes, b"." | b"..") {
                continue;
            }
            self.counts.seen += 1;
            if self.counts.seen > self.limits.entries {
                return Err(Refusal::TooManyEntries(self.limits.entries));
            }
            if self.deadline.passed() {
                return Err(Refusal::TimedOut);
            }
            if spelling::of(bytes) == Spelling::Exact {
                continue;
            }
            let path = join(path, bytes);
            if path.len() > self.limits.path_bytes {
                return Err(Refusal::path_too_long(&path, self.limits));
            }
            let kind = match statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                // Gone since it was listed.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(Refusal::unreadable(&path, error)),
            };
            listed.push(Listed {
                name: entry.file_name().to_owned(),
                path,
                kind,
            });
        }
        listed.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(listed)
    }

    /// Drops what the base commit does not have and its rules ignore.
    fn without_ignored(&mut self, listed: Vec<Listed>) -> Result<Vec<Listed>, Refusal> {
        let is_new = |listed: &Listed| {
            self.base.get(&listed.path).is_none()
                && !(listed.kind == FileType::Directory && self.base.has_below(&listed.path))
        };
        let (new, mut kept): (Vec<Listed>, Vec<Listed>) = listed.into_iter().partition(is_new);
        let asked: Vec<(Vec<u8>, bool)> = new
            .iter()
            .map(|listed| (listed.path.clone(), listed.kind == FileType::Directory))
            .collect();
        let ignored = self.ignores.ask(&asked, self.deadline)?;
        kept.extend(
            new.into_iter()
                .zip(ignored)
                .filter_map(|(listed, ignored)| (!ignored).then_some(listed)),
        );
        Ok(kept)
    }

    /// Counts before anything is read: too many files are refused at the cost of their names.
    fn count_added(&mut self, listed: &[Listed]) -> Result<(), Refusal> {
        let added =
            |listed: &&Listed| listed.kind != FileType::Directory && self.base.get(&listed.path).is_none();
        self.counts.added += listed.iter().filter(added).count();
        if self.counts.added > self.limits.added_files {
            return Err(Refusal::TooManyFiles(self.limits.added_files));
        }
        Ok(())
    }

    fn entry(&mut self, directory: BorrowedFd<'_>, listed: &Listed, depth: usize) -> Result<(), Refusal> {
        let Listed { name, path, kind } = listed;
        if spelling::of(name.to_bytes()) == Spelling::Alias {
            return Err(Refusal::DotGitAlias(Refusal::shown(path)));
        }
        let base = self.base.get(path).copied();
        let found = match kind {
            FileType::Directory => {
                if let Some(submodule) = base.filter(|entry| entry.mode == Mode::Gitlink) {
                    Some((submodule.mode, submodule.oid))
                } else {
                    return self.subdirectory(directory, listed, depth);
                }
            }
            FileType::RegularFile => self.file(directory, name, path, base)?,
            FileType::Symlink => self.symlink(directory, name, path, base)?,
            other => return Err(special(path, *other)),
        };
        let Some((mode, oid)) = found else { return Ok(()) };
        self.entries.push(Entry {
            path: path.clone(),
            mode,
            oid,
        });
        Ok(())
    }

    fn subdirectory(&mut self, parent: BorrowedFd<'_>, listed: &Listed, depth: usize) -> Result<(), Refusal> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(parent, &listed.name, flags, Permissions::empty()) {
            Ok(directory) => self.directory(directory.as_fd(), &listed.path, depth + 1),
            Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(Refusal::Unstable(Refusal::shown(&listed.path))),
            Err(error) => Err(Refusal::unreadable(&listed.path, error)),
        }
    }
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        return name.to_vec();
    }
    [directory, b"/", name].concat()
}
