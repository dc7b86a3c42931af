//! Who may start: at most `maxRunning` runs of a namespace have a workload at a time, the oldest first.
//!
//! Slots are taken in memory, under one lock, before anything is created, because the caches do not show yet what was
//! created just now. What a run stands for in this process is its [`Standing`]; of runs that it has not looked at yet
//! the caches tell enough that no younger one gets ahead of them, also after a start of the controller.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use cofferdam_policy::source::{Met, Source};

/// Positions up to this one are told each time they change, later ones only when they have moved by a tenth: a long
/// queue would otherwise cost a write of each of its runs for each run that starts.
const NEAR: usize = 10;

/// Where a run stands that this process has looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It could start but for the ceiling.
    Waiting,
    /// It has a slot.
    Holding,
    /// It is not for starting now: suspended, refused, over, or waiting for something else.
    Aside,
}

/// A run that is not over, as the caches show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// When it was created; the API keeps whole seconds.
    pub created: Timestamp,
    /// Its name, which decides between runs of one second.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Whether the caches show a workload of it.
    pub begun: bool,
    /// Whether it asks to be started: it is neither suspended nor cancelled.
    pub wanted: bool,
}

/// Whether a run may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It has a slot now.
    Go,
    /// It waits.
    Wait(Place),
}

/// A place in the queue of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub position: usize,
    /// Runs that wait, this one included.
    pub length: usize,
    /// The namespace.
    pub namespace: String,
    /// Runs that have a slot.
    pub live: usize,
    /// How many may, and who says so.
    pub ceiling: Met<i32>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (position, suffix) = (self.position, ordinal(self.position));
        let runs = if self.live == 1 { "run is" } else { "runs are" };
        write!(
            f,
            "{position}{suffix} of {} in the queue of namespace {}; {} {runs} live, ",
            self.length, self.namespace, self.live
        )?;
        match &self.ceiling.source {
            Source::BuiltIn => write!(f, "the built-in limits.maxRunning allows {}.", self.ceiling.value),
            source => write!(f, "{source} allows {}.", self.ceiling.value),
        }
    }
}

impl Place {
    /// The position that a message of this type tells.
    pub fn told(message: &str) -> Option<usize> {
        let digits = message.find(|character: char| !character.is_ascii_digit())?;
        message.get(..digits)?.parse().ok()
    }

    /// Whether the position is news to someone who was last told `told`.
    pub const fn is_news(&self, told: Option<usize>) -> bool {
        match told {
            None => true,
            Some(told) if told == self.position => false,
            Some(told) => self.position <= NEAR || told.abs_diff(self.position) * 10 >= told,
        }
    }
}

const fn ordinal(number: usize) -> &'static str {
    match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    }
}

type Standings = HashMap<String, Standing>;

/// The queues of all namespaces.
#[derive(Debug, Default)]
pub struct Queue(Mutex<HashMap<String, Standings>>);

impl Queue {
    /// Asks for a slot for the run `uid`, one of `open`, which are the open runs of its namespace. The second answer is
    /// whether others of the namespace should look again.
    ///
    /// `open` is read under the lock, so that of two who ask the second sees what the first took.
    pub fn ask(
        &self,
        namespace: &str,
        uid: &str,
        ceiling: &Met<i32>,
        open: impl FnOnce() -> Vec<Open>,
    ) -> (Turn, bool) {
        let mut spaces = self.lock();
        let standings = spaces.entry(namespace.to_owned()).or_default();
        let open = open();
        standings.retain(|other, _| other == uid || open.iter().any(|run| run.uid == *other));
        if standings.get(uid) == Some(&Standing::Holding) {
            return (Turn::Go, false);
        }
        let turn = turn(namespace, uid, ceiling, &open, standings);
        let (standing, concerns_others) = match &turn {
            Turn::Go => (Standing::Holding, true),
            Turn::Wait(place) => (Standing::Waiting, place.position < place.length),
        };
        let changed = standings.insert(uid.to_owned(), standing) != Some(standing);
        (turn, changed && concerns_others && anyone_waits(standings))
    }

    /// Notes where a run stands; whether others of the namespace should look again.
    pub fn note(&self, namespace: &str, uid: &str, standing: Standing) -> bool {
        let mut spaces = self.lock();
        let standings = spaces.entry(namespace.to_owned()).or_default();
        standings.insert(uid.to_owned(), standing) != Some(standing) && anyone_waits(standings)
    }

    /// Forgets a run that the caches show to be over; whether others of the namespace should look again.
    pub fn forget(&self, namespace: &str, uid: &str) -> bool {
        let mut spaces = self.lock();
        let Some(standings) = spaces.get_mut(namespace) else {
            return false;
        };
        let known = standings.remove(uid).is_some();
        let waits = anyone_waits(standings);
        if standings.is_empty() {
            spaces.remove(namespace);
        }
        known && waits
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Standings>> {
        // An insertion cannot be left half-done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn anyone_waits(standings: &Standings) -> bool {
    standings.values().any(|standing| *standing == Standing::Waiting)
}

/// Whether the run `uid` may start. Strictly by age: one that waits is never overtaken, so that none starves, not even
/// where the policies of a namespace's runs name different ceilings.
fn turn(namespace: &str, uid: &str, ceiling: &Met<i32>, open: &[Open], standings: &Standings) -> Turn {
    let age = |run: &Open| (run.created, run.name.clone());
    let own_age = open.iter().find(|run| run.uid == uid).map(age);
    let mut place = Place {
        position: 1,
        length: 1,
        namespace: namespace.to_owned(),
        live: 0,
        ceiling: ceiling.clone(),
    };
    for run in open.iter().filter(|run| run.uid != uid) {
        let standing = standings.get(&run.uid).copied();
        match standing {
            Some(Standing::Holding) => place.live += 1,
            None if run.begun => place.live += 1,
            Some(Standing::Aside) => {}
            None if !run.wanted => {}
            Some(Standing::Waiting) | None => {
                place.length += 1;
                if own_age.as_ref().is_none_or(|own| age(run) < *own) {
                    place.position += 1;
                }
            }
        }
    }
    let ceiling = usize::try_from(ceiling.value).unwrap_or(0);
    if place.position == 1 && place.live < ceiling {
        Turn::Go
    } else {
        Turn::Wait(place)
    }
}

#[cfg(test)]
mod tests;
