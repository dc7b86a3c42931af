//! When the agent of a pod has used up its time. Pure.
//!
//! The sidecar keeps the same time and ends the agent; but it shares its sandbox with the agent, and this does not.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// One moment on both clocks: one that is never set, and one that other machines know too.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Never set.
    pub steady: Instant,
    /// Of the calendar.
    pub wall: Timestamp,
}

impl Now {
    /// This moment.
    pub fn read() -> Self {
        Self {
            steady: Instant::now(),
            wall: Timestamp::now(),
        }
    }
}

/// The time of one pod's agent.
#[derive(Clone, Copy, Debug, Default)]
pub struct AgentClock {
    /// When the pod was last seen without a start of its agent.
    unstarted_at: Option<Instant>,
    /// When the agent's time is over.
    over_at: Option<Instant>,
}

impl AgentClock {
    /// Notes what the pod shows: when its agent started, and how long it may work.
    ///
    /// The start was written by the node's clock. Where this process saw the pod before its agent's start, the start was
    /// not before that, so that a clock which is set wrongly takes nothing from the agent and gives it nothing.
    pub fn see(&mut self, started_at: Option<&str>, limit: Option<Duration>, now: Now) {
        let Some(started_at) = started_at else {
            self.unstarted_at = Some(now.steady);
            return;
        };
        let Some(limit) = limit else { return };
        // A start that cannot be read was just now.
        let started: Timestamp = started_at.parse().unwrap_or(now.wall);
        let claimed = Duration::try_from(now.wall.duration_since(started)).unwrap_or_default();
        let possible = self
            .unstarted_at
            .map(|at| now.steady.saturating_duration_since(at));
        let elapsed = possible.map_or(claimed, |possible| claimed.min(possible));
        self.end_by(now.steady, limit.saturating_sub(elapsed));
    }

    /// Notes that the agent uses its exit, so that it has started, whatever the pod shows by now.
    pub fn used(&mut self, limit: Option<Duration>, now: Instant) {
        if let Some(limit) = limit {
            self.end_by(now, limit);
        }
    }

    /// Whether the agent's time is over.
    pub fn is_over(&self, now: Instant) -> bool {
        self.over_at.is_some_and(|over_at| over_at <= now)
    }

    /// The agent's time ends after `left` at the latest; an earlier end stays.
    fn end_by(&mut self, now: Instant, left: Duration) {
        let Some(over_at) = now.checked_add(left) else {
            return;
        };
        self.over_at = Some(self.over_at.map_or(over_at, |known| known.min(over_at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Option<Duration> = Some(Duration::from_secs(100));

    struct Clocks(Instant, Timestamp);

    impl Clocks {
        fn new() -> Self {
            Self(Instant::now(), "2026-11-23T10:00:00Z".parse().unwrap())
        }

        /// `second` seconds on, where the calendar of this machine is `ahead` seconds ahead of the node's.
        fn at(&self, second: u64, ahead: i64) -> Now {
            let steady = self.0 + Duration::from_secs(second);
            let elapsed = jiff::SignedDuration::from_secs(i64::try_from(second).unwrap() + ahead);
            Now {
                steady,
                wall: self.1 + elapsed,
            }
        }

        /// What a node writes at this second.
        fn written(&self, second: i64) -> String {
            (self.1 + jiff::SignedDuration::from_secs(second)).to_string()
        }

        /// The first second at which the time is over.
        fn over(&self, clock: AgentClock) -> Option<u64> {
            (0..400).find(|second| clock.is_over(self.0 + Duration::from_secs(*second)))
        }
    }

    #[test]
    fn time_runs_from_the_start_that_the_node_wrote() {
        let clocks = Clocks::new();
        let mut clock = AgentClock::default();
        assert_eq!(clocks.over(clock), None);
        clock.see(Some(&clocks.written(10)), LIMIT, clocks.at(13, 0));
        assert_eq!(clocks.over(clock), Some(110));
        // What is seen of it later changes nothing.
        clock.see(Some(&clocks.written(10)), LIMIT, clocks.at(90, 0));
        assert_eq!(clocks.over(clock), Some(110));
    }

    #[test]
    fn clocks_that_differ_neither_take_time_nor_give_it() {
        for ahead in [-3600, -5, 5, 3600] {
            let clocks = Clocks::new();
            let mut clock = AgentClock::default();
            clock.see(None, LIMIT, clocks.at(8, ahead));
            clock.see(Some(&clocks.written(10)), LIMIT, clocks.at(13, ahead));
            let over = clocks.over(clock).unwrap();
            assert!((108..=113).contains(&over), "{ahead}: {over}");
        }
    }

    #[test]
    fn agent_that_uses_its_exit_has_started() {
        let clocks = Clocks::new();
        let mut clock = AgentClock::default();
        clock.see(None, LIMIT, clocks.at(8, 0));
        clock.used(LIMIT, clocks.at(9, 0).steady);
        assert_eq!(clocks.over(clock), Some(109));
        clock.used(LIMIT, clocks.at(50, 0).steady);
        clock.see(Some(&clocks.written(60)), LIMIT, clocks.at(61, 0));
        assert_eq!(clocks.over(clock), Some(109), "no later word gives it more");
    }

    #[test]
    fn start_that_cannot_be_read_or_lies_ahead_is_now_and_one_long_gone_leaves_nothing() {
        let clocks = Clocks::new();
        for (written, over) in [
            ("yesterday".to_owned(), 107),
            (clocks.written(5000), 107),
            (clocks.written(-5000), 7),
        ] {
            let mut clock = AgentClock::default();
            clock.see(Some(&written), LIMIT, clocks.at(7, 0));
            assert_eq!(clocks.over(clock), Some(over), "{written}");
        }
    }
}
