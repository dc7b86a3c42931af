//! Why the archive did not store or find something.

use std::io;

use super::durable::DiskError;
use super::volume::Lost;
use cofferdam_wire::chain::verify::Fault;

/// Why something was not stored or found.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The run's uid or the repository's name is not one.
    #[error("{0} is not a valid name")]
    Name(&'static str),
    /// A line is not a record.
    #[error("line {line} is not a record: {error}")]
    Record {
        /// From 1; 0: the batch as a whole.
        line: usize,
        /// What is wrong with it.
        error: String,
    },
    /// The run has as many records as a run may have.
    #[error("the run's records are full: 16 MiB")]
    Full,
    /// The run's chain is sealed.
    #[error("the run's records are sealed")]
    Sealed,
    /// The run's chain is not sealed while these streams of records are open.
    #[error("the records of {0} have not ended")]
    StreamsOpen(String),
    /// The run has another statement, or its chain is not sealed.
    #[error("{0}")]
    Statement(&'static str),
    /// Another process writes to the run.
    #[error("the run's output is being received")]
    Busy,
    /// The volume is so full that what is left of it is kept for something else.
    #[error(
        "the archive's volume is {percent} % full: what is left of it is kept {kept}. Enlarge it, or let evidence.retentionDays be fewer"
    )]
    Reserved {
        /// How full it is, or would be.
        percent: u8,
        /// For what.
        kept: &'static str,
    },
    /// The volume.
    #[error("the volume: {0}")]
    Io(#[from] io::Error),
    /// A sync failed, now or before: nothing more is acknowledged, and the process ends.
    #[error("{Lost}")]
    Unsynced,
    /// The chain of the run does not verify: it is kept as it is, and gets no further record.
    #[error("the run's chain of records is corrupt: {0}")]
    Corrupt(Fault),
    /// A file of ours is not what we wrote.
    #[error("a stored document cannot be read: {0}")]
    Document(#[from] serde_json::Error),
}

impl From<Lost> for StoreError {
    fn from(Lost: Lost) -> Self {
        Self::Unsynced
    }
}

impl From<DiskError> for StoreError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Io(error) => Self::Io(error),
            DiskError::Unsynced(_) => Self::Unsynced,
        }
    }
}
