//! What became of the files of the base commit. They come first, because a patch without one of their changes would be
//! wrong; whatever else stands in the tree is not even looked at here.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Stat, statat};
use rustix::io::Errno;

use super::base::{Base, BaseEntry, Mode};
use super::content::Reader;
use super::directories::{Directories, c_name, split};
use super::found::{Found, mode, special};
use super::refusal::Refusal;
use super::stat::Known;
use crate::deadline::Deadline;

/// A file of the base commit that is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Number of its entry.
    pub at: usize,
    /// What stands there now; absent: nothing, or a directory.
    pub to: Option<Found>,
}

/// The files of the base commit that changed.
#[derive(Debug, Default)]
pub struct Tracked {
    /// In git's order.
    pub changes: Vec<Change>,
    /// Whether all files were looked at. One that was not counts as unchanged.
    pub complete: bool,
}

/// Looks at each file of `base` in the tree below `root`, until the deadline.
pub fn walk(
    root: BorrowedFd<'_>,
    base: &Base,
    known: &Known,
    reader: &mut Reader<'_>,
    deadline: &Deadline,
) -> Result<Tracked, Refusal> {
    let mut directories = Directories::new(root);
    let mut tracked = Tracked::default();
    for at in 0..base.len() {
        if deadline.passed() {
            return Ok(tracked);
        }
        let (path, Some(entry)) = (base.path(at), base.entry(at)) else {
            continue;
        };
        let (directory, name) = split(path);
        let to = match directories.enter(directory)? {
            None => None,
            Some(directory) => {
                let unchanged = |stat: &Stat| known.unchanged(at, entry.mode, stat);
                match look(directory, name, path, entry, unchanged, reader) {
                    Err(Refusal::TimedOut) => return Ok(tracked),
                    looked => looked?,
                }
            }
        };
        deadline.progress();
        if to.is_none() && known.was_absent(at) {
            continue;
        }
        if to.is_none_or(|found| (found.mode, found.oid) != (entry.mode, entry.oid)) {
            tracked.changes.push(Change { at, to });
        }
    }
    tracked.complete = true;
    Ok(tracked)
}

/// What stands at the place of `entry`.
fn look(
    directory: BorrowedFd<'_>,
    name: &[u8],
    path: &[u8],
    entry: BaseEntry,
    unchanged: impl Fn(&Stat) -> bool,
    reader: &mut Reader<'_>,
) -> Result<Option<Found>, Refusal> {
    let name = c_name(name)?;
    let stat = match statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(Refusal::unreadable(path, error)),
    };
    let kind = FileType::from_raw_mode(stat.st_mode);
    let same_kind = match entry.mode {
        Mode::File | Mode::Executable => kind == FileType::RegularFile,
        Mode::Symlink => kind == FileType::Symlink,
        Mode::Gitlink => false,
    };
    if same_kind && unchanged(&stat) {
        let mode = match entry.mode {
            Mode::Symlink => Mode::Symlink,
            _ => mode(&stat),
        };
        return Ok(Some(Found {
            mode,
            oid: entry.oid,
            links: None,
        }));
    }
    match kind {
        // A submodule is the commit that the base commit names, whatever stands in its directory.
        FileType::Directory => Ok((entry.mode == Mode::Gitlink).then_some(Found {
            mode: Mode::Gitlink,
            oid: entry.oid,
            links: None,
        })),
        FileType::RegularFile => reader.file(directory, &name, path, Some(entry)),
        FileType::Symlink => reader.symlink(directory, &name, path, Some(entry)),
        other => Err(special(path, other)),
    }
}
