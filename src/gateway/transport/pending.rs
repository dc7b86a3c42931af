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
/// newest.
#[derive(Debug, Default)]
pub struct PendingHandshakes(Mutex<HashMap<IpAddr, VecDeque<(u64, CancellationToken)>>>);

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
    /// Takes a share for connection `number`.
    pub fn enter(self: &Arc<Self>, address: IpAddr, number: u64) -> PendingHandshake {
        let evicted = CancellationToken::new();
        let mut all = self.0.lock();
        let queue = all.entry(address).or_default();
        if queue.len() >= PENDING_PER_ADDRESS
            && let Some((_, oldest)) = queue.pop_front()
        {
            oldest.cancel();
        }
        queue.push_back((number, evicted.clone()));
        PendingHandshake {
            all: Arc::clone(self),
            address,
            number,
            evicted,
        }
    }
}

impl Drop for PendingHandshake {
    fn drop(&mut self) {
        let mut all = self.all.0.lock();
        if let Some(queue) = all.get_mut(&self.address) {
            queue.retain(|(number, _)| *number != self.number);
            if queue.is_empty() {
                all.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_of_the_same_address_is_evicted() {
        let all = Arc::new(PendingHandshakes::default());
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
        assert!(all.0.lock().is_empty());
    }
}
