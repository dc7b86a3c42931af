//! Manifests made by the thousand, the same ones every time: good ones, ones with a value at a bound or one beyond it,
//! ones with hostile text, and ones that chance changed. What becomes of them is for whoever sends them to see.

mod change;
mod nodes;
mod sizes;
mod words;

use proptest::prelude::Rng as _;
use proptest::test_runner::{TestRng, TestRunner};
use serde_json::{Value, json};

use super::cases;
use super::manifests::{cluster_policy, policy, prompt_digest, prompt_from, run, with};
use nodes::nodes;

/// A manifest, and what was done to it.
#[derive(Clone, Debug)]
pub struct Made {
    /// For people, one line.
    pub what: String,
    /// JSON pointers of what differs from a good manifest.
    pub changed: Vec<String>,
    /// The manifest.
    pub manifest: Value,
}

impl Made {
    fn good(what: &str, manifest: Value) -> Self {
        Self {
            what: what.to_owned(),
            changed: Vec::new(),
            manifest,
        }
    }

    fn of_case(what: &str, base: &Value, pointer: &str, value: Value) -> Self {
        Self {
            what: format!("{what} {pointer}"),
            changed: vec![pointer.to_owned()],
            manifest: with(base, pointer, value),
        }
    }

    /// Its kind, which nothing here changes.
    pub fn kind(&self) -> &str {
        self.manifest["kind"].as_str().unwrap()
    }

    /// Whether `message` names something of what was changed: the field, or one that it is in.
    pub fn is_named_in(&self, message: &str) -> bool {
        self.changed.iter().any(|pointer| {
            let mut segments = pointer.split('/').skip(1);
            let root = segments.next().unwrap_or_default();
            let inner: Vec<&str> = segments
                .filter(|name| name.parse::<usize>().is_err() && !name.is_empty())
                .collect();
            if inner.is_empty() {
                message.contains(root)
            } else {
                inner.into_iter().any(|name| message.contains(name))
            }
        })
    }
}

/// Chance, the same every time.
pub struct Dice(TestRng);

impl Dice {
    /// Dice that have not been thrown.
    pub fn new() -> Self {
        Self(TestRunner::deterministic().new_rng())
    }

    /// Less than `sides`, which is not 0.
    pub fn below(&mut self, sides: usize) -> usize {
        let sides = u64::try_from(sides).unwrap();
        usize::try_from(self.0.next_u64() % sides).unwrap()
    }

    /// One of these.
    pub fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// Manifests without end. Those that are not made by chance come first.
pub fn manifests() -> impl Iterator<Item = Made> {
    let mut dice = Dice::new();
    let first = systematic(&mut dice);
    let [run, own, above] = [lasting_run(), policy(), cluster_policy()];
    let by_chance = std::iter::repeat_with(move || {
        let good = match dice.below(6) {
            0 => &own,
            1 => &above,
            _ => &run,
        };
        change::at_random(good.clone(), &mut dice)
    });
    first.into_iter().chain(by_chance)
}

/// The good run, which is still there when it has ended.
fn lasting_run() -> Value {
    with(&run(), "/spec/ttlSecondsAfterFinished", json!(3600))
}

/// The same run by other means, so that every field occurs.
fn other_run() -> Value {
    let from_map = prompt_from("prompts.team", "login.md", &prompt_digest());
    let requester = json!({"username": "ada", "uid": "7", "groups": ["makers"], "credentialID": "JTI=1"});
    let run = with(&lasting_run(), "/spec/task", from_map);
    with(&run, "/spec/requestedBy", requester)
}

/// Everything but chance.
fn systematic(dice: &mut Dice) -> Vec<Made> {
    let bases = [lasting_run(), other_run(), policy(), cluster_policy()];
    let mut all: Vec<Made> = bases
        .iter()
        .map(|base| Made::good("every field", base.clone()))
        .collect();
    all.extend(cases_of_the_tables());
    for (base, count) in bases.iter().zip([300, 50, 60, 40]) {
        all.extend((0..count).map(|_| change::without_some(base.clone(), dice)));
    }
    let mut seen = std::collections::HashSet::new();
    for base in &bases {
        all.push(sizes::every_list_full(base));
        for node in nodes(base) {
            // The two runs have most fields in common.
            if seen.insert((base["kind"].to_string(), node.pointer.clone())) {
                all.extend(sizes::at_the_bounds(base, &node));
                all.extend(words::hostile(base, &node, dice));
            }
        }
        all.extend(words::hostile_metadata(base));
    }
    all
}

/// The tables that the rules are tested by.
fn cases_of_the_tables() -> Vec<Made> {
    let mut all = Vec::new();
    for (manifest, message) in cases::refused_run_manifests() {
        all.push(Made {
            what: format!("a run of the table: {message}"),
            changed: vec!["/metadata/name".to_owned(), "/spec".to_owned()],
            manifest,
        });
    }
    for (pointer, value) in cases::accepted_runs() {
        all.push(Made::of_case("the table's", &lasting_run(), pointer, value));
    }
    for base in [policy(), cluster_policy()] {
        for (pointer, value, _) in cases::refused_policies() {
            all.push(Made::of_case("the table's", &base, pointer, value));
        }
        for (pointer, value) in cases::accepted_policies() {
            all.push(Made::of_case("the table's", &base, pointer, value));
        }
    }
    for (pointer, value, _) in cases::refused_own_fields() {
        all.push(Made::of_case("the table's", &policy(), pointer, value));
    }
    for (pointer, value) in cases::accepted_own_fields() {
        all.push(Made::of_case("the table's", &policy(), pointer, value));
    }
    all
}
