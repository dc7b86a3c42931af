//! Plain files: `runs/<uid>/{chain.jsonl, run, receipt.json, patches/<repository>.patch, statement.json}`, and
//! `deletions.jsonl`.
//!
//! The receipt is the commit of an upload: patches without one are the rest of an upload that never ended.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use serde::Serialize;

use super::commit::{Chain, Committer};
use super::durable::{DiskError, TEMPORARY, append_line, make_directory, sweep, sync_directory, write_file};
use super::error::StoreError;
use super::log::{Batch, Found, Log};
use super::names::{self, Names};
use super::seal::{SealWork, batches};
use super::volume::Volume;
use cofferdam_wire::archive::{ChainState, NamedRun};
use cofferdam_wire::chain::{Class, Entry, Head};
use cofferdam_wire::output::Receipt;
use cofferdam_wire::record::{Record, RunRecord};
use cofferdam_wire::seal::{Seal, SealRequest, SealedPatch, UNSEALED, Unsealed};

/// The run's signed statement, as its envelope.
const STATEMENT: &str = "statement.json";

/// Runs that are remembered. One that was forgotten is read again.
const REMEMBERED_RUNS: usize = 8192;

/// The archive's files.
#[derive(Debug)]
pub struct Store {
    runs: PathBuf,
    deletions: PathBuf,
    known: Mutex<HashMap<String, Arc<Run>>>,
    names: Names,
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

/// What a chain is to be sealed with. The run is remembered as long as this is held.
#[derive(Debug)]
pub struct PreparedSeal {
    run: Arc<Run>,
    work: SealWork,
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
        // Of runs whose removal broke off, and of uploads.
        sweep(&runs)?;
        let names = Names::default();
        for entry in fs::read_dir(&runs)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                sweep(&entry.path())?;
                if let (Some(name), Ok(run_uid)) =
                    (names::read(&entry.path())?, entry.file_name().into_string())
                {
                    names.add(&name, &run_uid);
                }
            }
        }
        Ok(Self {
            names,
            runs,
            deletions: data.join("deletions.jsonl"),
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
            known.retain(|_, run| is_in_use(run));
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

    /// Reads what the controller wants a run's chain to end with, and the chain where that was not read yet.
    ///
    /// # Errors
    /// The request is none, or the run's chain takes no more.
    pub fn prepare_seal(
        &self,
        run_uid: &str,
        request: SealRequest,
        caller: &str,
    ) -> Result<PreparedSeal, StoreError> {
        let run = self.run(run_uid)?;
        let whole = with_chain(&run.chain, |found| match found {
            Found::Whole(_) => Ok(()),
            Found::Corrupt { fault, .. } => Err(StoreError::Corrupt(fault.clone())),
        });
        whole??;
        let (cause, incomplete) = (request.cause, request.incomplete);
        let batches = batches(request, caller).map_err(|(line, error)| StoreError::Record {
            line,
            error: error.to_string(),
        })?;
        let work = SealWork {
            cause,
            incomplete,
            batches,
            patches: Vec::new(),
            now: jiff::Timestamp::now().to_string(),
        };
        Ok(PreparedSeal { run, work })
    }

    /// Seals a run's chain; returns when that is on the disk. A chain that is sealed stays as it is.
    ///
    /// # Errors
    /// It is not sealed, or that is not known.
    pub async fn seal(&self, prepared: PreparedSeal) -> Result<Seal, StoreError> {
        let PreparedSeal { run, mut work } = prepared;
        let run_uid = &run.chain.run_uid;
        // No output is received meanwhile: the seal names all patches.
        let _no_upload = run.upload.try_lock().map_err(|_| StoreError::Busy)?;
        work.patches = self.patches(run_uid)?;
        let seal = self.committer.seal(Arc::clone(&run.chain), work).await?;
        Ok(Seal {
            signed: self.directory(run_uid)?.join(STATEMENT).exists(),
            ..seal
        })
    }

    /// The patches that a run's receipt names.
    fn patches(&self, run_uid: &str) -> Result<Vec<SealedPatch>, StoreError> {
        let receipt = self.receipt(run_uid)?;
        let patches = receipt.into_iter().flat_map(|receipt| receipt.manifest.patches);
        Ok(patches
            .map(|patch| SealedPatch {
                name: patch.name(),
                digest: patch.digest,
                bytes: patch.bytes,
            })
            .collect())
    }

    /// Whether a run's chain is sealed.
    pub fn is_sealed(&self, run_uid: &str) -> Result<bool, StoreError> {
        let run = self.run(run_uid)?;
        Ok(with_chain(
            &run.chain,
            |found| matches!(found, Found::Whole(log) if log.is_sealed()),
        )?)
    }

    /// Keeps the statement of a sealed run. One that is there already stays: what was handed out is not replaced.
    pub fn keep_statement(&self, run_uid: &str, statement: &[u8]) -> Result<(), StoreError> {
        if !self.is_sealed(run_uid)? {
            return Err(StoreError::Statement("the run's records are not sealed yet"));
        }
        serde_json::from_slice::<serde::de::IgnoredAny>(statement)?;
        let directory = self.directory(run_uid)?;
        if directory.join(STATEMENT).exists() {
            return Ok(());
        }
        self.settled(write_file(&directory, STATEMENT, statement))
    }

    /// The statement of a run.
    pub fn statement(&self, run_uid: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match fs::read(self.directory(run_uid)?.join(STATEMENT)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs that have no statement, those first that rest longest, at most [`UNSEALED`].
    pub fn unsealed(&self) -> io::Result<Vec<Unsealed>> {
        let now = SystemTime::now();
        let mut runs = Vec::new();
        for entry in fs::read_dir(&self.runs)? {
            let entry = entry?;
            if let Ok(run) = entry.file_name().into_string()
                && self.directory(&run).is_ok()
                && !entry.path().join(STATEMENT).exists()
            {
                let idle = now.duration_since(last_write(&entry.path())?).unwrap_or_default();
                runs.push(Unsealed {
                    run,
                    idle_seconds: idle.as_secs(),
                });
            }
        }
        runs.sort_by(|one, other| {
            let by_time = other.idle_seconds.cmp(&one.idle_seconds);
            by_time.then_with(|| one.run.cmp(&other.run))
        });
        runs.truncate(UNSEALED);
        Ok(runs)
    }

    /// How full the volume is, in percent.
    ///
    /// # Errors
    /// The volume cannot be asked.
    pub fn fill(&self) -> io::Result<u8> {
        self.volume.fill()
    }

    /// Runs to which nothing was written since `before`.
    pub fn unwritten_since(&self, before: SystemTime) -> io::Result<Vec<String>> {
        let mut runs = Vec::new();
        for entry in fs::read_dir(&self.runs)? {
            let entry = entry?;
            if let Ok(run_uid) = entry.file_name().into_string()
                && self.directory(&run_uid).is_ok()
                && last_write(&entry.path())? < before
            {
                runs.push(run_uid);
            }
        }
        Ok(runs)
    }

    /// Removes all of a run, unless it is in use or was written to since `before`. What it was is noted first, in
    /// `deletions.jsonl`.
    pub fn remove(&self, run_uid: &str, before: SystemTime) -> Result<bool, StoreError> {
        let directory = self.directory(run_uid)?;
        let deletion = self.deletion(run_uid, &directory)?;
        let gone = self.runs.join(format!("{TEMPORARY}{run_uid}"));
        {
            // Nobody comes to know the run meanwhile.
            let mut known = self.known.lock();
            if known.get(run_uid).is_some_and(is_in_use) || last_write(&directory)? >= before {
                return Ok(false);
            }
            self.settled(append_line(&self.deletions, &deletion))?;
            known.remove(run_uid);
            fs::rename(&directory, &gone)?;
        }
        self.settled(sync_directory(&self.runs))?;
        if let Some(name) = names::read(&gone)? {
            self.names.remove(&name, run_uid);
        }
        fs::remove_dir_all(gone)?;
        Ok(true)
    }

    /// The line that is left of a run.
    fn deletion(&self, run_uid: &str, directory: &Path) -> Result<Vec<u8>, StoreError> {
        let record = self.run_record(run_uid)?;
        let run = self.run(run_uid)?;
        let (head, fault) = with_chain(&run.chain, |found| match found {
            Found::Whole(log) => (Some(log.head()), None),
            Found::Corrupt { fault, .. } => (None, Some(fault.to_string())),
        })?;
        let deletion = Deletion {
            deleted_at: jiff::Timestamp::now().to_string(),
            run: run_uid,
            name: fs::read_to_string(directory.join("run")).ok(),
            head,
            fault,
            requests: record.requests,
            denied_requests: record.denied_requests,
            receipt: record.receipt,
        };
        Ok(serde_json::to_vec(&deletion)?)
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
        let record = with_chain(&run.chain, |found| match found {
            Found::Whole(log) => log.summary().run_record(receipt),
            Found::Corrupt { summary, .. } => summary.run_record(receipt),
        })?;
        Ok(RunRecord {
            chain: Some(self.chain(run_uid)?.1),
            ..record
        })
    }

    /// The file of a run's chain, which may not be there, and how much of it is acknowledged. A corrupt one is handed
    /// out as it is, with its fault.
    pub fn chain(&self, run_uid: &str) -> Result<(PathBuf, ChainState), StoreError> {
        let run = self.run(run_uid)?;
        let path = run.chain.path.clone();
        let state = with_chain(&run.chain, |found| match found {
            Found::Whole(log) => ChainState {
                bytes: log.length(),
                head: Some(log.head()),
                fault: None,
            },
            Found::Corrupt { fault, .. } => ChainState {
                bytes: fs::metadata(&path)
                    .map(|metadata| metadata.len())
                    .unwrap_or_default(),
                head: None,
                fault: Some(fault.to_string()),
            },
        })?;
        Ok((path, state))
    }

    /// The runs that had this name and left an output, the newest first.
    pub fn named(&self, namespace: &str, name: &str) -> Result<Vec<NamedRun>, StoreError> {
        let mut runs = Vec::new();
        for run_uid in self.names.of(&format!("{namespace}/{name}")) {
            if let Some(receipt) = self.receipt(&run_uid)? {
                runs.push(NamedRun {
                    run_uid,
                    received_at: receipt.received_at,
                });
            }
        }
        // RFC 3339 in UTC: the order of the texts is that of the times.
        runs.sort_by(|one, other| other.received_at.cmp(&one.received_at));
        Ok(runs)
    }

    /// Notes the name of a run whose receipt was written.
    pub fn note_name(&self, name: &str, run_uid: &str) {
        self.names.add(name, run_uid);
    }

    /// The file of a patch, if the run has a receipt for it.
    pub fn patch(&self, run_uid: &str, repository: &str) -> Result<Option<PathBuf>, StoreError> {
        let path = self
            .directory(run_uid)?
            .join("patches")
            .join(patch_file(repository)?);
        let received = self.receipt(run_uid)?.is_some_and(|receipt| {
            let mut patches = receipt.manifest.patches.iter();
            patches.any(|patch| patch.name() == repository)
        });
        Ok(received.then_some(path))
    }
}

/// What is left of a run that was removed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Deletion<'a> {
    deleted_at: String,
    run: &'a str,
    /// `namespace/name`, if the run had an output.
    name: Option<String>,
    /// Where its chain ended; absent: it was corrupt.
    head: Option<Head>,
    fault: Option<String>,
    requests: u64,
    denied_requests: u64,
    receipt: Option<Receipt>,
}

/// Whether anybody but the table holds the run.
fn is_in_use(run: &Arc<Run>) -> bool {
    Arc::strong_count(run) > 1 || Arc::strong_count(&run.chain) > 1
}

/// When something was written to a run for the last time.
fn last_write(directory: &Path) -> io::Result<SystemTime> {
    let mut last = fs::metadata(directory)?.modified()?;
    for entry in fs::read_dir(directory)? {
        last = last.max(entry?.metadata()?.modified()?);
    }
    Ok(last)
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
#[path = "store/tests.rs"]
mod tests;
