//! What an admitted run gets.

use cofferdam_api::NodeAccess;
use cofferdam_policy::frozen::FrozenPolicy;
use rstest::rstest;
use serde_json::{Value, json};

use crate::fixtures::{World, cluster_policy};

#[test]
fn an_admitted_run_gets_what_both_layers_grant() {
    let admitted = World::admitting().decide().unwrap();
    assert_eq!(admitted.runtime_class, "gvisor");
    assert_eq!(admitted.repositories.len(), 1);
    assert_eq!(
        admitted.repositories[0].url.as_str(),
        "https://github.com/team-a/app"
    );
    assert_eq!(admitted.repositories[0].directory, "app");
    let policies: Vec<_> = admitted
        .policies
        .iter()
        .map(|p| (p.kind.as_str(), p.name.as_str(), p.uid.as_str(), p.generation))
        .collect();
    assert_eq!(
        policies,
        [
            ("ClusterSandboxPolicy", "baseline", "uid-of-baseline", 3),
            ("SandboxPolicy", "default", "uid-of-default", 7)
        ]
    );
}

#[test]
fn the_frozen_policy_is_fixed_and_reads_back() {
    let frozen = World::admitting().decide().unwrap().frozen;
    insta::assert_snapshot!(frozen.to_json());
    insta::assert_snapshot!(frozen.hash(), @"ks77ktmh5tkzbpmyqvuosxos7h3xr3law6vksl3mppp355ackggq");
    assert_eq!(FrozenPolicy::parse(&frozen.to_json()).unwrap(), frozen);
}

#[test]
fn the_hash_does_not_depend_on_how_a_policy_is_written() {
    let frozen = |rules: Value| {
        World::admitting()
            .cluster("egress", Value::Null)
            .policy("egress", json!({"mode": "AllowList", "rules": rules}))
            .decide()
            .unwrap()
            .frozen
    };
    let written = frozen(json!([
        {"name": "a", "hosts": ["x.example.com", "y.example.com"], "ports": [443, 80], "addresses": ["10.0.0.0/8"]},
        {"name": "b", "hosts": ["z.example.com"]},
    ]));
    let otherwise = frozen(json!([
        {"name": "b", "hosts": ["z.example.com"]},
        {"name": "a", "hosts": ["y.example.com", "x.example.com", "y.example.com"], "ports": [80, 443], "addresses": ["10.9.9.9/8"]},
    ]));
    let another = frozen(json!([{"name": "b", "hosts": ["z.example.com"]}]));
    assert_eq!(written.hash(), otherwise.hash());
    assert_ne!(written.hash(), another.hash());
}

#[test]
fn a_silent_egress_allows_nothing_and_one_layer_alone_decides() {
    let host = "model.example.org".parse().unwrap();
    let allowed = |world: World| {
        let route = world.decide().unwrap().frozen.agent_route(&host, 443);
        route.is_allowed()
    };
    assert!(allowed(World::admitting()));
    assert!(allowed(World::admitting().cluster("egress", Value::Null)));
    assert!(allowed(World::admitting().policy("egress", Value::Null)));
    assert!(!allowed(
        World::admitting()
            .cluster("egress", Value::Null)
            .policy("egress", Value::Null)
    ));
    assert!(!allowed(
        World::admitting()
            .policy("egress", Value::Null)
            .cluster("egress", json!({"mode": "DenyAll"}))
    ));
    assert!(!allowed(
        World::admitting().policy("egress", json!({"mode": "DenyAll"}))
    ));
}

#[rstest]
#[case(json!({"matchLabels": {"tier": "gold"}}), true)]
#[case(json!({"matchLabels": {"tier": "silver"}}), false)]
#[case(json!({"matchLabels": {"tier": "gold", "stage": "test"}}), false)]
#[case(json!({}), true)]
#[case(json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["silver", "gold"]}]}), true)]
#[case(json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["gold"]}]}), false)]
#[case(json!({"matchExpressions": [{"key": "stage", "operator": "NotIn", "values": ["test"]}]}), true)]
#[case(json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}), true)]
#[case(json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}), false)]
#[case(json!({"matchLabels": {"tier": "gold"}, "matchExpressions": [{"key": "stage", "operator": "Exists"}]}), false)]
fn a_cluster_policy_applies_to_the_namespaces_that_it_selects(
    #[case] selector: Value,
    #[case] applies: bool,
) {
    let mut world = World::admitting().cluster("images", json!({"mode": "DenyAll"}));
    world.cluster[0]["spec"]["namespaceSelector"] = selector;
    assert_eq!(world.decide().is_err(), applies);
}

