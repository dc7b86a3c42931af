//! Takes away what a run left, and keeps one line of it.

use std::time::SystemTime;
use std::{fs, io};

use serde::Serialize;

use super::{Store, is_in_use, last_write, with_chain};
use crate::durable::{TEMPORARY, append_line, sync_directory};
use crate::error::StoreError;
use crate::log::Found;
use crate::names::Known;
use cofferdam_wire::chain::Head;
use cofferdam_wire::hold::Holds;
use cofferdam_wire::output::Receipt;

impl Store {
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

    /// Removes all of a run, unless it is held, in use, or was written to since `before`. What it was is noted first, in
    /// `deletions.jsonl`.
    pub fn remove(&self, run_uid: &str, before: SystemTime, holds: &Holds) -> Result<bool, StoreError> {
        let directory = self.directory(run_uid)?;
        if let Some(Known::Name(_)) | None = self.names.get(run_uid) {
            // Whose it is may stand in the chain alone.
            self.note_origin(run_uid)?;
        }
        let known = self.names.get(run_uid);
        let namespace = known.as_ref().and_then(Known::namespace);
        if holds.holds(run_uid, namespace, known.as_ref().and_then(Known::namespace_uid)) {
            return Ok(false);
        }
        let deletion = self.deletion(run_uid)?;
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
        self.names.remove(run_uid);
        fs::remove_dir_all(gone)?;
        Ok(true)
    }

    /// The line that is left of a run.
    fn deletion(&self, run_uid: &str) -> Result<Vec<u8>, StoreError> {
        let record = self.run_record(run_uid)?;
        let run = self.run(run_uid)?;
        let (head, fault) = with_chain(&run.chain, |found| match found {
            Found::Whole(log) => (Some(log.head()), None),
            Found::Corrupt { fault, .. } => (None, Some(fault.to_string())),
        })?;
        let known = self.names.get(run_uid);
        let deletion = Deletion {
            deleted_at: jiff::Timestamp::now().to_string(),
            run: run_uid,
            name: known.as_ref().map(Known::name),
            namespace_uid: known.as_ref().and_then(Known::namespace_uid),
            head,
            fault,
            requests: record.requests,
            denied_requests: record.denied_requests,
            receipt: record.receipt,
        };
        Ok(serde_json::to_vec(&deletion)?)
    }
}

/// What is left of a run that was removed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Deletion<'a> {
    deleted_at: String,
    run: &'a str,
    /// `namespace/name`, as far as it is known.
    name: Option<&'a str>,
    namespace_uid: Option<&'a str>,
    /// Where its chain ended; absent: it was corrupt.
    head: Option<Head>,
    fault: Option<String>,
    requests: u64,
    denied_requests: u64,
    receipt: Option<Receipt>,
}
