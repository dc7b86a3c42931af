//! Plain files: `runs/<uid>/{records.jsonl, run, receipt.json, patches/<repository>.patch}`.
//!
//! The receipt is the commit of an upload: patches without one are the rest of an upload that never ended.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use tokio_util::sync::CancellationToken;

use super::durable::{DiskError, append_lines, make_directory, sweep};
use super::summary::Summary;
use cofferdam_wire::output::Receipt;
use cofferdam_wire::record::{Record, RunRecord};

/// Bytes of records of one run.
const RECORDS_LIMIT: u64 = 16 * 1024 * 1024;
/// Longest line of a batch in bytes.
const LINE_LIMIT: usize = 16 * 1024;
/// Batches of a run that are remembered, so that one that is sent again is stored once.
const REMEMBERED_BATCHES: usize = 32;
/// Runs whose batches are remembered.
const REMEMBERED_RUNS: usize = 4096;

/// Why something was not stored or found.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The run's uid or the repository's name is not one.
    #[error("{0} is not a valid name")]
    Name(&'static str),
    /// A line is not a record.
    #[error("line {line} is not a record: {error}")]
    Record {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        error: String,
    },
    /// The run has as many records as a run may have.
    #[error("the run's records are full: 16 MiB")]
    Full,
    /// The volume.
    #[error("the volume: {0}")]
    Io(#[from] io::Error),
    /// A sync failed, now or before: nothing more is acknowledged, and the process ends.
    #[error("the volume lost what was written to it; the archive starts again")]
    Unsynced,
    /// A file of ours is not what we wrote.
    #[error("a stored document cannot be read: {0}")]
    Corrupt(#[from] serde_json::Error),
}

/// The archive's files. One process at a time.
#[derive(Debug)]
pub struct Store {
    runs: PathBuf,
    locks: Mutex<HashMap<String, Arc<RunLocks>>>,
    unsynced: CancellationToken,
    _lock: File,
}

/// What is going on with one run.
#[derive(Debug, Default)]
pub struct RunLocks {
    /// Held while an upload is received.
    pub upload: tokio::sync::Mutex<()>,
    log: Mutex<Log>,
}

/// A run's records as this process knows them.
#[derive(Debug, Default)]
struct Log {
    batches: VecDeque<String>,
    /// What the file says; absent: it was not read yet.
    summary: Option<Summary>,
}

impl Log {
    /// The summary of the whole lines at `path`, read at most once.
    fn summary(&mut self, path: &Path) -> io::Result<&Summary> {
        let summary = match self.summary.take() {
            Some(summary) => summary,
            None => summary_of(path)?,
        };
        Ok(self.summary.insert(summary))
    }
}

fn summary_of(path: &Path) -> io::Result<Summary> {
    let mut summary = Summary::default();
    let mut file = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(summary),
        Err(error) => return Err(error),
    };
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line)? > 0 {
        // A crash tore what has no end: it was not acknowledged, and the next append cuts it off.
        if line.last() == Some(&b'\n') {
            summary.add_line(&line);
        }
        line.clear();
    }
    Ok(summary)
}

