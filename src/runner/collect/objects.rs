//! Writes blobs into the pristine repository.

use std::io::{self, Read};
use std::path::PathBuf;

use super::base::Oid;
use super::blob::BlobError;
use super::pack::Pack;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::base::hex;
    use crate::collect::blob::name;
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
