//! Plain files: `runs/<uid>/{chain.jsonl, index.json, run, receipt.json, patches/<repository>.patch,
//! statement.json}`, and `deletions.jsonl`.
//!
//! The receipt is the commit of an upload: patches without one are the rest of an upload that never ended.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::batch::Batch;
use super::commit::{Chain, Committer};
use super::durable::{DiskError, make_directory, sweep};
use super::error::StoreError;
use super::holds::Told;
use super::log::{Found, Log};
use super::names::{self, Names, ORIGIN_FILE};
use super::shares::Shares;
use super::summary::CONTROLLER;
use super::volume::{Filled, Volume};
use cofferdam_wire::chain::{Class, Entry, Head};
use cofferdam_wire::record::Record;
use cofferdam_wire::space::{Levels, OWN, SHARED};

pub use reading::patch_file;
pub use removal::Sweep;

mod index;
mod reading;
mod removal;
mod sealing;
mod witness;

/// The run's signed statement, as its envelope.
const STATEMENT: &str = "statement.json";
/// Directory of a run's patches.
const PATCHES: &str = "patches";

/// Runs that are remembered. One that was forgotten is read again.
const REMEMBERED_RUNS: usize = 8192;

/// The archive's files.
#[derive(Debug)]
pub struct Store {
    runs: PathBuf,
    deletions: PathBuf,
    known: Mutex<HashMap<String, Arc<Run>>>,
    names: Names,
    shares: Shares,
    levels: Levels,
    holds: Told,
    // The thread ends before the lock of the volume is given back.
    committer: Committer,
    volume: Arc<Volume>,
}

/// What is going on with one run.
#[derive(Debug)]
pub struct Run {
    /// Held while an upload is received.
    pub upload: tokio::sync::Mutex<()>,
    /// Where its chain ended when that was witnessed last.
    witnessed: Mutex<Option<Head>>,
    chain: Arc<Chain>,
}

/// A batch that can be stored. The run is remembered as long as this is held.
#[derive(Debug)]
pub struct Prepared {
    run: Arc<Run>,
    batch: Batch,
}

impl Store {
    /// Opens the files under `data` without a share for each namespace, and without a reserve: whatever fills the disk.
    ///
    /// # Errors
    /// The volume cannot be used, or another process uses it.
    #[cfg(any(test, feature = "testing"))]
    pub fn open(data: &Path) -> io::Result<Self> {
        let store = Self::open_with(data, 100)?;
        let never = u8::MAX;
        Ok(Self {
            levels: Levels {
                warning: never,
                no_new_runs: never,
                no_outputs: never,
                no_records: never,
            },
            ..store
        })
    }

    /// Opens the files under `data` and sweeps away what a crash left. The runs of one namespace may leave so many percent of
    /// the volume.
    ///
    /// # Errors
    /// The volume cannot be used, or another process uses it.
    pub fn open_with(data: &Path, share_percent: u8) -> io::Result<Self> {
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
                if let (Some(known), Ok(run_uid)) =
                    (names::read(&entry.path())?, entry.file_name().into_string())
                {
                    names.add(&run_uid, known);
                }
            }
        }
        Ok(Self {
            names,
            shares: Shares::new(share_percent),
            levels: if volume.is_own() { OWN } else { SHARED },
            holds: Told::default(),
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
                witnessed: Mutex::default(),
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
        if !source.starts_with(CONTROLLER) {
            self.has_room_for_records()?;
        }
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

    /// How full the volume is.
    ///
    /// # Errors
    /// The volume cannot be asked.
    pub fn filled(&self) -> io::Result<Filled> {
        self.volume.filled()
    }

    /// Whether the volume is synced as a whole.
    #[cfg(feature = "testing")]
    pub fn syncs_whole(&self) -> bool {
        self.volume.syncs_whole()
    }

    /// What follows from how full the volume is.
    pub fn levels(&self) -> Levels {
        self.levels
    }

    /// What the runs of each namespace left.
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// What must not be removed.
    pub fn holds(&self) -> &Told {
        &self.holds
    }

    /// Which runs had which name.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The directory of all runs.
    pub fn runs(&self) -> &Path {
        &self.runs
    }
}

/// Whether anybody but the table holds the run.
fn is_in_use(run: &Arc<Run>) -> bool {
    Arc::strong_count(run) > 1 || Arc::strong_count(&run.chain) > 1
}

/// When something was written to a run for the last time. What is only made of its chain does not count.
fn last_write(directory: &Path) -> io::Result<SystemTime> {
    let mut last = None;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if ![ORIGIN_FILE, witness::WITNESS_FILE]
            .iter()
            .any(|name| entry.file_name() == *name)
        {
            last = last.max(Some(entry.metadata()?.modified()?));
        }
    }
    match last {
        Some(last) => Ok(last),
        None => fs::metadata(directory)?.modified(),
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
mod index_tests;
#[cfg(test)]
mod killed_tests;
#[cfg(test)]
#[path = "store/tests.rs"]
mod tests;