impl Store {
    /// Opens the files under `data` and sweeps away what a crash left.
    ///
    /// # Errors
    /// The volume cannot be used, or another process uses it.
    pub fn open(data: &Path) -> io::Result<Self> {
        let lock = File::create(data.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let runs = data.join("runs");
        make_directory(&runs).map_err(|error| match error {
            DiskError::Io(error) | DiskError::Unsynced(error) => error,
        })?;
        for entry in fs::read_dir(&runs)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                sweep(&entry.path())?;
            }
        }
        Ok(Self {
            runs,
            locks: Mutex::default(),
            unsynced: CancellationToken::new(),
            _lock: lock,
        })
    }

    /// Ends when a sync has failed; the process is to end then.
    pub async fn unsynced(&self) {
        self.unsynced.cancelled().await;
    }

    /// A result of work on the volume. After a sync that failed there is no other result than that.
    pub fn settled<T>(&self, result: Result<T, DiskError>) -> Result<T, StoreError> {
        if let Err(DiskError::Unsynced(error)) = &result {
            tracing::error!(%error, "a sync failed: nothing more is acknowledged");
            self.unsynced.cancel();
        }
        if self.unsynced.is_cancelled() {
            return Err(StoreError::Unsynced);
        }
        result.map_err(|error| match error {
            DiskError::Io(error) => StoreError::Io(error),
            DiskError::Unsynced(_) => StoreError::Unsynced,
        })
    }

    /// The directory of a run; names are judged before they become paths.
    pub fn directory(&self, run_uid: &str) -> Result<PathBuf, StoreError> {
        let fits = (1..=64).contains(&run_uid.len());
        let plain = run_uid
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if fits && plain {
            Ok(self.runs.join(run_uid))
        } else {
            Err(StoreError::Name("the run's uid"))
        }
    }

    /// The locks of a run.
    pub fn locks(&self, run_uid: &str) -> Arc<RunLocks> {
        let mut locks = self.locks.lock();
        if locks.len() >= REMEMBERED_RUNS {
            locks.retain(|_, run| Arc::strong_count(run) > 1);
        }
        Arc::clone(locks.entry(run_uid.to_owned()).or_default())
    }

    /// Appends a batch of records; returns when they are on the disk.
    pub fn append(&self, run_uid: &str, batch: Option<&str>, lines: &[u8]) -> Result<(), StoreError> {
        let directory = self.directory(run_uid)?;
        validate(lines)?;
        let run = self.locks(run_uid);
        // Also keeps two appends of one run apart.
        let mut log = run.log.lock();
        if batch.is_some_and(|batch| log.batches.iter().any(|known| known == batch)) {
            return self.settled(Ok(()));
        }
        self.settled(make_directory(&directory))?;
        let path = directory.join("records.jsonl");
        let is_new = !path.try_exists()?;
        let end = self.settled(append_lines(&path, lines, RECORDS_LIMIT))?;
        end.ok_or(StoreError::Full)?;
        if is_new {
            log.summary = Some(Summary::default());
        }
        if let Some(summary) = &mut log.summary {
            lines
                .split(|byte| *byte == b'\n')
                .for_each(|line| summary.add_line(line));
        }
        if let Some(batch) = batch {
            log.batches.push_back(batch.to_owned());
            if log.batches.len() > REMEMBERED_BATCHES {
                log.batches.pop_front();
            }
        }
        Ok(())
    }

    /// The receipt of a run's upload.
    pub fn receipt(&self, run_uid: &str) -> Result<Option<Receipt>, StoreError> {
        let path = self.directory(run_uid)?.join("receipt.json");
        match fs::read(path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Everything about a run; a run of which nothing is known has an empty record.
    pub fn run_record(&self, run_uid: &str) -> Result<RunRecord, StoreError> {
        let receipt = self.receipt(run_uid)?;
        let path = self.directory(run_uid)?.join("records.jsonl");
        let run = self.locks(run_uid);
        let mut log = run.log.lock();
        Ok(log.summary(&path)?.run_record(receipt))
    }

    /// The file of a patch, if the run has a receipt for it.
    pub fn patch(&self, run_uid: &str, repository: &str) -> Result<Option<PathBuf>, StoreError> {
        let path = self
            .directory(run_uid)?
            .join("patches")
            .join(patch_file(repository)?);
        let received = self.receipt(run_uid)?.is_some_and(|receipt| {
            let mut patches = receipt.manifest.patches.iter();
            patches.any(|patch| patch.repository == repository)
        });
        Ok(received.then_some(path))
    }
}

/// Name of the file of a repository's patch.
pub fn patch_file(repository: &str) -> Result<String, StoreError> {
    let fits = (1..=63).contains(&repository.len());
    let plain = repository
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if fits && plain && !repository.starts_with('.') {
        Ok(format!("{repository}.patch"))
    } else {
        Err(StoreError::Name("the repository's name"))
    }
}

/// Whole lines, each a record.
fn validate(lines: &[u8]) -> Result<(), StoreError> {
    let wrong = |line, error: &str| StoreError::Record {
        line,
        error: error.to_owned(),
    };
    if lines.last() != Some(&b'\n') {
        return Err(wrong(0, "the batch does not end with a line feed"));
    }
    for (index, line) in lines.split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() && index > 0 {
            continue;
        }
        if line.len() > LINE_LIMIT {
            return Err(wrong(index + 1, "longer than 16 KiB"));
        }
        serde_json::from_slice::<Record>(line).map_err(|error| wrong(index + 1, &error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_wire::record::{CloseCause, RECORD_VERSION, RecordEvent};

    const UID: &str = "0b7c9f3e-1111-4222-8333-444455556666";

    fn record(sent: u64) -> Vec<u8> {
        let record = Record {
            version: RECORD_VERSION,
            request: None,
            time: "2026-11-23T10:00:00Z".to_owned(),
            source: "gateway-1".to_owned(),
            event: RecordEvent::Closed {
                host: "a.test:443".to_owned(),
                sent,
                received: 1,
                cause: CloseCause::Ended.into(),
            },
        };
        let mut line = serde_json::to_vec(&record).unwrap();
        line.push(b'\n');
        line
    }

    #[test]
    fn a_batch_that_is_sent_again_is_stored_once() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        for _ in 0..3 {
            store.append(UID, Some("gateway-1-0"), &record(1)).unwrap();
        }
        store.append(UID, Some("gateway-1-1"), &record(2)).unwrap();
        let stored = fs::read(data.path().join("runs").join(UID).join("records.jsonl")).unwrap();
        assert_eq!(stored, [record(1), record(2)].concat());
    }

    #[test]
    fn record_of_a_newer_version_is_stored_as_it_came() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        let line = b"{\"version\":9,\"time\":\"t\",\"source\":\"g\",\"type\":\"Reserved\",\"tokens\": 5}\n";
        store.append(UID, None, line).unwrap();
        let stored = fs::read(data.path().join("runs").join(UID).join("records.jsonl")).unwrap();
        assert_eq!(stored, line);
        let untyped = b"{\"version\":9,\"time\":\"t\",\"source\":\"g\"}\n";
        assert!(matches!(
            store.append(UID, None, untyped),
            Err(StoreError::Record { .. })
        ));
    }

    #[test]
    fn what_is_not_a_record_is_refused_whole() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        let unended = record(1)[..20].to_vec();
        for lines in [
            Vec::new(),
            b"\n".to_vec(),
            b"{}\n".to_vec(),
            [record(1), b"x\n".to_vec()].concat(),
            unended,
        ] {
            assert!(matches!(
                store.append(UID, None, &lines),
                Err(StoreError::Record { .. })
            ));
        }
        assert!(!data.path().join("runs").join(UID).exists());
        store.append(UID, None, &record(1)).unwrap();
    }

    #[test]
    fn names_never_leave_their_place() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        for uid in ["", "..", "../x", "a/b", ".", "a b", "%2e", &"a".repeat(65), "x\0"] {
            assert!(store.directory(uid).is_err(), "{uid}");
            assert!(store.append(uid, None, &record(1)).is_err(), "{uid}");
        }
        for name in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            ".hidden",
            "a\0",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(patch_file(name).is_err(), "{name}");
        }
        assert_eq!(patch_file("app").unwrap(), "app.patch");
        assert!(store.directory(UID).is_ok());
    }

    #[test]
    fn a_run_is_full_at_its_limit_and_other_runs_are_not() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        let directory = store.directory(UID).unwrap();
        make_directory(&directory).unwrap();
        let mut lines = vec![b'x'; usize::try_from(RECORDS_LIMIT).unwrap() - 1];
        lines.push(b'\n');
        fs::write(directory.join("records.jsonl"), lines).unwrap();
        assert!(matches!(
            store.append(UID, None, &record(1)),
            Err(StoreError::Full)
        ));
        assert!(store.append("ffff", None, &record(1)).is_ok());
    }

    #[test]
    fn two_processes_do_not_share_a_volume() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        assert!(Store::open(data.path()).is_err());
        drop(store);
        assert!(Store::open(data.path()).is_ok());
    }

    fn denied(host: u64) -> Vec<u8> {
        let line = format!(
            r#"{{"version":2,"time":"t","source":"g","type":"Denied","host":"{host}.test:443","method":"CONNECT","code":"HostNotAllowed","message":"no","by":"agent","count":2}}"#
        );
        (line + "\n").into_bytes()
    }

    /// What was summed up as it came is what a process that starts reads from the file.
    #[test]
    fn summary_is_the_same_as_it_comes_and_after_a_start() {
        let data = tempfile::tempdir().unwrap();
        let mut store = Store::open(data.path()).unwrap();
        for step in 0..40 {
            let lines = [denied(step % 13), record(step), denied(step % 3)].concat();
            store.append(UID, None, &lines).unwrap();
            let running = store.run_record(UID).unwrap();
            assert_eq!(running.denied_requests, (step + 1) * 4);
            drop(store);
            store = Store::open(data.path()).unwrap();
            if step % 2 == 0 {
                assert_eq!(store.run_record(UID).unwrap(), running, "step {step}");
            }
        }
    }

    /// `/dev/null` takes every byte and refuses to be synced.
    #[tokio::test]
    async fn sync_that_fails_ends_all_acknowledgements() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        let directory = store.directory(UID).unwrap();
        make_directory(&directory).unwrap();
        store.append("ffff", Some("batch-1"), &record(1)).unwrap();
        std::os::unix::fs::symlink("/dev/null", directory.join("records.jsonl")).unwrap();
        for (run, batch) in [(UID, "batch-1"), ("eeee", "batch-1"), ("ffff", "batch-1")] {
            let stored = store.append(run, Some(batch), &record(1));
            assert!(matches!(stored, Err(StoreError::Unsynced)), "{run}: {stored:?}");
        }
        store.unsynced().await;
    }
}
