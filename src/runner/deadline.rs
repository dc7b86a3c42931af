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

    /// Ends after three quarters of what is left until this one, or with it.
    #[must_use]
    pub fn first_three_quarters(&self) -> Self {
        let left = self.left();
        self.within(left / 4 * 3)
    }

    /// Ends when the first of `parts` that share what is left must end, or with it.
    #[must_use]
    pub fn share_of(&self, parts: u32) -> Self {
        self.within(self.left() / parts.max(1))
    }

    fn within(&self, duration: Duration) -> Self {
        let now = Instant::now();
        Self {
            at: now.checked_add(duration).unwrap_or(now),
            given_up: Arc::clone(&self.given_up),
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
