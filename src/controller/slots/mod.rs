//! Slots and queues: which runs of a namespace may have pods now, and which one is next. No I/O.
//!
//! # What a caller does
//! | What happens to a run | Call |
//! |---|---|
//! | The caches are filled for the first time | [`Slots::restore`] with every open run, before any reconcile |
//! | It could start but for `maxRunning` | [`Slots::ask`] |
//! | Its workload or a pod of it is seen | [`Slots::hold`] |
//! | It cannot start: suspended, refused, waiting for something else, an error before its workload was made | [`Slots::leave`] |
//! | It is deleted | [`Slots::leave`]; its slot stays taken while a pod of it is left |
//! | No workload and no pod of it is left, and none is going to be made | [`Slots::release`] |
//! | A watch was interrupted and listed anew, or some minutes have passed | [`Slots::retain`] |
//!
//! Each call is idempotent and returns the runs to reconcile because of it. A caller that is returned a run must
//! reconcile it, and each reconcile of a run without a workload must end in `ask`, `leave` or `release`: until then the
//! run keeps what it was woken for.
//!
//! # The law
//! A namespace has `live` runs that hold a slot, and waiting runs `w1, w2, …`, oldest first (creation, name, uid), with
//! the ceilings `c1, c2, …` of their own policies. The **front** is the longest prefix `w1 … wk` with `ci ≥ live + k`
//! for each of its runs. A run that asks is counted among those that wait; it starts if and only if it is in the front.
//!
//! - *No run starts above its own ceiling*: a run of the front has a ceiling of at least `live + k`, and `k ≥ 1`.
//! - *No run is overtaken*: runs of the front may start in any order, because the prefix of the others keeps its
//!   property: `live` grows by one and `k` shrinks by one. A run that is not in the front holds back all younger ones,
//!   also those under a larger ceiling.
//! - *No slot idles*: under one ceiling `c` the front has `c - live` runs. A run waits only while `c` runs are live or
//!   older runs of the front are about to take what is left.
//! - *No slot is lost*: after every change, each run of the front has been woken since it last asked. One that leaves
//!   instead of asking makes room in the front for the next, which is woken then.
//!
//! Under different ceilings this is strict age, not best use: an older run whose policy allows two live runs holds back a
//! younger one whose policy allows ten while two are live. The alternative, letting younger runs pass, starves the
//! older run in every namespace that is busy, and a bound on the number that pass would be one more figure that nobody
//! can predict a start from.
//!
//! # Cost
//! O(log n) in the runs of the namespace for each call and each run that it wakes; memory for runs that wait or hold
//! only. Each namespace has a lock of its own; the lock over all is held to find it, and for nothing else.

mod line;
mod space;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};

use self::space::Space;
use cofferdam_policy::source::{Source, Sourced};

/// Runs of one namespace that may wait for a slot. One more is refused if this many older ones wait.
pub const MAX_QUEUED: usize = 1000;

/// What becomes of a run's slot in its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// It stays as it is.
    Keep,
    /// The run has one, whatever the ceiling.
    Hold,
    /// The run does not wait for one; if it has one, it keeps it.
    Leave,
    /// The run has none, and waits for none.
    Release,
}

/// Which run, ordered by age: creation (whole seconds in the API), then name, then uid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey {
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// Runs of one namespace to reconcile, oldest first.
pub type Woken = Vec<Arc<RunKey>>;

/// Whether a run may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It holds a slot from now on, until [`Slots::release`].
    Start,
    /// It waits, and is returned by a later call when it should ask again.
    Wait,
    /// It does not wait: too many do.
    Refused(QueueFull),
}

/// The queue of a namespace takes no further run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{limit} older runs of namespace {namespace} wait for a slot already, which is the limit of queued runs; create this \
     run again when fewer wait."
)]
pub struct QueueFull {
    /// The namespace.
    pub namespace: String,
    /// How many may wait.
    pub limit: usize,
}

/// An open run at the controller's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restored {
    /// A run with a workload or a pod, by its uid.
    Holding(String),
    /// A run that may be waiting: its status says so, or nobody has looked at it yet.
    Waiting {
        /// The run.
        run: RunKey,
        /// Its ceiling, if it is known. If not, it holds back younger runs from one slot until it asks or leaves.
        ceiling: Option<i32>,
    },
}

/// What a queued run waits for, in words that stay true whatever happens ahead of it: a status is written once.
#[derive(Clone, Copy, Debug)]
pub struct WaitsFor<'a> {
    /// The run's namespace.
    pub namespace: &'a str,
    /// Its ceiling, and which policy says so.
    pub ceiling: &'a Sourced<i32>,
}

