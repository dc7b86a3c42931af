//! The graph of our own crates, as Cargo sees it: arrows go down, and no role depends on another.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Floors from the ground up. A crate depends on crates of lower floors only, so not on its neighbours.
const FLOORS: &[&[&str]] = &[
    &["text", "api"],
    &["policy", "wire"],
    &["identity", "service"],
    &[
        "controller",
        "gateway",
        "archive",
        "keys",
        "output",
        "runner",
        "cli",
    ],
    &["cofferdam"],
    &["tests"],
];
/// Who calls the archive is tested against a real one.
const BESIDE_IN_TESTS: &[(&str, &str)] = &[
    ("gateway", "archive"),
    ("controller", "archive"),
    ("output", "archive"),
];

struct Arrow {
    from: String,
    to: String,
    in_tests: bool,
    features: Vec<String>,
}

fn short(name: &str) -> &str {
    name.strip_prefix("cofferdam-").unwrap_or(name)
}

fn floor(name: &str) -> usize {
    FLOORS
        .iter()
        .position(|floor| floor.contains(&name))
        .unwrap_or_else(|| panic!("{name} is on no floor: give it one here and in docs/design.md, section 8"))
}

/// Names of the workspace's crates, and the arrows between them.
fn graph() -> (BTreeSet<String>, Vec<Arrow>) {
    let said = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--locked",
            "--format-version=1",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let metadata: Value = serde_json::from_slice(&said.stdout).unwrap();
    let (mut crates, mut arrows) = (BTreeSet::new(), Vec::new());
    for package in metadata["packages"].as_array().unwrap() {
        let from = short(package["name"].as_str().unwrap()).to_owned();
        for dependency in package["dependencies"].as_array().unwrap() {
            if dependency["path"].is_string() {
                let features = dependency["features"].as_array().unwrap();
                arrows.push(Arrow {
                    from: from.clone(),
                    to: short(dependency["name"].as_str().unwrap()).to_owned(),
                    in_tests: dependency["kind"] == "dev",
                    features: features
                        .iter()
                        .map(|name| name.as_str().unwrap().to_owned())
                        .collect(),
                });
            }
        }
        crates.insert(from);
    }
    (crates, arrows)
}

#[test]
fn arrows_go_down() {
    let (crates, arrows) = graph();
    assert!(crates.iter().all(|name| floor(name) < FLOORS.len()));
    assert!(arrows.len() > crates.len(), "hardly any arrows were read");
    let wrong: Vec<String> = arrows
        .iter()
        .filter(|arrow| floor(&arrow.from) <= floor(&arrow.to))
        .filter(|arrow| {
            let beside = (arrow.from.as_str(), arrow.to.as_str());
            !(arrow.in_tests && BESIDE_IN_TESTS.contains(&beside))
        })
        .map(|arrow| format!("{} -> {}", arrow.from, arrow.to))
        .collect();
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn pure_crates_do_no_work_outside() {
    let pure = &FLOORS[..2].concat();
    let (_, arrows) = graph();
    let outside = arrows.iter().filter(|arrow| pure.contains(&arrow.from.as_str()));
    let to: BTreeSet<&str> = outside.map(|arrow| arrow.to.as_str()).collect();
    assert!(to.iter().all(|name| pure.contains(name)), "{to:?}");
}

#[test]
fn what_runs_beside_the_agent_has_no_client_of_the_api_server() {
    let (_, arrows) = graph();
    let uses = |from: &str| {
        let arrow = arrows
            .iter()
            .find(|arrow| arrow.from == from && arrow.to == "service" && !arrow.in_tests);
        arrow.unwrap().features.contains(&"cluster".to_owned())
    };
    assert!(uses("controller") && !uses("runner"));
}

#[test]
fn testing_features_are_for_tests() {
    let (_, arrows) = graph();
    let testing: Vec<&Arrow> = arrows
        .iter()
        .filter(|arrow| arrow.features.contains(&"testing".to_owned()))
        .collect();
    assert!(!testing.is_empty());
    assert!(testing.iter().all(|arrow| arrow.in_tests));
}
