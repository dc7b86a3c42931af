//! The memory of bytes in flight: what runs hold of the gateway while somebody does not read. Each run has a share.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use cofferdam_wire::record::CloseCause;

use super::sockets::{LAST_BYTES, UNREAD_BYTES};

/// The account of all runs.
///
/// A run may hold as much as all runs together leave free: a single one at most half, and whoever comes later finds
/// room. Who holds more loses the connection that has been waiting longest.
#[derive(Debug)]
pub struct InFlight(Mutex<Account>);

#[derive(Debug)]
struct Account {
    budget: u64,
    used: u64,
    runs: HashMap<String, Share>,
    next: u64,
}

#[derive(Debug, Default)]
struct Share {
    used: u64,
    /// By age: bytes, and the token that evicts their holder; `None`: the holder cannot be evicted.
    held: BTreeMap<u64, (u64, Option<CancellationToken>)>,
}

/// Bytes that are held; dropping it gives them back.
#[derive(Debug)]
pub struct Held {
    all: Arc<InFlight>,
    run_uid: String,
    number: u64,
    evicted: CancellationToken,
}

impl InFlight {
    /// An account of so many bytes.
    pub fn new(budget: u64) -> Self {
        Self(Mutex::new(Account {
            budget,
            used: 0,
            runs: HashMap::new(),
            next: 0,
        }))
    }

    /// Notes that a connection of the run holds so many bytes.
    pub fn hold(self: &Arc<Self>, run_uid: &str, bytes: u64) -> Held {
        self.put(run_uid, bytes, true)
    }

    /// Notes bytes that nobody can give back before their time, such as the last ones of a closed connection.
    fn hold_fixed(self: &Arc<Self>, run_uid: &str, bytes: u64) -> Held {
        self.put(run_uid, bytes, false)
    }

    fn put(self: &Arc<Self>, run_uid: &str, bytes: u64, evictable: bool) -> Held {
        let evicted = CancellationToken::new();
        let evict = evictable.then(|| evicted.clone());
        let number = self.0.lock().put(run_uid, bytes, evict);
        Held {
            all: Arc::clone(self),
            run_uid: run_uid.to_owned(),
            number,
            evicted,
        }
    }
}

impl Account {
    fn put(&mut self, run_uid: &str, bytes: u64, evict: Option<CancellationToken>) -> u64 {
        self.next += 1;
        self.used += bytes;
        let share = self.runs.entry(run_uid.to_owned()).or_default();
        share.used += bytes;
        share.held.insert(self.next, (bytes, evict));
        // The bytes of an evicted holder no longer count: it gives them back at once.
        while share.used > self.budget.saturating_sub(self.used) {
            let oldest = share
                .held
                .iter_mut()
                .find_map(|(number, (bytes, evict))| Some((*number, *bytes, evict.take()?)));
            let Some((number, bytes, evict)) = oldest else {
                break;
            };
            evict.cancel();
            share.held.remove(&number);
            share.used -= bytes;
            self.used -= bytes;
        }
        self.next
    }

    fn give_back(&mut self, run_uid: &str, number: u64) {
        let Some(share) = self.runs.get_mut(run_uid) else {
            return;
        };
        if let Some((bytes, _)) = share.held.remove(&number) {
            share.used -= bytes;
            self.used -= bytes;
        }
        if share.held.is_empty() {
            self.runs.remove(run_uid);
        }
    }
}

impl Held {
    /// Returns when the run's share is exceeded and this connection must give its bytes back.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.0.lock().give_back(&self.run_uid, self.number);
    }
}

/// One connection's entry to the account.
#[derive(Clone, Debug)]
pub struct Flow(Arc<FlowState>);

#[derive(Debug)]
struct FlowState {
    all: Arc<InFlight>,
    run_uid: String,
    ended: OnceLock<CloseCause>,
}

impl Flow {
    /// For a connection of this run.
    pub fn new(all: &Arc<InFlight>, run_uid: &str) -> Self {
        Self(Arc::new(FlowState {
            all: Arc::clone(all),
            run_uid: run_uid.to_owned(),
            ended: OnceLock::new(),
        }))
    }

    /// Holds bytes of the run's share.
    pub fn hold(&self, bytes: u64) -> Held {
        self.0.all.hold(&self.0.run_uid, bytes)
    }

    /// Counts what a connection that was closed may still have to send: the kernel keeps it for a while.
    pub fn closed(&self) {
        if self.ended().is_some() {
            // Its bytes were thrown away.
            return;
        }
        let held = self.0.all.hold_fixed(&self.0.run_uid, UNREAD_BYTES);
        tokio::spawn(async move {
            tokio::time::sleep(LAST_BYTES).await;
            drop(held);
        });
    }

    /// Notes why a write of the connection was given up.
    pub fn end(&self, cause: CloseCause) {
        // The first cause is the one that counts.
        let _ = self.0.ended.set(cause);
    }

    /// Why a write of the connection was given up, if one was.
    pub fn ended(&self) -> Option<CloseCause> {
        self.0.ended.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn used(all: &InFlight) -> u64 {
        all.0.lock().used
    }

    fn evicted(held: &[Held]) -> Vec<usize> {
        held.iter()
            .enumerate()
            .filter(|(_, one)| one.evicted.is_cancelled())
            .map(|(index, _)| index)
            .collect()
    }

    #[test]
    fn lone_run_holds_half_and_then_loses_its_oldest() {
        let all = Arc::new(InFlight::new(100));
        let mut held: Vec<Held> = (0..5).map(|_| all.hold("hostile", 10)).collect();
        assert_eq!(evicted(&held), Vec::<usize>::new());
        held.extend((0..3).map(|_| all.hold("hostile", 10)));
        assert_eq!(evicted(&held), [0, 1, 2]);
        assert_eq!(used(&all), 50);
        // Whoever comes later finds room, and loses nothing to the run that was first.
        let honest: Vec<Held> = (0..2).map(|_| all.hold("honest", 10)).collect();
        assert_eq!(evicted(&honest), Vec::<usize>::new());
        drop((held, honest));
        assert_eq!(used(&all), 0);
        assert!(all.0.lock().runs.is_empty());
    }

    #[test]
    fn bytes_that_come_back_by_themselves_push_out_others() {
        let all = Arc::new(InFlight::new(100));
        let fixed: Vec<Held> = (0..4).map(|_| all.hold_fixed("run", 10)).collect();
        let held = [all.hold("run", 10), all.hold("run", 10)];
        assert_eq!(evicted(&held), [0]);
        assert_eq!(evicted(&fixed), Vec::<usize>::new());
    }

    proptest! {
        #[test]
        fn account_never_exceeds_its_budget(steps in proptest::collection::vec((0u8..6, 1u64..30, any::<bool>()), 1..300)) {
            let all = Arc::new(InFlight::new(200));
            let mut held: Vec<Held> = Vec::new();
            for (run, bytes, give_back) in steps {
                if give_back && !held.is_empty() {
                    held.swap_remove(usize::from(run) % held.len());
                } else {
                    held.push(all.hold(&format!("run-{run}"), bytes));
                }
                prop_assert!(used(&all) <= 200);
                let account = all.0.lock();
                prop_assert_eq!(account.used, account.runs.values().map(|share| share.used).sum::<u64>());
            }
            drop(held);
            prop_assert_eq!(used(&all), 0);
        }
    }
}