impl fmt::Display for WaitsFor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (namespace, ceiling) = (self.namespace, self.ceiling.value);
        write!(f, "Waits for a slot in namespace {namespace}: ")?;
        match &self.ceiling.source {
            Source::BuiltIn => write!(f, "the built-in limits.maxRunning allows")?,
            source => write!(f, "{source} allows")?,
        }
        let runs = if ceiling == 1 { "live run" } else { "live runs" };
        write!(f, " {ceiling} {runs}, and older runs start first.")
    }
}

/// The slots of all namespaces.
#[derive(Debug)]
pub struct Slots {
    limit: usize,
    spaces: Mutex<HashMap<String, Arc<Mutex<Space>>>>,
}

impl Default for Slots {
    fn default() -> Self {
        Self::with_limit(MAX_QUEUED)
    }
}

impl Slots {
    /// Empty, with a limit of queued runs in each namespace.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            spaces: Mutex::default(),
        }
    }

    /// Takes over the open runs of a namespace at the controller's start. None of them is refused, and none of them is
    /// woken, as all are reconciled anyway.
    pub fn restore(&self, namespace: &str, runs: impl IntoIterator<Item = Restored>) -> Woken {
        self.with(namespace, |space| {
            let mut woken = Woken::new();
            for run in runs {
                match run {
                    Restored::Holding(uid) => woken.extend(space.hold(&uid)),
                    Restored::Waiting { run, ceiling } => space.expect(run, ceiling),
                }
            }
            woken
        })
    }

    /// Asks for a slot under the run's own ceiling (`limits.maxRunning` of its policies). A run that holds one already keeps it.
    pub fn ask(&self, namespace: &str, run: RunKey, ceiling: i32) -> (Answer, Woken) {
        self.with(namespace, |space| {
            let (turn, woken) = space.ask(run, ceiling, self.limit);
            let answer = match turn {
                space::Turn::Start => Answer::Start,
                space::Turn::Wait => Answer::Wait,
                space::Turn::Full => Answer::Refused(QueueFull {
                    namespace: namespace.to_owned(),
                    limit: self.limit,
                }),
            };
            (answer, woken)
        })
    }

    /// Notes that a run has a workload or a pod: it holds a slot, whatever the ceiling.
    pub fn hold(&self, namespace: &str, uid: &str) -> Woken {
        self.with(namespace, |space| space.hold(uid))
    }

    /// Notes that a run does not wait any more. If it holds a slot, it keeps it.
    pub fn leave(&self, namespace: &str, uid: &str) -> Woken {
        self.with(namespace, |space| space.leave(uid))
    }

    /// Notes that a run has neither workload nor pod: it holds no slot, and does not wait.
    pub fn release(&self, namespace: &str, uid: &str) -> Woken {
        self.with(namespace, |space| space.release(uid))
    }

    /// Releases every run of which `is_known(namespace, uid)` is false: neither an open run, nor a workload, nor a pod
    /// has this uid. A deletion that no watch saw would keep a slot for ever. Returns the namespaces with their woken
    /// runs.
    ///
    /// O(n log n), for now and then. `is_known` is asked under the namespace's lock and must not call back.
    pub fn retain(&self, is_known: impl Fn(&str, &str) -> bool) -> Vec<(String, Woken)> {
        let namespaces: Vec<String> = self.spaces.lock().keys().cloned().collect();
        let retained = namespaces.into_iter().map(|namespace| {
            let woken = self.with(&namespace, |space| space.retain(|uid| is_known(&namespace, uid)));
            (namespace, woken)
        });
        retained.filter(|(_, woken)| !woken.is_empty()).collect()
    }

    /// Runs of a namespace that hold a slot, and that wait for one.
    pub fn count(&self, namespace: &str) -> (usize, usize) {
        self.with(namespace, |space| (space.live(), space.waiting()))
    }

    /// Calls `act` on the namespace's slots, and forgets the namespace if nothing is left in it.
    fn with<T>(&self, namespace: &str, act: impl FnOnce(&mut Space) -> T) -> T {
        loop {
            let shared = Arc::clone(self.spaces.lock().entry(namespace.to_owned()).or_default());
            let mut space = shared.lock();
            if space.is_retired() {
                // Another thread is about to take it out of the map.
                self.forget(namespace, &shared, space);
                continue;
            }
            let result = act(&mut space);
            if space.retire_if_empty() {
                self.forget(namespace, &shared, space);
            }
            return result;
        }
    }

    /// Takes a retired namespace out of the map. Its lock is given up first: the map's is never waited for under it.
    fn forget(&self, namespace: &str, shared: &Arc<Mutex<Space>>, space: MutexGuard<'_, Space>) {
        drop(space);
        let mut spaces = self.spaces.lock();
        if spaces
            .get(namespace)
            .is_some_and(|found| Arc::ptr_eq(found, shared))
        {
            spaces.remove(namespace);
        }
    }
}
