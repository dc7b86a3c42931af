//! What hosts make of credentials: one that answers 401 does not take the value. Pure.
//!
//! A run chooses its requests, and a host may answer 401 to some whatever comes with them. So what the runs of a namespace
//! meet counts for that namespace alone, several of them must have met it, and one answer that says that the value is good
//! counts against all of that. A 403 says nothing of the value: it is about what was asked for.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use http::StatusCode;
use parking_lot::Mutex;

use super::value::Value;
use cofferdam_wire::runner::RunIdentity;

/// Runs of a namespace that must have met a 401.
const RUNS: usize = 2;
/// For so long after the last 401 the value counts as refused, and is then tried again.
const LASTS: Duration = Duration::from_mins(15);

/// What hosts made of the values of credentials, by the credentials' names.
#[derive(Default)]
pub struct Answers {
    /// Marks values, so that none is kept here.
    marks: RandomState,
    seen: Mutex<HashMap<String, Seen>>,
}

/// What hosts made of one value.
struct Seen {
    mark: u64,
    /// The last 401, and the runs that met one since the value was last taken, by namespace.
    refused: HashMap<String, (Instant, Vec<String>)>,
}

impl Answers {
    /// Notes what a host answered to a request of `run` with `value`.
    pub fn note(&self, credential: &str, value: &Value, run: &RunIdentity, status: StatusCode, now: Instant) {
        let is_refusal = status == StatusCode::UNAUTHORIZED;
        if !is_refusal && !status.is_success() {
            return;
        }
        let mut all = self.seen.lock();
        if !is_refusal && !all.contains_key(credential) {
            return;
        }
        let mark = self.mark(value);
        let seen = all.entry(credential.to_owned()).or_insert_with(|| Seen::of(mark));
        if seen.mark != mark {
            *seen = Seen::of(mark);
        }
        if is_refusal {
            seen.refused.retain(|_, (last, _)| is_fresh(*last, now));
            let (last, runs) = seen
                .refused
                .entry(run.namespace.clone())
                .or_insert_with(|| (now, Vec::new()));
            *last = now;
            if runs.len() < RUNS && !runs.contains(&run.uid) {
                runs.push(run.uid.clone());
            }
        } else {
            seen.refused.remove(&run.namespace);
            if seen.refused.is_empty() {
                all.remove(credential);
            }
        }
    }

    /// The namespaces, in order, to whose runs hosts say that they do not take `value`.
    pub fn refused_in(&self, credential: &str, value: &Value, now: Instant) -> Vec<String> {
        let all = self.seen.lock();
        let seen = all.get(credential).filter(|seen| seen.mark == self.mark(value));
        let refused = seen.into_iter().flat_map(|seen| &seen.refused);
        let enough = refused.filter(|(_, (last, runs))| runs.len() >= RUNS && is_fresh(*last, now));
        let mut namespaces: Vec<String> = enough.map(|(namespace, _)| namespace.clone()).collect();
        namespaces.sort();
        namespaces
    }

    fn mark(&self, value: &Value) -> u64 {
        self.marks.hash_one(value.as_bytes())
    }
}

impl Seen {
    fn of(mark: u64) -> Self {
        Self {
            mark,
            refused: HashMap::new(),
        }
    }
}

fn is_fresh(last: Instant, now: Instant) -> bool {
    now.saturating_duration_since(last) < LASTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Value::read(text.as_bytes().to_vec()).unwrap_or_else(|_| panic!("{text}"))
    }

    fn run(namespace: &str, uid: &str) -> RunIdentity {
        RunIdentity {
            namespace: namespace.to_owned(),
            name: uid.to_owned(),
            uid: uid.to_owned(),
        }
    }

    struct World {
        answers: Answers,
        start: Instant,
    }

    impl World {
        fn new() -> Self {
            Self {
                answers: Answers::default(),
                start: Instant::now(),
            }
        }

        fn note(&self, namespace: &str, uid: &str, status: u16, second: u64) {
            let status = StatusCode::from_u16(status).unwrap();
            let now = self.start + Duration::from_secs(second);
            self.answers
                .note("model", &value("value-one"), &run(namespace, uid), status, now);
        }

        fn refused_in(&self, text: &str, second: u64) -> Vec<String> {
            let now = self.start + Duration::from_secs(second);
            self.answers.refused_in("model", &value(text), now)
        }
    }

    #[test]
    fn several_runs_of_a_namespace_must_meet_a_401() {
        let world = World::new();
        for _ in 0..10 {
            world.note("team-a", "one", 401, 0);
        }
        assert_eq!(
            world.refused_in("value-one", 0),
            [""; 0],
            "one run, however often it asks"
        );
        world.note("team-a", "two", 401, 1);
        assert_eq!(world.refused_in("value-one", 1), ["team-a"]);
    }

    /// Who asks for what is forbidden, or for what a host answers so whatever comes with it, harms nobody else.
    #[test]
    fn a_namespace_speaks_for_itself_alone() {
        let world = World::new();
        for uid in ["one", "two", "three"] {
            world.note("team-a", uid, 401, 0);
            world.note("team-b", uid, 403, 0);
            world.note("team-c", uid, 404, 0);
        }
        assert_eq!(world.refused_in("value-one", 1), ["team-a"]);
        world.note("team-b", "one", 200, 2);
        assert_eq!(
            world.refused_in("value-one", 2),
            ["team-a"],
            "nor does it help anybody else"
        );
    }

    #[test]
    fn a_value_that_is_taken_another_value_and_time_end_it() {
        let refused = || {
            let world = World::new();
            world.note("team-a", "one", 401, 0);
            world.note("team-a", "two", 401, 1);
            world
        };
        let world = refused();
        world.note("team-a", "three", 204, 2);
        assert_eq!(world.refused_in("value-one", 2), [""; 0], "it was taken");
        assert!(world.answers.seen.lock().is_empty(), "nothing is kept of it");
        let world = refused();
        assert_eq!(
            world.refused_in("value-two", 2),
            [""; 0],
            "the Secret has another one"
        );
        assert_eq!(world.refused_in("value-one", LASTS.as_secs()), ["team-a"]);
        assert_eq!(
            world.refused_in("value-one", LASTS.as_secs() + 1),
            [""; 0],
            "it is tried again"
        );
    }
}
