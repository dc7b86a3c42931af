//! The fence: nobody changes, removes or widens it.

use serde_json::{Value, json};

use super::objects::{allow_dns, fence, with};
use super::{Call, Case, Meets, Who, World};

use Meets::{Guard, Nothing};
use Who::{Admin, Controller, Edit, Kubernetes};

/// Selectors that reach sandbox pods.
const WIDENING: &str = r#"[
    ["all pods", {}],
    ["pods of Jobs", {"matchExpressions": [{"key": "batch.kubernetes.io/job-name", "operator": "Exists"}]}],
    ["one Job's pods", {"matchLabels": {"batch.kubernetes.io/job-name": "agr-network-0b7c9f3e"}}],
    ["one Job's pods by the old label", {"matchLabels": {"job-name": "agr-network-0b7c9f3e"}}],
    ["one Job's pods by uid", {"matchLabels": {"controller-uid": "x"}}],
    ["pods of a zone", {"matchLabels": {"topology.kubernetes.io/zone": "a"}}],
    ["pods left out by a mesh", {"matchLabels": {"sidecar.istio.io/inject": "false"}}],
    ["sandboxes", {"matchExpressions": [{"key": "cofferdam.dev/run", "operator": "Exists"}]}],
    ["sandboxes but one", {"matchExpressions": [{"key": "cofferdam.dev/run", "operator": "NotIn", "values": ["x"]}]}],
    ["pods without another label", {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}],
    ["pods whose label differs", {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["x"]}]}]
]"#;

/// Selectors that leave sandbox pods out.
const NARROW: &str = r#"[
    ["all pods but sandboxes", {"matchExpressions": [{"key": "cofferdam.dev/run", "operator": "DoesNotExist"}]}],
    ["pods by a label that no sandbox has", {"matchLabels": {"app": "web"}}],
    ["pods by a label that charts use", {"matchLabels": {"app.kubernetes.io/name": "web"}}],
    ["the same by an expression", {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}]
]"#;

/// What even the controller does not make of the fence: where, and which value.
const OPENED: &str = r#"[
    ["a way in", "/spec/ingress", [{}]],
    ["other pods", "/spec/podSelector", {}],
    ["one direction", "/spec/policyTypes", ["Ingress"]],
    ["any port", "/spec/egress/0/ports", null],
    ["another port", "/spec/egress/0/ports/0/port", 3129],
    ["a range of ports", "/spec/egress/0/ports/0/endPort", 4000],
    ["any peer", "/spec/egress/0/to", null],
    ["an address", "/spec/egress/0/to/0", {"ipBlock": {"cidr": "0.0.0.0/0"}}],
    ["another namespace", "/spec/egress/0/to/0/namespaceSelector", {}],
    ["other pods of ours", "/spec/egress/0/to/0/podSelector", {"matchLabels": {"app.kubernetes.io/component": "archive"}}]
]"#;

fn opened(policies: &str) -> Vec<Case> {
    let table: Vec<(&'static str, String, Value)> = serde_json::from_str(OPENED).expect("a table");
    let opened = table.into_iter().map(|(what, path, value)| {
        let call = Call::create(policies, with(&fence(), &path, value));
        Case(what, Controller, call, Guard("networkpolicies"))
    });
    opened.collect()
}

fn both(what: &'static str, call: &Call, meets: Meets) -> [Case; 2] {
    [
        Case(what, Edit, call.clone(), meets),
        Case(what, Admin, call.clone(), meets),
    ]
}

fn touched(ours: &str, policies: &str) -> Vec<Case> {
    let named = with(&fence(), "/metadata/name", json!("cofferdam-other"));
    let marks = json!({"metadata": {"finalizers": null, "labels": {"a": "b"}}});
    let healed = json!({"metadata": {"finalizers": ["cofferdam.dev/fence"]}});
    let refused = [
        ("opened", Call::patch(ours, json!({"spec": {"egress": [{}]}}))),
        ("unmarked", Call::patch(ours, marks)),
        ("deleted", Call::delete(ours)),
        ("deleted with all others", Call::delete(policies)),
        ("a name of ours", Call::create(policies, named)),
    ];
    let mut cases: Vec<Case> = refused
        .iter()
        .flat_map(|(what, call)| both(what, call, Guard("networkpolicies")))
        .collect();
    cases.push(Case(
        "its finalizer",
        Controller,
        Call::patch(ours, healed),
        Nothing,
    ));
    // A controller that someone else took over does not open a namespace whose label says that it is fenced.
    for (what, call) in [
        ("deleted", Call::delete(ours)),
        (
            "without its finalizer",
            Call::patch(ours, json!({"metadata": {"finalizers": null}})),
        ),
    ] {
        cases.push(Case(what, Controller, call, Guard("networkpolicies")));
    }
    for collector in ["namespace-controller", "generic-garbage-collector"] {
        let delete = Call::delete(ours);
        cases.push(Case("deleted in order", Kubernetes(collector), delete, Nothing));
    }
    cases
}

#[tokio::test]
async fn nobody_changes_removes_or_widens_the_fence() {
    let world = World::open("network", true).await;
    let policies = world.policies();
    let mut cases = touched(&format!("{policies}/cofferdam-fence"), &policies);
    for (table, meets) in [(WIDENING, Guard("networkpolicies")), (NARROW, Nothing)] {
        let selectors: Vec<(&'static str, Value)> = serde_json::from_str(table).expect("a table");
        for (what, selector) in selectors {
            let call = Call::create(&policies, allow_dns("dns", &selector));
            cases.extend(both(what, &call, meets));
        }
    }
    let mut ingress = allow_dns("in", &json!({}));
    ingress["spec"] = json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]});
    let ingress = Call::create(&policies, ingress);
    cases.extend(both("a way in", &ingress, Guard("networkpolicies")));
    let mut closed = allow_dns("closed", &json!({}));
    closed["spec"]["egress"] = json!([]);
    cases.extend(both(
        "one that only closes",
        &Call::create(&policies, closed),
        Nothing,
    ));
    let named = Call::create(
        &policies,
        allow_dns("dns", &json!({"matchLabels": {"app": "web"}})),
    );
    cases.push(Case(
        "another policy",
        Controller,
        named,
        Guard("controller-names"),
    ));
    cases.extend(opened(
        "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
    ));
    let whole = Call::create(
        "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
        fence(),
    );
    cases.push(Case("the fence itself", Controller, whole, Nothing));
    world.check(cases).await;
}

#[tokio::test]
async fn namespaces_that_did_not_opt_in_keep_their_policies() {
    let world = World::open("foreign", false).await;
    let everybody = Call::create(&world.policies(), allow_dns("dns", &json!({})));
    let named = Call::create(&world.policies(), fence());
    let cases = vec![
        Case("a policy for all pods", Edit, everybody, Nothing),
        Case(
            "the fence's name is ours even there",
            Edit,
            named,
            Guard("networkpolicies"),
        ),
    ];
    world.check(cases).await;
}
