//! The manifests of [`crate::made`] before whatever judges manifests without a cluster: the schema with its rules, the
//! controller's engine, `explain`. The end-to-end tests send the first of them to a real API server.

use std::collections::BTreeMap;

use cofferdam::api::{AgentRun, ClusterSandboxPolicy, SandboxPolicy};
use cofferdam::cli::explain::judge::{Facts, judge};
use cofferdam::policy::runtime::{RuntimeClassFact, UserNamespaceSupport};
use serde_json::{Value, json};

use crate::made::{Made, manifests};
use crate::manifests::{cluster_policy, policy, run, with};
use crate::schema::problems;

/// As many as go through a real API server.
const SENT: usize = 2000;
/// As many as go through the engine.
const JUDGED: usize = 20_000;

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

#[test]
fn nothing_that_is_read_makes_the_engine_panic_or_say_more_than_a_message_may() {
    let good = Good::new();
    let (mut judged, mut refused) = (0, 0);
    for made in manifests().take(JUDGED) {
        let Some((run, facts)) = good.beside(made.manifest) else {
            continue;
        };
        judged += 1;
        if let Some(refusal) = judge(&run, &facts).refusal {
            refused += 1;
            let message = refusal.message();
            assert!(message.len() <= 1000, "{}: {message}", made.what);
            // Names of objects and rules are the schema's to judge, which is not asked here.
            let of_a_name = made.changed.iter().any(|pointer| pointer.ends_with("/name"));
            let clean = !message.chars().any(char::is_control);
            assert!(clean || of_a_name, "{}: {message:?}", made.what);
        }
    }
    // Both outcomes, or the loop shows nothing.
    assert!(
        judged > JUDGED / 5 && refused > 500 && judged - refused > 500,
        "{judged} {refused}"
    );
}

/// The good manifests as the engine takes them.
struct Good {
    run: AgentRun,
    policy: SandboxPolicy,
    cluster: ClusterSandboxPolicy,
}

impl Good {
    fn new() -> Self {
        let requested = with(&run(), "/spec/requestedBy", json!({"username": "ada"}));
        // The runs that chance changes are kept for an hour.
        let kept = |policy: &Value| with(policy, "/spec/limits/maxTTLSeconds", json!(3600));
        Self {
            run: serde_json::from_value(requested).unwrap(),
            policy: serde_json::from_value(kept(&policy())).unwrap(),
            cluster: serde_json::from_value(kept(&cluster_policy())).unwrap(),
        }
    }

    /// The run and the facts that this manifest is one of, the others being good; nothing if it cannot even be read.
    fn beside(&self, manifest: Value) -> Option<(AgentRun, Facts)> {
        let (mut run, mut policy, mut cluster) =
            (self.run.clone(), self.policy.clone(), self.cluster.clone());
        match manifest["kind"].as_str() {
            Some("AgentRun") => {
                run = serde_json::from_value(manifest).ok()?;
                // As the API server stamps it.
                run.spec.requested_by.clone_from(&self.run.spec.requested_by);
            }
            Some("SandboxPolicy") => policy = serde_json::from_value(manifest).ok()?,
            _ => cluster = serde_json::from_value(manifest).ok()?,
        }
        let labels = [
            ("cofferdam.dev/sandbox", "enabled"),
            ("tier", "agents"),
            ("stage", "test"),
        ];
        let facts = Facts {
            namespace_labels: labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            policy: Some(policy),
            cluster_policies: vec![cluster],
            runtime_classes: vec![RuntimeClassFact {
                name: "gvisor".to_owned(),
                user_namespaces: UserNamespaceSupport::Everywhere,
            }],
            runner_image: None,
        };
        Some((run, facts))
    }
}
