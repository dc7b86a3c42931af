//! What stands in files and links: read without following anything, and within bounds.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode as Permissions, OFlags, fstat, openat, readlinkat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::attributes::Attributes;
use super::base::{BaseEntry, Mode, Oid, read_blob};
use super::blob::{BlobError, copy, name};
use super::found::{Found, links, mode, size, special, unchanged};
use super::limits::Limits;
use super::line_endings::{Text, has_crlf, normalised};
use super::objects::Objects;
use super::refusal::Refusal;
use super::spelling;
use crate::deadline::Deadline;
use crate::git::{Git, GitError};
use crate::lfs::{LONGEST_POINTER, Pointer, hexadecimal};

/// Longest text whose line endings are looked at; git takes larger files for binary ones here.
const TEXT_LIMIT: u64 = 16 * 1024 * 1024;
/// How a pointer of Git LFS begins, and how long it is at most.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1";
const POINTER_LIMIT: usize = 1024;
/// How often a file that changes while it is read is read.
const READS: u32 = 3;

/// Reads contents into a repository.
#[derive(Debug)]
pub struct Reader<'a> {
    /// Bounds.
    limits: &'a Limits,
    /// Where changed contents go.
    objects: Objects,
    /// Whether the agent still runs: a file that never holds still is then taken as it was read last.
    live: bool,
    /// What the project says of line endings and of Git LFS.
    attributes: Attributes<'a>,
    /// The pristine repository.
    git: Git,
    deadline: &'a Deadline,
    /// Bytes of changed and new files so far.
    bytes: u64,
    /// Changed and new files that Git LFS is to keep, and that are no pointers.
    lfs_files: u64,
}

impl<'a> Reader<'a> {
    /// A reader that has read nothing yet.
    pub fn new(
        limits: &'a Limits,
        pristine: &Path,
        attributes: Attributes<'a>,
        live: bool,
        deadline: &'a Deadline,
    ) -> Self {
        Self {
            limits,
            objects: Objects::new(pristine.join("objects")),
            live,
            attributes,
            git: Git::new(pristine),
            deadline,
            bytes: 0,
            lfs_files: 0,
        }
    }

    /// Changed and new files that Git LFS is to keep, and whose content was read instead of a pointer.
    pub const fn lfs_files(&self) -> u64 {
        self.lfs_files
    }

    /// Bytes of changed and new files that were read so far.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts what was read where git finds it.
    pub fn finish(&mut self) -> std::io::Result<()> {
        self.objects.finish()
    }

    /// A file's mode and object; nothing if it is gone.
    pub fn file(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        base: Option<BaseEntry>,
    ) -> Result<Option<Found>, Refusal> {
        // Without blocking: what was a file a moment ago may be a FIFO now.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        for read in 1..=READS {
            let opened = match openat(directory, name, flags, Permissions::empty()) {
                Ok(opened) => File::from(opened),
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP) => return Err(Refusal::Unstable(Refusal::shown(path))),
                // How the kernel refuses to open a socket.
                Err(Errno::NXIO) => return Err(special(path, FileType::Socket)),
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
                return Ok(Some(Found {
                    mode: mode(&before),
                    oid,
                    links: links(&before),
                }));
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
        if self.is_what_its_pointer_says(file, path, size, base)? {
            return Ok(base.map(|base| base.oid).unwrap_or_default());
        }
        self.fits(path, size)?;
        let said = self.attributes.of(path)?;
        let oid = if size <= TEXT_LIMIT && (said.lfs || said.text != Text::No) {
            let mut content = Vec::new();
            Read::by_ref(&mut file)
                .take(size)
                .read_to_end(&mut content)
                .map_err(|error| Refusal::unreadable(path, error))?;
            if content.len() as u64 != size {
                return Err(Refusal::Unstable(Refusal::shown(path)));
            }
            self.lfs_files += u64::from(said.lfs && !is_pointer(&content));
            let content = self.as_the_project_wants(content, said.text, base)?;
            let size = content.len() as u64;
            self.objects.write(&mut content.as_slice(), size).map_err(blob)?
        } else {
            self.lfs_files += u64::from(said.lfs);
            self.objects.write(&mut file, size).map_err(blob)?
        };
        self.bytes += size;
        Ok(oid)
    }

