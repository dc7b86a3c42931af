//! What a refused user reads.

use cofferdam_api::Reason;
use rstest::rstest;
use serde_json::{Value, json};

use crate::fixtures::{World, cluster_policy};
use crate::mistakes;

fn refused(world: &World) -> (Reason, String) {
    let refusal = world.decide().unwrap_err();
    (refusal.reason, refusal.message())
}

/// Every refusal that there is, by name.
fn worlds() -> Vec<(&'static str, World)> {
    [
        not_granted(),
        above_a_ceiling(),
        unreadable_policies(),
        mistakes::mistaken_policies(),
    ]
    .concat()
}

/// A run asks for what nobody, or not everybody, grants.
fn not_granted() -> Vec<(&'static str, World)> {
    let good = World::admitting;
    let deny = || json!({"mode": "DenyAll"});
    let mut no_policy = good();
    no_policy.policy = None;
    let other_policy = good().run("policyRef", json!({"name": "strict"}));
    let mut closed_namespace = good();
    closed_namespace.labels.clear();
    let mut no_class = good();
    no_class.classes = vec!["runc".into(), "kata".into()];
    vec![
        ("namespace that has not opted in", closed_namespace),
        ("no policy", no_policy),
        ("policy of another name", other_policy),
        (
            "runtime: silence",
            good()
                .policy("runtime", Value::Null)
                .cluster("runtime", Value::Null),
        ),
        (
            "runtime: no class in common",
            good().policy("runtime", json!({"runtimeClassNames": ["kata"]})),
        ),
        ("runtime: not there", no_class),
        (
            "image: silence",
            good()
                .policy("images", Value::Null)
                .cluster("images", Value::Null),
        ),
        (
            "image: cluster says no",
            good().run("agent", json!({"image": "docker.io/team-a/agent"})),
        ),
        (
            "image: namespace says no",
            good().run("agent", json!({"image": "ghcr.io/team-a-evil/agent:1"})),
        ),
        ("image: deny all", good().policy("images", deny())),
        (
            "image: cannot be read",
            good().run("agent", json!({"image": "GHCR.io/team-a/agent"})),
        ),
        (
            "repository: silence",
            good()
                .policy("repositories", Value::Null)
                .cluster("repositories", Value::Null),
        ),
        (
            "repository: not listed",
            good().run(
                "repositories",
                json!([{"name": "other", "url": "https://github.com/team-a-evil/app"}]),
            ),
        ),
        ("repository: deny all", good().policy("repositories", deny())),
        (
            "repository: cannot be read",
            good().run(
                "repositories",
                json!([{"name": "app", "url": "https://me@github.com/team-a/app"}]),
            ),
        ),
    ]
}

/// A run asks for too much, or for what is no amount.
fn above_a_ceiling() -> Vec<(&'static str, World)> {
    let good = World::admitting;
    vec![
        (
            "time-out above a ceiling",
            good().run("activeDeadlineSeconds", json!(7201)),
        ),
        (
            "time-out above the built-in ceiling",
            good()
                .cluster("maxActiveDeadlineSeconds", Value::Null)
                .run("activeDeadlineSeconds", json!(86_401)),
        ),
        (
            "start time-out of nothing",
            good().run("startDeadlineSeconds", json!(0)),
        ),
        (
            "time to live of years",
            good().run("ttlSecondsAfterFinished", json!(31_536_001)),
        ),
        (
            "cpu above a ceiling",
            good().run("resources", json!({"limits": {"cpu": "4001m"}})),
        ),
        (
            "request above a ceiling",
            good().run("resources", json!({"requests": {"memory": "9Gi"}})),
        ),
        (
            "storage above the built-in ceiling",
            good().run("resources", json!({"limits": {"ephemeral-storage": "101Gi"}})),
        ),
        (
            "unknown resource",
            good().run("resources", json!({"limits": {"nvidia.com/gpu": "1"}})),
        ),
        (
            "request above its limit",
            good().run(
                "resources",
                json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            ),
        ),
        (
            "amount that is none",
            good().run("resources", json!({"limits": {"memory": "lots"}})),
        ),
        (
            "default that is none",
            good().defaults("resources", json!({"limits": {"cpu": "0"}})),
        ),
    ]
}

