//! What moves on a connection, and why what is under way on it ends.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::transport::in_flight::Flow;
use cofferdam_wire::record::CloseCause;

/// A connection without a request is ended after so long.
const KEEP_ALIVE: Duration = Duration::from_mins(2);
/// A request in which nothing moves is ended; models may think for long before their first byte.
const IDLE_LIMIT: Duration = Duration::from_mins(30);

/// What moves on a connection.
pub struct Activity {
    start: Instant,
    /// In seconds since the start.
    moved_at: AtomicU64,
    is_busy: AtomicBool,
    cause: OnceLock<CloseCause>,
    flow: Flow,
    /// That of a connection to the host which another one of the run had before.
    taken: Mutex<Option<Flow>>,
}

/// What becomes of a connection on which nothing moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stillness {
    /// It may go on.
    Fine,
    /// It has no request, and has had none for long.
    Unused,
    /// Nothing of its request has moved for too long.
    Stuck,
}

impl Activity {
    /// Of a connection with this entry to the account of bytes in flight.
    pub fn new(flow: &Flow) -> Self {
        Self {
            start: Instant::now(),
            moved_at: AtomicU64::new(0),
            is_busy: AtomicBool::new(false),
            cause: OnceLock::new(),
            flow: flow.clone(),
            taken: Mutex::default(),
        }
    }

    /// Requests go through a connection with this entry from now on.
    pub fn goes_through(&self, flow: &Flow) {
        *self.taken.lock() = Some(flow.clone());
    }

    /// Something moved now.
    pub fn moved(&self) {
        self.moved_at
            .store(self.start.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// A request is under way, or none.
    pub fn set_busy(&self, is_busy: bool) {
        self.is_busy.store(is_busy, Ordering::Relaxed);
    }

    /// Notes why what is under way ends; the first cause counts.
    pub fn end(&self, cause: CloseCause) {
        let _ = self.cause.set(cause);
    }

    /// Why what is under way ends.
    pub fn cause(&self) -> CloseCause {
        let cause = self.cause.get().copied().or_else(|| self.flow.ended());
        let of_taken = || self.taken.lock().as_ref().and_then(Flow::ended);
        cause.or_else(of_taken).unwrap_or(CloseCause::Ended)
    }

    /// How it stands.
    pub fn stillness(&self) -> Stillness {
        let moved_at = Duration::from_secs(self.moved_at.load(Ordering::Relaxed));
        let still = self.start.elapsed().saturating_sub(moved_at);
        match self.is_busy.load(Ordering::Relaxed) {
            true if still >= IDLE_LIMIT => Stillness::Stuck,
            false if still >= KEEP_ALIVE => Stillness::Unused,
            true | false => Stillness::Fine,
        }
    }
}
