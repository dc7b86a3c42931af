use super::*;
use crate::policy_status::news;
use crate::testing::{self, at};
use cofferdam_policy::dimension::runtime::UserNamespaceSupport;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use rstest::rstest;
use serde_json::{Value, json};

/// The fixtures' policy with `more` merged into its limits.
fn policy(more: &Value) -> SandboxPolicy {
    let mut policy = serde_json::to_value(testing::policy()).unwrap();
    json_patch::merge(&mut policy["spec"]["limits"], more);
    serde_json::from_value(policy).unwrap()
}

fn over(limits: &Value) -> ClusterSandboxPolicy {
    serde_json::from_value(json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "ClusterSandboxPolicy", "metadata": {"name": "base"},
        "spec": {"namespaceSelector": {}, "limits": limits},
    }))
    .unwrap()
}

fn facts() -> Facts {
    Facts {
        namespace_labels: BTreeMap::from([(LABEL_SANDBOX.to_owned(), SANDBOX_ENABLED.to_owned())]),
        cluster_policies: Ok(Vec::new()),
        runtime_classes: vec![RuntimeClassFact {
            name: "gvisor".to_owned(),
            user_namespaces: UserNamespaceSupport::Nowhere,
        }],
        credentials: Vec::new(),
        credential_health: Arc::default(),
        widening: None,
        selecting: None,
        readings: Arc::default(),
    }
}

fn under(limits: &Value) -> Facts {
    Facts {
        cluster_policies: Ok(vec![over(limits)]),
        ..facts()
    }
}

/// `status/reason` of a condition, and its message.
fn said(status: &SandboxPolicyStatus, type_: &str) -> (String, String) {
    let found = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)
        .unwrap();
    (
        format!("{}/{}", found.status, found.reason),
        found.message.clone(),
    )
}

fn words(policy: &SandboxPolicy, facts: &Facts) -> [String; 3] {
    let status = judge(policy, facts, at(0));
    [READY, NAMESPACE_FENCEABLE, RUNTIME_AVAILABLE].map(|type_| said(&status, type_).0)
}

#[test]
fn a_policy_in_order_is_ready_and_named_by_what_the_gateway_would_enforce() {
    let policy = policy(&json!({}));
    assert_eq!(
        words(&policy, &facts()),
        ["True/Ready", "True/Fenceable", "True/Available"]
    );
    let status = judge(&policy, &facts(), at(0));
    assert_eq!(status.observed_generation, Some(3));
    // A run that asks for nothing and clones nothing is held to just this.
    let mut run = testing::run();
    run.spec.repositories.clear();
    assert_eq!(status.policy_hash, Some(testing::admitted(&run).frozen.hash()));
    let other = judge(&policy, &under(&json!({"egress": {"mode": "DenyAll"}})), at(0));
    assert_ne!(other.policy_hash, status.policy_hash);
}

fn ready(status: &SandboxPolicyStatus) -> &Condition {
    let mut conditions = status.conditions.iter();
    conditions.find(|condition| condition.type_ == READY).unwrap()
}

#[test]
fn the_same_again_is_no_change_and_no_news() {
    let mut policy = policy(&json!({}));
    let first = judge(&policy, &facts(), at(0));
    assert!(news(None, ready(&first)).is_some());
    policy.status = Some(first.clone());
    let second = judge(&policy, &facts(), at(60));
    assert_eq!(second, first);
    assert_eq!(news(Some(ready(&first)), ready(&second)), None);
    let closed = judge(
        &policy,
        &Facts {
            widening: Some("theirs".to_owned()),
            selecting: None,
            ..facts()
        },
        at(60),
    );
    assert!(news(Some(ready(&first)), ready(&closed)).is_some());
}

#[rstest]
#[case::odd_pattern(json!({"images": {"mode": "AllowList", "allowed": ["ghcr.io/te*m/**"]}}), facts())]
#[case::odd_pattern_above(json!({}), under(&json!({"egress": {"mode": "AllowList", "rules": [{"name": "x", "hosts": ["10.0.0.1"]}]}})))]
#[case::not_even_a_policy(json!({}), Facts { cluster_policies: Err("ClusterSandboxPolicy/base cannot be read: x".to_owned()), ..facts() })]
fn what_cannot_be_read_makes_it_unready(#[case] more: Value, #[case] facts: Facts) {
    let status = judge(&policy(&more), &facts, at(0));
    assert_eq!(said(&status, READY).0, "False/PolicyUnreadable");
    assert_eq!(said(&status, RUNTIME_AVAILABLE).0, "Unknown/PolicyUnreadable");
    assert_eq!(said(&status, NAMESPACE_FENCEABLE).0, "True/Fenceable");
    assert_eq!(status.policy_hash, None);
}

