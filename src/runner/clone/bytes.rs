//! What all clones of a run come to, held to what policy allows while they are made.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::deadline::Deadline;

/// How often the objects are measured. They are few files, for git receives each clone as one pack.
const WATCH: Duration = Duration::from_millis(200);
/// Deepest directory of objects: `<name>.modules/<n>.git/objects/pack`.
const DEPTH: usize = 6;

/// A run's clones come to more bytes than they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clones of this run come to more than {0} bytes, the most that policy allows (limits.maxCloneBytes): ask for less \
     in repositories[].clone (depth, branches, sparse, submodules), or have the ceiling raised"
)]
pub struct TooLarge(pub u64);

/// The bytes of a run's clones.
#[derive(Debug)]
pub struct Bytes {
    limit: u64,
    files: AtomicU64,
    exceeded: AtomicBool,
}

impl Bytes {
    /// None yet, `limit` at most.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            files: AtomicU64::new(0),
            exceeded: AtomicBool::new(false),
        }
    }

    /// Counts files of a work tree before they are written.
    ///
    /// # Errors
    /// They are too many.
    pub fn add_files(&self, bytes: u64) -> Result<(), TooLarge> {
        let before = self.files.fetch_add(bytes.min(self.limit), Ordering::Relaxed);
        self.hold(before.saturating_add(bytes))
    }

    /// Measures the objects below `directory`.
    ///
    /// # Errors
    /// Together with the files they are too many.
    pub fn measure(&self, directory: &Path) -> Result<(), TooLarge> {
        let objects = size(directory, DEPTH);
        self.hold(self.files.load(Ordering::Relaxed).saturating_add(objects))
    }

    /// Measures the objects below `directory` until the other end of `ended` is dropped; gives the clones up once they
    /// are too many.
    pub fn watch(&self, directory: &Path, ended: &Receiver<()>, deadline: &Deadline) {
        while ended.recv_timeout(WATCH) == Err(RecvTimeoutError::Timeout) {
            if self.measure(directory).is_err() {
                deadline.give_up();
                return;
            }
        }
    }

    /// Whether they were too many.
    ///
    /// # Errors
    /// They were.
    pub fn outcome(&self) -> Result<(), TooLarge> {
        if self.exceeded.load(Ordering::Relaxed) {
            Err(TooLarge(self.limit))
        } else {
            Ok(())
        }
    }

    fn hold(&self, total: u64) -> Result<(), TooLarge> {
        if total > self.limit {
            self.exceeded.store(true, Ordering::Relaxed);
        }
        self.outcome()
    }
}

/// Bytes of the files below a directory. What vanishes meanwhile, as git's temporary files do, counts nothing.
fn size(directory: &Path, depth: usize) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let facts = entry.metadata().ok()?;
            Some(match (facts.is_dir(), depth) {
                (false, _) => facts.len(),
                (true, 0) => 0,
                (true, _) => size(&entry.path(), depth - 1),
            })
        })
        .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn objects_and_files_together_are_held_to_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let pack = directory.path().join("a.modules/0.git/objects/pack");
        std::fs::create_dir_all(&pack).unwrap();
        std::fs::write(pack.join("tmp_pack_1"), vec![0; 600]).unwrap();
        let bytes = Bytes::new(1000);
        bytes.measure(directory.path()).unwrap();
        bytes.add_files(400).unwrap();
        bytes.measure(directory.path()).unwrap();
        bytes.outcome().unwrap();
        bytes.add_files(1).unwrap();
        assert_eq!(bytes.measure(directory.path()), Err(TooLarge(1000)));
        assert_eq!(bytes.outcome(), Err(TooLarge(1000)));
        assert_eq!(Bytes::new(10).add_files(u64::MAX), Err(TooLarge(10)));
    }

    #[test]
    fn clones_that_grow_too_large_are_given_up() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("pack"), vec![0; 11]).unwrap();
        let (_ended, watch) = channel();
        let deadline = Deadline::after(Duration::from_mins(1));
        Bytes::new(10).watch(directory.path(), &watch, &deadline);
        assert!(deadline.passed());
    }
}
