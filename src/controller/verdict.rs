//! Why a run ends, and why one cannot start yet.

use cofferdam_api::Reason;

/// A terminal reason with its explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The reason.
    pub reason: Reason,
    /// What was wrong, where, and what to do.
    pub message: String,
}

impl Verdict {
    /// A verdict.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// Something that a run waits for before it can start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What the run ends with if it waits too long.
    pub reason: Reason,
    /// What is missing and what to do.
    pub message: String,
    /// Whether someone has to act; otherwise it comes by itself.
    pub stalled: bool,
}