/// A policy that only another version of its schema can have let through.
fn unreadable_policies() -> Vec<(&'static str, World)> {
    let good = World::admitting;
    let hosts = |host: &str| json!({"mode": "AllowList", "rules": [{"name": "a", "hosts": [host]}]});
    let mut odd_selector = good();
    odd_selector.cluster[0]["spec"]["namespaceSelector"] =
        json!({"matchExpressions": [{"key": "a", "operator": "Near"}]});
    vec![
        (
            "policy: image pattern",
            good().policy(
                "images",
                json!({"mode": "AllowList", "allowed": ["ghcr.io/team-a/*", "**"]}),
            ),
        ),
        (
            "policy: repository pattern",
            good().cluster(
                "repositories",
                json!({"mode": "AllowList", "clone": [{"name": "a", "url": "https://*.b/c"}]}),
            ),
        ),
        ("policy: host", good().policy("egress", hosts("*.com"))),
        (
            "policy: address as a host",
            good().cluster("egress", hosts("10.0.0.1")),
        ),
        (
            "policy: ceiling of an unknown resource",
            good().policy("maxResources", json!({"gpu": "1"})),
        ),
        (
            "policy: ceiling that is no amount",
            good().policy("maxResources", json!({"cpu": "-1"})),
        ),
        ("policy: selector", odd_selector),
    ]
}

#[test]
fn every_refusal_says_what_where_why_and_what_to_do() {
    let messages: Vec<String> = worlds()
        .iter()
        .map(|(name, world)| {
            let (reason, message) = refused(world);
            format!("{name}\n  {reason}: {message}")
        })
        .collect();
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn the_control_is_admitted() {
    World::admitting().decide().unwrap();
}

#[rstest]
#[case("no policy", Reason::PolicyMissing)]
#[case("namespace that has not opted in", Reason::PolicyMissing)]
#[case("image: namespace says no", Reason::ImageDenied)]
#[case("image: silence", Reason::ImageDenied)]
#[case("repository: not listed", Reason::PolicyDenied)]
#[case("runtime: no class in common", Reason::PolicyDenied)]
#[case("runtime: not there", Reason::RuntimeUnavailable)]
#[case("policy: host", Reason::PolicyDenied)]
fn refusals_have_the_reasons_of_the_api(#[case] name: &str, #[case] reason: Reason) {
    let worlds = worlds();
    let (_, world) = worlds.iter().find(|(known, _)| *known == name).unwrap();
    assert_eq!(refused(world).0, reason);
}

#[test]
fn a_missing_policy_can_be_told_with_those_that_exist() {
    let mut world = World::admitting();
    world.policy = None;
    let refusal = world
        .decide()
        .unwrap_err()
        .with_allowed(vec!["strict".into(), "wide".into()]);
    insta::assert_snapshot!(refusal.message(), @"spec.policyRef.name `default` is refused: namespace team-a has no SandboxPolicy of this name; allowed: strict, wide; help: name one that exists in spec.policyRef.name, or ask the owner of the namespace's policies to create it");
}

#[test]
fn the_layer_that_is_named_does_not_depend_on_the_order_of_policies() {
    let deny = |name: &str| cluster_policy(name, &json!({"images": {"mode": "DenyAll"}}));
    let mut world = World::admitting();
    world.cluster = vec![deny("zeta"), deny("alpha"), deny("mid")];
    let (_, message) = refused(&world);
    assert!(message.contains("ClusterSandboxPolicy/alpha"), "{message}");
    world.cluster.reverse();
    assert_eq!(refused(&world).1, message);
}
