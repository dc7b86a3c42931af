//! When blocking work must end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// When work must end at the latest; clones are given up together.
#[derive(Clone, Debug)]
pub struct Deadline {
    at: Instant,
    given_up: Arc<AtomicBool>,
}

impl Deadline {
    /// Ends after `duration`.
    pub fn after(duration: Duration) -> Self {
        let now = Instant::now();
        Self {
            at: now.checked_add(duration).unwrap_or(now),
            given_up: Arc::default(),
        }
    }

    /// Ends now, for every clone.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// What is left; nothing once it has passed.
    pub fn left(&self) -> Duration {
        if self.given_up.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        self.at.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn passed(&self) -> bool {
        self.left().is_zero()
    }
}
