//! A bound on connections whose callers are not known yet, by address.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Connections from one address whose callers are not known yet.
const PENDING_PER_ADDRESS: usize = 128;

/// Connections whose callers are not known yet, by address.
///
/// A sandbox that opens many and sends nothing must not keep its own sidecar out: the oldest one is closed, not the
/// newest. When there are too many of all addresses together, the oldest one of the address with the most is closed.
#[derive(Debug)]
pub struct PendingHandshakes {
    /// Of all addresses together.
    most: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    count: usize,
    by_address: HashMap<IpAddr, VecDeque<(u64, CancellationToken)>>,
}

/// One connection's share of the bound; dropped as soon as its caller is known.
#[derive(Debug)]
pub struct PendingHandshake {
    all: Arc<PendingHandshakes>,
    address: IpAddr,
    number: u64,
    /// Cancelled when a newer connection took this one's share.
    pub evicted: CancellationToken,
}

impl PendingHandshakes {
    /// So many at the same time.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            open: Mutex::default(),
        }
    }

    /// Takes a share for connection `number`.
    pub fn enter(self: &Arc<Self>, address: IpAddr, number: u64) -> PendingHandshake {
        let evicted = CancellationToken::new();
        let mut open = self.open.lock();
        if open.of(address) >= PENDING_PER_ADDRESS {
            open.evict(address);
        } else if open.count >= self.most {
            let largest = open.by_address.iter().max_by_key(|(_, queue)| queue.len());
            if let Some(largest) = largest.map(|(address, _)| *address) {
                open.evict(largest);
            }
        }
        open.count += 1;
        let queue = open.by_address.entry(address).or_default();
        queue.push_back((number, evicted.clone()));
        PendingHandshake {
            all: Arc::clone(self),
            address,
            number,
            evicted,
        }
    }
}

impl Open {
    fn of(&self, address: IpAddr) -> usize {
        self.by_address.get(&address).map_or(0, VecDeque::len)
    }

    fn evict(&mut self, address: IpAddr) {
        let oldest = self.by_address.get_mut(&address).and_then(VecDeque::pop_front);
        if let Some((_, token)) = oldest {
            self.count -= 1;
            token.cancel();
        }
    }
}

impl Drop for PendingHandshake {
    fn drop(&mut self) {
        let mut open = self.all.open.lock();
        let Some(queue) = open.by_address.get_mut(&self.address) else {
            return;
        };
        let before = queue.len();
        queue.retain(|(number, _)| *number != self.number);
        let left = queue.len();
        if left == 0 {
            open.by_address.remove(&self.address);
        }
        open.count -= before - left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_of_the_same_address_is_evicted() {
        let all = Arc::new(PendingHandshakes::new(1000));
        let (hostile, honest) = ("10.244.0.7".parse().unwrap(), "10.244.0.8".parse().unwrap());
        let neighbour = all.enter(honest, 0);
        let pending: Vec<PendingHandshake> = (1..=PENDING_PER_ADDRESS as u64)
            .map(|number| all.enter(hostile, number))
            .collect();
        assert!(pending.iter().all(|one| !one.evicted.is_cancelled()));
        let newest = all.enter(hostile, 1000);
        assert!(pending[0].evicted.is_cancelled() && !pending[1].evicted.is_cancelled());
        assert!(!newest.evicted.is_cancelled() && !neighbour.evicted.is_cancelled());
        drop((pending, newest, neighbour));
        let open = all.open.lock();
        assert!(open.count == 0 && open.by_address.is_empty());
    }

    #[test]
    fn too_many_of_all_close_one_of_whoever_has_most() {
        let all = Arc::new(PendingHandshakes::new(10));
        let (hostile, honest) = ("10.244.0.7".parse().unwrap(), "10.244.0.8".parse().unwrap());
        let first = all.enter(honest, 0);
        let pending: Vec<PendingHandshake> = (1..10).map(|number| all.enter(hostile, number)).collect();
        let second = all.enter(honest, 10);
        assert!(pending[0].evicted.is_cancelled() && !pending[1].evicted.is_cancelled());
        assert!(!first.evicted.is_cancelled() && !second.evicted.is_cancelled());
        assert_eq!(all.open.lock().count, 10);
        drop((pending, first, second));
        let open = all.open.lock();
        assert!(open.count == 0 && open.by_address.is_empty());
    }
}
