//! What is known of runs.

use std::path::PathBuf;
use std::{fs, io};

use super::{PATCHES, Store, with_chain};
use crate::error::StoreError;
use crate::log::Found;
use cofferdam_wire::archive::ChainState;
use cofferdam_wire::output::Receipt;
use cofferdam_wire::record::RunRecord;

impl Store {
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
        let has_patches = record
            .receipt
            .as_ref()
            .is_some_and(|receipt| !receipt.manifest.patches.is_empty());
        Ok(RunRecord {
            chain: Some(self.chain(run_uid)?.1),
            patches_removed: has_patches && !self.directory(run_uid)?.join(PATCHES).exists(),
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

    /// The file of a patch, if the run has a receipt for it and the patch was not removed since.
    pub fn patch(&self, run_uid: &str, repository: &str) -> Result<Option<PathBuf>, StoreError> {
        let path = self
            .directory(run_uid)?
            .join(PATCHES)
            .join(patch_file(repository)?);
        let received = self.receipt(run_uid)?.is_some_and(|receipt| {
            let mut patches = receipt.manifest.patches.iter();
            patches.any(|patch| patch.name() == repository)
        });
        Ok((received && path.exists()).then_some(path))
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
