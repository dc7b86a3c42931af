//! The manifests of [`crate::made`] before the schema and its rules. The end-to-end tests send them to a real API server.

use std::collections::BTreeMap;

use crate::made::{Made, manifests};
use crate::schema::problems;

/// As many as go through a real API server.
const SENT: usize = 2000;

#[test]
fn the_manifests_are_the_same_every_time_and_of_every_kind() {
    let text = |made: Made| format!("{made:?}");
    let once: Vec<Made> = manifests().take(SENT).collect();
    assert!(
        once.iter()
            .cloned()
            .map(text)
            .eq(manifests().take(SENT).map(text))
    );
    let of = |kind: &str| once.iter().filter(|made| made.kind() == kind).count();
    assert!(of("AgentRun") > 800 && of("SandboxPolicy") > 300 && of("ClusterSandboxPolicy") > 200);
}

#[test]
fn a_manifest_is_good_or_refused_by_the_name_of_what_is_wrong() {
    let mut taken = BTreeMap::new();
    let mut unnamed = Vec::new();
    // One of five: kube's CEL takes its time.
    for made in manifests().take(SENT).step_by(5) {
        let problems = problems(&made.manifest, None).join("\n");
        if problems.is_empty() {
            *taken.entry(made.kind().to_owned()).or_insert(0) += 1;
        } else if !made.is_named_in(&problems) {
            unnamed.push(format!("{}: {problems}", made.what));
        }
    }
    assert!(
        unnamed.is_empty(),
        "{} {:#?}",
        unnamed.len(),
        &unnamed[..unnamed.len().min(10)]
    );
    // Enough of each side for either to mean something.
    assert!(taken["AgentRun"] > 90, "{taken:?}");
    assert!(taken.values().sum::<i32>() < 280, "{taken:?}");
}
