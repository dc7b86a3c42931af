//! The structure against a model that is as simple as the law, and against the law itself.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::{NAMESPACE, run, uid};
use crate::slots::{Answer, Restored, Slots, Woken};

const RUNS: usize = 12;
const LIMIT: usize = 5;

/// What a caller does to a run, by the second of its creation.
#[derive(Clone, Copy, Debug)]
enum Call {
    Ask(usize, i32),
    Hold(usize),
    Leave(usize),
    Release(usize),
    /// The run is restored with its ceiling, if that is known.
    Expect(usize, Option<i32>),
    /// Only runs below this one are known.
    Retain(usize),
}

fn call() -> impl Strategy<Value = Call> {
    let (run, ceiling) = (0..RUNS, 0..6);
    prop_oneof![
        8 => (run.clone(), ceiling.clone()).prop_map(|(run, ceiling)| Call::Ask(run, ceiling)),
        1 => run.clone().prop_map(Call::Hold),
        2 => run.clone().prop_map(Call::Leave),
        4 => run.clone().prop_map(Call::Release),
        1 => (run, prop::option::of(ceiling)).prop_map(|(run, ceiling)| Call::Expect(run, ceiling)),
        1 => (RUNS / 2..=RUNS).prop_map(Call::Retain),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    ceiling: usize,
    is_asleep: bool,
}

/// The law, word by word: `waiting` is ordered by age.
#[derive(Default)]
struct Model {
    holding: BTreeSet<usize>,
    waiting: BTreeMap<usize, Waiter>,
}

impl Model {
    fn front(&self) -> Vec<usize> {
        let live = self.holding.len();
        let fits = |k: usize| {
            self.waiting
                .values()
                .take(k)
                .all(|waiter| waiter.ceiling >= live + k)
        };
        let longest = (0..=self.waiting.len()).rev().find(|k| fits(*k)).unwrap();
        self.waiting.keys().copied().take(longest).collect()
    }

    fn wake(&mut self) -> Vec<usize> {
        let mut woken = self.front();
        woken.retain(|run| self.waiting[run].is_asleep);
        for run in &woken {
            self.waiting.get_mut(run).unwrap().is_asleep = false;
        }
        woken
    }

    fn ask(&mut self, run: usize, ceiling: i32) -> (Option<bool>, Vec<usize>) {
        if self.holding.contains(&run) {
            return (Some(true), vec![]);
        }
        let is_new = !self.waiting.contains_key(&run);
        let Some(ceiling) = usize::try_from(ceiling).ok().filter(|ceiling| *ceiling > 0) else {
            self.waiting.remove(&run);
            return (Some(false), self.wake());
        };
        let waiter = Waiter {
            ceiling,
            is_asleep: true,
        };
        self.waiting.insert(run, waiter);
        if self.front().contains(&run) {
            self.waiting.remove(&run);
            self.holding.insert(run);
            return (Some(true), self.wake());
        }
        if is_new && self.waiting.range(..run).count() >= LIMIT {
            self.waiting.remove(&run);
            return (None, vec![]);
        }
        (Some(false), self.wake())
    }

    fn forget(&mut self, run: usize, also_holding: bool) {
        self.waiting.remove(&run);
        if also_holding {
            self.holding.remove(&run);
        }
    }

    /// Does the same to itself and to `slots`, and compares what comes of it.
    fn call(&mut self, slots: &Slots, call: Call) -> Vec<usize> {
        let (told, expected) = match call {
            Call::Ask(n, ceiling) => {
                let (answer, woken) = slots.ask(NAMESPACE, run(n), ceiling);
                let (expected, expected_woken) = self.ask(n, ceiling);
                let answer = match answer {
                    Answer::Start => Some(true),
                    Answer::Wait => Some(false),
                    Answer::Refused(_) => None,
                };
                assert_eq!(answer, expected);
                (woken, expected_woken)
            }
            Call::Hold(n) => {
                self.waiting.remove(&n);
                self.holding.insert(n);
                (slots.hold(NAMESPACE, &uid(n)), self.wake())
            }
            Call::Leave(n) => {
                self.forget(n, false);
                (slots.leave(NAMESPACE, &uid(n)), self.wake())
            }
            Call::Release(n) => {
                self.forget(n, true);
                (slots.release(NAMESPACE, &uid(n)), self.wake())
            }
            Call::Expect(n, ceiling) => {
                let restored = Restored::Waiting { run: run(n), ceiling };
                let known = self.holding.contains(&n) || self.waiting.contains_key(&n);
                let ceiling = ceiling.map_or(usize::MAX, |ceiling| usize::try_from(ceiling).unwrap());
                if !known && ceiling > 0 {
                    let is_asleep = false;
                    self.waiting.insert(n, Waiter { ceiling, is_asleep });
                }
                (slots.restore(NAMESPACE, [restored]), vec![])
            }
            Call::Retain(below) => {
                let unknown: Vec<String> = (below..RUNS).map(uid).collect();
                let woken = slots.retain(|_, uid| !unknown.contains(&uid.to_owned()));
                (below..RUNS).for_each(|n| self.forget(n, true));
                let woken = woken.into_iter().flat_map(|(_, woken)| woken);
                let mut woken: Woken = woken.collect();
                woken.sort();
                (woken, self.wake())
            }
        };
        assert_eq!(seconds(&told), expected, "{call:?}");
        assert_eq!(slots.count(NAMESPACE), (self.holding.len(), self.waiting.len()));
        expected
    }
}

fn seconds(woken: &Woken) -> Vec<usize> {
    let second =
        |run: &std::sync::Arc<crate::slots::RunKey>| usize::try_from(run.created.as_second()).unwrap();
    woken.iter().map(second).collect()
}

/// What happens to a namespace, with the caller keeping its part: it reconciles whom it is told to, and no other.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The next run is created, under this ceiling.
    Created(i32),
    /// The n-th of the runs to reconcile is reconciled; `false`: it turns out that it may not start, for now or for ever.
    Reconciled(usize, bool),
    /// The n-th of the live runs has no pod any more.
    Ended(usize),
}

