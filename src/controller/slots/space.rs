//! The slots and the queue of one namespace.

use std::collections::HashMap;
use std::sync::Arc;

use super::line::Line;
use super::{RunKey, Woken};

/// What becomes of a run that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It holds a slot.
    Start,
    /// It is in the line.
    Wait,
    /// The line is too long for it.
    Full,
}

#[derive(Debug)]
enum Place {
    Holding,
    Waiting(Arc<RunKey>),
}

/// One namespace.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// By uid.
    runs: HashMap<Arc<str>, Place>,
    line: Line,
    live: usize,
    retired: bool,
}

impl Space {
    /// Asks for a slot for a run.
    pub fn ask(&mut self, run: RunKey, ceiling: i32, limit: usize) -> (Turn, Woken) {
        let (is_new, run) = match self.runs.get(run.uid.as_str()) {
            Some(Place::Holding) => return (Turn::Start, Woken::new()),
            Some(Place::Waiting(known)) => (false, Arc::clone(known)),
            None => (true, Arc::new(run)),
        };
        let ceiling = usize::try_from(ceiling).unwrap_or(0);
        if ceiling == 0 {
            // Nothing but a new ceiling lets it start, and that makes it ask again: it must not hold back others.
            return (Turn::Wait, self.leave(&run.uid));
        }
        if is_new {
            self.runs
                .insert(run.uid.as_str().into(), Place::Waiting(Arc::clone(&run)));
        } else {
            self.line.remove(&run);
        }
        self.line.insert(Arc::clone(&run), ceiling, false);
        let position = self.line.older(&run);
        if position < self.line.front(self.live) {
            let woken = self.hold(&run.uid);
            return (Turn::Start, woken);
        }
        if is_new && position >= limit {
            return (Turn::Full, self.leave(&run.uid));
        }
        (Turn::Wait, self.wake())
    }

    /// Puts a run into the line that will be looked at soon, as it is not known whether it waits.
    pub fn expect(&mut self, run: RunKey, ceiling: Option<i32>) {
        if self.runs.contains_key(run.uid.as_str()) {
            return;
        }
        let ceiling = ceiling.map_or(usize::MAX, |ceiling| usize::try_from(ceiling).unwrap_or(0));
        if ceiling == 0 {
            return;
        }
        let run = Arc::new(run);
        self.runs
            .insert(run.uid.as_str().into(), Place::Waiting(Arc::clone(&run)));
        self.line.insert(run, ceiling, true);
    }

    /// Gives a run a slot.
    pub fn hold(&mut self, uid: &str) -> Woken {
        match self.runs.get(uid) {
            Some(Place::Holding) => return Woken::new(),
            Some(Place::Waiting(run)) => self.line.remove(&Arc::clone(run)),
            None => {}
        }
        self.runs.insert(uid.into(), Place::Holding);
        self.live += 1;
        self.wake()
    }

    /// Takes a run out of the line.
    pub fn leave(&mut self, uid: &str) -> Woken {
        let Some(Place::Waiting(run)) = self.runs.get(uid) else {
            return Woken::new();
        };
        self.line.remove(&Arc::clone(run));
        self.runs.remove(uid);
        self.wake()
    }

    /// Takes a run out of the line, or its slot from it.
    pub fn release(&mut self, uid: &str) -> Woken {
        match self.runs.remove(uid) {
            None => return Woken::new(),
            Some(Place::Holding) => self.live -= 1,
            Some(Place::Waiting(run)) => self.line.remove(&run),
        }
        self.wake()
    }

    /// Releases every run that is not known.
    pub fn retain(&mut self, is_known: impl Fn(&str) -> bool) -> Woken {
        let unknown = self.runs.keys().filter(|uid| !is_known(uid));
        let unknown: Vec<Arc<str>> = unknown.cloned().collect();
        let mut woken = Woken::new();
        for uid in unknown {
            woken.extend(self.release(&uid));
        }
        // One that was woken by a release may itself be one that is released.
        woken.retain(|run| self.runs.contains_key(run.uid.as_str()));
        woken
    }

    /// Runs that hold a slot.
    pub const fn live(&self) -> usize {
        self.live
    }

    /// Runs that wait.
    pub fn waiting(&self) -> usize {
        self.line.len()
    }

    /// Whether this was taken out of use: whoever finds it so looks for the namespace again.
    pub const fn is_retired(&self) -> bool {
        self.retired
    }

    /// Takes it out of use if it holds nothing; whether it is.
    pub fn retire_if_empty(&mut self) -> bool {
        self.retired = self.runs.is_empty();
        self.retired
    }

    /// Wakes the runs of the front that sleep.
    fn wake(&mut self) -> Woken {
        let front = self.line.front(self.live);
        let mut woken = Woken::new();
        while let Some((position, run)) = self.line.first_asleep()
            && position < front
        {
            self.line.rouse(&run);
            woken.push(run);
        }
        woken
    }
}
