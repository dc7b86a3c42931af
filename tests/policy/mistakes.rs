//! A run under a policy that is at odds with itself or with another is refused, never run under the rest of it.

use std::cell::Cell;
use std::sync::Arc;

use cofferdam_api::{Reason, SandboxPolicy};
use cofferdam_controller::sandbox_policy::judge::{Facts, READY, judge};
use cofferdam_policy::decide::Refusal;
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rstest::rstest;
use serde_json::{Value, json};

use crate::fixtures::{World, cluster_policy};
use crate::generated::{full_limits, limits, worlds};

const PINNED: &str =
    "ghcr.io/team-a/agent@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The admitting world with its images named by digest.
fn pinned() -> World {
    World::admitting().run("agent", json!({"image": PINNED}))
}

fn images(digest: &str, allowed: &[&str]) -> Value {
    json!({"mode": "AllowList", "digest": digest, "allowed": allowed})
}

fn egress(host: &str, port: u16) -> Value {
    json!({"mode": "AllowList", "rules": [
        {"name": "model", "hosts": ["model.example.org"]},
        {"name": "added", "hosts": [host], "ports": [port]},
    ]})
}

/// Requests to one host.
fn asks(methods: &Value, paths: &Value) -> Value {
    let rule = json!({"name": "api", "hosts": ["api.example.com"], "ports": [80], "methods": methods, "paths": paths, "tls": "Inspect"});
    json!({"mode": "AllowList", "rules": [rule]})
}

/// One tunnel.
fn tunnel() -> Value {
    json!({"mode": "AllowList", "rules": [{"name": "model", "hosts": ["model.example.org"], "tls": "Tunnel"}]})
}

/// A world in which the namespace's policy has a tunnel, under a policy that says nothing of hosts and `word` of tunnels.
fn with_a_tunnel(word: Value) -> World {
    World::admitting()
        .policy("egress", tunnel())
        .cluster("egress", Value::Null)
        .cluster("tunnels", word)
}

/// One Service.
fn service(name: &str) -> Value {
    json!({"mode": "AllowList", "rules": [{"name": "proxy", "services": [{"namespace": "models", "name": name, "port": 4000}]}]})
}

/// Every kind of mistake, each the only one of its world.
pub fn mistaken_policies() -> Vec<(&'static str, World)> {
    let repositories = json!({"mode": "AllowList", "clone": [
        {"name": "team", "url": "https://github.com/team-a/*"}, {"name": "lab", "url": "https://gitlab.com/team-a/*"}]});
    vec![
        (
            "mistake: a host that a cluster policy does not allow",
            World::admitting().policy("egress", egress("elsewhere.example.net", 443)),
        ),
        (
            "mistake: a port that it does not allow there",
            World::admitting().policy("egress", egress("other.example.org", 8443)),
        ),
        (
            "mistake: rules where it allows no egress",
            World::admitting().cluster("egress", json!({"mode": "DenyAll"})),
        ),
        (
            "mistake: a path that it does not allow",
            World::admitting()
                .policy("egress", asks(&json!(["GET"]), &json!(["/repos/team-b/**"])))
                .cluster(
                    "egress",
                    asks(&json!(["GET"]), &json!(["/repos/team-a/**", "/user"])),
                ),
        ),
        (
            "mistake: a method that it does not allow",
            World::admitting()
                .policy("egress", asks(&json!(["DELETE"]), &json!([])))
                .cluster("egress", asks(&json!(["GET", "HEAD"]), &json!(["/repos/**"]))),
        ),
        (
            "mistake: another Service than a cluster policy grants",
            World::admitting()
                .policy("egress", service("litellm"))
                .cluster("egress", service("other")),
        ),
        (
            "mistake: a host that is called like a Service which a cluster policy grants",
            World::admitting()
                .policy("egress", json!({"mode": "AllowList", "rules": [{"name": "proxy", "hosts": ["litellm.models.svc"], "ports": [4000]}]}))
                .cluster("egress", service("litellm")),
        ),
        (
            "mistake: images that it does not allow",
            World::admitting().policy(
                "images",
                images("Record", &["ghcr.io/team-a/*", "docker.io/team-a/*"]),
            ),
        ),
        (
            "mistake: repositories that it does not allow",
            World::admitting().policy("repositories", repositories),
        ),
        (
            "mistake: a tag where the same policy wants digests",
            pinned().policy(
                "images",
                images("Required", &["ghcr.io/team-a/*", "ghcr.io/team-a/agent:1"]),
            ),
        ),
        (
            "mistake: a tag where a cluster policy wants digests",
            pinned()
                .cluster("images", images("Required", &["ghcr.io/**"]))
                .policy(
                    "images",
                    images("Record", &["ghcr.io/team-a/*", "ghcr.io/team-a/agent:1"]),
                ),
        ),
        (
            "mistake: a tunnel that a cluster policy denies",
            with_a_tunnel(json!("Deny")),
        ),
        (
            "mistake: a tunnel that its own policy denies",
            with_a_tunnel(json!("Allow")).policy("tunnels", json!("Deny")),
        ),
        (
            "mistake: a cluster policy's tunnel that it denies",
            World::admitting().cluster("tunnels", json!("Deny")),
        ),
        (
            "mistake: a cluster policy's tag where it wants digests",
            pinned().cluster(
                "images",
                images("Required", &["ghcr.io/**", "ghcr.io/team-a/agent:1"]),
            ),
        ),
    ]
}

