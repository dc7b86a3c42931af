//! The manifests of [`crate::made`] before the schema and its rules. The end-to-end tests send them to a real API server.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::made::{Made, manifests};
use crate::schema::problems;

/// As many as go through a real API server.
const SENT: usize = 3400;

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
    let counts = ["AgentRun", "SandboxPolicy", "ClusterSandboxPolicy"].map(of);
    assert!(
        counts
            .iter()
            .zip([300, 300, 200])
            .all(|(count, least)| *count > least),
        "{counts:?}"
    );
}

/// Whether it has an amount such as 1e309: kube-cel 0.8 raises 10 to the power in 128 bits and panics. The API server reads
/// such amounts, and the end-to-end tests send them there.
fn is_too_much_for_kube_cel(value: &Value) -> bool {
    match value {
        Value::String(text) => text.split_once(['e', 'E']).is_some_and(|(digits, power)| {
            digits.parse::<f64>().is_ok() && power.parse::<i64>().is_ok_and(|power| power.abs() > 30)
        }),
        Value::Array(items) => items.iter().any(is_too_much_for_kube_cel),
        Value::Object(fields) => fields.values().any(is_too_much_for_kube_cel),
        _ => false,
    }
}

#[test]
fn a_manifest_is_good_or_refused_by_the_name_of_what_is_wrong() {
    let mut taken = BTreeMap::new();
    let mut unnamed = Vec::new();
    // One of five: kube's CEL takes its time.
    let asked = manifests().take(SENT).step_by(5);
    for made in asked.filter(|made| !is_too_much_for_kube_cel(&made.manifest)) {
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
    assert!(taken.values().sum::<i32>() < 400, "{taken:?}");
}
