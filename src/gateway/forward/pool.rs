//! Connections to hosts that wait for the next request of their run.
//!
//! Clients open many short tunnels, and each would cost the host and the gateway a handshake. A connection that waits belongs
//! to one pod of one run, and no other ever gets it. It stands under the right of the connection by which it came: what would
//! cut that one cuts this one, and whoever takes it has it judged anew.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::link::Open;
use super::stage::Scheme;
use crate::caller::{Caller, Kind, Passing};
use cofferdam_policy::pattern::host::Host;

/// Longest time for which one waits. Servers close theirs after 5 s to some minutes.
const WAITS_FOR: Duration = Duration::from_secs(30);
/// Connections of one pod that wait.
pub const PER_POD: usize = 8;
/// Connections of all pods that wait.
const OF_ALL: usize = 1024;

/// To whom a connection leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The host.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub scheme: Scheme,
}

/// The connections that wait.
#[derive(Default)]
pub struct Pool(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// By the uid of their pod, the oldest first.
    pods: HashMap<String, Vec<Entry>>,
    count: usize,
    next: u64,
}

struct Entry {
    number: u64,
    to: Destination,
    place: Arc<Place>,
}

/// Where one waits, until it is taken or closed.
struct Place {
    open: Mutex<Option<Open>>,
    taken: Notify,
}

impl Pool {
    /// A connection of the caller's pod that leads there, the newest one that is open.
    pub fn take(&self, caller: &Caller, to: &Destination) -> Option<Open> {
        loop {
            let entry = self.0.lock().take(&caller.pod_uid, to)?;
            let open = entry.place.open.lock().take();
            entry.place.taken.notify_one();
            if let Some(mut open) = open
                && open.is_alive()
            {
                return Some(open);
            }
        }
    }

    /// Has a connection wait, under the right of `caller`, until it is taken, cut or closed, or the gateway ends.
    pub fn park(self: &Arc<Self>, caller: Caller, to: Destination, open: Open, ending: &CancellationToken) {
        // What `prepare` reaches is its own.
        if caller.kind != Kind::Egress {
            return;
        }
        let place = Arc::new(Place {
            open: Mutex::new(Some(open)),
            taken: Notify::new(),
        });
        let Some(number) = self.0.lock().put(&caller.pod_uid, to, &place) else {
            return;
        };
        // The request that passed last is over, and may be denied since without harm.
        caller.passes(Passing::Nothing);
        let (pool, ending) = (Arc::clone(self), ending.clone());
        tokio::spawn(async move {
            tokio::select! {
                _ = caller.cut() => {}
                () = ending.cancelled() => {}
                () = place.taken.notified() => {}
                () = place.closed() => {}
                () = tokio::time::sleep(WAITS_FOR) => {}
            }
            pool.0.lock().remove(&caller.pod_uid, number);
            // Whoever took it has it; else it is closed here.
            drop(place.open.lock().take());
        });
    }

    /// How many wait.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.0.lock().count
    }
}

impl Waiting {
    fn put(&mut self, pod_uid: &str, to: Destination, place: &Arc<Place>) -> Option<u64> {
        if self.count >= OF_ALL || self.pods.get(pod_uid).map_or(0, Vec::len) >= PER_POD {
            return None;
        }
        self.next += 1;
        self.count += 1;
        let entry = Entry {
            number: self.next,
            to,
            place: Arc::clone(place),
        };
        self.pods.entry(pod_uid.to_owned()).or_default().push(entry);
        Some(self.next)
    }

    fn take(&mut self, pod_uid: &str, to: &Destination) -> Option<Entry> {
        let entries = self.pods.get_mut(pod_uid)?;
        let at = entries.iter().rposition(|entry| entry.to == *to)?;
        let entry = entries.remove(at);
        self.removed(pod_uid);
        Some(entry)
    }

    fn remove(&mut self, pod_uid: &str, number: u64) {
        let Some(entries) = self.pods.get_mut(pod_uid) else {
            return;
        };
        if let Some(at) = entries.iter().position(|entry| entry.number == number) {
            entries.remove(at);
            self.removed(pod_uid);
        }
    }

    fn removed(&mut self, pod_uid: &str) {
        self.count -= 1;
        if self.pods.get(pod_uid).is_some_and(Vec::is_empty) {
            self.pods.remove(pod_uid);
        }
    }
}

impl Place {
    /// Returns when the host closes it.
    async fn closed(&self) {
        poll_fn(|context| match self.open.lock().as_mut() {
            Some(open) => open.poll_closed(context),
            None => Poll::Pending,
        })
        .await;
    }
}
