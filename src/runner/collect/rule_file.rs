//! Files of the agent's tree that hold rules: `.gitignore` and `.gitattributes`. What cannot be read, or is too much, counts
//! for nothing.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Mode as Permissions, OFlags, fstat, openat};

/// Longest file with rules in bytes.
pub const LONGEST: u64 = 1024 * 1024;
/// Files that are read, and their bytes together.
const FILES: usize = 10_000;
const BYTES: usize = 16 * 1024 * 1024;

/// What may still be read.
#[derive(Debug)]
pub struct RuleFiles {
    files: usize,
    bytes: usize,
}

impl Default for RuleFiles {
    fn default() -> Self {
        Self {
            files: FILES,
            bytes: BYTES,
        }
    }
}

impl RuleFiles {
    /// What stands in the file `name` of a directory. Like git it follows no link.
    pub fn read(&mut self, directory: BorrowedFd<'_>, name: &CStr) -> Option<Vec<u8>> {
        let rules = read(directory, name)?;
        self.files = self.files.checked_sub(1)?;
        self.bytes = self.bytes.checked_sub(rules.len())?;
        Some(rules)
    }
}

fn read(directory: BorrowedFd<'_>, name: &CStr) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(directory, name, flags, Permissions::empty()).ok()?);
    let stat = fstat(&file).ok()?;
    let small = u64::try_from(stat.st_size).is_ok_and(|size| size <= LONGEST);
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || !small {
        return None;
    }
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn rules_are_files_and_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("rules"), "*.o\n").unwrap();
        std::os::unix::fs::symlink("rules", at("link")).unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        File::create(at("long")).unwrap().set_len(LONGEST + 1).unwrap();
        let fd = File::open(directory.path()).unwrap();
        let mut files = RuleFiles { files: 2, bytes: 6 };
        for other in [c"link", c"directory", c"long", c"absent"] {
            assert_eq!(files.read(fd.as_fd(), other), None);
        }
        assert_eq!(files.read(fd.as_fd(), c"rules").unwrap(), b"*.o\n");
        assert!(
            files.read(fd.as_fd(), c"rules").is_none(),
            "more bytes than may be read"
        );
    }
}