/// What is near to a mistake and none.
fn sound_policies() -> Vec<(&'static str, World)> {
    vec![
        ("as it stands", World::admitting()),
        ("by digest", pinned()),
        (
            "a host that the cluster policy allows",
            World::admitting().policy("egress", egress("other.example.org", 443)),
        ),
        (
            "paths that meet those of the cluster policy",
            World::admitting()
                .policy(
                    "egress",
                    asks(&json!([]), &json!(["/repos/*/issues", "/elsewhere"])),
                )
                .cluster("egress", asks(&json!(["GET"]), &json!(["/repos/team-a/*"]))),
        ),
        (
            "an ask-free namespace where the cluster policy allows no egress",
            World::admitting()
                .policy("egress", Value::Null)
                .cluster("egress", json!({"mode": "DenyAll"})),
        ),
        (
            "a namespace that denies what the cluster policy allows",
            World::admitting().policy("egress", json!({"mode": "DenyAll"})),
        ),
        (
            "a pattern that is wider than the cluster policy's",
            World::admitting().policy("images", images("Record", &["ghcr.io/**"])),
        ),
        (
            "a cluster policy's tag where only the namespace wants digests",
            pinned()
                .cluster(
                    "images",
                    images("Record", &["ghcr.io/**", "ghcr.io/team-a/agent:1"]),
                )
                .policy("images", images("Required", &["ghcr.io/team-a/*"])),
        ),
        ("a tunnel with consent", with_a_tunnel(json!("Allow"))),
        (
            "a Service that both list",
            World::admitting()
                .policy("egress", service("litellm"))
                .cluster("egress", service("litellm")),
        ),
        (
            "a Service that the cluster policy alone lists",
            World::admitting()
                .policy("egress", Value::Null)
                .cluster("egress", service("litellm")),
        ),
        (
            "a cluster policy's tunnels where the namespace denies them",
            World::admitting().policy("tunnels", json!("Deny")),
        ),
        ("a cluster policy's tunnels where another denies them", {
            let mut world = World::admitting();
            world
                .cluster
                .push(cluster_policy("strict", &json!({"tunnels": "Deny"})));
            world
        }),
        ("a cluster policy's tunnels to which another consents", {
            let mut world = World::admitting().cluster("tunnels", Value::Null);
            world
                .cluster
                .push(cluster_policy("consent", &json!({"tunnels": "Allow"})));
            world
        }),
        ("a mistake over another namespace", {
            let mut world = World::admitting();
            let mut elsewhere = cluster_policy(
                "elsewhere",
                &json!({"images": images("Required", &["ghcr.io/team-a/agent:1"]), "egress": {"mode": "DenyAll"}}),
            );
            elsewhere["spec"]["namespaceSelector"] = json!({"matchLabels": {"tier": "no-such-tier"}});
            world.cluster.push(elsewhere);
            world
        }),
    ]
}

#[test]
fn a_mistake_refuses_every_run_and_what_is_near_to_one_does_not() {
    for (name, world) in mistaken_policies() {
        let refusal = world.decide().expect_err(name);
        assert_eq!(refusal.reason, Reason::PolicyDenied, "{name}");
        assert!(
            refusal.layer.is_some() && refusal.rule.is_some() && !refusal.offered.is_empty(),
            "{name}: {refusal:?}"
        );
        assert!(refusal.field.starts_with("limits."), "{name}: {}", refusal.field);
        // A run that asks for nothing is refused by the same words.
        let silent = world
            .run("repositories", Value::Null)
            .run("egress", json!({"mode": "DenyAll"}));
        assert_eq!(silent.decide().expect_err(name), refusal, "{name}");
    }
    for (name, world) in sound_policies() {
        world.decide().map(drop).expect(name);
    }
}

