//! Verifies a chain of records and says which line is at fault. Pure.
//!
//! Only the fields that link lines are read of each line; the rest is hashed as it is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Deserialize;

use super::{Head, LineHash};

/// What is known of a chain before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing. An altered last line, and lines that are missing at the end, cannot be seen then.
    Nothing,
    /// The chain went this far at some time; lines may follow.
    AtLeast(Head),
    /// The chain ends here.
    Exactly(Head),
}

impl Expected {
    fn head(self) -> Option<Head> {
        match self {
            Self::Nothing => None,
            Self::AtLeast(head) | Self::Exactly(head) => Some(head),
        }
    }
}

/// A chain that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Where it ends.
    pub head: Head,
    /// What it has of each source.
    pub sources: BTreeMap<String, Stream>,
}

/// The records of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// Number of the last one, as its sender counts.
    pub last: u64,
    /// Numbers that its sender gave and that are not in the chain.
    pub missing: Vec<RangeInclusive<u64>>,
}

/// What is wrong with a chain, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct Fault {
    /// Number of the line, from 1.
    pub line: u64,
    /// What is wrong with the line.
    pub kind: FaultKind,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// It does not end with a line feed: the writing of it was cut short, or the file was.
    #[error("it is torn: it has no line feed")]
    Torn,
    /// It is not a record of a chain.
    #[error("it is not a record: {0}")]
    Unreadable(String),
    /// It belongs to the chain of another run.
    #[error("it is a record of run {0}")]
    OtherRun(String),
    /// Its number is not the next one: lines are missing, were put in or changed places.
    #[error("its seq is {0}")]
    OutOfSequence(u64),
    /// Its bytes are not those that the line after it, or the head, was made for.
    #[error("it was altered: its hash is {0}")]
    Altered(LineHash),
    /// It does not follow the line before it, and nothing tells which of the two was altered.
    #[error("it or the line before it was altered: its prev is {0}")]
    Unlinked(LineHash),
    /// Its source sent a record of this number before.
    #[error("it is record {number} of {source_name}, which is in the chain already")]
    Repeated {
        /// The source.
        source_name: String,
        /// The record's `sourceSeq`.
        number: u64,
    },
    /// It is absent: the chain went further once.
    #[error("it is missing, and all after it up to line {0}")]
    Missing(u64),
    /// It stands behind the end of the chain.
    #[error("it stands behind the chain's end")]
    BehindTheEnd,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Link<'a> {
    seq: u64,
    prev: LineHash,
    #[serde(borrow)]
    run: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    source_seq: u64,
}

/// Verifies the chain of run `run_uid` in `bytes`.
///
/// # Errors
/// The first fault.
pub fn verify(run_uid: &str, bytes: &[u8], expected: Expected) -> Result<Verified, Fault> {
    let mut head = Head::EMPTY;
    let mut sources: BTreeMap<String, Stream> = BTreeMap::new();
    let mut lines = lines(bytes).peekable();
    while let Some(line) = lines.next() {
        let number = head.seq + 1;
        let fault = |kind| Fault { line: number, kind };
        if matches!(expected, Expected::Exactly(end) if number > end.seq) {
            return Err(fault(FaultKind::BehindTheEnd));
        }
        let link = read(run_uid, number, line).map_err(fault)?;
        let hash = LineHash::of(without_feed(line));
        if link.prev != head.sha256 {
            let following = lines.peek().and_then(|next| prev_of(next));
            let named = following.or_else(|| {
                expected
                    .head()
                    .filter(|end| end.seq == number)
                    .map(|end| end.sha256)
            });
            return Err(match named {
                // What comes after vouches for this line: the one before it is the altered one.
                Some(named) if named == hash && number > 1 => Fault {
                    line: number - 1,
                    kind: FaultKind::Altered(head.sha256),
                },
                Some(_) => fault(FaultKind::Altered(hash)),
                None => fault(FaultKind::Unlinked(link.prev)),
            });
        }
        if let Some(end) = expected.head()
            && end.seq == number
            && end.sha256 != hash
        {
            return Err(fault(FaultKind::Altered(hash)));
        }
        count(&mut sources, &link).map_err(fault)?;
        head = Head {
            seq: number,
            sha256: hash,
        };
    }
    match expected.head() {
        Some(end) if head.seq < end.seq => Err(Fault {
            line: head.seq + 1,
            kind: FaultKind::Missing(end.seq),
        }),
        _ => Ok(Verified { head, sources }),
    }
}

fn read<'a>(run_uid: &str, number: u64, line: &'a [u8]) -> Result<Link<'a>, FaultKind> {
    if line.last() != Some(&b'\n') {
        return Err(FaultKind::Torn);
    }
    let record: Link<'_> =
        serde_json::from_slice(line).map_err(|error| FaultKind::Unreadable(error.to_string()))?;
    if record.run != run_uid {
        return Err(FaultKind::OtherRun(record.run.into_owned()));
    }
    if record.seq != number {
        return Err(FaultKind::OutOfSequence(record.seq));
    }
    Ok(record)
}

/// Counts a line for its source.
fn count(sources: &mut BTreeMap<String, Stream>, link: &Link<'_>) -> Result<(), FaultKind> {
    let stream = match sources.get_mut(link.source.as_ref()) {
        Some(stream) => stream,
        None => sources.entry(link.source.to_string()).or_default(),
    };
    if link.source_seq <= stream.last {
        return Err(FaultKind::Repeated {
            source_name: link.source.to_string(),
            number: link.source_seq,
        });
    }
    if link.source_seq > stream.last + 1 {
        stream.missing.push(stream.last + 1..=link.source_seq - 1);
    }
    stream.last = link.source_seq;
    Ok(())
}

fn prev_of(line: &[u8]) -> Option<LineHash> {
    serde_json::from_slice::<Link<'_>>(line)
        .ok()
        .map(|link| link.prev)
}

/// The lines with their line feeds; the last may have none.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n')
}

fn without_feed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}
