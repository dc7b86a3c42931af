//! Files with several names. One of them may lie outside of the tree: then the file is none of the tree's.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, statat};

use super::directories::open;
use super::found::{Found, Links};
use super::limits::Limits;
use crate::deadline::Deadline;

/// Directories below each other that are searched.
const DEPTH: usize = 128;

/// Which of the files in `found` have a name that is nowhere in the tree below `root`, ignored directories and `.git`
/// included. Where the search comes to a bound, what it has not found is outside.
pub fn outside<'a>(
    root: BorrowedFd<'_>,
    found: impl Iterator<Item = &'a Found>,
    limits: &Limits,
    deadline: &Deadline,
) -> HashSet<(u64, u64)> {
    let mut search = Search {
        left: HashMap::new(),
        entries: limits.entries,
        deadline,
    };
    let mut names: HashMap<(u64, u64), (u64, u64)> = HashMap::new();
    for Links { file, all } in found.filter_map(|found| found.links) {
        let (_, seen) = names.entry(file).or_insert((all, 0));
        *seen += 1;
    }
    search.left = names
        .into_iter()
        .filter(|(_, (all, seen))| seen < all)
        .map(|(file, (all, _))| (file, all))
        .collect();
    search.directory(root, 0);
    search.left.into_keys().collect()
}

struct Search<'a> {
    /// Names that are still to be found of each file.
    left: HashMap<(u64, u64), u64>,
    entries: usize,
    deadline: &'a Deadline,
}

impl Search<'_> {
    fn directory(&mut self, directory: BorrowedFd<'_>, depth: usize) {
        let Ok(entries) = Dir::read_from(directory) else {
            return;
        };
        // What cannot be read holds no names that could be found.
        for entry in entries.flatten() {
            if self.left.is_empty() || self.entries == 0 || self.deadline.passed() {
                return;
            }
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            self.entries -= 1;
            let Ok(stat) = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                if let (true, Ok(Some(below))) = (depth < DEPTH, open(directory, name)) {
                    self.directory(below.as_fd(), depth + 1);
                }
            } else {
                self.name(stat.st_dev, stat.st_ino);
            }
        }
    }

    fn name(&mut self, device: u64, inode: u64) {
        let file = (device, inode);
        if let Some(left) = self.left.get_mut(&file) {
            *left -= 1;
            if *left == 0 {
                self.left.remove(&file);
            }
        }
    }
}
