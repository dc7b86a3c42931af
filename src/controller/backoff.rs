//! Delays between tries: exponential, jittered, counted per object.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use parking_lot::Mutex;

/// How delays grow.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Delay after the first failure.
    pub first: Duration,
    /// No delay is longer.
    pub ceiling: Duration,
}

impl Backoff {
    /// Delay after `failures` failures in a row (1 = the first), of which between half and all is waited;
    /// `jitter` chooses the place.
    pub fn delay(self, failures: u32, jitter: u64) -> Duration {
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1).min(31));
        let whole = self.first.saturating_mul(doubled).min(self.ceiling);
        let half = whole / 2;
        let spread = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_millis(jitter % spread)
    }
}

/// Counts failures in a row for each object that is failing now; objects that do well cost nothing.
#[derive(Debug)]
pub struct Failures<K> {
    backoff: Backoff,
    counts: Mutex<HashMap<K, u32>>,
    jitter: RandomState,
}

impl<K: Eq + Hash + Clone> Failures<K> {
    /// No failures yet.
    pub fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            counts: Mutex::default(),
            jitter: RandomState::new(),
        }
    }

    /// Notes a failure of `key`; the answer is how long to wait before the next try.
    pub fn failed(&self, key: &K) -> Duration {
        let mut counts = self.counts.lock();
        let count = counts.entry(key.clone()).or_insert(0);
        *count = count.saturating_add(1);
        self.backoff.delay(*count, self.jitter.hash_one((key, *count)))
    }

    /// Notes that `key` did well.
    pub fn succeeded(&self, key: &K) {
        self.counts.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_millis(200),
        ceiling: Duration::from_mins(1),
    };

    #[test]
    fn delays_double_up_to_the_ceiling_and_never_overflow() {
        for (failures, low, high) in [
            (1, 100, 200),
            (2, 200, 400),
            (5, 1600, 3200),
            (u32::MAX, 30_000, 60_000),
        ] {
            for jitter in [0, 7, u64::MAX] {
                let delay = BACKOFF.delay(failures, jitter).as_millis();
                assert!((low..=high).contains(&delay), "{failures}: {delay}");
            }
        }
    }

    #[test]
    fn objects_are_counted_apart_and_forgotten_when_they_do_well() {
        let failures = Failures::new(BACKOFF);
        for _ in 0..5 {
            failures.failed(&"lame");
        }
        assert!(failures.failed(&"other") <= Duration::from_millis(200));
        assert!(failures.failed(&"lame") > Duration::from_secs(2));
        failures.succeeded(&"lame");
        assert!(failures.failed(&"lame") <= Duration::from_millis(200));
    }
}
