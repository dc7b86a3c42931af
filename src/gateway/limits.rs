//! What one run, and one address before it says who it is, may take of the gateway.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Connections of one run at the same time.
pub const CONNECTIONS_PER_RUN: usize = 256;
/// New connections of one run in a second, in the long term.
const NEW_PER_SECOND: u32 = 50;
/// New connections of one run at once after a pause.
const BURST: u32 = 200;
/// Connections from one address that have not said yet who they are.
const SILENT_PER_ADDRESS: usize = 128;

/// Counts the connections of each run.
#[derive(Debug, Default)]
pub struct RunLimits(Mutex<HashMap<String, RunCount>>);

#[derive(Debug)]
struct RunCount {
    open: usize,
    tokens: u32,
    filled_at: Instant,
}

/// The place of one connection; dropping it gives the place back.
#[derive(Debug)]
pub struct Place {
    limits: Arc<RunLimits>,
    run_uid: String,
}

impl RunLimits {
    /// Takes a place for a connection of this run, or says which limit is reached.
    pub fn enter(self: &Arc<Self>, run_uid: &str, now: Instant) -> Result<Place, &'static str> {
        let mut runs = lock(&self.0);
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
        Ok(Place {
            limits: Arc::clone(self),
            run_uid: run_uid.to_owned(),
        })
    }

    /// Whether any run has a connection open.
    pub fn any_open(&self) -> bool {
        lock(&self.0).values().any(|count| count.open > 0)
    }

    /// Forgets runs that are not live any more and have nothing open.
    pub fn retain(&self, live: impl Fn(&str) -> bool) {
        lock(&self.0).retain(|uid, count| count.open > 0 || live(uid));
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

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(count) = lock(&self.limits.0).get_mut(&self.run_uid) {
            count.open = count.open.saturating_sub(1);
        }
    }
}

/// Connections that have not said yet who they are, by address.
///
/// A sandbox that opens many and stays silent must not keep its own sidecar out: the oldest one goes, not the newest.
#[derive(Debug, Default)]
pub struct SilentPeers(Mutex<HashMap<IpAddr, VecDeque<(u64, CancellationToken)>>>);

/// The place of a silent connection; to be dropped as soon as it said who it is.
#[derive(Debug)]
pub struct Silent {
    peers: Arc<SilentPeers>,
    address: IpAddr,
    id: u64,
    /// Cancelled when the place went to a newer connection.
    pub evicted: CancellationToken,
}

impl SilentPeers {
    /// Takes a place; `id` tells connections apart.
    pub fn enter(self: &Arc<Self>, address: IpAddr, id: u64) -> Silent {
        let evicted = CancellationToken::new();
        let mut peers = lock(&self.0);
        let queue = peers.entry(address).or_default();
        if queue.len() >= SILENT_PER_ADDRESS
            && let Some((_, oldest)) = queue.pop_front()
        {
            oldest.cancel();
        }
        queue.push_back((id, evicted.clone()));
        Silent {
            peers: Arc::clone(self),
            address,
            id,
            evicted,
        }
    }
}

impl Silent {
    /// The connection's number in this process.
    pub const fn number(&self) -> u64 {
        self.id
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let mut peers = lock(&self.peers.0);
        if let Some(queue) = peers.get_mut(&self.address) {
            queue.retain(|(id, _)| *id != self.id);
            if queue.is_empty() {
                peers.remove(&self.address);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_run_has_so_many_connections_and_another_run_its_own() {
        let limits = Arc::new(RunLimits::default());
        let start = Instant::now();
        let mut places: Vec<Place> = Vec::new();
        for number in 0..CONNECTIONS_PER_RUN {
            let now = start + Duration::from_millis(20 * number as u64);
            places.push(limits.enter("run-1", now).unwrap());
        }
        let later = start + Duration::from_mins(1);
        assert!(limits.enter("run-1", later).is_err());
        assert!(limits.enter("run-2", later).is_ok());
        places.pop();
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
        let place = limits.enter("run-1", now).unwrap();
        limits.retain(|_| false);
        assert_eq!(lock(&limits.0).len(), 1);
        drop(place);
        limits.retain(|_| false);
        assert_eq!(lock(&limits.0).len(), 0);
    }

    #[test]
    fn silence_is_at_the_cost_of_the_silent() {
        let peers = Arc::new(SilentPeers::default());
        let (hostile, honest) = ("10.244.0.7".parse().unwrap(), "10.244.0.8".parse().unwrap());
        let neighbour = peers.enter(honest, 0);
        let silent: Vec<Silent> = (1..=SILENT_PER_ADDRESS as u64)
            .map(|id| peers.enter(hostile, id))
            .collect();
        assert!(silent.iter().all(|place| !place.evicted.is_cancelled()));
        let newest = peers.enter(hostile, 1000);
        assert!(silent[0].evicted.is_cancelled() && !silent[1].evicted.is_cancelled());
        assert!(!newest.evicted.is_cancelled() && !neighbour.evicted.is_cancelled());
        drop((silent, newest, neighbour));
        assert!(lock(&peers.0).is_empty());
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
