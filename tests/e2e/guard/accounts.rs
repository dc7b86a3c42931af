//! The sandbox account, frozen policies, and what a run's status says.

use serde_json::json;

use super::objects::sandbox_account;
use super::{Call, Case, Meets, Who, World, check};
use crate::harness::OPERATOR_NAMESPACE;

use Meets::{Guard, NoGuard, Nothing};
use Who::{Admin, Controller, Edit, Kubernetes, Node};

#[tokio::test]
async fn the_sandbox_account_is_changed_by_nobody_and_its_tokens_are_for_kubelets() {
    let world = World::open("accounts", true).await;
    let accounts = world.core("serviceaccounts");
    let ours = format!("{accounts}/cofferdam-sandbox");
    let other = format!("{accounts}/default");
    let role = json!({"metadata": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}}});
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["cofferdam-collect"]},
    });
    let lasting = |account: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "lasting",
                "annotations": {"kubernetes.io/service-account.name": account}},
            "type": "kubernetes.io/service-account-token",
        })
    };
    let mut cases = Vec::new();
    let mut both = |what: &'static str, call: &Call, meets: Meets| {
        cases.push(Case(what, Edit, call.clone(), meets));
        cases.push(Case(what, Admin, call.clone(), meets));
    };
    let refused = Guard("serviceaccounts");
    both("a cloud's role", &Call::patch(&ours, role.clone()), refused);
    both(
        "the same for another account",
        &Call::patch(&other, role),
        Nothing,
    );
    both("its deletion", &Call::delete(&ours), refused);
    both("the deletion of all", &Call::delete(&accounts), refused);
    both(
        "a token",
        &Call::create(&format!("{ours}/token"), request.clone()),
        refused,
    );
    both(
        "a token of another account",
        &Call::create(&format!("{other}/token"), request.clone()),
        Nothing,
    );
    both(
        "a lasting token",
        &Call::create(&world.core("secrets"), lasting("cofferdam-sandbox")),
        Guard("secrets"),
    );
    both(
        "a lasting token of another account",
        &Call::create(&world.core("secrets"), lasting("default")),
        Nothing,
    );
    // NodeRestriction, which asks for the pod of that node, answers instead.
    cases.push(Case(
        "a token",
        Node,
        Call::create(&format!("{ours}/token"), request),
        NoGuard,
    ));
    cases.push(Case(
        "deleted with its namespace",
        Kubernetes("namespace-controller"),
        Call::delete(&ours),
        Nothing,
    ));
    let elsewhere = "/api/v1/namespaces/default/serviceaccounts";
    cases.push(Case(
        "its name elsewhere",
        Admin,
        Call::create(elsewhere, sandbox_account()),
        refused,
    ));
    cases.push(Case(
        "its name elsewhere",
        Controller,
        Call::create(elsewhere, sandbox_account()),
        Nothing,
    ));
    world.check(cases).await;
}

#[tokio::test]
async fn frozen_policies_are_made_by_the_controller_and_changed_by_nobody() {
    let maps = format!("/api/v1/namespaces/{OPERATOR_NAMESPACE}/configmaps");
    let map = |name: &str, immutable: bool| json!({"metadata": {"name": name}, "immutable": immutable, "data": {"policy.json": "{}"}});
    check(vec![
        Case(
            "a forged one",
            Admin,
            Call::create(&maps, map("policy-forged", true)),
            Guard("policies"),
        ),
        Case(
            "another ConfigMap",
            Admin,
            Call::create(&maps, map("other", true)),
            Nothing,
        ),
        Case(
            "a frozen policy",
            Controller,
            Call::create(&maps, map("policy-frozen", true)),
            Nothing,
        ),
        Case(
            "one that could change",
            Controller,
            Call::create(&maps, map("policy-thawed", false)),
            Guard("policies"),
        ),
        Case(
            "another name",
            Controller,
            Call::create(&maps, map("other", true)),
            Guard("controller-names"),
        ),
        Case(
            "the canary",
            Admin,
            Call::create(&maps, map("agr-guard-canary", true)),
            Guard("policies"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn the_status_of_a_run_is_the_controllers() {
    let world = World::open("status", false).await;
    let runs = format!(
        "/apis/cofferdam.dev/v1alpha1/namespaces/{}/agentruns",
        world.namespace
    );
    let run = json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun", "metadata": {"name": "held"},
        "spec": {"suspend": true, "task": {"prompt": "nothing"}, "agent": {"image": "cofferdam.test/busybox:dev"}},
    });
    let status = format!("{runs}/held/status");
    let done = json!({"status": {"phase": "Succeeded", "reason": "Completed"}});
    let cases = vec![
        Case("a run", Edit, Call::post(&runs, run), Nothing),
        Case(
            "its status",
            Admin,
            Call::patch(&status, done.clone()),
            Guard("status"),
        ),
        Case("its status", Edit, Call::patch(&status, done.clone()), NoGuard),
        Case("its status", Controller, Call::patch(&status, done), Nothing),
    ];
    world.check(cases).await;
}