    /// Whether a file that Git LFS keeps has the content that the base commit's pointer names: `prepare` may have put it there.
    fn is_what_its_pointer_says(
        &mut self,
        mut file: &File,
        path: &[u8],
        size: u64,
        base: Option<BaseEntry>,
    ) -> Result<bool, Refusal> {
        let pointer = |base: &BaseEntry| {
            matches!(base.mode, Mode::File | Mode::Executable)
                && base.size.is_some_and(|size| size <= LONGEST_POINTER)
        };
        let Some(base) = base.filter(pointer) else {
            return Ok(false);
        };
        if !self.attributes.of(path)?.lfs {
            return Ok(false);
        }
        let blob = read_blob(&self.git, &base.oid, LONGEST_POINTER, self.deadline)?;
        let Some(pointer) = Pointer::parse(&blob).filter(|pointer| pointer.size == size) else {
            return Ok(false);
        };
        let mut hash = Sha256::new();
        let copied = copy(&mut file, size, |bytes| {
            hash.update(bytes);
            Ok(())
        });
        copied.map_err(|error| blob_refusal(path, error))?;
        file.seek(SeekFrom::Start(0))
            .map_err(|error| Refusal::unreadable(path, error))?;
        Ok(hexadecimal(&hash.finalize()) == pointer.oid)
    }

    /// A text with the line endings that the project keeps. Where the base commit's own file has carriage returns, lines keep
    /// theirs: otherwise each of them would be a change.
    fn as_the_project_wants(
        &self,
        content: Vec<u8>,
        text: Text,
        base: Option<BaseEntry>,
    ) -> Result<Vec<u8>, Refusal> {
        let Some(normalised) = normalised(&content, text) else {
            return Ok(content);
        };
        let keeps = match base.filter(|base| matches!(base.mode, Mode::File | Mode::Executable)) {
            None => false,
            Some(base) => match read_blob(&self.git, &base.oid, TEXT_LIMIT, self.deadline) {
                Ok(blob) => has_crlf(&blob),
                Err(GitError::TooLong { .. }) => true,
                Err(error) => return Err(error.into()),
            },
        };
        Ok(if keeps { content } else { normalised })
    }

    /// A link's mode and object; nothing if it is gone.
    pub fn symlink(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        base: Option<BaseEntry>,
    ) -> Result<Option<Found>, Refusal> {
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
            self.fits(path, size)?;
            self.objects.write(&mut target.as_slice(), size).map_err(blob)?;
            self.bytes += size;
        }
        Ok(Some(Found {
            mode: Mode::Symlink,
            oid,
            links: None,
        }))
    }

    /// Whether a changed or new file of `size` bytes may be read.
    fn fits(&self, path: &[u8], size: u64) -> Result<(), Refusal> {
        if size > self.limits.file_bytes {
            return Err(Refusal::FileTooLarge {
                path: Refusal::shown(path),
                size,
                limit: self.limits.file_bytes,
            });
        }
        if self.bytes.saturating_add(size) > self.limits.total_bytes {
            return Err(Refusal::TreeTooLarge(self.limits.total_bytes));
        }
        Ok(())
    }
}

/// Whether Git LFS would keep the content in the repository as it is. It keeps no empty file.
fn is_pointer(content: &[u8]) -> bool {
    content.is_empty() || content.len() < POINTER_LIMIT && content.starts_with(POINTER)
}

fn blob_refusal(path: &[u8], error: BlobError) -> Refusal {
    match error {
        BlobError::Short => Refusal::Unstable(Refusal::shown(path)),
        BlobError::Collision => Refusal::HashCollision(Refusal::shown(path)),
        BlobError::Read(error) => Refusal::unreadable(path, error),
        BlobError::Write(error) => Refusal::Storage(error),
    }
}
