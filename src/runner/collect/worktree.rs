//! Work trees that were linked to the repository (`git worktree add`) inside of its own work tree, as some coding tools
//! do: their files are a second copy of the repository, not new files.

use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::{Component, Path, PathBuf};

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, Mode as Permissions, OFlags, fstat, openat};

/// Longest `.git` file that is read.
const LIMIT: u64 = 8 * 1024;

/// Whether the directory `path` of a work tree is linked to the repository of that tree, whose administrative
/// directories stand in `worktrees` (`<tree>/.git/worktrees`).
pub fn is_linked(directory: BorrowedFd<'_>, path: &[u8], worktrees: &[u8]) -> bool {
    let Some(text) = git_file(directory) else {
        return false;
    };
    let Some(target) = text.trim_ascii_end().strip_prefix(b"gitdir: ") else {
        return false;
    };
    let worktrees = Path::new(OsStr::from_bytes(worktrees));
    let Some(tree) = worktrees.parent().and_then(Path::parent) else {
        return false;
    };
    // Relative ones start at the linked work tree.
    let target = tree.join(OsStr::from_bytes(path)).join(OsStr::from_bytes(target));
    plain(&target).parent() == Some(worktrees)
}

/// What stands in a `.git` that is a file.
fn git_file(directory: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(directory, c".git", flags, Permissions::empty()).ok()?);
    let stat = fstat(&file).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut text = Vec::new();
    file.take(LIMIT).read_to_end(&mut text).ok()?;
    Some(text)
}

/// `path` without `.` and `..`, by its letters alone.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;

    #[test]
    fn only_work_trees_of_the_same_repository_are_linked() {
        let directory = tempfile::tempdir().unwrap();
        let git = directory.path().join(".git");
        let linked = |text: &str| {
            fs::write(&git, text).unwrap();
            let fd = File::open(directory.path()).unwrap();
            is_linked(fd.as_fd(), b"a/b", b"/workspace/shop/.git/worktrees")
        };
        assert!(linked("gitdir: /workspace/shop/.git/worktrees/fix-1\n"));
        assert!(linked("gitdir: ../../.git/worktrees/fix-1\n"));
        assert!(linked("gitdir: /workspace/shop/./.git/worktrees/x\n"));
        for other in [
            "gitdir: /workspace/other/.git/worktrees/fix-1\n",
            "gitdir: ../.git/worktrees/fix-1\n",
            "gitdir: /workspace/shop/.git/modules/lib\n",
            "gitdir: /workspace/shop/.git/worktrees/fix-1/x\n",
            "/workspace/shop/.git/worktrees/fix-1\n",
            "",
        ] {
            assert!(!linked(other), "{other}");
        }
        fs::remove_file(&git).unwrap();
        let fd = File::open(directory.path()).unwrap();
        assert!(!is_linked(fd.as_fd(), b"a", b"/workspace/shop/.git/worktrees"));
    }
}
