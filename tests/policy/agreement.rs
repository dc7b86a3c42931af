//! `kubectl cofferdam explain` and the controller give the same answer, because they ask the same engine.

use std::sync::Arc;

use cofferdam_api::{AgentRun, Reason};
use cofferdam_cli::explain::judge::{self, judge};
use cofferdam_controller::agent_run::decide::{Decision, Facts, decide};
use cofferdam_policy::dimension::runtime::UserNamespaceSupport;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::fixtures::World;
use crate::generated::{full_limits, limits, worlds};

/// Reason and message of a run that may not start; nothing if it may.
type Answer = Option<(Reason, String)>;

const CASES: u32 = 1000;
/// Longer than the controller waits for a policy or a class that may only have been applied later.
const PATIENCE: SignedDuration = SignedDuration::from_secs(31);

/// Worlds in which every dimension is refused now and then, and many runs are admitted.
fn cases() -> impl Strategy<Value = World> {
    let any = prop_oneof![worlds(full_limits()), worlds(limits())];
    let extras = (
        subsequence(vec!["runc", "gvisor", "kata"], 1..=3),
        select(&[UserNamespaceSupport::Nowhere, UserNamespaceSupport::Everywhere][..]),
        select(&["Optional", "Required"][..]),
        select(&["Disabled", "Preferred", "Required"][..]),
        0..20,
    );
    (any, extras).prop_map(|(world, (classes, support, requester, user_namespaces, dice))| {
        let mut world = match dice {
            0 => World {
                policy: None,
                ..world
            },
            1 => World {
                labels: std::collections::BTreeMap::default(),
                ..world
            },
            2 => world.policy("requester", json!(requester)),
            3 => world.run("schedulingProfileName", json!("fast")),
            4 => world.run(
                "egress",
                json!({"mode": "AllowList", "rules": [{"name": "bad", "hosts": ["10.0.0.1"]}]}),
            ),
            5 => world.policy(
                "runtime",
                json!({"runtimeClassNames": ["gvisor"], "userNamespaces": user_namespaces}),
            ),
            6 => world.policy("images", json!({"mode": "AllowList", "allowed": ["***"]})),
            7..=12 => World {
                cluster: Vec::new(),
                ..admissible(world)
            },
            _ => world,
        };
        world.classes = classes.into_iter().map(str::to_owned).collect();
        world.user_namespaces = support;
        world
    })
}

/// The world under a policy that grants what its run asks for.
fn admissible(world: World) -> World {
    let everything = json!({"mode": "AllowList", "allowed": ["ghcr.io/**", "docker.io/**"]});
    let repositories = json!({"mode": "AllowList", "clone": [
        {"name": "g", "url": "https://g.example/**"}, {"name": "h", "url": "https://h.example:8443/**"},
    ]});
    world
        .policy("images", everything)
        .policy("repositories", repositories)
        .policy("maxResources", Value::Null)
        .policy("maxActiveDeadlineSeconds", Value::Null)
        .policy("maxStartDeadlineSeconds", Value::Null)
}

fn controllers(world: &World) -> Answer {
    let start = Timestamp::from_second(1_800_000_000).unwrap();
    let (run, facts) = (run(world), facts(world));
    let facts = Facts {
        namespace_labels: facts.namespace_labels,
        policy: facts.policy,
        cluster_policies: Ok(facts.cluster_policies),
        runtime_classes: facts.runtime_classes,
        reports: Some(facts.reports),
        credentials: facts.credentials,
        credential_health: Arc::default(),
        gateway: Ok("10.96.7.7:3128".parse().unwrap()),
        guard_gap: None,
        fence_gap: None,
        space_gap: None,
        waiting_since: start,
        readings: Arc::default(),
    };
    match decide(&run, &facts, start + PATIENCE) {
        Decision::Start { .. } => None,
        Decision::End(verdict) => Some((verdict.reason, verdict.message)),
        other => panic!("neither started nor ended: {other:?}"),
    }
}

fn explains(world: &World) -> Answer {
    let judgement = judge(&run(world), &facts(world));
    judgement
        .refusal
        .map(|refusal| (refusal.reason, refusal.message()))
}

fn run(world: &World) -> AgentRun {
    serde_json::from_value(world.run.clone()).unwrap()
}

fn facts(world: &World) -> judge::Facts {
    let parsed = |policy: &Value| serde_json::from_value(policy.clone()).unwrap();
    judge::Facts {
        namespace_labels: world.labels.clone(),
        policy: world
            .policy
            .clone()
            .map(|policy| serde_json::from_value(policy).unwrap()),
        cluster_policies: world.cluster.iter().map(parsed).collect(),
        runtime_classes: world.class_facts(),
        reports: world.reports.clone(),
        credentials: world.credentials.clone(),
        requests: Vec::new(),
    }
}

#[test]
fn explain_and_the_controller_agree_on_a_thousand_cases() {
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    });
    let seen = std::cell::RefCell::new(std::collections::BTreeMap::<Option<Reason>, u32>::new());
    let compared = runner.run(&cases(), |world| {
        let (controllers, explains) = (controllers(&world), explains(&world));
        *seen
            .borrow_mut()
            .entry(controllers.as_ref().map(|(reason, _)| *reason))
            .or_default() += 1;
        prop_assert_eq!(controllers, explains);
        Ok(())
    });
    compared.unwrap();
    // Positive control: the cases are not all of one kind.
    let seen = seen.into_inner();
    for reason in [
        None,
        Some(Reason::PolicyMissing),
        Some(Reason::PolicyDenied),
        Some(Reason::ImageDenied),
        Some(Reason::RuntimeUnavailable),
    ] {
        assert!(
            seen.get(&reason).is_some_and(|count| *count >= 10),
            "{reason:?}: {seen:?}"
        );
    }
}