#[rstest]
#[case(&["kata", "gvisor"], &["gvisor", "kata"], "kata")]
#[case(&["gvisor"], &["kata", "gvisor"], "gvisor")]
#[case(&["runc", "gvisor"], &["gvisor", "kata"], "gvisor")]
fn the_first_class_that_all_allow_is_used(
    #[case] own: &[&str],
    #[case] cluster: &[&str],
    #[case] class: &str,
) {
    let world = World::admitting()
        .policy("runtime", json!({"runtimeClassNames": own}))
        .cluster("runtime", json!({"runtimeClassNames": cluster}));
    assert_eq!(world.decide().unwrap().runtime_class, class);
}

#[test]
fn where_the_namespace_is_silent_the_cluster_prefers() {
    let world = World::admitting()
        .policy("runtime", Value::Null)
        .cluster("runtime", json!({"runtimeClassNames": ["runc", "gvisor"]}));
    assert_eq!(world.decide().unwrap().runtime_class, "runc");
}

#[rstest]
#[case("Allow", "Allow", NodeAccess::Allow)]
#[case("Allow", "Deny", NodeAccess::Deny)]
#[case("Deny", "Allow", NodeAccess::Deny)]
fn a_reachable_node_is_tolerated_only_by_all(
    #[case] own: &str,
    #[case] cluster: &str,
    #[case] met: NodeAccess,
) {
    let runtime = |word: &str| json!({"runtimeClassNames": ["gvisor"], "nodeAccess": word});
    let world = World::admitting()
        .policy("runtime", runtime(own))
        .cluster("runtime", runtime(cluster));
    assert_eq!(world.decide().unwrap().node_access, met);
}

/// (the run asks, the policy's default, ceilings of policy and cluster) → what it gets; 0 stands for nothing.
#[rstest]
#[case(0, 0, 0, 0, 3600)]
#[case(0, 500, 0, 0, 500)]
#[case(700, 500, 0, 0, 700)]
#[case(0, 0, 100, 0, 100)]
#[case(0, 500, 0, 100, 100)]
#[case(0, 500, 300, 100, 100)]
#[case(100, 500, 300, 100, 100)]
#[case(86_400, 0, 0, 0, 86_400)]
#[case(0, 500, 1, 100, 1)]
fn times_are_defaults_cut_down_or_asks_within_the_ceilings(
    #[case] ask: i32,
    #[case] default: i32,
    #[case] own: i32,
    #[case] cluster: i32,
    #[case] timeout: i32,
) {
    let value = |seconds: i32| if seconds == 0 { Value::Null } else { json!(seconds) };
    let world = World::admitting()
        .run("activeDeadlineSeconds", value(ask))
        .defaults("activeDeadlineSeconds", value(default))
        .policy("maxActiveDeadlineSeconds", value(own))
        .cluster("maxActiveDeadlineSeconds", value(cluster));
    assert_eq!(world.decide().unwrap().active_deadline_seconds, timeout);
    let world = World::admitting()
        .run("startDeadlineSeconds", value(ask))
        .defaults("startDeadlineSeconds", value(default))
        .policy("maxStartDeadlineSeconds", value(own))
        .cluster("maxStartDeadlineSeconds", value(cluster));
    let expected = if timeout == 3600 { 600 } else { timeout };
    assert_eq!(world.decide().unwrap().start_deadline_seconds, expected);
}

#[test]
fn the_time_to_live_is_the_ask_else_the_default_else_seven_days() {
    let ttl = |world: World| world.decide().unwrap().ttl_seconds_after_finished;
    assert_eq!(ttl(World::admitting()), 604_800);
    assert_eq!(
        ttl(World::admitting().defaults("ttlSecondsAfterFinished", json!(60))),
        60
    );
    let both = World::admitting()
        .defaults("ttlSecondsAfterFinished", json!(60))
        .run("ttlSecondsAfterFinished", json!(0));
    assert_eq!(ttl(both), 0);
}

