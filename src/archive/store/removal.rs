//! Takes away what a run left, or of that its patches, and keeps one line of it.

use std::time::{Duration, SystemTime};
use std::{fs, io};

use serde::Serialize;

use super::{PATCHES, Store, is_in_use, last_write, with_chain};
use crate::durable::{TEMPORARY, append_line, sync_directory};
use crate::error::StoreError;
use crate::keep::{Due, Terms};
use crate::log::Found;
use crate::names::Known;
use cofferdam_wire::chain::Head;
use cofferdam_wire::hold::Holds;
use cofferdam_wire::output::Receipt;

/// By what is judged what may go.
#[derive(Clone, Copy, Debug)]
pub struct Sweep<'a> {
    /// What the installation says.
    pub terms: &'a Terms,
    /// What must stay.
    pub holds: &'a Holds,
    /// The time.
    pub now: SystemTime,
}

impl Store {
    /// The runs of which something is there.
    pub fn kept(&self) -> io::Result<Vec<String>> {
        let mut runs = Vec::new();
        for entry in fs::read_dir(&self.runs)? {
            if let Ok(run_uid) = entry?.file_name().into_string()
                && self.directory(&run_uid).is_ok()
            {
                runs.push(run_uid);
            }
        }
        Ok(runs)
    }

    /// Removes all of a run, unless it is held, in use, or not old enough. What it was is noted first, in `deletions.jsonl`.
    pub fn remove(&self, run_uid: &str, sweep: &Sweep<'_>) -> Result<bool, StoreError> {
        let directory = self.directory(run_uid)?;
        let records = |due: Due| due.records;
        if self.stays(run_uid, sweep, records)? {
            return Ok(false);
        }
        let deletion = self.deletion(run_uid, None)?;
        let gone = self.runs.join(format!("{TEMPORARY}{run_uid}"));
        {
            // Nobody comes to know the run meanwhile.
            let mut known = self.known.lock();
            if known.get(run_uid).is_some_and(is_in_use) || self.is_young(run_uid, sweep, records)? {
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

    /// Removes the patches of a run alone, on the same conditions. The receipt keeps their digests.
    pub fn remove_patches(&self, run_uid: &str, sweep: &Sweep<'_>) -> Result<bool, StoreError> {
        let directory = self.directory(run_uid)?;
        let patches = |due: Due| due.patches;
        if !directory.join(PATCHES).exists() || self.stays(run_uid, sweep, patches)? {
            return Ok(false);
        }
        // Without a receipt they are the rest of an upload.
        if self.receipt(run_uid)?.is_none() {
            return Ok(false);
        }
        let deletion = self.deletion(run_uid, Some(PATCHES))?;
        let gone = directory.join(format!("{TEMPORARY}{PATCHES}"));
        {
            let known = self.known.lock();
            if known.get(run_uid).is_some_and(is_in_use) || self.is_young(run_uid, sweep, patches)? {
                return Ok(false);
            }
            self.settled(append_line(&self.deletions, &deletion))?;
            fs::rename(directory.join(PATCHES), &gone)?;
        }
        self.settled(sync_directory(&directory))?;
        fs::remove_dir_all(gone)?;
        Ok(true)
    }

    /// Whether this part of a run must stay. Whose the run is and for how long it is kept may stand in the chain alone: the
    /// chain is read where the index lets the part go.
    fn stays(
        &self,
        run_uid: &str,
        sweep: &Sweep<'_>,
        part: impl Fn(Due) -> Duration + Copy,
    ) -> Result<bool, StoreError> {
        for is_read in [false, true] {
            if is_read {
                self.note_origin(run_uid)?;
            }
            let known = self.names.get(run_uid);
            let namespace = known.as_ref().and_then(Known::namespace);
            let uid = known.as_ref().and_then(Known::namespace_uid);
            if sweep.holds.holds(run_uid, namespace, uid) || self.is_young(run_uid, sweep, part)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether something was written to a run too lately for this part of it to go.
    fn is_young(
        &self,
        run_uid: &str,
        sweep: &Sweep<'_>,
        part: impl Fn(Due) -> Duration,
    ) -> Result<bool, StoreError> {
        let keep = self.names.get(run_uid).map(|known| known.keep());
        let kept_for = part(sweep.terms.of(keep.unwrap_or_default()));
        // A time that has no place on the clock is long ago, so that nothing is older.
        let Some(before) = sweep.now.checked_sub(kept_for) else {
            return Ok(true);
        };
        Ok(last_write(&self.directory(run_uid)?)? >= before)
    }

    /// The line that is left of a run, or of a part of it.
    fn deletion(&self, run_uid: &str, part: Option<&str>) -> Result<Vec<u8>, StoreError> {
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
            part,
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
    /// What was removed of it; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<&'a str>,
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
