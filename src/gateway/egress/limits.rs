//! How many connections a run may have and open, and a namespace may have.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::transport::{Bucket, Rate};
use cofferdam_wire::runner::RunIdentity;

/// Connections of one run at the same time.
pub const CONNECTIONS_PER_RUN: usize = 256;
/// New connections of one run.
const NEW: Rate = Rate {
    per_second: 50,
    burst: 200,
};

/// Requests of one run on connections that are open. A faster one is slowed.
const REQUESTS: Rate = Rate {
    per_second: 500,
    burst: 1000,
};
/// Certificates that are minted for one run. Who needs more makes names up, under a rule with a star.
const NAMES: Rate = Rate {
    per_second: 1,
    burst: 100,
};

/// A limit that is reached, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// A moment later there is room.
    Rate(&'static str),
    /// As long as connections are open there is none.
    Count(Cow<'static, str>),
}

impl From<Over> for Cow<'static, str> {
    fn from(over: Over) -> Self {
        match over {
            Over::Rate(message) => message.into(),
            Over::Count(message) => message,
        }
    }
}

/// Counts the connections of each run and namespace.
///
/// A namespace may have as many open as the gateway has free: a single one at most half of all, and whoever comes
/// later finds some.
#[derive(Debug)]
pub struct RunLimits(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    all: usize,
    open: usize,
    runs: HashMap<String, RunCount>,
    namespaces: HashMap<String, usize>,
}

#[derive(Debug)]
struct RunCount {
    open: usize,
    new: Bucket,
    requests: Bucket,
    names: Bucket,
}

impl RunCount {
    fn new(now: Instant) -> Self {
        Self {
            open: 0,
            new: Bucket::full(NEW, now),
            requests: Bucket::full(REQUESTS, now),
            names: Bucket::full(NAMES, now),
        }
    }
}

/// The right to one connection; dropping it gives the right back.
#[derive(Debug)]
pub struct ConnectionSlot {
    limits: Arc<RunLimits>,
    run: RunIdentity,
}

impl RunLimits {
    /// Limits within so many connections of all runs together.
    pub fn new(all: usize) -> Self {
        Self(Mutex::new(Counts {
            all,
            open: 0,
            runs: HashMap::new(),
            namespaces: HashMap::new(),
        }))
    }

    /// Takes a slot for a connection of this run.
    ///
    /// # Errors
    /// [`Over`].
    pub fn enter(self: &Arc<Self>, run: &RunIdentity, now: Instant) -> Result<ConnectionSlot, Over> {
        self.0.lock().enter(run, now)?;
        Ok(ConnectionSlot {
            limits: Arc::clone(self),
            run: run.clone(),
        })
    }

    /// Takes the turn of one more request of this run.
    ///
    /// # Errors
    /// [`Over::Rate`].
    pub fn request(&self, run: &RunIdentity, now: Instant) -> Result<(), Over> {
        if self.0.lock().of(run, now).requests.take(REQUESTS, now) {
            Ok(())
        } else {
            Err(Over::Rate("the run makes more than 500 requests a second"))
        }
    }

    /// Takes the right to one more certificate for a host that none is known for.
    ///
    /// # Errors
    /// [`Over::Rate`].
    pub fn name(&self, run: &RunIdentity, now: Instant) -> Result<(), Over> {
        if self.0.lock().of(run, now).names.take(NAMES, now) {
            Ok(())
        } else {
            Err(Over::Rate(
                "the run asks for more than one new name of a host a second",
            ))
        }
    }

    /// Whether this run has a connection open.
    pub fn has_open(&self, run_uid: &str) -> bool {
        self.0.lock().runs.get(run_uid).is_some_and(|run| run.open > 0)
    }

    /// Whether any run has a connection open.
    pub fn any_open(&self) -> bool {
        self.0.lock().open > 0
    }

    /// Forgets runs that are not live any more and have nothing open.
    pub fn retain(&self, live: impl Fn(&str) -> bool) {
        self.0
            .lock()
            .runs
            .retain(|uid, count| count.open > 0 || live(uid));
    }
}

