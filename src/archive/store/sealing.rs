//! Seals of chains, and the statements about them.

use std::sync::Arc;
use std::time::SystemTime;
use std::{fs, io};

use super::{Run, STATEMENT, Store, last_write, with_chain};
use crate::durable::write_file;
use crate::error::StoreError;
use crate::log::Found;
use crate::seal::{SealWork, batches};
use cofferdam_wire::seal::{Seal, SealRequest, SealedPatch, UNSEALED, Unsealed};

/// What a chain is to be sealed with. The run is remembered as long as this is held.
#[derive(Debug)]
pub struct PreparedSeal {
    run: Arc<Run>,
    work: SealWork,
}

impl Store {
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
}
