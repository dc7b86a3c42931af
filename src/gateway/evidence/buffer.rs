//! Records of one run that wait for the archive: numbered, coalesced, bounded. Pure.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use cofferdam_wire::archive::BATCH_LIMIT;
use cofferdam_wire::chain::ENTRY_LIMIT;
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::extensible::Extensible;
use cofferdam_wire::record::{Record, RecordEvent};

/// Records of one run that wait here at most.
pub const BUFFER_LIMIT: usize = 2000;
/// From here on no new connection of the run is admitted; the rest is for the ends of those that are open.
pub const ADMISSION_LIMIT: usize = 1000;
/// Longest time that a record waits before no new connection of the run is admitted.
pub const WAITING_LIMIT: Duration = Duration::from_secs(5);
/// A batch ends with the record that passes this.
const BATCH_BYTES: usize = BATCH_LIMIT - ENTRY_LIMIT - 1;

/// The records of one run that wait.
#[derive(Default)]
pub struct Buffer {
    /// In the order of their numbers, each with the time since which it waits.
    records: VecDeque<(Record, Instant)>,
    /// The number of an equal denial in `records`.
    denials: HashMap<DenialKey, u64>,
    /// What is sent until the archive has it.
    sent: Option<Batch>,
    /// The number that was given last. A record that found no place has a number, too: its absence shows in the chain.
    last: u64,
    /// The archive takes no more of this run.
    refused: bool,
}

/// Host, method, path, code and asker of a denial.
type DenialKey = (String, String, Option<String>, Extensible<DenialCode>, String);

/// Records as lines of JSON.
#[derive(Clone)]
pub struct Batch {
    /// The lines.
    pub lines: Bytes,
    records: usize,
    since: Instant,
}

/// What became of a record.
#[derive(Debug)]
pub enum Put<'a> {
    /// It waits, under a number of its own.
    Waits(&'a Record),
    /// An equal one that waits counts for both.
    Counted,
    /// There is no place for it: of this number there is nothing but the number.
    Lost(u64),
    /// The archive takes no more of this run.
    Refused,
}

impl Buffer {
    /// Whether a new connection of the run can still be recorded.
    pub fn accepts(&self, now: Instant) -> bool {
        let sent = self.sent.as_ref().map_or(0, |batch| batch.records);
        !self.refused && !self.is_late(now) && self.records.len() + sent < ADMISSION_LIMIT
    }

    /// Whether the archive has not acknowledged a record for too long, and may still come to. That many wait is not that: a
    /// run makes as many as it likes.
    pub fn is_late(&self, now: Instant) -> bool {
        self.waited(now).is_some_and(|waited| waited >= WAITING_LIMIT)
    }

    /// How long the oldest record has waited; none waits where the archive takes no more.
    pub fn waited(&self, now: Instant) -> Option<Duration> {
        let first_sent = self.sent.as_ref().map(|batch| batch.since);
        let oldest = first_sent.or_else(|| self.records.front().map(|(_, since)| *since));
        oldest.map(|since| now.saturating_duration_since(since))
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.sent.is_none()
    }

    /// The batch that is to be sent next: the one that was not acknowledged yet, or a new one of what waits.
    pub fn batch(&mut self) -> Option<Batch> {
        if self.sent.is_none() {
            self.sent = self.take();
        }
        self.sent.clone()
    }

    /// The archive has the batch.
    pub fn acknowledge(&mut self) {
        self.sent = None;
    }

    /// The number that was given last.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The archive takes no more of this run: what waits is given up.
    pub fn refuse(&mut self) {
        *self = Self {
            refused: true,
            ..Self::default()
        };
    }

    /// Takes a record at `now` and numbers it.
    pub fn put(&mut self, mut record: Record, now: Instant) -> Put<'_> {
        if self.refused {
            return Put::Refused;
        }
        let key = denial_key(&record.event);
        if let Some(number) = key.as_ref().and_then(|key| self.denials.get(key))
            && let Ok(place) = self
                .records
                .binary_search_by_key(number, |(record, _)| record.source_seq)
            && let Some((
                Record {
                    event: RecordEvent::Denied { count, .. },
                    ..
                },
                _,
            )) = self.records.get_mut(place)
        {
            *count = count.saturating_add(1);
            return Put::Counted;
        }
        self.last += 1;
        if self.records.len() >= BUFFER_LIMIT {
            return Put::Lost(self.last);
        }
        record.source_seq = self.last;
        if let Some(key) = key {
            self.denials.insert(key, self.last);
        }
        self.records.push_back((record, now));
        match self.records.back() {
            Some((record, _)) => Put::Waits(record),
            None => Put::Lost(self.last),
        }
    }

    fn take(&mut self) -> Option<Batch> {
        let (_, since) = *self.records.front()?;
        let (mut lines, mut records) = (BytesMut::new(), 0);
        while lines.len() < BATCH_BYTES
            && let Some((record, _)) = self.records.pop_front()
        {
            if let Some(key) = denial_key(&record.event) {
                self.denials.remove(&key);
            }
            // Plain strings and numbers: this serialisation does not fail.
            match serde_json::to_vec(&record) {
                Ok(line) if line.len() <= ENTRY_LIMIT => {
                    lines.extend_from_slice(&line);
                    lines.extend_from_slice(b"\n");
                    records += 1;
                }
                _ => tracing::error!(
                    number = record.source_seq,
                    "a record is too long for the archive: the chain will show that it is missing"
                ),
            }
        }
        (records > 0).then(|| Batch {
            lines: lines.freeze(),
            records,
            since,
        })
    }
}