impl Counts {
    fn enter(&mut self, run: &RunIdentity, now: Instant) -> Result<(), Over> {
        if self.of(run, now).open >= CONNECTIONS_PER_RUN {
            return Err(Over::Count("the run has 256 connections open".into()));
        }
        let of_namespace = self.namespaces.get(&run.namespace).copied().unwrap_or(0);
        let free = self.all.saturating_sub(self.open);
        if of_namespace >= free {
            let message = format!(
                "the runs of namespace {} have {of_namespace} connections open, and the gateway has {free} of its {} \
                 free; a namespace may have as many as are free",
                run.namespace, self.all
            );
            return Err(Over::Count(message.into()));
        }
        let count = self.of(run, now);
        if !count.new.take(NEW, now) {
            return Err(Over::Rate("the run opens more than 50 connections a second"));
        }
        count.open += 1;
        self.open += 1;
        *self.namespaces.entry(run.namespace.clone()).or_default() += 1;
        Ok(())
    }

    fn of(&mut self, run: &RunIdentity, now: Instant) -> &mut RunCount {
        let count = self.runs.entry(run.uid.clone());
        count.or_insert_with(|| RunCount::new(now))
    }

    fn leave(&mut self, run: &RunIdentity) {
        if let Some(count) = self.runs.get_mut(&run.uid) {
            count.open = count.open.saturating_sub(1);
        }
        self.open = self.open.saturating_sub(1);
        if let Some(count) = self.namespaces.get_mut(&run.namespace) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.namespaces.remove(&run.namespace);
            }
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.limits.0.lock().leave(&self.run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn run(namespace: &str, uid: &str) -> RunIdentity {
        RunIdentity {
            namespace: namespace.to_owned(),
            name: uid.to_owned(),
            uid: uid.to_owned(),
        }
    }

    fn counts(limits: &RunLimits) -> (usize, usize, usize) {
        let counts = limits.0.lock();
        (counts.open, counts.runs.len(), counts.namespaces.len())
    }

    #[test]
    fn a_run_has_so_many_connections_and_another_run_its_own() {
        let limits = Arc::new(RunLimits::new(10_000));
        let (one, other) = (run("team-a", "run-1"), run("team-a", "run-2"));
        let start = Instant::now();
        let mut slots: Vec<ConnectionSlot> = Vec::new();
        for number in 0..CONNECTIONS_PER_RUN {
            let now = start + Duration::from_millis(20 * number as u64);
            slots.push(limits.enter(&one, now).unwrap());
        }
        let later = start + Duration::from_mins(1);
        assert!(limits.enter(&one, later).is_err());
        assert!(limits.enter(&other, later).is_ok());
        slots.pop();
        assert!(limits.enter(&one, later).is_ok());
    }

    #[test]
    fn namespace_has_as_many_as_are_free_and_others_find_some() {
        let limits = Arc::new(RunLimits::new(100));
        let now = Instant::now();
        let mut slots = Vec::new();
        let mut taken = |namespace: &str| {
            let before = slots.len();
            while let Ok(slot) = limits.enter(&run(namespace, &format!("{namespace}-1")), now) {
                slots.push(slot);
            }
            slots.len() - before
        };
        assert_eq!((taken("hostile"), taken("honest"), taken("third")), (50, 25, 13));
        let error: Cow<'static, str> = limits
            .enter(&run("hostile", "hostile-2"), now)
            .unwrap_err()
            .into();
        insta::assert_snapshot!(error, @"the runs of namespace hostile have 50 connections open, and the gateway has 12 of its 100 free; a namespace may have as many as are free");
        drop(slots);
        limits.retain(|_| false);
        assert_eq!(counts(&limits), (0, 0, 0));
    }

    #[test]
    fn runs_that_are_gone_are_forgotten() {
        let limits = Arc::new(RunLimits::new(100));
        let slot = limits.enter(&run("team-a", "run-1"), Instant::now()).unwrap();
        limits.retain(|_| false);
        assert_eq!(counts(&limits), (1, 1, 1));
        drop(slot);
        limits.retain(|_| false);
        assert_eq!(counts(&limits), (0, 0, 0));
    }

    proptest! {
        #[test]
        fn no_pattern_exceeds_the_connections(steps in proptest::collection::vec((0u8..4, any::<bool>()), 1..400)) {
            let limits = Arc::new(RunLimits::new(60));
            let start = Instant::now();
            let mut slots: Vec<ConnectionSlot> = Vec::new();
            for (index, (number, leave)) in steps.into_iter().enumerate() {
                let now = start + Duration::from_secs(index as u64);
                if leave && !slots.is_empty() {
                    slots.swap_remove(index % slots.len());
                } else if let Ok(slot) = limits.enter(&run(&format!("team-{number}"), &format!("run-{number}")), now) {
                    slots.push(slot);
                }
                prop_assert_eq!(counts(&limits).0, slots.len());
                prop_assert!(slots.len() <= 60);
            }
        }
    }
}
