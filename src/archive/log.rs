//! The chain of one run as this process knows it: where it ends, what each source sent, what it comes to.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use super::batch::Batch;
use super::seal::{self, SealWork};
use super::summary::Summary;
use cofferdam_wire::chain::verify::{self, Expected, Fault, verify};
use cofferdam_wire::chain::{Head, Stamp};
use cofferdam_wire::record::{Record, RecordEvent};
use cofferdam_wire::seal::{Gap, Seal};

/// Bytes of records of one run.
pub const RECORDS_LIMIT: u64 = 16 * 1024 * 1024;
/// Bytes beyond that for the end of a chain: what the controller says last, and the seal.
const SEAL_RESERVE: u64 = 3 * 1024 * 1024;

/// Why a batch is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The run has as many records as a run may have.
    Full,
    /// The chain is sealed, and not all of the batch is in it.
    Sealed,
}

/// Why a chain is not sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotSealed {
    /// These streams may still have records.
    Open(Vec<String>),
    /// There is no room for the last records.
    Full,
}

/// The records of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Source {
    /// Number of the last one.
    last: u64,
    /// How many numbers before it are missing.
    missing: u64,
    opened: bool,
    closed: bool,
}

impl Source {
    fn is_open(self) -> bool {
        self.opened && !self.closed
    }

    fn note(&mut self, event: &RecordEvent) {
        match event {
            RecordEvent::StreamOpened => self.opened = true,
            RecordEvent::StreamClosed { .. } => self.closed = true,
            _ => {}
        }
    }

    fn follow(&mut self, number: u64) {
        self.missing += number - self.last - 1;
        self.last = number;
    }
}

/// A chain that verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    head: Head,
    length: u64,
    sources: HashMap<String, Source>,
    summary: Summary,
    seal: Option<Box<Seal>>,
}

/// What a start found in the file of a run.
#[derive(Debug)]
pub enum Found {
    /// A chain that verifies, or none.
    Whole(Log),
    /// A chain that does not verify. It is kept as it is and gets no further line.
    Corrupt {
        /// The first fault.
        fault: Fault,
        /// What the lines before the fault come to.
        summary: Summary,
    },
}

impl Log {
    /// A chain without a line.
    #[cfg(test)]
    pub fn empty() -> Self {
        Self {
            head: Head::EMPTY,
            length: 0,
            sources: HashMap::new(),
            summary: Summary::default(),
            seal: None,
        }
    }

