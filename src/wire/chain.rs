//! The chain of a run's records: each line carries the SHA-256 of the line before it. Pure.
//!
//! A line is a record as it is stored, without its line feed, and its hash is that of exactly these bytes, so that
//! nobody who verifies a chain needs a canonical form. The first line follows [`LineHash::NONE`].

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub mod verify;

/// Longest record of a sender in bytes.
pub const ENTRY_LIMIT: usize = 16 * 1024;

/// What the archive alone writes into a line; a sender's record that has one of them is refused.
const STAMPED: [&str; 5] = ["class", "prev", "run", "seq", "source"];
const SOURCE_SEQ: &str = "sourceSeq";

/// SHA-256 of one line; lower-case hexadecimal as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LineHash([u8; 32]);

impl LineHash {
    /// What the first line of a chain follows.
    pub const NONE: Self = Self([0; 32]);

    /// The hash of a line without its line feed.
    pub fn of(line: &[u8]) -> Self {
        Self(Sha256::digest(line).into())
    }
}

impl fmt::Display for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not 64 lower-case hexadecimal digits")]
pub struct NotAHash;

impl FromStr for LineHash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(NotAHash),
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut hash = Self::NONE;
        if pairs.len() != hash.0.len() || !rest.is_empty() {
            return Err(NotAHash);
        }
        for (byte, [high, low]) in hash.0.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(hash)
    }
}

impl Serialize for LineHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LineHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hex;
        impl serde::de::Visitor<'_> for Hex {
            type Value = LineHash;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 lower-case hexadecimal digits")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<LineHash, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Hex).map_err(D::Error::custom)
    }
}

/// Where a chain ends: the number of its last line, from 1, and that line's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Lines of the chain.
    pub seq: u64,
    /// Hash of the last line.
    pub sha256: LineHash,
}

impl Head {
    /// The head of a chain without a line.
    pub const EMPTY: Self = Self {
        seq: 0,
        sha256: LineHash::NONE,
    };

    fn follow(&mut self, line: &[u8]) {
        self.seq += 1;
        self.sha256 = LineHash::of(line);
    }
}

/// Whether the writer of a record saw what it says, or was told by someone in the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// Seen by the writer itself.
    Observed,
    /// Told by a process in the sandbox's pod.
    Reported,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Observed => "Observed",
            Self::Reported => "Reported",
        })
    }
}

/// What the archive knows of a record by itself, whatever its sender says.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// Uid of the run.
    pub run: &'a str,
    /// `<role>/<uid of its pod>/<stream>`, of the authenticated caller.
    pub source: &'a str,
    /// From the route that was called.
    pub class: Class,
}

/// Why a sender's line is no record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Longer than [`ENTRY_LIMIT`].
    #[error("it is longer than 16 KiB")]
    TooLong,
    /// Not a JSON object.
    #[error("it is not a JSON object: {0}")]
    NotAnObject(String),
    /// A field that every record has is absent or of another kind.
    #[error("its field {0} is absent or is not what it must be")]
    Field(&'static str),
    /// A field that the archive alone writes.
    #[error("its field {0} is the archive's to write")]
    Stamped(&'static str),
}

/// A sender's record: `sourceSeq`, `time`, `type`, and whatever else it says, kept as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    source_seq: u64,
    fields: Map<String, Value>,
}

impl Entry {
    /// Reads a line without its line feed.
    ///
    /// # Errors
    /// The line is no record.
    pub fn parse(line: &[u8]) -> Result<Self, EntryError> {
        if line.len() > ENTRY_LIMIT {
            return Err(EntryError::TooLong);
        }
        let fields: Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| EntryError::NotAnObject(error.to_string()))?;
        if let Some(name) = STAMPED.into_iter().find(|name| fields.contains_key(*name)) {
            return Err(EntryError::Stamped(name));
        }
        for name in ["time", "type"] {
            if fields.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
                return Err(EntryError::Field(name));
            }
        }
        let source_seq = fields
            .get(SOURCE_SEQ)
            .and_then(Value::as_u64)
            .filter(|number| *number > 0)
            .ok_or(EntryError::Field(SOURCE_SEQ))?;
        Ok(Self { source_seq, fields })
    }

    /// Which record of its source this is, from 1.
    pub fn source_seq(&self) -> u64 {
        self.source_seq
    }

    /// All that it says.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// Its `type`.
    pub fn kind(&self) -> &str {
        self.fields
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Appends the record as the chain's next line to `lines`, line feed included, and moves `head` there.
    pub fn chain(self, head: &mut Head, stamp: Stamp<'_>, lines: &mut Vec<u8>) {
        let mut fields = self.fields;
        for (name, value) in [
            ("class", Value::from(stamp.class.to_string())),
            ("prev", Value::from(head.sha256.to_string())),
            ("run", Value::from(stamp.run)),
            ("seq", Value::from(head.seq + 1)),
            ("source", Value::from(stamp.source)),
        ] {
            fields.insert(name.to_owned(), value);
        }
        let line = Value::Object(fields).to_string();
        head.follow(line.as_bytes());
        lines.extend_from_slice(line.as_bytes());
        lines.push(b'\n');
    }
}

#[cfg(test)]
#[path = "chain/tests.rs"]
mod tests;
