//! The last records of a chain. Pure.

use cofferdam_wire::chain::{Class, Entry, EntryError, Head};
use cofferdam_wire::record::RECORD_VERSION;
use cofferdam_wire::seal::{
    ARCHIVE_SOURCE, GAPS, Gap, SEALED, Seal, SealCause, SealRequest, SealedData, SealedPatch, VERSION,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::batch::Batch;
use super::summary::Summary;

/// What a chain is sealed with.
#[derive(Debug)]
pub struct SealWork {
    /// Why.
    pub cause: SealCause,
    /// Also if a stream is open.
    pub incomplete: bool,
    /// The controller's last records, one batch for each change of class.
    pub batches: Vec<Batch>,
    /// The patches of the run's receipt.
    pub patches: Vec<SealedPatch>,
    /// RFC 3339 time.
    pub now: String,
}

/// Reads what the controller asks for; `caller` is its role and the uid of its pod.
///
/// # Errors
/// A line is no record; its number, from 1.
pub fn batches(request: SealRequest, caller: &str) -> Result<Vec<Batch>, (usize, EntryError)> {
    let source = format!("{caller}/{}", request.stream);
    let mut batches: Vec<Batch> = Vec::new();
    for (index, entry) in request.records.into_iter().enumerate() {
        let line = Value::Object(entry.record).to_string();
        let read = Entry::parse(line.as_bytes()).map_err(|error| (index + 1, error))?;
        let read = (read, serde_json::from_str(&line).ok());
        match batches.last_mut() {
            Some(batch) if batch.class == entry.class => batch.entries.push(read),
            _ => batches.push(Batch {
                source: source.clone(),
                class: entry.class,
                entries: vec![read],
            }),
        }
    }
    Ok(batches)
}

impl SealWork {
    /// The batches in their order, the record of the seal, and the seal that comes of it at a head.
    pub fn records(
        self,
        mut gaps: Vec<Gap>,
        summary: &Summary,
    ) -> (Vec<Batch>, (Batch, impl FnOnce(Head) -> Seal + use<>)) {
        let admitted = summary.is_admitted() || self.batches.iter().any(tells_of_a_run);
        let complete = gaps.is_empty();
        let missing = gaps
            .iter()
            .fold(0_u64, |sum, gap| sum.saturating_add(gap.missing));
        gaps.truncate(GAPS);
        let data = SealedData {
            cause: match self.cause {
                SealCause::RunDeleted if !admitted => SealCause::RunUnknown,
                cause => cause,
            },
            complete,
            missing,
            gaps,
            requests: summary.requests(),
            denied_requests: summary.denied_requests(),
            patches: self.patches,
            logs: "NotCollected".to_owned(),
        };
        let mut fields = Map::new();
        for (name, value) in [
            ("version", json!(RECORD_VERSION)),
            ("sourceSeq", json!(1)),
            ("time", json!(self.now)),
            ("type", json!(SEALED)),
            ("data", json!(data)),
        ] {
            fields.insert(name.to_owned(), value);
        }
        let line = Value::Object(fields).to_string();
        let last = Batch {
            source: ARCHIVE_SOURCE.to_owned(),
            class: Class::Observed,
            entries: Entry::parse(line.as_bytes())
                .map(|entry| (entry, None))
                .into_iter()
                .collect(),
        };
        let seal = move |head| Seal {
            version: VERSION,
            head,
            sealed_at: self.now,
            data,
            signed: false,
        };
        (self.batches, (last, seal))
    }
}

/// Whether a batch has a record that only a run which the controller saw has.
fn tells_of_a_run(batch: &Batch) -> bool {
    let kinds = ["Admitted", "Ended"];
    batch
        .entries
        .iter()
        .any(|(entry, _)| kinds.contains(&entry.kind()))
}

/// The seal that a chain's last line is, if it is one.
pub fn read(line: &[u8], head: Head) -> Option<Seal> {
    #[derive(Deserialize)]
    struct Last {
        r#type: String,
        source: String,
        time: String,
        data: Value,
    }
    let last: Last = serde_json::from_slice(line).ok()?;
    if last.r#type != SEALED || last.source != ARCHIVE_SOURCE {
        return None;
    }
    Some(Seal {
        version: VERSION,
        head,
        sealed_at: last.time,
        data: serde_json::from_value(last.data).ok()?,
        signed: false,
    })
}

#[cfg(test)]
#[path = "seal/tests.rs"]
mod tests;