#[test]
fn a_foreign_network_policy_is_named_with_what_would_leave_sandboxes_out() {
    let facts = Facts {
        widening: Some("allow-dns".to_owned()),
        selecting: None,
        ..facts()
    };
    let status = judge(&policy(&json!({})), &facts, at(0));
    let (word, message) = said(&status, NAMESPACE_FENCEABLE);
    assert_eq!(word, "False/ForeignNetworkPolicy");
    insta::assert_snapshot!(message, @"NetworkPolicy allow-dns opens the sandboxes of namespace tenant-a. Make its podSelector leave them out: matchExpressions: [{key: cofferdam.dev/run, operator: DoesNotExist}].");
    assert_eq!(said(&status, READY), (word, message));
}

#[test]
fn a_service_that_selects_sandboxes_is_named() {
    let facts = Facts {
        selecting: Some("door".to_owned()),
        ..facts()
    };
    let status = judge(&policy(&json!({})), &facts, at(0));
    let (word, message) = said(&status, NAMESPACE_FENCEABLE);
    assert_eq!(word, "False/ForeignService");
    assert!(
        message.contains("Service door of namespace tenant-a"),
        "{message}"
    );
    assert_eq!(said(&status, READY), (word, message));
}

#[test]
fn a_namespace_that_did_not_opt_in_is_told_how_and_what_else_would_be_in_the_way() {
    let facts = Facts {
        namespace_labels: BTreeMap::new(),
        widening: Some("allow-dns".to_owned()),
        selecting: None,
        ..facts()
    };
    let (word, message) = said(&judge(&policy(&json!({})), &facts, at(0)), NAMESPACE_FENCEABLE);
    assert_eq!(word, "False/NamespaceNotOptedIn");
    insta::assert_snapshot!(message, @"Namespace tenant-a does not hold sandboxes: kubectl label namespace tenant-a cofferdam.dev/sandbox=enabled. Before that: NetworkPolicy allow-dns opens the sandboxes of namespace tenant-a. Make its podSelector leave them out: matchExpressions: [{key: cofferdam.dev/run, operator: DoesNotExist}].");
}

const ONLY_KATA: &str = r#"{"runtime": {"runtimeClassNames": ["kata"]}}"#;

#[rstest]
#[case::no_common_class(json!({}), ONLY_KATA, "False/PolicyDenied", "False/PolicyDenied")]
#[case::missing_class(json!({"runtime": {"runtimeClassNames": ["kata"]}}), "{}", "False/RuntimeUnavailable", "False/RuntimeUnavailable")]
#[case::user_namespaces(
    json!({"runtime": {"userNamespaces": "Required"}}),
    r#"{"runtime": {"runtimeClassNames": ["gvisor"], "userNamespaces": "Disabled"}}"#, "False/PolicyDenied", "False/PolicyDenied")]
#[case::no_image_at_all(json!({}), r#"{"images": {"mode": "DenyAll"}}"#, "False/NoRunCanStart", "True/Available")]
#[case::nothing_of_the_runtime(json!({"runtime": null}), "{}", "True/Ready", "Unknown/NotGranted")]
fn contradictions(#[case] own: Value, #[case] above: &str, #[case] ready: &str, #[case] runtime: &str) {
    let facts = under(&serde_json::from_str(above).unwrap());
    assert_eq!(words(&policy(&own), &facts), [ready, "True/Fenceable", runtime]);
}

#[test]
fn what_nobody_grants_is_said_and_is_no_error() {
    let silent = json!({"runtime": null, "images": null, "repositories": null, "egress": null});
    let (word, message) = said(&judge(&policy(&silent), &facts(), at(0)), READY);
    assert_eq!(word, "True/Ready");
    for dimension in [
        "limits.runtime",
        "limits.images",
        "limits.repositories",
        "limits.egress",
    ] {
        assert!(message.contains(dimension), "{message}");
    }
}

fn egress(hosts: &[&str], port: u16) -> Value {
    json!({"egress": {"mode": "AllowList", "rules": [{"name": "above", "hosts": hosts, "ports": [port]}]}})
}