fn event(ceilings: std::ops::Range<i32>) -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => ceilings.prop_map(Event::Created),
        5 => (any::<prop::sample::Index>(), prop::bool::weighted(0.8))
            .prop_map(|(n, may_start)| Event::Reconciled(n.index(1 << 16), may_start)),
        3 => any::<prop::sample::Index>().prop_map(|n| Event::Ended(n.index(1 << 16))),
    ]
}

/// A namespace and its caller.
struct Namespace {
    slots: Slots,
    ceilings: Vec<i32>,
    to_reconcile: BTreeSet<usize>,
    live: BTreeSet<usize>,
    waiting: BTreeSet<usize>,
}

impl Namespace {
    fn new() -> Self {
        Self {
            slots: Slots::with_limit(usize::MAX),
            ceilings: Vec::new(),
            to_reconcile: BTreeSet::new(),
            live: BTreeSet::new(),
            waiting: BTreeSet::new(),
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Created(ceiling) => {
                self.to_reconcile.insert(self.ceilings.len());
                self.ceilings.push(ceiling);
            }
            Event::Reconciled(n, may_start) => {
                let Some(run) = nth(&self.to_reconcile, n) else {
                    return;
                };
                self.to_reconcile.remove(&run);
                self.reconcile(run, may_start);
            }
            Event::Ended(n) => {
                let Some(ended) = nth(&self.live, n) else { return };
                self.live.remove(&ended);
                let woken = self.slots.release(NAMESPACE, &uid(ended));
                let strictest_first = woken
                    .first()
                    .map(|run| self.ceilings[seconds(&vec![run.clone()])[0]]);
                let served =
                    strictest_first.map_or(0, |ceiling| usize::try_from(ceiling).unwrap() - self.live.len());
                assert!(woken.len() <= served, "{woken:?}");
                self.wake(&woken);
            }
        }
    }

    fn reconcile(&mut self, n: usize, may_start: bool) {
        if !may_start {
            let woken = self.slots.leave(NAMESPACE, &uid(n));
            self.waiting.remove(&n);
            self.wake(&woken);
            return;
        }
        let (answer, woken) = self.slots.ask(NAMESPACE, run(n), self.ceilings[n]);
        if answer == Answer::Start {
            let ceiling = usize::try_from(self.ceilings[n]).unwrap();
            assert!(self.live.len() < ceiling, "above its ceiling: {n}");
            self.waiting.remove(&n);
            self.live.insert(n);
            // No older run lost by it what it could have had: each of those ahead still fits, one after the other.
            for (position, older) in self.waiting.range(..n).enumerate() {
                let ceiling = usize::try_from(self.ceilings[*older]).unwrap();
                assert!(self.live.len() + position < ceiling, "{n} overtook {older}");
            }
        } else {
            self.waiting.insert(n);
        }
        self.wake(&woken);
    }

    fn wake(&mut self, woken: &Woken) {
        for run in seconds(woken) {
            assert!(self.waiting.contains(&run), "{run} does not wait");
            assert!(self.to_reconcile.insert(run), "{run} was woken already");
        }
    }

    /// Reconciles all that are to be; then nobody waits who could start.
    fn settle(&mut self) {
        while let Some(run) = self.to_reconcile.pop_last() {
            self.reconcile(run, true);
        }
        if let Some(first) = self.waiting.first() {
            let ceiling = usize::try_from(self.ceilings[*first]).unwrap();
            assert!(self.live.len() >= ceiling, "{first} waits with a slot free");
        }
    }
}

fn nth(runs: &BTreeSet<usize>, n: usize) -> Option<usize> {
    runs.iter().nth(n % runs.len().max(1)).copied()
}

proptest! {
    #[test]
    fn the_structure_does_what_the_model_does(calls in vec(call(), 0..120)) {
        let (slots, mut model) = (Slots::with_limit(LIMIT), Model::default());
        for call in calls {
            model.call(&slots, call);
        }
    }

    #[test]
    fn one_ceiling_is_never_passed_never_idle_and_keeps_age(events in vec(event(3..4), 0..200)) {
        let mut namespace = Namespace::new();
        for event in events {
            namespace.happens(event);
        }
        namespace.settle();
    }

    #[test]
    fn several_ceilings_are_never_passed_and_keep_age(events in vec(event(1..6), 0..200)) {
        let mut namespace = Namespace::new();
        for event in events {
            namespace.happens(event);
        }
        namespace.settle();
        // Nobody starves: as live runs end, all that wait start, the oldest first.
        while let Some(ended) = namespace.live.pop_first() {
            let woken = namespace.slots.release(NAMESPACE, &uid(ended));
            namespace.wake(&woken);
            namespace.settle();
        }
        prop_assert!(namespace.waiting.is_empty());
        prop_assert!(namespace.slots.spaces.lock().is_empty());
    }
}
