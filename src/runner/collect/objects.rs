//! Names blobs and writes them into the pristine repository, without git: thousands of files would be thousands
//! of processes, and nothing here looks at names, attributes or filters.

use std::io::{self, Read};
use std::path::PathBuf;

use sha1_checked::{Digest, Sha1};

use super::base::Oid;
use super::pack::Pack;

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
    hasher.update(format!("blob {size}\0"));
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
    pack: Option<Pack>,
}

impl Objects {
    /// Those below `directory` (`objects` of a repository).
    pub const fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            pack: None,
        }
    }

    /// Writes the blob of exactly `size` bytes of `content`; returns its name. Git can read it after
    /// [`Objects::finish`].
    pub fn write(&mut self, content: &mut impl Read, size: u64) -> Result<Oid, BlobError> {
        let pack = match &mut self.pack {
            Some(pack) => pack,
            none => {
                let pack = Pack::create(&self.directory.join("pack")).map_err(BlobError::Write)?;
                none.insert(pack)
            }
        };
        pack.add(content, size)
    }

    /// Puts what was written where git finds it.
    pub fn finish(&mut self) -> io::Result<()> {
        self.pack.take().map_or(Ok(()), Pack::finish)
    }
}

/// Hands `size` bytes of `content` to `to`.
pub fn copy(
    content: &mut impl Read,
    size: u64,
    mut to: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), BlobError> {
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

/// The name that was computed, unless the content was made to have that of another.
pub fn finish(hasher: Sha1) -> Result<Oid, BlobError> {
    let result = hasher.try_finalize();
    if result.has_collision() {
        return Err(BlobError::Collision);
    }
    Ok((*result.hash()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::base::hex;
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
        let mut objects = Objects::new(path.join("objects"));
        let noise: Vec<u8> = (0..75_000u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes())
            .collect();
        let contents = [b"".to_vec(), b"hello\n".to_vec(), vec![7; 300_000], noise];
        for content in &contents {
            let size = content.len() as u64;
            objects.write(&mut content.as_slice(), size).unwrap();
            // What breaks off, and what is there already, leaves nothing.
            let broken = objects.write(&mut content.as_slice(), size + 1);
            assert!(matches!(broken, Err(BlobError::Short)));
            objects.write(&mut content.as_slice(), size).unwrap();
        }
        objects.finish().unwrap();
        for content in &contents {
            let size = content.len() as u64;
            let oid = name(&mut content.as_slice(), size).unwrap();
            let by_git = git
                .run(
                    &["hash-object", "--no-filters", "--stdin"],
                    content,
                    1000,
                    &deadline,
                )
                .unwrap();
            assert_eq!(String::from_utf8(by_git).unwrap().trim(), hex(&oid));
            let read = git
                .run(&["cat-file", "blob", &hex(&oid)], b"", 1 << 20, &deadline)
                .unwrap();
            assert_eq!(&read, content);
        }
        git.run(&["fsck", "--strict"], b"", 10_000, &deadline).unwrap();
        let counted = git.run(&["count-objects", "-v"], b"", 10_000, &deadline).unwrap();
        let counted = String::from_utf8(counted).unwrap();
        assert!(
            counted.contains("count: 0\n") && counted.contains("in-pack: 4\n"),
            "{counted}"
        );
        // A second pack beside it; without anything to write there is none.
        objects.finish().unwrap();
        objects.write(&mut b"more".as_slice(), 4).unwrap();
        objects.finish().unwrap();
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
