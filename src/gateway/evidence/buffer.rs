//! Records of one run that wait for the archive: coalesced, bounded. Pure.

use std::collections::HashMap;

use bytes::Bytes;

use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::extensible::Extensible;
use cofferdam_wire::record::{Record, RecordEvent};

/// Records of one run that wait here at most.
pub const BUFFER_LIMIT: usize = 2000;
/// From here on no new connection of the run is admitted; the rest is for the ends of those that are open.
pub const ADMISSION_LIMIT: usize = 1000;

/// The records of one run that wait.
#[derive(Default)]
pub struct Buffer {
    records: Vec<Record>,
    /// Where in `records` an equal denial stands.
    denials: HashMap<DenialKey, usize>,
    pending: Option<Batch>,
    /// The archive takes no more of this run.
    refused: bool,
    /// Records that found no place.
    lost: u64,
}

/// Host, method, code and asker of a denial.
type DenialKey = (String, String, Extensible<DenialCode>, String);

/// Records that were given a name, under which they are sent until the archive has them.
#[derive(Clone)]
pub struct Batch {
    /// The name.
    pub id: String,
    /// The records as lines of JSON.
    pub lines: Bytes,
    records: usize,
}

impl Buffer {
    /// Whether a new connection of the run can still be recorded.
    pub fn accepts(&self) -> bool {
        let sealed = self.pending.as_ref().map_or(0, |batch| batch.records);
        !self.refused && self.records.len() + sealed < ADMISSION_LIMIT
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.pending.is_none()
    }

    /// The batch that is to be sent next: the one that was not acknowledged yet, or a new one of all records.
    pub fn batch(&mut self, next_id: impl Fn() -> String) -> Option<Batch> {
        if self.pending.is_none() {
            self.seal(next_id);
        }
        self.pending.clone()
    }

    /// The archive has the batch.
    pub fn acknowledge(&mut self) {
        self.pending = None;
    }

    /// The archive takes no more of this run: what waits is given up.
    pub fn refuse(&mut self) {
        *self = Self {
            refused: true,
            ..Self::default()
        };
    }

    /// Returns whether the record is new, not one more of the same.
    pub fn put(&mut self, record: &Record) -> bool {
        if self.refused {
            return false;
        }
        let key = denial_key(&record.event);
        if let Some(position) = key.as_ref().and_then(|key| self.denials.get(key))
            && let Some(Record {
                event: RecordEvent::Denied { count, .. },
                ..
            }) = self.records.get_mut(*position)
        {
            *count = count.saturating_add(1);
            return false;
        }
        if self.records.len() >= BUFFER_LIMIT {
            self.lost += 1;
            return false;
        }
        if let Some(key) = key {
            self.denials.insert(key, self.records.len());
        }
        self.records.push(record.clone());
        true
    }

    fn seal(&mut self, next_id: impl Fn() -> String) {
        self.denials.clear();
        let records = std::mem::take(&mut self.records);
        if self.lost > 0 {
            tracing::warn!(lost = self.lost, "records were lost");
            self.lost = 0;
        }
        let mut lines = Vec::new();
        for record in &records {
            // Plain strings and numbers: this serialisation does not fail.
            if serde_json::to_writer(&mut lines, record).is_ok() {
                lines.push(b'\n');
            }
        }
        self.pending = (!lines.is_empty()).then(|| Batch {
            id: next_id(),
            lines: Bytes::from(lines),
            records: records.len(),
        });
    }
}

fn denial_key(event: &RecordEvent) -> Option<DenialKey> {
    let RecordEvent::Denied {
        host,
        method,
        code,
        by,
        ..
    } = event
    else {
        return None;
    };
    Some((host.clone(), method.clone(), code.clone(), by.clone()))
}