/// Nobody says no to these, and nobody says yes.
#[test]
fn a_tunnel_to_which_nobody_consents_refuses_every_run() {
    let own_word = with_a_tunnel(Value::Null).policy("tunnels", json!("Allow"));
    let of_a_cluster_policy = World::admitting().cluster("tunnels", Value::Null);
    for (world, of) in [
        (with_a_tunnel(Value::Null), "SandboxPolicy/default"),
        (own_word, "SandboxPolicy/default"),
        (of_a_cluster_policy, "ClusterSandboxPolicy/baseline"),
    ] {
        let refusal = world.decide().unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.layer.as_ref()),
            (Reason::PolicyDenied, None),
            "{refusal}"
        );
        let message = refusal.message();
        for part in [
            of,
            "(limits.tunnels)",
            "leave tls out in",
            "limits.tunnels: Allow in one of them",
        ] {
            assert!(message.contains(part), "{part} in {message}");
        }
    }
}

#[test]
fn a_service_that_the_cluster_says_nothing_of_refuses_every_run() {
    let world = World::admitting()
        .policy("egress", service("litellm"))
        .cluster("egress", Value::Null);
    let refusal = world.decide().unwrap_err();
    assert_eq!((refusal.reason, &refusal.layer), (Reason::PolicyDenied, &None));
    insta::assert_snapshot!(refusal.message(), @"limits.egress.rules of SandboxPolicy/default `proxy` is refused (limits.egress.rules): a ClusterSandboxPolicy alone grants Services of the cluster, and none in force has limits.egress; help: take the rule out of SandboxPolicy/default, or ask the owner of the ClusterSandboxPolicies for a rule with these services in one of them");
    let silent = world.run("egress", json!({"mode": "DenyAll"}));
    assert_eq!(silent.decide().unwrap_err(), refusal);
    assert_eq!(is_ready(&silent), (false, "ServiceNotGranted".to_owned()));
}

#[rstest]
#[case(
    "mistake: a tunnel that a cluster policy denies",
    "`model`",
    "SandboxPolicy/default",
    "ClusterSandboxPolicy/baseline"
)]
#[case(
    "mistake: a host that a cluster policy does not allow",
    "`added`",
    "SandboxPolicy/default",
    "ClusterSandboxPolicy/baseline"
)]
#[case(
    "mistake: images that it does not allow",
    "`docker.io/team-a/*`",
    "SandboxPolicy/default",
    "ClusterSandboxPolicy/baseline"
)]
#[case(
    "mistake: a cluster policy's tag where it wants digests",
    "`ghcr.io/team-a/agent:1`",
    "ClusterSandboxPolicy/baseline",
    "ClusterSandboxPolicy/baseline"
)]
fn a_refusal_names_the_rule_its_policy_and_the_one_that_it_meets(
    #[case] name: &str,
    #[case] rule: &str,
    #[case] own: &str,
    #[case] other: &str,
) {
    let worlds = mistaken_policies();
    let (_, world) = worlds.iter().find(|(known, _)| *known == name).unwrap();
    let message = world.decide().unwrap_err().message();
    for part in [rule, &format!(" of {own} "), &format!("refused by {other} (")] {
        assert!(message.contains(part), "{part} in {message}");
    }
}

/// The status of the world's policy: whether it is ready, as the controller writes it.
fn is_ready(world: &World) -> (bool, String) {
    let read = |policy: &Value| serde_json::from_value(policy.clone()).unwrap();
    let policy: SandboxPolicy = serde_json::from_value(world.policy.clone().unwrap()).unwrap();
    let facts = Facts {
        namespace_labels: world.labels.clone(),
        cluster_policies: Ok(world.cluster.iter().map(read).collect()),
        runtime_classes: world.class_facts(),
        credentials: world.credentials.clone(),
        credential_health: Arc::default(),
        widening: None,
        selecting: None,
        readings: Arc::default(),
    };
    let status = judge(&policy, &facts, Timestamp::UNIX_EPOCH);
    let ready = status
        .conditions
        .into_iter()
        .find(|condition| condition.type_ == READY)
        .unwrap();
    (ready.status == "True", ready.reason)
}

#[test]
fn no_run_starts_under_a_policy_that_is_not_ready() {
    let mut runner = TestRunner::new(Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    });
    let (refused, admitted) = (Cell::new(0), Cell::new(0));
    let any = prop_oneof![worlds(full_limits()), worlds(limits())];
    let held = runner.run(&any, |world| {
        let decision: Result<_, Refusal> = world.decide();
        let (ready, reason) = is_ready(&world);
        if ready {
            admitted.set(admitted.get() + u32::from(decision.is_ok()));
        } else {
            refused.set(refused.get() + 1);
            prop_assert!(decision.is_err(), "a run starts under a policy that is {reason}");
        }
        Ok(())
    });
    held.unwrap();
    // Positive control: both kinds are among the cases.
    assert!(
        refused.get() >= 20 && admitted.get() >= 20,
        "{refused:?} {admitted:?}"
    );
}
