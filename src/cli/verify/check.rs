//! What is verified, and how a check of it went.

use serde::Serialize;

use cofferdam_wire::output_api::RunSummary;

/// What is verified.
pub struct Material {
    /// What the archive said of the run.
    pub summary: RunSummary,
    /// The chain of records.
    pub records: Vec<u8>,
    /// The patches that could be read, by repository.
    pub patches: Vec<(String, Vec<u8>)>,
    /// The signed statement.
    pub statement: Option<Vec<u8>>,
}

impl Material {
    /// As people name the run.
    pub fn describe(&self) -> String {
        let name = &self.summary.metadata;
        format!("{}/{} ({})", name.namespace, name.name, name.uid)
    }
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not.
    Fails,
    /// What had to be looked at is not there.
    Missing,
    /// There is nothing of the kind, and nothing says that there has to be.
    NotAsked,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub what: String,
    /// How it went.
    pub verdict: Verdict,
    /// In words.
    pub said: String,
}

impl Check {
    /// A check.
    pub fn new(what: impl Into<String>, verdict: Verdict, said: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            verdict,
            said: said.into(),
        }
    }
}
