//! Conditions of a status, and who owns their timestamps.

pub use cofferdam_text::bounded;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Longest message of a condition that we write, in bytes; the API allows 32 KiB, a run's object 10 KB in all.
pub const MESSAGE_LIMIT: usize = 1000;

/// What a condition is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Type, such as `Ready`.
    pub type_: &'static str,
    /// Whether it holds; `None` is `Unknown`.
    pub holds: Option<bool>,
    /// One word, `CamelCase`.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Sets one condition. Only a changed `status` moves `lastTransitionTime`, so that writing the same twice is a no-op.
pub fn set(conditions: &mut Vec<Condition>, desired: Desired, generation: Option<i64>, now: Timestamp) {
    let status = match desired.holds {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let since = conditions
        .iter()
        .find(|old| old.type_ == desired.type_ && old.status == status)
        .map_or_else(
            || Time(whole_seconds(now)),
            |old| old.last_transition_time.clone(),
        );
    let new = Condition {
        type_: desired.type_.to_owned(),
        status: status.to_owned(),
        reason: desired.reason,
        message: bounded(&desired.message, MESSAGE_LIMIT),
        observed_generation: generation,
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|old| old.type_ == desired.type_) {
        Some(old) => *old = new,
        None => conditions.push(new),
    }
}

/// Removes a condition; those that are abnormal when true are absent when they are not.
pub fn remove(conditions: &mut Vec<Condition>, type_: &str) {
    conditions.retain(|condition| condition.type_ != type_);
}

/// The API server keeps whole seconds of times; comparing what was written with what came back needs the same.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Seconds from `start` to `now`, never negative.
pub fn seconds_since(start: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(start).max(SignedDuration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ready(holds: Option<bool>, reason: &str) -> Desired {
        Desired {
            type_: "Ready",
            holds,
            reason: reason.to_owned(),
            message: String::new(),
        }
    }

    #[test]
    fn only_a_changed_status_moves_the_transition_time() {
        let mut conditions = Vec::new();
        set(&mut conditions, ready(Some(false), "Starting"), Some(1), at(10));
        set(&mut conditions, ready(Some(false), "Running"), Some(2), at(20));
        assert_eq!(conditions[0].last_transition_time.0, at(10));
        assert_eq!(
            (conditions[0].reason.as_str(), conditions[0].observed_generation),
            ("Running", Some(2))
        );
        set(&mut conditions, ready(Some(true), "Completed"), Some(2), at(30));
        assert_eq!(
            (conditions.len(), conditions[0].last_transition_time.0),
            (1, at(30))
        );
    }
}
