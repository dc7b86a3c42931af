//! What stands in files and links.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Mode as Permissions, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;

use super::{Links, Walk};
use crate::collect::base::{BaseEntry, Mode, Oid};
use crate::collect::objects::{BlobError, name};
use crate::collect::refusal::Refusal;
use crate::collect::spelling;

/// How often a file that changes while it is read is read.
const READS: u32 = 3;

impl Walk<'_> {
    /// A file's mode and object; nothing if it is gone.
    pub fn file(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        base: Option<BaseEntry>,
    ) -> Result<Option<(Mode, Oid)>, Refusal> {
        // Without blocking: what was a file a moment ago may be a FIFO now.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        for read in 1..=READS {
            let opened = match openat(directory, name, flags, Permissions::empty()) {
                Ok(opened) => File::from(opened),
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP) => return Err(Refusal::Unstable(Refusal::shown(path))),
                Err(error) => return Err(Refusal::unreadable(path, error)),
            };
            let before = fstat(&opened).map_err(|error| Refusal::unreadable(path, error))?;
            let kind = FileType::from_raw_mode(before.st_mode);
            if kind != FileType::RegularFile {
                return Err(special(path, kind));
            }
            let oid = match self.content(&opened, path, size(&before), base) {
                Err(Refusal::Unstable(_)) if read < READS => continue,
                done => done?,
            };
            let after = fstat(&opened).map_err(|error| Refusal::unreadable(path, error))?;
            if unchanged(&before, &after) || (self.live && read == READS) {
                self.note_links(&before, path);
                let executable = before.st_mode & 0o100 != 0;
                return Ok(Some((
                    if executable { Mode::Executable } else { Mode::File },
                    oid,
                )));
            }
        }
        Err(Refusal::Unstable(Refusal::shown(path)))
    }

    /// The object of the first `size` bytes of `file`, written only if the base commit does not have it there.
    fn content(
        &mut self,
        mut file: &File,
        path: &[u8],
        size: u64,
        base: Option<BaseEntry>,
    ) -> Result<Oid, Refusal> {
        let blob = |error| blob_refusal(path, error);
        let same_size = base.filter(|base| base.size == Some(size) && base.mode != Mode::Symlink);
        if let Some(base) = same_size {
            if name(&mut file, size).map_err(blob)? == base.oid {
                return Ok(base.oid);
            }
            file.seek(SeekFrom::Start(0))
                .map_err(|error| Refusal::unreadable(path, error))?;
        }
        if size > self.limits.file_bytes {
            return Err(Refusal::FileTooLarge {
                path: Refusal::shown(path),
                size,
                limit: self.limits.file_bytes,
            });
        }
        self.count_bytes(size)?;
        self.objects.write(&mut file, size).map_err(blob)
    }

    /// A link's mode and object; nothing if it is gone.
    pub fn symlink(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        base: Option<BaseEntry>,
    ) -> Result<Option<(Mode, Oid)>, Refusal> {
        if spelling::is_gitmodules(name.to_bytes()) {
            return Err(Refusal::SymlinkedGitFile(Refusal::shown(path)));
        }
        let target = match readlinkat(directory, name, Vec::new()) {
            Ok(target) => target.into_bytes(),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::INVAL) => return Err(Refusal::Unstable(Refusal::shown(path))),
            Err(error) => return Err(Refusal::unreadable(path, error)),
        };
        let size = target.len() as u64;
        let blob = |error| blob_refusal(path, error);
        let oid = self::name(&mut target.as_slice(), size).map_err(blob)?;
        if base.is_none_or(|base| base.oid != oid) {
            self.count_bytes(size)?;
            self.objects.write(&mut target.as_slice(), size).map_err(blob)?;
        }
        Ok(Some((Mode::Symlink, oid)))
    }

    fn count_bytes(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.counts.bytes = self.counts.bytes.saturating_add(bytes);
        if self.counts.bytes > self.limits.total_bytes {
            return Err(Refusal::TreeTooLarge(self.limits.total_bytes));
        }
        if self.deadline.passed() {
            return Err(Refusal::TimedOut);
        }
        Ok(())
    }

    /// A hard link may lead to a file that is none of the tree's; all of a file's names must be collected ones.
    fn note_links(&mut self, stat: &Stat, path: &[u8]) {
        let all = stat.st_nlink;
        if all > 1 {
            let links = self
                .counts
                .links
                .entry((stat.st_dev, stat.st_ino))
                .or_insert_with(|| Links {
                    path: path.to_vec(),
                    all,
                    found: 0,
                });
            links.found += 1;
        }
    }
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(u64::MAX)
}

/// Whether nothing was written between two looks. The change time cannot be set back.
fn unchanged(one: &Stat, other: &Stat) -> bool {
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

fn blob_refusal(path: &[u8], error: BlobError) -> Refusal {
    match error {
        BlobError::Short => Refusal::Unstable(Refusal::shown(path)),
        BlobError::Collision => Refusal::HashCollision(Refusal::shown(path)),
        BlobError::Read(error) => Refusal::unreadable(path, error),
        BlobError::Write(error) => Refusal::Storage(error),
    }
}
