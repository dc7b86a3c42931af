//! When blocking work must end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// No second, sooner end was set.
const NEVER: u64 = u64::MAX;
/// Parts of a time that are counted.
const WHOLE: u64 = 1000;

/// When work must end at the latest; work that shares one is given up together.
#[derive(Clone, Debug)]
pub struct Deadline {
    at: Instant,
    /// The longest time in which nothing goes on.
    patience: Option<Duration>,
    /// How much of a time that is cut short is for this work, of [`WHOLE`].
    share: u64,
    shared: Arc<Shared>,
}

/// What all clones know of each other. Times are milliseconds since `start`.
#[derive(Debug)]
struct Shared {
    start: Instant,
    given_up: AtomicBool,
    progress: AtomicU64,
    cut_at: AtomicU64,
    cut_to: AtomicU64,
}

impl Deadline {
    /// Ends after `duration`.
    pub fn after(duration: Duration) -> Self {
        let now = Instant::now();
        Self {
            at: now.checked_add(duration).unwrap_or(now),
            patience: None,
            share: WHOLE,
            shared: Arc::new(Shared {
                start: now,
                given_up: AtomicBool::new(false),
                progress: AtomicU64::new(0),
                cut_at: AtomicU64::new(0),
                cut_to: AtomicU64::new(NEVER),
            }),
        }
    }

    /// Ends as well when for `patience` nothing went on ([`Deadline::progress`]).
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Says that something went on.
    pub fn progress(&self) {
        self.shared
            .progress
            .fetch_max(self.shared.now(), Ordering::Relaxed);
    }

    /// Ends after three quarters of what is left until this one, or with it.
    #[must_use]
    pub fn first_three_quarters(&self) -> Self {
        self.part(3, 4)
    }

    /// Ends when the first of `parts` that share what is left must end, or with it.
    #[must_use]
    pub fn share_of(&self, parts: u32) -> Self {
        self.part(1, parts.max(1))
    }

    fn part(&self, of: u32, parts: u32) -> Self {
        let now = Instant::now();
        let left = self.at.saturating_duration_since(now) / parts * of;
        Self {
            at: now.checked_add(left).unwrap_or(now),
            share: self.share / u64::from(parts) * u64::from(of),
            ..self.clone()
        }
    }

    /// Ends within `duration` if it would not before, for every clone. Those that had a part of the whole time have the same
    /// part of this.
    pub fn cut_to(&self, duration: Duration) {
        let now = self.shared.now();
        let end = now.saturating_add(millis(duration));
        if end < self.shared.cut_to.load(Ordering::Relaxed) {
            self.shared.cut_at.store(now, Ordering::Relaxed);
            self.shared.cut_to.store(end, Ordering::Relaxed);
        }
    }

    /// Ends now, for every clone.
    pub fn give_up(&self) {
        self.shared.given_up.store(true, Ordering::Relaxed);
    }

    /// What is left; nothing once it has passed.
    pub fn left(&self) -> Duration {
        if self.shared.given_up.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let now = self.shared.now();
        let mut left = self.at.saturating_duration_since(Instant::now());
        let cut_to = self.shared.cut_to.load(Ordering::Relaxed);
        if cut_to != NEVER {
            let cut_at = self.shared.cut_at.load(Ordering::Relaxed);
            let end = cut_at.saturating_add(cut_to.saturating_sub(cut_at) / WHOLE * self.share);
            left = left.min(Duration::from_millis(end.saturating_sub(now)));
        }
        if let Some(patience) = self.patience {
            let end = self.shared.progress.load(Ordering::Relaxed) + millis(patience);
            left = left.min(Duration::from_millis(end.saturating_sub(now)));
        }
        left
    }

    /// Whether it has passed.
    pub fn passed(&self) -> bool {
        self.left().is_zero()
    }
}

impl Shared {
    fn now(&self) -> u64 {
        millis(self.start.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn work_ends_with_what_it_shares_its_deadline_with() {
        let whole = Deadline::after(HOUR);
        let (reading, share) = (whole.first_three_quarters(), whole.share_of(4));
        assert!(reading.left() > HOUR / 2 && reading.left() <= HOUR * 3 / 4);
        assert!(share.left() > HOUR / 5 && share.left() <= HOUR / 4);
        whole.cut_to(HOUR / 10);
        assert!(whole.left() <= HOUR / 10 && whole.left() > HOUR / 20);
        assert!(reading.left() <= HOUR * 3 / 40 && reading.left() > HOUR / 20);
        assert!(share.left() <= HOUR / 40 && !share.passed());
        // A later end changes nothing.
        whole.cut_to(HOUR);
        assert!(whole.left() <= HOUR / 10);
        share.give_up();
        assert!(whole.passed() && reading.passed());
    }

    #[test]
    fn where_nothing_goes_on_it_ends() {
        let impatient = Deadline::after(HOUR).with_patience(Duration::ZERO);
        assert!(impatient.passed());
        let patient = Deadline::after(HOUR).with_patience(HOUR / 2);
        assert!(!patient.passed() && patient.left() <= HOUR / 2);
        patient.progress();
        assert!(!patient.passed());
    }
}
