//! Plain files: `runs/<uid>/{chain.jsonl, run, receipt.json, patches/<repository>.patch}`.
//!
//! The receipt is the commit of an upload: patches without one are the rest of an upload that never ended.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::commit::{Chain, Committer};
use super::durable::{DiskError, make_directory, sweep};
use super::error::StoreError;
use super::log::{Batch, Found, Log};
use super::volume::Volume;
use cofferdam_wire::chain::{Class, Entry};
use cofferdam_wire::output::Receipt;
use cofferdam_wire::record::{Record, RunRecord};

/// Runs that are remembered. One that was forgotten is read again.
const REMEMBERED_RUNS: usize = 8192;

/// The archive's files.
#[derive(Debug)]
pub struct Store {
    runs: PathBuf,
    known: Mutex<HashMap<String, Arc<Run>>>,
    // The thread ends before the lock of the volume is given back.
    committer: Committer,
    volume: Arc<Volume>,
}

/// What is going on with one run.
#[derive(Debug)]
pub struct Run {
    /// Held while an upload is received.
    pub upload: tokio::sync::Mutex<()>,
    chain: Arc<Chain>,
}

/// A batch that can be stored. The run is remembered as long as this is held.
#[derive(Debug)]
pub struct Prepared {
    run: Arc<Run>,
    batch: Batch,
}

