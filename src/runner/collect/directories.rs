//! Opens the directories of a work tree one name at a time, each relative to the descriptor of the one above it and
//! without following links, so that no exchange of a path's parts leads out of the tree.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode as Permissions, OFlags, openat};
use rustix::io::Errno;

use super::refusal::Refusal;

/// The directory on the way to the path that was asked for last.
#[derive(Debug)]
pub struct Directories<'a> {
    root: BorrowedFd<'a>,
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    path: Vec<u8>,
    /// Absent: there is no directory of this path.
    directory: Option<OwnedFd>,
}

impl<'a> Directories<'a> {
    /// Those below `root`.
    pub const fn new(root: BorrowedFd<'a>) -> Self {
        Self {
            root,
            open: Vec::new(),
        }
    }

    /// The directory `path`, the root for an empty one; nothing if there is none.
    ///
    /// # Errors
    /// There is one, and it cannot be opened.
    pub fn enter(&mut self, path: &[u8]) -> Result<Option<BorrowedFd<'_>>, Refusal> {
        while self.open.last().is_some_and(|open| !holds(&open.path, path)) {
            self.open.pop();
        }
        loop {
            let (directory, reached) = match self.open.last() {
                None => (self.root, 0),
                Some(open) => match &open.directory {
                    None => return Ok(None),
                    Some(directory) => (directory.as_fd(), open.path.len() + 1),
                },
            };
            let Some(rest) = path.get(reached..).filter(|rest| !rest.is_empty()) else {
                break;
            };
            let length = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            let name = c_name(rest.get(..length).unwrap_or_default())?;
            let here = path.get(..reached + length).unwrap_or_default();
            let directory = open(directory, &name).map_err(|error| Refusal::unreadable(here, error))?;
            self.open.push(Open {
                path: here.to_vec(),
                directory,
            });
        }
        Ok(Some(match self.open.last() {
            None => self.root,
            Some(open) => match &open.directory {
                None => return Ok(None),
                Some(directory) => directory.as_fd(),
            },
        }))
    }
}

/// The directory `name` of `parent`; nothing if there is none.
pub fn open(parent: BorrowedFd<'_>, name: &CStr) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags, Permissions::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The directory and the name of `path`.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        None => (b"", path),
        Some(at) => (
            path.get(..at).unwrap_or_default(),
            path.get(at + 1..).unwrap_or_default(),
        ),
    }
}

/// `name` in `directory`.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        return name.to_vec();
    }
    [directory, b"/", name].concat()
}

/// A name as the kernel takes it.
pub fn c_name(name: &[u8]) -> Result<CString, Refusal> {
    CString::new(name).map_err(|_| Refusal::PathRefused(Refusal::shown(name)))
}

/// Whether `path` is `directory` or below it.
fn holds(directory: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{AtFlags, CWD, open as open_at, statat};
    use std::fs;

    #[test]
    fn directories_are_entered_in_any_order_and_links_are_none() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir_all(root.join("ab")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        std::os::unix::fs::symlink("a", root.join("link")).unwrap();
        let fd = open_at(root, OFlags::RDONLY | OFlags::DIRECTORY, Permissions::empty()).unwrap();
        let mut directories = Directories::new(fd.as_fd());
        for (path, there) in [
            ("a/b/c", true),
            ("", true),
            ("a", true),
            ("ab", true),
            ("a/b", true),
            ("a/x/c", false),
            ("a/x", false),
            ("a/b/c", true),
            ("link", false),
            ("link/b", false),
            ("file", false),
            ("file/x", false),
        ] {
            let entered = directories.enter(path.as_bytes()).unwrap();
            assert_eq!(entered.is_some(), there, "{path}");
            if let Some(entered) = entered {
                let known = statat(CWD, root.join(path), AtFlags::empty()).unwrap();
                let found = rustix::fs::fstat(entered).unwrap();
                assert_eq!(found.st_ino, known.st_ino, "{path}");
            }
        }
    }

    #[test]
    fn a_path_is_its_directory_and_its_name() {
        for (path, parts) in [("a", ("", "a")), ("a/b", ("a", "b")), ("a/b/c", ("a/b", "c"))] {
            let (directory, name) = split(path.as_bytes());
            assert_eq!((directory, name), (parts.0.as_bytes(), parts.1.as_bytes()));
            assert_eq!(join(directory, name), path.as_bytes());
        }
    }
}
