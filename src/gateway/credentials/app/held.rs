//! The tokens of this process.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::fault::AppFault;
use crate::credentials::value::Value;
use cofferdam_policy::dimension::credentials::App;

/// Tokens that a run may have at a time.
const OF_A_RUN: usize = 32;

/// Whose a token is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Uid of its run.
    pub run: String,
    /// The credential.
    pub credential: String,
    /// The repositories.
    pub scope: Vec<String>,
}

/// What there is of a token.
#[derive(Default)]
pub struct State {
    /// The token that is held.
    pub held: Option<Held>,
    /// That none could be had, the last time.
    pub failed: Option<Failed>,
    /// The run is over: nothing is made for it any more.
    pub ended: bool,
}

/// Shortest and longest time for which a failure is the answer, so that a run cannot turn its requests into requests to
/// GitHub, of which an App has a limited number for all runs.
const FAILURE_LASTS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));

/// A token that could not be had.
#[derive(Clone, Debug)]
pub struct Failed {
    /// When.
    pub at: Instant,
    /// For how long nothing more is asked.
    pub lasts: Duration,
    /// Why.
    pub fault: AppFault,
}

impl Failed {
    /// This failure after the one before: with each in a row the next question waits twice as long.
    pub fn again(before: Option<&Self>, fault: &AppFault) -> Self {
        let (shortest, longest) = FAILURE_LASTS;
        Self {
            at: Instant::now(),
            lasts: before.map_or(shortest, |before| (before.lasts * 2).min(longest)),
            fault: fault.clone(),
        }
    }
}

/// A token that is held.
pub struct Held {
    /// Its App.
    pub app: App,
    /// The token.
    pub value: Arc<Value>,
    /// When it ends by itself.
    pub expires: Timestamp,
}

/// A token that is to be revoked, and whose it is.
pub type Ending = Arc<(Slot, Held)>;

/// What requests of one slot share.
pub type Shared = Arc<tokio::sync::Mutex<State>>;

/// The tokens of this process.
#[derive(Default)]
pub struct Tokens {
    /// By slot.
    open: Mutex<HashMap<Slot, Shared>>,
    /// Those that are to be revoked. Each stays until that is done.
    ending: Mutex<Vec<Ending>>,
    /// Until when nothing is asked of an API for an App.
    held_off: Mutex<HashMap<(String, i64), Instant>>,
}

impl Tokens {
    /// What there is for a slot.
    ///
    /// # Errors
    /// The run has too many.
    pub fn state(&self, slot: &Slot) -> Result<Shared, AppFault> {
        let mut open = self.open.lock();
        let of_run = open.keys().filter(|known| known.run == slot.run).count();
        match open.entry(slot.clone()) {
            Entry::Occupied(known) => Ok(Arc::clone(known.get())),
            Entry::Vacant(_) if of_run >= OF_A_RUN => Err(AppFault::TooMany),
            Entry::Vacant(new) => Ok(Arc::clone(new.insert(Shared::default()))),
        }
    }

    /// What there is for the slots of runs that are not `live`.
    pub fn over(&self, live: impl Fn(&str) -> bool) -> Vec<(Slot, Shared)> {
        let open = self.open.lock();
        open.iter()
            .filter(|(slot, _)| !live(&slot.run))
            .map(|(slot, state)| (slot.clone(), Arc::clone(state)))
            .collect()
    }

    /// A token of a slot is to be revoked.
    pub fn end_later(&self, slot: &Slot, held: Held) -> Ending {
        let ending = Arc::new((slot.clone(), held));
        self.ending.lock().push(Arc::clone(&ending));
        ending
    }

    /// A slot has no token any more; the one that it `held` is to be revoked.
    pub fn close(&self, slot: &Slot, held: Option<Held>) -> Option<Ending> {
        let ending = held.map(|held| self.end_later(slot, held));
        self.open.lock().remove(slot);
        ending
    }

    /// The tokens that are to be revoked.
    pub fn ending(&self) -> Vec<Ending> {
        self.ending.lock().clone()
    }

    /// A token was revoked, or what became of it was recorded.
    pub fn ended(&self, token: &Ending) {
        self.ending.lock().retain(|ending| !Arc::ptr_eq(ending, token));
    }

    /// Whether a run still has a token here, or one that is to be revoked.
    pub fn has(&self, run: &str) -> bool {
        let is_ending = self.ending.lock().iter().any(|ending| ending.0.run == run);
        is_ending || self.open.lock().keys().any(|slot| slot.run == run)
    }

    /// Nothing is asked of the App's API for so many seconds.
    pub fn hold_off(&self, app: &App, seconds: u64) {
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut all = self.held_off.lock();
        all.retain(|_, until| *until > Instant::now());
        all.insert((app.api_host.to_string(), app.id), until);
    }

    /// For how many seconds more nothing is asked of it.
    pub fn is_held_off(&self, app: &App) -> Option<u64> {
        let all = self.held_off.lock();
        let until = all.get(&(app.api_host.to_string(), app.id))?;
        let left = until.checked_duration_since(Instant::now())?;
        Some(left.as_secs() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_are_asked_about_ever_less() {
        let mut failed = Failed::again(None, &AppFault::Rejected);
        let mut lasts = vec![failed.lasts.as_secs()];
        for _ in 0..5 {
            failed = Failed::again(Some(&failed), &AppFault::Rejected);
            lasts.push(failed.lasts.as_secs());
        }
        assert_eq!(lasts, [5, 10, 20, 40, 60, 60]);
    }
}
