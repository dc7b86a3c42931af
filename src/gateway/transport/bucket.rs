//! A token bucket: so many at once, so many a second in the long term. Pure.

use std::time::{Duration, Instant};

/// How often something may happen.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// In a second, in the long term; not 0.
    pub per_second: u32,
    /// At once after a pause.
    pub burst: u32,
}

/// What is left of a rate.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens: u32,
    filled_at: Instant,
}

impl Bucket {
    /// A full one.
    pub fn full(rate: Rate, now: Instant) -> Self {
        Self {
            tokens: rate.burst,
            filled_at: now,
        }
    }

    /// Takes one token; `false`: there is none.
    pub fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let step = Duration::from_secs(1) / rate.per_second;
        let elapsed = now.saturating_duration_since(self.filled_at);
        let earned = u32::try_from(elapsed.as_nanos() / step.as_nanos()).unwrap_or(u32::MAX);
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(rate.burst);
            self.filled_at = now;
        }
        let left = self.tokens.checked_sub(1);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: Rate = Rate {
        per_second: 50,
        burst: 200,
    };

    #[test]
    fn burst_ends_and_comes_back() {
        let start = Instant::now();
        let mut bucket = Bucket::full(RATE, start);
        let mut taken = |now| (0..1000).filter(|_| bucket.take(RATE, now)).count();
        assert_eq!(taken(start), 200);
        assert_eq!(taken(start + Duration::from_millis(100)), 5);
        assert_eq!(taken(start + Duration::from_secs(100)), 200);
    }

    proptest! {
        #[test]
        fn no_pattern_of_asking_exceeds_the_rate(gaps in proptest::collection::vec(0u64..50, 1..2000)) {
            let start = Instant::now();
            let mut bucket = Bucket::full(RATE, start);
            let (mut now, mut granted) = (start, 0u64);
            for gap in gaps {
                now += Duration::from_millis(gap);
                granted += u64::from(bucket.take(RATE, now));
            }
            let seconds = (now - start).as_secs() + 1;
            prop_assert!(granted <= u64::from(RATE.burst) + u64::from(RATE.per_second) * seconds);
        }
    }
}