    /// Reads and verifies the chain of `run_uid` at `path`. A crash tore what has no line feed: it was not
    /// acknowledged, and the next write cuts it off.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(run_uid: &str, path: &Path) -> io::Result<Found> {
        Self::read_expecting(run_uid, path, Expected::Nothing)
    }

    /// Reads a chain again that went as far as this one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read_again(&self, run_uid: &str, path: &Path) -> io::Result<Found> {
        Self::read_expecting(run_uid, path, Expected::AtLeast(self.head))
    }

    fn read_expecting(run_uid: &str, path: &Path, expected: Expected) -> io::Result<Found> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let end = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |position| position + 1);
        let whole = bytes.get(..end).unwrap_or_default();
        let mut summary = Summary::default();
        let lines = whole.split_inclusive(|byte| *byte == b'\n');
        match verify(run_uid, whole, expected) {
            Ok(verified) => {
                let last = lines.clone().next_back();
                let mut sources = verified.sources.into_iter().map(source).collect();
                lines.for_each(|line| {
                    summary.add_line(line);
                    note_stream(&mut sources, line);
                });
                Ok(Found::Whole(Self {
                    head: verified.head,
                    length: end as u64,
                    sources,
                    summary,
                    seal: last
                        .and_then(|line| seal::read(line, verified.head))
                        .map(Box::new),
                }))
            }
            Err(fault) => {
                let before = usize::try_from(fault.line.saturating_sub(1)).unwrap_or(usize::MAX);
                lines.take(before).for_each(|line| summary.add_line(line));
                Ok(Found::Corrupt { fault, summary })
            }
        }
    }

    /// Chains a batch and appends its lines to `lines`. What its source sent before is passed over.
    ///
    /// # Errors
    /// The run has no room for the whole of it, or is sealed; nothing was changed.
    pub fn take(&mut self, run_uid: &str, batch: Batch, lines: &mut Vec<u8>) -> Result<(), NotTaken> {
        self.take_within(RECORDS_LIMIT, run_uid, batch, lines)
    }

    fn take_within(
        &mut self,
        limit: u64,
        run_uid: &str,
        batch: Batch,
        lines: &mut Vec<u8>,
    ) -> Result<(), NotTaken> {
        let (start, mut next) = (lines.len(), self.clone());
        let stamp = Stamp {
            run: run_uid,
            source: &batch.source,
            class: batch.class,
        };
        let mut source = self.sources.get(&batch.source).copied().unwrap_or_default();
        for (entry, record) in batch.entries {
            if entry.source_seq() <= source.last {
                continue;
            }
            source.follow(entry.source_seq());
            next.summary.add_told(&batch.source, entry.fields());
            entry.chain(&mut next.head, stamp, lines);
            if let Some(record) = record {
                source.note(&record.event);
                next.summary.add(record);
            }
        }
        let added = (lines.len() - start) as u64;
        if added == 0 {
            return Ok(());
        }
        next.length += added;
        let refusal = if self.seal.is_some() {
            Some(NotTaken::Sealed)
        } else {
            (next.length > limit).then_some(NotTaken::Full)
        };
        if let Some(refusal) = refusal {
            lines.truncate(start);
            return Err(refusal);
        }
        next.sources.insert(batch.source, source);
        *self = next;
        Ok(())
    }

    /// Appends the run's last records and the seal to `lines`. A chain that is sealed stays as it is.
    ///
    /// # Errors
    /// It is not to be sealed yet; nothing was changed.
    pub fn seal(&mut self, run_uid: &str, work: SealWork, lines: &mut Vec<u8>) -> Result<Seal, NotSealed> {
        if let Some(seal) = &self.seal {
            return Ok(Seal::clone(seal));
        }
        let open: Vec<String> = self
            .gaps()
            .into_iter()
            .filter_map(|gap| gap.open.then_some(gap.source))
            .collect();
        if !open.is_empty() && !work.incomplete {
            return Err(NotSealed::Open(open));
        }
        let (start, mut next) = (lines.len(), self.clone());
        let limit = RECORDS_LIMIT + SEAL_RESERVE;
        let (batches, last) = work.records(next.gaps(), &next.summary);
        for batch in batches.into_iter().chain([last.0]) {
            if next.take_within(limit, run_uid, batch, lines).is_err() {
                lines.truncate(start);
                return Err(NotSealed::Full);
            }
        }
        let seal = last.1(next.head);
        next.seal = Some(Box::new(seal.clone()));
        *self = next;
        Ok(seal)
    }

    /// The sources whose records are not all there, in the order of their names.
    fn gaps(&self) -> Vec<Gap> {
        let gaps = self
            .sources
            .iter()
            .filter(|(_, source)| source.missing > 0 || source.is_open())
            .map(|(name, source)| Gap {
                source: name.clone(),
                missing: source.missing,
                open: source.is_open(),
            });
        let mut gaps: Vec<Gap> = gaps.collect();
        gaps.sort_by(|one, other| one.source.cmp(&other.source));
        gaps
    }

    /// Whether the chain is at its end.
    pub fn is_sealed(&self) -> bool {
        self.seal.is_some()
    }

    /// Where the chain ends.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Bytes of the chain.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// What the records come to.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }
}

/// What a chain that verifies tells of a source.
fn source((name, stream): (String, verify::Stream)) -> (String, Source) {
    let missing = stream.missing.iter().map(|range| range.end() - range.start() + 1);
    let source = Source {
        last: stream.last,
        missing: missing.sum(),
        ..Source::default()
    };
    (name, source)
}

/// Notes whether a line opens or closes a stream.
fn note_stream(sources: &mut HashMap<String, Source>, line: &[u8]) {
    #[derive(serde::Deserialize)]
    struct Stamped {
        source: String,
    }
    // Cheap to look for, and rare.
    if !line.windows(7).any(|window| window == b"\"Stream") {
        return;
    }
    let read = (
        serde_json::from_slice::<Stamped>(line),
        serde_json::from_slice::<Record>(line),
    );
    if let (Ok(Stamped { source }), Ok(record)) = read
        && let Some(source) = sources.get_mut(&source)
    {
        source.note(&record.event);
    }
}

#[cfg(test)]
pub mod testing {
    //! Records for the tests of this crate.

    use super::*;
    use cofferdam_wire::chain::{Class, Entry};
    use cofferdam_wire::record::{CloseCause, RECORD_VERSION, RecordEvent};

