//! What must not be removed, as the controller told it last; in memory. Where that is not known, nothing is removed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use cofferdam_wire::hold::Holds;

/// What was told is not believed longer: the controller tells it each minute.
const BELIEVED: Duration = Duration::from_hours(1);

/// What the controller told last.
#[derive(Debug, Default)]
pub struct Told(Mutex<Option<(Instant, Arc<Holds>)>>);

impl Told {
    /// Keeps what the controller tells.
    pub fn put(&self, holds: Holds, now: Instant) {
        *self.0.lock() = Some((now, Arc::new(holds)));
    }

    /// What is held; nothing: that is not known.
    pub fn get(&self, now: Instant) -> Option<Arc<Holds>> {
        let told = self.0.lock();
        let (at, holds) = told.as_ref()?;
        (now.saturating_duration_since(*at) < BELIEVED).then(|| Arc::clone(holds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_long_ago_is_not_known() {
        let (told, start) = (Told::default(), Instant::now());
        assert_eq!(told.get(start), None);
        told.put(Holds::default(), start);
        assert!(told.get(start + BELIEVED / 2).is_some());
        assert_eq!(told.get(start + BELIEVED), None);
    }
}