#[rstest]
#[case::a_rule_that_is_met(egress(&["*.model.example", "model.example"], 443), None)]
#[case::wider_above(json!({"images": {"mode": "AllowList", "allowed": ["images.example/**", "ghcr.io/**"]}}), None)]
#[case::another_host(egress(&["other.example"], 443), Some("limits.egress.rules of SandboxPolicy/house-rules `model`"))]
#[case::another_port(egress(&["model.example"], 8443), Some("limits.egress.rules of SandboxPolicy/house-rules `model`"))]
#[case::nothing(json!({"egress": {"mode": "DenyAll"}}), Some("limits.egress.rules of SandboxPolicy/house-rules `model`"))]
#[case::other_repositories(
    json!({"repositories": {"mode": "AllowList", "clone": [{"name": "x", "url": "https://other.example/**"}]}}),
    Some("limits.repositories.clone of SandboxPolicy/house-rules `forge`"))]
fn rules_that_no_other_policy_meets_are_named(#[case] above: Value, #[case] dead: Option<&str>) {
    let (word, message) = said(&judge(&policy(&json!({})), &under(&above), at(0)), READY);
    match dead {
        None => assert_eq!(word, "True/Ready", "{message}"),
        Some(named) => {
            assert_eq!(word, "False/RuleMatchesNothing", "{message}");
            assert!(
                message.starts_with(named) && message.contains("ClusterSandboxPolicy/base"),
                "{message}"
            );
        }
    }
}

#[test]
fn a_tunnel_without_consent_makes_it_unready_and_one_with_consent_does_not() {
    let own = json!({"egress": {"mode": "AllowList", "rules": [{"name": "model", "hosts": ["model.example"], "tls": "Tunnel"}]}});
    let judged = |facts: &Facts| said(&judge(&policy(&own), facts, at(0)), READY);
    let (word, message) = judged(&facts());
    assert_eq!(word, "False/TunnelDenied");
    insta::assert_snapshot!(message, @"limits.egress.rules of SandboxPolicy/house-rules `model` is refused (limits.tunnels): no policy in force lets bytes pass unread (tls: Tunnel), and only a ClusterSandboxPolicy can; help: leave tls out in SandboxPolicy/house-rules, so that requests are read on their way, or ask the owner of the ClusterSandboxPolicies for limits.tunnels: Allow in one of them");
    let (word, message) = judged(&under(&json!({"tunnels": "Deny"})));
    assert_eq!(word, "False/TunnelDenied");
    insta::assert_snapshot!(message, @"limits.egress.rules of SandboxPolicy/house-rules `model` is refused by ClusterSandboxPolicy/base (limits.tunnels): tls: Tunnel passes bytes unread, and it denies tunnels; help: leave tls out in SandboxPolicy/house-rules, so that requests are read on their way, or ask the owner of ClusterSandboxPolicy/base for limits.tunnels: Allow");
    assert_eq!(judged(&under(&json!({"tunnels": "Allow"}))).0, "True/Ready");
}

#[test]
fn dead_image_patterns_are_named() {
    let own = json!({"images": {"mode": "AllowList", "allowed": ["images.example/**", "ghcr.io/a", "ghcr.io/b:1"]}});
    let above = json!({"images": {"mode": "AllowList", "allowed": ["images.example/**"]}});
    let (word, message) = said(&judge(&policy(&own), &under(&above), at(0)), READY);
    assert_eq!(word, "False/RuleMatchesNothing");
    insta::assert_snapshot!(message, @"limits.images.allowed of SandboxPolicy/house-rules `ghcr.io/a, ghcr.io/b:1` is refused by ClusterSandboxPolicy/base (limits.images.allowed): nothing is allowed by both, so it can match nothing; help: take it out of SandboxPolicy/house-rules, or ask the owner of ClusterSandboxPolicy/base to allow it");
    let own = json!({"images": {"mode": "AllowList", "digest": "Required", "allowed": ["images.example/**", "images.example/agent:v1"]}});
    let (word, message) = said(&judge(&policy(&own), &facts(), at(0)), READY);
    assert_eq!(word, "False/RuleMatchesNothing");
    insta::assert_snapshot!(message, @"limits.images.allowed of SandboxPolicy/house-rules `images.example/agent:v1` is refused by SandboxPolicy/house-rules (limits.images.digest): this pattern names a tag, and images must be named by digest, so it never matches; help: leave the tag out in SandboxPolicy/house-rules, or name a digest");
}