#[rstest]
#[case::nothing(Value::Null, Value::Null, json!({}), json!({"requests": {"cpu": "500m", "memory": "1Gi", "ephemeral-storage": "2Gi"}, "limits": {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "10Gi"}}))]
#[case::a_default(Value::Null, json!({"limits": {"memory": "2Gi"}}), json!({}), json!({"requests": {"cpu": "500m", "memory": "2Gi", "ephemeral-storage": "2Gi"}, "limits": {"cpu": "2", "memory": "2Gi", "ephemeral-storage": "10Gi"}}))]
#[case::a_default_cut_down(Value::Null, json!({"requests": {"cpu": "3"}, "limits": {"cpu": "3", "memory": "32Gi"}}), json!({"cpu": "1"}), json!({"requests": {"cpu": "1", "memory": "8Gi", "ephemeral-storage": "2Gi"}, "limits": {"cpu": "1", "memory": "8Gi", "ephemeral-storage": "10Gi"}}))]
#[case::an_ask(json!({"limits": {"cpu": "4000m"}}), json!({"limits": {"cpu": "1"}}), json!({}), json!({"requests": {"cpu": "4000m", "memory": "1Gi", "ephemeral-storage": "2Gi"}, "limits": {"cpu": "4000m", "memory": "4Gi", "ephemeral-storage": "10Gi"}}))]
#[case::a_request_alone(json!({"requests": {"cpu": "3", "memory": "1Mi"}}), Value::Null, json!({}), json!({"requests": {"cpu": "3", "memory": "1Mi", "ephemeral-storage": "2Gi"}, "limits": {"cpu": "3", "memory": "4Gi", "ephemeral-storage": "10Gi"}}))]
fn resources_are_always_complete(
    #[case] ask: Value,
    #[case] default: Value,
    #[case] ceiling: Value,
    #[case] decided: Value,
) {
    let world = World::admitting()
        .run("resources", ask)
        .defaults("resources", default)
        .policy("maxResources", ceiling);
    assert_eq!(
        serde_json::to_value(world.decide().unwrap().resources).unwrap(),
        decided
    );
}

#[test]
fn a_repository_host_gets_the_networks_that_every_layer_grants_for_all_its_repositories() {
    let repositories = |paths: &[&str]| {
        let list: Vec<Value> = paths
            .iter()
            .map(|path| json!({"name": path, "url": format!("https://git.corp.example.com:8443/{path}")}))
            .collect();
        json!(list)
    };
    let rule = |name: &str, path: &str, addresses: &[&str]| json!({"name": name, "url": format!("https://git.corp.example.com:8443/{path}"), "addresses": addresses});
    let world = World::admitting()
        .cluster("repositories", json!({"mode": "AllowList", "clone": [rule("all", "**", &["10.0.0.0/8", "192.168.0.0/16"])]}))
        .policy("repositories", json!({"mode": "AllowList", "clone": [rule("one", "one", &["10.1.0.0/16", "172.16.0.0/12"]), rule("two", "two", &["10.1.2.0/24"])]}));
    let git = |paths: &[&str]| {
        let frozen = world
            .clone()
            .run("repositories", repositories(paths))
            .decide()
            .unwrap()
            .frozen;
        assert_eq!(frozen.git().len(), 1);
        frozen.git()[0]
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(git(&["one"]), ["10.1.0.0/16"]);
    assert_eq!(git(&["one", "two"]), ["10.1.2.0/24"]);
    assert_eq!(git(&["two", "one"]), ["10.1.2.0/24"]);
}

#[test]
fn a_run_without_repositories_needs_no_word_on_them() {
    let world = World::admitting()
        .run("repositories", Value::Null)
        .policy("repositories", Value::Null)
        .cluster("repositories", Value::Null);
    assert_eq!(world.decide().unwrap().repositories, []);
}

#[test]
fn a_second_cluster_policy_narrows_and_one_that_selects_others_does_not() {
    let narrow = cluster_policy(
        "narrow",
        &json!({"images": {"mode": "AllowList", "allowed": ["ghcr.io/team-b/*"]}}),
    );
    let mut world = World::admitting();
    world.cluster.push(narrow);
    assert!(world.decide().is_err());
    world.cluster[1]["spec"]["namespaceSelector"] = json!({"matchLabels": {"tier": "silver"}});
    assert!(world.decide().is_ok());
}
