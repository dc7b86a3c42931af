//! The names of a directory, some at a time, and what each is to the base commit.

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Dir, FileType, statat};

use super::Search;
use crate::collect::base::Mode;
use crate::collect::directories::join;
use crate::collect::left_out::Reason;
use crate::collect::refusal::Refusal;
use crate::collect::spelling::{self, Spelling};

/// Names of a directory that are held at a time.
const CHUNK: usize = 512;

/// Why a search ends before its end.
pub enum Stop {
    /// The time is over.
    Time,
    /// It has seen as many entries as it may.
    Entries,
    /// The tree is refused.
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TimedOut => Self::Time,
            refusal => Self::Refused(refusal),
        }
    }
}

/// A name in a directory.
pub struct Listed {
    /// The name.
    pub name: CString,
    /// Its path in the tree.
    pub path: Vec<u8>,
    /// What stands there.
    pub kind: FileType,
}

/// Some names of a directory.
#[derive(Default)]
pub struct Chunk {
    /// New ones.
    pub new: Vec<Listed>,
    /// Directories of the base commit.
    pub known: Vec<Listed>,
    /// Whether anything stands in the directory.
    pub filled: bool,
    /// Whether there may be more names.
    pub read: bool,
    /// Why no more are read.
    pub stop: Option<Stop>,
}

/// What a name is to the base commit.
enum Place {
    /// It does not have it.
    New(Listed),
    /// A directory of it.
    Known(Listed),
    /// A file of it, which was looked at already, or nothing to collect.
    Nothing,
}

impl Search<'_> {
    /// The next names of a directory that matter.
    pub fn chunk(&mut self, entries: &mut Dir, directory: BorrowedFd<'_>, path: &[u8]) -> Chunk {
        self.deadline.progress();
        let mut chunk = Chunk::default();
        for _ in 0..CHUNK {
            let entry = match entries.read() {
                None => break,
                Some(Ok(entry)) => entry,
                Some(Err(_)) => {
                    self.left_out.note(Reason::Unreadable, path);
                    break;
                }
            };
            chunk.read = true;
            let bytes = entry.file_name().to_bytes();
            if matches!(bytes, b"." | b"..") {
                continue;
            }
            if let Err(stop) = self.count(path) {
                chunk.stop = Some(stop);
                break;
            }
            chunk.filled = true;
            let listed = Listed {
                path: join(path, bytes),
                kind: entry.file_type(),
                name: entry.file_name().to_owned(),
            };
            match self.place(directory, listed) {
                Place::New(listed) => chunk.new.push(listed),
                Place::Known(listed) => chunk.known.push(listed),
                Place::Nothing => {}
            }
        }
        chunk
    }

    fn count(&mut self, path: &[u8]) -> Result<(), Stop> {
        self.seen += 1;
        if self.seen > self.limits.entries {
            self.left_out.note(Reason::TooManyEntries, path);
            return Err(Stop::Entries);
        }
        if self.deadline.passed() {
            return Err(Stop::Time);
        }
        Ok(())
    }

    /// What a name is to the base commit.
    fn place(&mut self, directory: BorrowedFd<'_>, mut listed: Listed) -> Place {
        let path = &listed.path;
        if spelling::of(listed.name.to_bytes()) == Spelling::Exact {
            if path.len() > listed.name.to_bytes().len() {
                self.left_out.note(Reason::NestedRepository, path);
            }
            return Place::Nothing;
        }
        if path.len() > self.limits.path_bytes {
            self.left_out.note(Reason::PathTooLong, path);
            return Place::Nothing;
        }
        if listed.kind == FileType::Unknown {
            match statat(directory, &listed.name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => listed.kind = FileType::from_raw_mode(stat.st_mode),
                // Gone since it was listed.
                Err(_) => return Place::Nothing,
            }
        }
        let is_directory = listed.kind == FileType::Directory;
        match self.base.get(&listed.path) {
            Some(entry) if entry.mode == Mode::Gitlink && is_directory => {
                self.submodule(directory, &listed);
                Place::Nothing
            }
            Some(_) if is_directory => Place::New(listed),
            Some(_) => Place::Nothing,
            None if is_directory && self.base.has_below(&listed.path) => Place::Known(listed),
            None => Place::New(listed),
        }
    }

    /// What stands in a submodule is not of this repository.
    fn submodule(&mut self, parent: BorrowedFd<'_>, listed: &Listed) {
        if self.apart.contains(&listed.path) {
            return;
        }
        let Some(directory) = self.open(parent, &listed.name, &listed.path) else {
            return;
        };
        let filled = Dir::read_from(&directory).is_ok_and(|entries| {
            let mut names = entries.flatten();
            names.any(|entry| !matches!(entry.file_name().to_bytes(), b"." | b".."))
        });
        if filled {
            self.left_out.note(Reason::Submodule, &listed.path);
        }
    }
}
