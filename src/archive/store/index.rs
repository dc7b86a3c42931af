//! Which runs had a name. What the controller tells of that stands in the chain; `index.json` beside it is a copy, so that a
//! start reads no chain.

use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use super::{Store, with_chain};
use crate::durable::write_file;
use crate::error::StoreError;
use crate::log::{Found, Log};
use crate::names::{Known, ORIGIN_FILE, Origin};
use cofferdam_wire::archive::NamedRun;

impl Store {
    /// The runs that had this name: those that left an output first, of these and of the others the newest first.
    pub fn named(&self, namespace: &str, name: &str) -> Result<Vec<NamedRun>, StoreError> {
        let name = format!("{namespace}/{name}");
        let mut runs = Vec::new();
        for run_uid in self.names.of(&name) {
            if let Some(run) = self.named_run(&name, run_uid)? {
                runs.push(run);
            }
        }
        runs.sort_by(|one, other| {
            let by_output = other.left_output.cmp(&one.left_output);
            // RFC 3339 in UTC: the order of the texts is that of the times.
            by_output.then_with(|| other.received_at.cmp(&one.received_at))
        });
        Ok(runs)
    }

    /// A run of this name; none: the chain says that it has another one, or only an upload that never ended is known.
    fn named_run(&self, name: &str, run_uid: String) -> Result<Option<NamedRun>, StoreError> {
        if let Some(Known::Name(_)) = self.names.get(&run_uid) {
            // The chain may tell more: writing the copy failed, or was cut off by a crash.
            self.note_origin(&run_uid)?;
        }
        let known = self.names.get(&run_uid);
        let Some(known) = known.filter(|known| known.name() == name) else {
            return Ok(None);
        };
        let received_at = self.receipt(&run_uid)?.map(|receipt| receipt.received_at);
        let left_output = received_at.is_some();
        let (namespace_uid, told_at) = match known {
            Known::Name(_) => (None, None),
            Known::Origin(origin) => (origin.namespace_uid, Some(origin.time)),
        };
        Ok(received_at.or(told_at).map(|received_at| NamedRun {
            run_uid,
            received_at,
            namespace_uid,
            left_output,
        }))
    }

    /// Notes the name of a run whose receipt was written.
    pub fn note_name(&self, name: &str, run_uid: &str) {
        self.names.add(run_uid, Known::Name(name.to_owned()));
    }

    /// Notes what the chain of a run tells of which run it is.
    pub fn note_origin(&self, run_uid: &str) -> Result<(), StoreError> {
        let run = self.run(run_uid)?;
        let told = with_chain(&run.chain, |found| match found {
            Found::Whole(log) => log.summary().origin().map(Arc::clone),
            Found::Corrupt { summary, .. } => summary.origin().map(Arc::clone),
        })?;
        match told {
            Some(origin) => self.keep_origin(run_uid, &origin),
            None => Ok(()),
        }
    }

    fn keep_origin(&self, run_uid: &str, origin: &Origin) -> Result<(), StoreError> {
        let known = Known::Origin(origin.clone());
        if self.names.get(run_uid).as_ref() == Some(&known) {
            return Ok(());
        }
        self.names.add(run_uid, known);
        let directory = self.directory(run_uid)?;
        self.settled(write_file(&directory, ORIGIN_FILE, &serde_json::to_vec(origin)?))
    }

    /// Makes the copies that are missing: of chains that an older archive wrote, and where a crash came in between.
    pub fn complete_index(&self) -> Result<(), StoreError> {
        for entry in fs::read_dir(&self.runs)? {
            let entry = entry?;
            let Ok(run_uid) = entry.file_name().into_string() else {
                continue;
            };
            if self.directory(&run_uid).is_ok()
                && !entry.path().join(ORIGIN_FILE).exists()
                && let Some(origin) = origin(&run_uid, &entry.path())?
            {
                match self.keep_origin(&run_uid, &origin) {
                    Err(StoreError::Unsynced) => return Err(StoreError::Unsynced),
                    // It may have been removed meanwhile, or the volume is full: the chain still tells.
                    Err(error) => tracing::warn!(run = run_uid, %error, "the index was not completed"),
                    Ok(()) => {}
                }
            }
        }
        Ok(())
    }
}

/// What the chain in a directory tells, without remembering the chain.
fn origin(run_uid: &str, directory: &Path) -> io::Result<Option<Arc<Origin>>> {
    Ok(match Log::read(run_uid, &directory.join("chain.jsonl"))? {
        Found::Whole(log) => log.summary().origin().map(Arc::clone),
        Found::Corrupt { summary, .. } => summary.origin().map(Arc::clone),
    })
}