    /// The line of a sender's record.
    pub fn line(number: u64, event: RecordEvent) -> Vec<u8> {
        let record = Record {
            version: RECORD_VERSION,
            source_seq: number,
            request: None,
            time: "2026-11-23T10:00:00Z".to_owned(),
            event,
        };
        let mut line = serde_json::to_vec(&record).unwrap();
        line.push(b'\n');
        line
    }

    /// The line of a record of a connection's end.
    pub fn closed(number: u64) -> Vec<u8> {
        let event = RecordEvent::Closed {
            host: "a.test:443".to_owned(),
            sent: number,
            received: 1,
            cause: CloseCause::Ended.into(),
        };
        line(number, event)
    }

    /// A batch of records of connections' ends.
    pub fn batch(source: &str, numbers: impl IntoIterator<Item = u64>) -> Batch {
        let lines = numbers.into_iter().map(closed);
        let read = |line: Vec<u8>| {
            let line = line.strip_suffix(b"\n").unwrap();
            (Entry::parse(line).unwrap(), serde_json::from_slice(line).ok())
        };
        Batch {
            source: source.to_owned(),
            class: Class::Observed,
            entries: lines.map(read).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::batch;
    use super::*;

    const RUN: &str = "0b7c9f3e-1111-4222-8333-444455556666";

    fn read(path: &Path) -> Log {
        match Log::read(RUN, path).unwrap() {
            Found::Whole(log) => log,
            Found::Corrupt { fault, .. } => panic!("{fault}"),
        }
    }

    #[test]
    fn what_a_source_sent_before_is_passed_over() {
        let (mut log, mut lines) = (Log::empty(), Vec::new());
        log.take(RUN, batch("g/1/a", 1..=3), &mut lines).unwrap();
        let once = (log.clone(), lines.clone());
        log.take(RUN, batch("g/1/a", 1..=3), &mut lines).unwrap();
        log.take(RUN, batch("g/1/a", 2..=2), &mut lines).unwrap();
        assert_eq!((log.clone(), lines.clone()), once);
        log.take(RUN, batch("g/1/a", 2..=5), &mut lines).unwrap();
        log.take(RUN, batch("g/1/b", 1..=1), &mut lines).unwrap();
        assert_eq!(log.head().seq, 6);
        let verified = verify(RUN, &lines, Expected::Exactly(log.head())).unwrap();
        assert_eq!(
            (verified.sources["g/1/a"].last, verified.sources["g/1/b"].last),
            (5, 1)
        );
    }

    #[test]
    fn a_run_is_full_at_its_limit_and_nothing_of_the_batch_is_taken() {
        let (mut log, mut lines) = (Log::empty(), Vec::new());
        log.take(RUN, batch("g", 1..=1), &mut lines).unwrap();
        log.length = RECORDS_LIMIT - lines.len() as u64;
        let before = (log.clone(), lines.clone());
        assert_eq!(log.take(RUN, batch("g", 2..=3), &mut lines), Err(NotTaken::Full));
        assert_eq!((log.clone(), lines.clone()), before);
        log.length -= 8;
        assert_eq!(log.take(RUN, batch("g", 2..=2), &mut lines), Ok(()));
    }

    #[test]
    fn what_was_taken_is_what_a_start_reads() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chain.jsonl");
        assert_eq!(read(&path), Log::empty());
        let (mut log, mut lines) = (Log::empty(), Vec::new());
        for numbers in [1..=2, 4..=4, 4..=9] {
            log.take(RUN, batch("g", numbers.clone()), &mut lines).unwrap();
            log.take(RUN, batch("h", numbers), &mut lines).unwrap();
            fs::write(&path, &lines).unwrap();
            assert_eq!(read(&path), log);
            fs::write(&path, [&lines[..], b"{\"torn"].concat()).unwrap();
            assert_eq!(read(&path), log);
        }
        assert_eq!(log.length(), lines.len() as u64);
    }

    #[test]
    fn chain_that_does_not_verify_is_told_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chain.jsonl");
        let (mut log, mut lines) = (Log::empty(), Vec::new());
        log.take(RUN, batch("g", 1..=5), &mut lines).unwrap();
        let line = lines.len() / 5;
        lines[line * 2 + line / 2] ^= 1;
        fs::write(&path, &lines).unwrap();
        let Found::Corrupt { fault, .. } = Log::read(RUN, &path).unwrap() else {
            panic!("it verifies");
        };
        assert_eq!(fault.line, 3);
    }
}