fn denial_key(event: &RecordEvent) -> Option<DenialKey> {
    let RecordEvent::Denied {
        host,
        method,
        path,
        code,
        by,
        ..
    } = event
    else {
        return None;
    };
    Some((
        host.clone(),
        method.clone(),
        path.clone(),
        code.clone(),
        by.clone(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_wire::record::RECORD_VERSION;

    fn denied(host: &str, message: &str) -> Record {
        Record {
            version: RECORD_VERSION,
            source_seq: 0,
            time: "t".to_owned(),
            request: None,
            event: RecordEvent::Denied {
                host: host.to_owned(),
                method: "CONNECT".to_owned(),
                path: None,
                code: DenialCode::HostNotAllowed.into(),
                layer: None,
                message: message.to_owned(),
                by: "agent".to_owned(),
                count: 1,
            },
        }
    }

    fn put(buffer: &mut Buffer, record: Record) {
        buffer.put(record, Instant::now());
    }

    /// All batches, each acknowledged, as the numbers and counts of their records.
    fn drain(buffer: &mut Buffer) -> Vec<Vec<(u64, u64)>> {
        let mut batches = Vec::new();
        while let Some(batch) = buffer.batch() {
            assert!(batch.lines.len() <= BATCH_LIMIT);
            let text = std::str::from_utf8(&batch.lines).unwrap();
            let read = |line| match serde_json::from_str(line).unwrap() {
                Record {
                    source_seq,
                    event: RecordEvent::Denied { count, .. },
                    ..
                } => (source_seq, count),
                other => panic!("{other:?}"),
            };
            batches.push(text.lines().map(read).collect());
            buffer.acknowledge();
        }
        batches
    }

    #[test]
    fn numbers_go_on_from_batch_to_batch() {
        let mut buffer = Buffer::default();
        for host in ["a", "b", "a"] {
            put(&mut buffer, denied(host, ""));
        }
        assert_eq!(drain(&mut buffer), [[(1, 2), (2, 1)]]);
        // What was sent is not counted up any more.
        for host in ["a", "a", "c"] {
            put(&mut buffer, denied(host, ""));
        }
        assert_eq!(drain(&mut buffer), [[(3, 2), (4, 1)]]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn batch_is_sent_unchanged_until_it_is_acknowledged() {
        let mut buffer = Buffer::default();
        put(&mut buffer, denied("a", ""));
        let first = buffer.batch().unwrap().lines;
        put(&mut buffer, denied("a", ""));
        assert_eq!(buffer.batch().unwrap().lines, first);
        buffer.acknowledge();
        assert_eq!(drain(&mut buffer), [[(2, 1)]]);
    }

    #[test]
    fn batches_fit_what_the_archive_takes() {
        let mut buffer = Buffer::default();
        let longest = "x".repeat(ENTRY_LIMIT - 300);
        for number in 0..200 {
            put(&mut buffer, denied(&number.to_string(), &longest));
        }
        // One that no batch could hold is missing, and holds up no other.
        put(&mut buffer, denied("a", &"x".repeat(ENTRY_LIMIT)));
        put(&mut buffer, denied("b", ""));
        let batches = drain(&mut buffer);
        assert!(batches.len() > 2, "{}", batches.len());
        let numbers: Vec<u64> = batches.concat().into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, (1..=200).chain([202]).collect::<Vec<u64>>());
    }

    #[test]
    fn what_finds_no_place_leaves_a_gap() {
        let mut buffer = Buffer::default();
        for number in 0..BUFFER_LIMIT + 3 {
            put(&mut buffer, denied(&number.to_string(), ""));
        }
        drain(&mut buffer);
        put(&mut buffer, denied("after", ""));
        assert_eq!(drain(&mut buffer), [[(BUFFER_LIMIT as u64 + 4, 1)]]);
    }

    /// A run that makes many records is not one whose archive is away.
    #[test]
    fn many_records_close_the_way_and_are_not_late() {
        let (start, mut buffer) = (Instant::now(), Buffer::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        for number in 0..BUFFER_LIMIT {
            let taken = buffer.put(denied(&number.to_string(), ""), at(0));
            assert!(matches!(taken, Put::Waits(_)));
        }
        assert!(!buffer.accepts(at(4)) && !buffer.is_late(at(4)));
        assert!(!buffer.accepts(at(5)) && buffer.is_late(at(5)));
        let number = BUFFER_LIMIT as u64 + 1;
        assert!(matches!(buffer.put(denied("a", ""), at(5)), Put::Lost(lost) if lost == number));
        assert!(matches!(buffer.put(denied("0", ""), at(5)), Put::Counted));
        buffer.refuse();
        assert!(!buffer.accepts(at(5)) && !buffer.is_late(at(5)));
        assert!(matches!(buffer.put(denied("a", ""), at(5)), Put::Refused));
    }

    #[test]
    fn record_that_waits_too_long_closes_the_way_until_it_is_stored() {
        let (start, mut buffer) = (Instant::now(), Buffer::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(buffer.accepts(at(100)));
        buffer.put(denied("a", ""), at(0));
        buffer.put(denied("b", ""), at(4));
        assert!(buffer.accepts(at(4)) && !buffer.accepts(at(5)));
        // To be sent is not to be stored.
        buffer.batch();
        buffer.put(denied("c", ""), at(6));
        assert!(!buffer.accepts(at(6)));
        buffer.acknowledge();
        assert!(buffer.accepts(at(10)) && !buffer.accepts(at(11)));
    }
}
