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
    /// When none could be had, and why.
    pub failed: Option<(Instant, AppFault)>,
    /// The run is over: nothing is made for it any more.
    pub ended: bool,
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

/// What requests of one slot share.
pub type Shared = Arc<tokio::sync::Mutex<State>>;

/// The tokens of this process.
#[derive(Default)]
pub struct Tokens {
    /// By slot.
    pub open: Mutex<HashMap<Slot, Shared>>,
    /// How many are on their way out, by run.
    pub ending: Mutex<HashMap<String, usize>>,
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

    /// Whether a run still has a token here, or one on its way out.
    pub fn has(&self, run: &str) -> bool {
        self.ending.lock().contains_key(run) || self.open.lock().keys().any(|slot| slot.run == run)
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
