//! Names blobs and writes them into the pristine repository, without git: thousands of files would be thousands
//! of processes, and nothing here looks at names, attributes or filters.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha1_checked::{Digest, Sha1};

use super::base::{Oid, hex};

/// Bytes that are read at a time.
const BUFFER: usize = 64 * 1024;

/// Why a blob has no name.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The content ended before its announced size.
    #[error("the content is shorter than its size")]
    Short,
    /// Made to collide with another content.
    #[error("the content collides under SHA-1")]
    Collision,
    /// Reading the content.
    #[error("{0}")]
    Read(#[source] io::Error),
    /// Writing the object.
    #[error("{0}")]
    Write(#[source] io::Error),
}

/// The name of the blob of exactly `size` bytes of `content`.
pub fn name(content: &mut impl Read, size: u64) -> Result<Oid, BlobError> {
    let mut hasher = Sha1::new();
    copy(content, size, |bytes| {
        hasher.update(bytes);
        Ok(())
    })?;
    finish(hasher)
}

/// The objects of a repository.
#[derive(Debug)]
pub struct Objects {
    directory: PathBuf,
}

impl Objects {
    /// Those below `directory` (`objects` of a repository).
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Writes the blob of exactly `size` bytes of `content` as a loose object; returns its name.
    pub fn write(&self, content: &mut impl Read, size: u64) -> Result<Oid, BlobError> {
        let temporary = self.directory.join("tmp_obj_collect");
        let file = File::create(&temporary).map_err(BlobError::Write)?;
        let written = encode(file, content, size);
        let oid = written.inspect_err(|_| drop(fs::remove_file(&temporary)))?;
        let text = hex(&oid);
        let (fan_out, rest) = text.split_at(2);
        let directory = self.directory.join(fan_out);
        fs::create_dir_all(&directory).map_err(BlobError::Write)?;
        fs::rename(&temporary, directory.join(rest)).map_err(BlobError::Write)?;
        Ok(oid)
    }
}

fn encode(file: File, content: &mut impl Read, size: u64) -> Result<Oid, BlobError> {
    let mut hasher = Sha1::new();
    let mut encoder = ZlibEncoder::new(BufWriter::new(file), Compression::fast());
    copy(content, size, |bytes| {
        hasher.update(bytes);
        encoder.write_all(bytes)
    })?;
    encoder
        .finish()
        .and_then(|mut file| file.flush())
        .map_err(BlobError::Write)?;
    finish(hasher)
}

/// Hands the blob's header and `size` bytes of `content` to `to`.
fn copy(
    content: &mut impl Read,
    size: u64,
    mut to: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), BlobError> {
    to(format!("blob {size}\0").as_bytes()).map_err(BlobError::Write)?;
    let mut content = content.take(size);
    let mut buffer = vec![0; BUFFER];
    let mut copied: u64 = 0;
    loop {
        let read = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(BlobError::Read(error)),
        };
        to(buffer.get(..read).unwrap_or_default()).map_err(BlobError::Write)?;
        copied += read as u64;
    }
    if copied == size {
        Ok(())
    } else {
        Err(BlobError::Short)
    }
}

fn finish(hasher: Sha1) -> Result<Oid, BlobError> {
    let result = hasher.try_finalize();
    if result.has_collision() {
        return Err(BlobError::Collision);
    }
    Ok((*result.hash()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::Deadline;
    use crate::git::Git;
    use std::time::Duration;

    #[test]
    fn git_reads_what_is_written_under_the_name_that_it_would_give() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.git");
        let git = Git::new(&path);
        let deadline = Deadline::after(Duration::from_secs(20));
        git.run(&["init", "-q", "--bare", "--template="], b"", 1000, &deadline)
            .unwrap();
        let objects = Objects::new(path.join("objects"));
        for content in [b"".to_vec(), b"hello\n".to_vec(), vec![7; 300_000]] {
            let size = content.len() as u64;
            let oid = objects.write(&mut content.as_slice(), size).unwrap();
            assert_eq!(name(&mut content.as_slice(), size).unwrap(), oid);
            let by_git = git
                .run(
                    &["hash-object", "--no-filters", "--stdin"],
                    &content,
                    1000,
                    &deadline,
                )
                .unwrap();
            assert_eq!(String::from_utf8(by_git).unwrap().trim(), hex(&oid));
            let read = git
                .run(&["cat-file", "blob", &hex(&oid)], b"", 1 << 20, &deadline)
                .unwrap();
            assert_eq!(read, content);
        }
        git.run(&["fsck", "--strict"], b"", 10_000, &deadline).unwrap();
    }

    #[test]
    fn a_shorter_content_is_seen_and_a_longer_one_is_cut() {
        assert!(matches!(name(&mut b"abc".as_slice(), 4), Err(BlobError::Short)));
        assert_eq!(
            name(&mut b"abcd".as_slice(), 3).unwrap(),
            name(&mut b"abc".as_slice(), 3).unwrap()
        );
    }
}
