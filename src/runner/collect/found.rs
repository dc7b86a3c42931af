//! What stands at a path, and what the file system says of it.

use rustix::fs::{FileType, Stat};

use super::base::{Mode, Oid};
use super::refusal::Refusal;

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub mode: Mode,
    /// Its object, which the pristine repository has.
    pub oid: Oid,
    /// The file, where it has more names than this one.
    pub links: Option<Links>,
}

/// A file with several names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Links {
    /// Its device and inode.
    pub file: (u64, u64),
    /// How many names it has, wherever they are.
    pub all: u64,
}

/// Whether a file is executable: its owner's bit alone decides, as for git.
pub const fn mode(stat: &Stat) -> Mode {
    if stat.st_mode & 0o100 == 0 {
        Mode::File
    } else {
        Mode::Executable
    }
}

/// The file, where it has more than one name.
pub fn links(stat: &Stat) -> Option<Links> {
    let all = stat.st_nlink;
    (all > 1).then_some(Links {
        file: (stat.st_dev, stat.st_ino),
        all,
    })
}

/// Its bytes.
pub fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(u64::MAX)
}

/// Whether nothing was written between two looks. The change time cannot be set back.
pub fn unchanged(one: &Stat, other: &Stat) -> bool {
    let facts = |stat: &Stat| {
        (
            stat.st_size,
            stat.st_mtime,
            stat.st_mtime_nsec,
            stat.st_ctime,
            stat.st_ctime_nsec,
        )
    };
    facts(one) == facts(other)
}

/// The refusal of what is neither file, link nor directory.
pub fn special(path: &[u8], kind: FileType) -> Refusal {
    Refusal::SpecialFile {
        path: Refusal::shown(path),
        kind: match kind {
            FileType::Fifo => "FIFO",
            FileType::Socket => "socket",
            FileType::CharacterDevice | FileType::BlockDevice => "device",
            _ => "file of an unknown kind",
        },
    }
}
