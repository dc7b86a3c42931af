//! Records on their way into a chain.

use cofferdam_wire::chain::{Class, Entry};
use cofferdam_wire::record::Record;

/// A batch of records of one source, read but not stored.
#[derive(Debug)]
pub struct Batch {
    /// `<role>/<uid of its pod>/<stream>`, of the authenticated caller.
    pub source: String,
    /// From the route that was called.
    pub class: Class,
    /// The records, each with what this version can read of it.
    pub entries: Vec<(Entry, Option<Record>)>,
}
