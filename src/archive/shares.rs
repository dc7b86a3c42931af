//! What each namespace may leave on the volume.

use std::sync::Arc;

use parking_lot::Mutex;

use cofferdam_wire::space::Usage;

/// What the runs of each namespace left, when it was added up last.
#[derive(Debug)]
pub struct Shares {
    /// Percent of the volume that the runs of one namespace may leave.
    pub percent: u8,
    /// By namespace.
    pub used: Mutex<Arc<Vec<Usage>>>,
}

impl Shares {
    /// Nothing is added up yet. With a share of 100 percent none is.
    pub fn new(percent: u8) -> Self {
        Self {
            percent,
            used: Mutex::default(),
        }
    }

    /// Whether namespaces have a share at all.
    pub fn is_bounded(&self) -> bool {
        self.percent < 100
    }
}
