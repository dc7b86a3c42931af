//! How many connections one run may have and open.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Connections of one run at the same time.
pub const CONNECTIONS_PER_RUN: usize = 256;
/// New connections of one run in a second, in the long term.
const NEW_PER_SECOND: u32 = 50;
/// New connections of one run at once after a pause.
const BURST: u32 = 200;

/// Counts the connections of each run.
#[derive(Debug, Default)]
pub struct RunLimits(Mutex<HashMap<String, RunCount>>);

#[derive(Debug)]
struct RunCount {
    open: usize,
    tokens: u32,
    filled_at: Instant,
}

/// The right to one connection; dropping it gives the right back.
#[derive(Debug)]
pub struct ConnectionSlot {
    limits: Arc<RunLimits>,
    run_uid: String,
}

impl RunLimits {
    /// Takes a slot for a connection of this run, or says which limit is reached.
    pub fn enter(self: &Arc<Self>, run_uid: &str, now: Instant) -> Result<ConnectionSlot, &'static str> {
        let mut runs = self.0.lock();
        let count = runs.entry(run_uid.to_owned()).or_insert(RunCount {
            open: 0,
            tokens: BURST,
            filled_at: now,
        });
        count.fill(now);
        if count.open >= CONNECTIONS_PER_RUN {
            return Err("the run has 256 connections open");
        }
        count.tokens = count
            .tokens
            .checked_sub(1)
            .ok_or("the run opens more than 50 connections a second")?;
        count.open += 1;
        Ok(ConnectionSlot {
            limits: Arc::clone(self),
            run_uid: run_uid.to_owned(),
        })
    }

    /// Whether any run has a connection open.
    pub fn any_open(&self) -> bool {
        self.0.lock().values().any(|count| count.open > 0)
    }

    /// Forgets runs that are not live any more and have nothing open.
    pub fn retain(&self, live: impl Fn(&str) -> bool) {
        self.0.lock().retain(|uid, count| count.open > 0 || live(uid));
    }
}

impl RunCount {
    fn fill(&mut self, now: Instant) {
        let step = Duration::from_secs(1) / NEW_PER_SECOND;
        let elapsed = now.saturating_duration_since(self.filled_at);
        let earned = u32::try_from(elapsed.as_nanos() / step.as_nanos()).unwrap_or(u32::MAX);
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(BURST);
            self.filled_at = now;
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        if let Some(count) = self.limits.0.lock().get_mut(&self.run_uid) {
            count.open = count.open.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_run_has_so_many_connections_and_another_run_its_own() {
        let limits = Arc::new(RunLimits::default());
        let start = Instant::now();
        let mut slots: Vec<ConnectionSlot> = Vec::new();
        for number in 0..CONNECTIONS_PER_RUN {
            let now = start + Duration::from_millis(20 * number as u64);
            slots.push(limits.enter("run-1", now).unwrap());
        }
        let later = start + Duration::from_mins(1);
        assert!(limits.enter("run-1", later).is_err());
        assert!(limits.enter("run-2", later).is_ok());
        slots.pop();
        assert!(limits.enter("run-1", later).is_ok());
    }

    #[test]
    fn a_burst_ends_and_comes_back() {
        let limits = Arc::new(RunLimits::default());
        let start = Instant::now();
        let taken = |now| (0..1000).filter(|_| limits.enter("run-1", now).is_ok()).count();
        assert_eq!(taken(start), BURST as usize);
        assert_eq!(taken(start + Duration::from_millis(100)), 5);
        assert_eq!(taken(start + Duration::from_secs(100)), BURST as usize);
    }

    #[test]
    fn runs_that_are_gone_are_forgotten() {
        let limits = Arc::new(RunLimits::default());
        let now = Instant::now();
        let slot = limits.enter("run-1", now).unwrap();
        limits.retain(|_| false);
        assert_eq!(limits.0.lock().len(), 1);
        drop(slot);
        limits.retain(|_| false);
        assert_eq!(limits.0.lock().len(), 0);
    }

    proptest! {
        #[test]
        fn no_pattern_of_asking_exceeds_the_rate(gaps in proptest::collection::vec(0u64..50, 1..2000)) {
            let limits = Arc::new(RunLimits::default());
            let start = Instant::now();
            let (mut now, mut granted) = (start, 0u64);
            for gap in gaps {
                now += Duration::from_millis(gap);
                granted += u64::from(limits.enter("run-1", now).is_ok());
            }
            let seconds = (now - start).as_secs() + 1;
            prop_assert!(granted <= u64::from(BURST) + u64::from(NEW_PER_SECOND) * seconds);
        }
    }
}