impl Store {
    /// Opens the files under `data` and sweeps away what a crash left.
    ///
    /// # Errors
    /// The volume cannot be used, or another process uses it.
    pub fn open(data: &Path) -> io::Result<Self> {
        let volume = Arc::new(Volume::open(data)?);
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
            known: Mutex::default(),
            committer: Committer::start(Arc::clone(&volume))?,
            volume,
        })
    }

    /// Ends when a sync has failed; the process is to end then.
    pub async fn unsynced(&self) {
        self.volume.lost().await;
    }

    /// A result of work on the volume. After a sync that failed there is no other result than that.
    pub fn settled<T>(&self, result: Result<T, DiskError>) -> Result<T, StoreError> {
        self.volume.observe(&result)?;
        Ok(result?)
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

    /// What is going on with a run. As long as somebody holds it, everybody gets the same.
    pub fn run(&self, run_uid: &str) -> Result<Arc<Run>, StoreError> {
        let path = self.directory(run_uid)?.join("chain.jsonl");
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED_RUNS {
            known.retain(|_, run| Arc::strong_count(run) > 1 || Arc::strong_count(&run.chain) > 1);
        }
        let run = known.entry(run_uid.to_owned()).or_insert_with(|| {
            Arc::new(Run {
                upload: tokio::sync::Mutex::default(),
                chain: Arc::new(Chain {
                    run_uid: run_uid.to_owned(),
                    path,
                    found: Mutex::default(),
                }),
            })
        });
        Ok(Arc::clone(run))
    }

    /// Reads a batch of records, and the chain that it belongs to where that was not read yet.
    ///
    /// # Errors
    /// The batch is none, or the run's chain takes no more.
    pub fn prepare(
        &self,
        run_uid: &str,
        source: String,
        class: Class,
        lines: &[u8],
    ) -> Result<Prepared, StoreError> {
        let run = self.run(run_uid)?;
        let entries = read(lines)?;
        let corrupt = with_chain(&run.chain, |found| match found {
            Found::Whole(_) => None,
            Found::Corrupt { fault, .. } => Some(fault.clone()),
        })?;
        match corrupt {
            Some(fault) => Err(StoreError::Corrupt(fault)),
            None => Ok(Prepared {
                run,
                batch: Batch {
                    source,
                    class,
                    entries,
                },
            }),
        }
    }

    /// Stores a batch; returns when it is on the disk.
    ///
    /// # Errors
    /// It is not stored, or that is not known.
    pub async fn commit(&self, prepared: Prepared) -> Result<(), StoreError> {
        let Prepared { run, batch } = prepared;
        self.committer.commit(Arc::clone(&run.chain), batch).await
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

    /// Everything about a run; a run of which nothing is known has an empty record. Of a corrupt chain it is what
    /// the lines before the fault say.
    pub fn run_record(&self, run_uid: &str) -> Result<RunRecord, StoreError> {
        let receipt = self.receipt(run_uid)?;
        let run = self.run(run_uid)?;
        Ok(with_chain(&run.chain, |found| match found {
            Found::Whole(log) => log.summary().run_record(receipt),
            Found::Corrupt { summary, .. } => summary.run_record(receipt),
        })?)
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

/// What `of` makes of a chain, which is read at most once.
fn with_chain<T>(chain: &Chain, of: impl FnOnce(&Found) -> T) -> io::Result<T> {
    let mut found = chain.found.lock();
    if let Some(found) = &*found {
        return Ok(of(found));
    }
    let read = Log::read(&chain.run_uid, &chain.path)?;
    if let Found::Corrupt { fault, .. } = &read {
        tracing::error!(run = chain.run_uid, %fault, "the run's chain of records is corrupt: it is kept and gets no further record");
    }
    Ok(of(found.insert(read)))
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

/// Reads whole lines, each a record.
fn read(lines: &[u8]) -> Result<Vec<(Entry, Option<Record>)>, StoreError> {
    let wrong = |line, error: String| StoreError::Record { line, error };
    let lines = lines
        .strip_suffix(b"\n")
        .ok_or_else(|| wrong(0, "the batch does not end with a line feed".to_owned()))?;
    let read = |(index, line)| {
        let entry = Entry::parse(line).map_err(|error| wrong(index + 1, error.to_string()))?;
        Ok((entry, serde_json::from_slice(line).ok()))
    };
    lines.split(|byte| *byte == b'\n').enumerate().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::{closed, line};
    use cofferdam_wire::chain::Head;
    use cofferdam_wire::chain::verify::{Expected, Verified, verify};
    use cofferdam_wire::denial::DenialCode;
    use cofferdam_wire::record::RecordEvent;

    const UID: &str = "0b7c9f3e-1111-4222-8333-444455556666";
    const SOURCE: &str = "gateway/pod-uid/1";

    async fn append(store: &Store, run: &str, source: &str, lines: &[u8]) -> Result<(), StoreError> {
        let prepared = store.prepare(run, source.to_owned(), Class::Observed, lines)?;
        store.commit(prepared).await
    }

    fn file(data: &Path, run: &str) -> PathBuf {
        data.join("runs").join(run).join("chain.jsonl")
    }

    fn verified(data: &Path, run: &str) -> Verified {
        verify(run, &fs::read(file(data, run)).unwrap(), Expected::Nothing).unwrap()
    }

    #[tokio::test]
    async fn a_batch_that_is_sent_again_is_stored_once() {
        let data = tempfile::tempdir().unwrap();
        let mut store = Store::open(data.path()).unwrap();
        for _ in 0..3 {
            append(&store, UID, SOURCE, &closed(1)).await.unwrap();
            // Also by an archive that starts anew between the two.
            drop(store);
            store = Store::open(data.path()).unwrap();
        }
        let both = [closed(1), closed(2)].concat();
        append(&store, UID, SOURCE, &both).await.unwrap();
        assert_eq!(verified(data.path(), UID).head.seq, 2);
    }

    /// A container that restarts in its pod counts from 1 again, in a stream of its own.
    #[tokio::test]
    async fn records_of_two_processes_of_one_pod_are_all_stored() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        for source in ["gateway/pod-uid/1", "gateway/pod-uid/2"] {
            for number in 1..=3 {
                append(&store, UID, source, &closed(number)).await.unwrap();
            }
        }
        let verified = verified(data.path(), UID);
        assert_eq!(verified.head.seq, 6);
        assert!(verified.sources.values().all(|stream| stream.last == 3));
    }

    #[tokio::test]
    async fn record_of_a_newer_version_is_stored_as_it_came() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        let later =
            br#"{"sourceSeq":1,"version":9,"time":"t","type":"Reserved","data":{"tokens":5},"more":[1]}"#;
        append(&store, UID, SOURCE, &[later, &b"\n"[..]].concat())
            .await
            .unwrap();
        let stored: serde_json::Value =
            serde_json::from_slice(&fs::read(file(data.path(), UID)).unwrap()).unwrap();
        let sent: serde_json::Value = serde_json::from_slice(later).unwrap();
        assert!(
            sent.as_object()
                .unwrap()
                .iter()
                .all(|(name, value)| stored[name] == *value)
        );
        assert_eq!(
            (&stored["source"], &stored["class"]),
            (&SOURCE.into(), &"Observed".into())
        );
        assert_eq!(store.run_record(UID).unwrap().requests, 0);
    }

    #[test]
    fn what_is_not_a_record_is_refused_whole() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        let prepared = |lines: &[u8]| store.prepare(UID, SOURCE.to_owned(), Class::Observed, lines);
        let whole = closed(1);
        for (lines, at) in [
            (Vec::new(), 0),
            (whole[..20].to_vec(), 0),
            (b"\n".to_vec(), 1),
            (b"{}\n".to_vec(), 1),
            ([&whole[..], b"x\n"].concat(), 2),
            ([&whole[..], b"\n"].concat(), 2),
        ] {
            let refused = prepared(&lines);
            assert!(
                matches!(refused, Err(StoreError::Record { line, .. }) if line == at),
                "{refused:?}"
            );
        }
        assert!(prepared(&whole).is_ok());
    }

    #[test]
    fn names_never_leave_their_place() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        let prepared = |uid: &str| store.prepare(uid, SOURCE.to_owned(), Class::Observed, &closed(1));
        for uid in ["", "..", "../x", "a/b", ".", "a b", "%2e", &"a".repeat(65), "x\0"] {
            assert!(store.directory(uid).is_err(), "{uid}");
            assert!(prepared(uid).is_err(), "{uid}");
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
        assert!(prepared(UID).is_ok());
    }

    fn denied(number: u64, host: u64) -> Vec<u8> {
        let event = RecordEvent::Denied {
            host: format!("{host}.test:443"),
            method: "CONNECT".to_owned(),
            path: None,
            code: DenialCode::HostNotAllowed.into(),
            layer: None,
            message: "no".to_owned(),
            by: "agent".to_owned(),
            count: 2,
        };
        line(number, event)
    }

    /// What was summed up as it came is what a process that starts reads from the file.
    #[tokio::test]
    async fn summary_is_the_same_as_it_comes_and_after_a_start() {
        let data = tempfile::tempdir().unwrap();
        let mut store = Store::open(data.path()).unwrap();
        for step in 0..40 {
            let lines = [
                denied(step * 3 + 1, step % 13),
                closed(step * 3 + 2),
                denied(step * 3 + 3, step % 3),
            ]
            .concat();
            append(&store, UID, SOURCE, &lines).await.unwrap();
            let running = store.run_record(UID).unwrap();
            assert_eq!(running.denied_requests, (step + 1) * 4);
            drop(store);
            store = Store::open(data.path()).unwrap();
            if step % 2 == 0 {
                assert_eq!(store.run_record(UID).unwrap(), running, "step {step}");
            }
        }
    }

    #[tokio::test]
    async fn corrupt_run_is_closed_and_others_go_on() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        for run in [UID, "ffff"] {
            let lines = [denied(1, 1), denied(2, 2), denied(3, 3)].concat();
            append(&store, run, SOURCE, &lines).await.unwrap();
        }
        drop(store);
        let path = file(data.path(), UID);
        let spoilt = fs::read_to_string(&path).unwrap().replace("2.test", "3.test");
        fs::write(&path, &spoilt).unwrap();
        let store = Store::open(data.path()).unwrap();
        let refused = append(&store, UID, SOURCE, &closed(4)).await;
        assert!(
            matches!(&refused, Err(StoreError::Corrupt(fault)) if fault.line == 2 || fault.line == 3),
            "{refused:?}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), spoilt);
        assert!(store.run_record(UID).unwrap().denied_requests < 6);
        append(&store, "ffff", SOURCE, &closed(4)).await.unwrap();
        assert_eq!(verified(data.path(), "ffff").head.seq, 4);
    }

    /// Someone takes acknowledged lines away while the archive runs.
    #[tokio::test]
    async fn file_that_shrinks_under_the_archive_closes_its_run() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        for spoil in [
            |path: &Path| fs::remove_file(path).unwrap(),
            |path: &Path| {
                let text = fs::read_to_string(path).unwrap();
                fs::write(path, text.split_inclusive('\n').next().unwrap()).unwrap();
            },
        ] {
            let run = format!("{}", fs::read_dir(data.path().join("runs")).unwrap().count());
            let lines = [closed(1), closed(2)].concat();
            append(&store, &run, SOURCE, &lines).await.unwrap();
            spoil(&file(data.path(), &run));
            assert!(append(&store, &run, SOURCE, &closed(3)).await.is_err());
            let refused = append(&store, &run, SOURCE, &closed(3)).await;
            assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
        }
    }

    #[tokio::test]
    async fn all_that_waits_at_once_is_stored_in_its_own_chain() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        let runs: Vec<String> = (0..20).map(|run| format!("{run:04}")).collect();
        let (store_ref, runs_ref) = (&store, &runs);
        let appends = (0..400).map(|index| async move {
            let source = format!("gateway/pod/{}", index / 20);
            append(store_ref, &runs_ref[index % 20], &source, &closed(1)).await
        });
        for done in futures::future::join_all(appends).await {
            done.unwrap();
        }
        for run in &runs {
            let verified = verified(data.path(), run);
            assert_eq!((verified.head.seq, verified.sources.len()), (20, 20));
        }
    }

    /// The lines of Python in `docs/evidence.md`, as a stranger runs them.
    #[tokio::test]
    async fn stranger_verifies_a_chain_with_the_python_of_the_docs() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/evidence.md");
        let page = fs::read_to_string(page).unwrap();
        let (_, code) = page.split_once("```python\n").unwrap();
        let (code, _) = code.split_once("```").unwrap();
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        for numbers in [1..3, 5..7] {
            let lines: Vec<u8> = numbers.flat_map(closed).collect();
            append(&store, UID, SOURCE, &lines).await.unwrap();
        }
        let head = verified(data.path(), UID).head;
        let path = file(data.path(), UID);
        let python = |head: Head| {
            let run = std::process::Command::new("python3")
                .args(["-c", code])
                .arg(&path)
                .args([UID, &head.seq.to_string(), &head.sha256.to_string()])
                .output()
                .unwrap();
            let said = [run.stdout, run.stderr].concat();
            (run.status.success(), String::from_utf8(said).unwrap())
        };
        let (verifies, said) = python(head);
        assert!(verifies, "{said}");
        assert!(said.contains(&format!("record 4 of {SOURCE} was lost")), "{said}");
        assert!(
            said.contains(&format!("chain of 4 records, verified: {}", head.sha256)),
            "{said}"
        );
        assert!(!python(Head { seq: 5, ..head }).0);
        let spoilt = fs::read_to_string(&path).unwrap().replacen("a.test", "b.test", 1);
        fs::write(&path, spoilt).unwrap();
        let (verifies, said) = python(head);
        assert!(
            !verifies && said.contains("line 2 does not follow line 1"),
            "{said}"
        );
    }

    /// Runs that nobody holds are forgotten, and go on where they were.
    #[tokio::test]
    async fn forgotten_run_goes_on() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        append(&store, UID, SOURCE, &closed(1)).await.unwrap();
        let held = store.run("abc").unwrap();
        for number in 0..REMEMBERED_RUNS {
            store.run(&format!("{number:x}-")).unwrap();
        }
        assert!(!store.known.lock().contains_key(UID));
        assert!(Arc::ptr_eq(&held, &store.run("abc").unwrap()));
        append(&store, UID, SOURCE, &closed(2)).await.unwrap();
        assert_ne!(verified(data.path(), UID).head, Head::EMPTY);
        assert_eq!(verified(data.path(), UID).head.seq, 2);
    }

    /// `/dev/null` takes every byte and refuses to be synced.
    #[tokio::test]
    async fn sync_that_fails_ends_all_acknowledgements() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        append(&store, "ffff", SOURCE, &closed(1)).await.unwrap();
        make_directory(&store.directory(UID).unwrap()).unwrap();
        std::os::unix::fs::symlink("/dev/null", file(data.path(), UID)).unwrap();
        for run in [UID, "eeee", "ffff"] {
            let stored = append(&store, run, SOURCE, &closed(1)).await;
            assert!(matches!(stored, Err(StoreError::Unsynced)), "{run}: {stored:?}");
        }
        store.unsynced().await;
    }
}
