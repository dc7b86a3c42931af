//! The sandbox account, frozen policies, what a run's status says, and who sets the ceilings.

use serde_json::json;

use super::objects::{sandbox_account, suspended_run, use_binding};
use super::{Call, Case, Meets, Who, World, check};
use crate::harness::{OPERATOR_NAMESPACE, client};

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
    // It proves by such a dry run that the guard sees updates.
    cases.push(Case(
        "a note on it",
        Controller,
        Call::patch(
            &ours,
            json!({"metadata": {"annotations": {"cofferdam.dev/guard-canary": "x"}}}),
        ),
        refused,
    ));
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
    let runs = world.runs();
    let run = suspended_run("held");
    let status = format!("{runs}/held/status");
    let done = json!({"status": {"phase": "Succeeded", "reason": "Completed"}});
    let cases = vec![
        Case(
            "a run without the use of its policy",
            Edit,
            Call::create(&runs, run.clone()),
            Guard("requester"),
        ),
        world.use_is_given(),
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

#[tokio::test]
async fn the_status_of_a_policy_is_the_controllers() {
    let world = World::open("policy-status", false).await;
    let group = "/apis/cofferdam.dev/v1alpha1";
    let namespaced = format!("{group}/namespaces/{}/sandboxpolicies", world.namespace);
    let cluster = format!("{group}/clustersandboxpolicies");
    let name = "guard-policy-status";
    let policy = |kind: &str, spec: &serde_json::Value| json!({"apiVersion": "cofferdam.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let limits = json!({"maxActiveDeadlineSeconds": 60});
    let own = policy("SandboxPolicy", &json!({"limits": limits}));
    let nowhere = json!({"matchLabels": {"cofferdam.test/no-such-label": "here"}});
    let over = policy(
        "ClusterSandboxPolicy",
        &json!({"namespaceSelector": nowhere, "limits": limits}),
    );
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Forged",
        "message": "", "lastTransitionTime": "2026-11-24T00:00:00Z"}]}});
    let mut cases = vec![
        Case("a policy", Admin, Call::post(&namespaced, own), Nothing),
        Case("a cluster policy", Admin, Call::post(&cluster, over), Nothing),
    ];
    for path in [&namespaced, &cluster] {
        let status = Call::patch(&format!("{path}/{name}/status"), ready.clone());
        cases.push(Case("its status", Admin, status.clone(), Guard("status")));
        cases.push(Case("its status", Edit, status.clone(), NoGuard));
        // RBAC gives the controller updates only; that it makes them is seen in governance.rs.
        cases.push(Case("its status by patch", Controller, status, NoGuard));
        let limits = json!({"spec": {"limits": {"maxActiveDeadlineSeconds": 61}}});
        let object = format!("{path}/{name}");
        cases.push(Case(
            "the policy",
            Admin,
            Call::patch(&object, limits.clone()),
            Nothing,
        ));
        cases.push(Case(
            "the policy",
            Controller,
            Call::patch(&object, limits),
            NoGuard,
        ));
    }
    world.check(cases).await;
    let policies: kube::Api<cofferdam_api::ClusterSandboxPolicy> = kube::Api::all(client().await);
    policies
        .delete(name, &kube::api::DeleteParams::default())
        .await
        .expect("the cluster policy is ours");
}

#[tokio::test]
async fn the_status_of_a_credential_is_the_controllers() {
    let credentials = "/apis/cofferdam.dev/v1alpha1/sandboxcredentials";
    let name = "guard-credential-status";
    let nowhere = json!({"matchLabels": {"cofferdam.test/no-such-label": "here"}});
    let credential = json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxCredential", "metadata": {"name": name},
        "spec": {"type": "Secret", "secretName": name, "hosts": ["a.example.com"], "inject": {"header": "x-api-key"},
                 "namespaceSelector": nowhere},
    });
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Forged",
        "message": "", "lastTransitionTime": "2026-11-24T00:00:00Z"}]}});
    let status = Call::patch(&format!("{credentials}/{name}/status"), ready);
    let wider = Call::patch(
        &format!("{credentials}/{name}"),
        json!({"spec": {"hosts": ["b.example.com"]}}),
    );
    check(vec![
        Case(
            "a credential",
            Admin,
            Call::post(credentials, credential),
            Nothing,
        ),
        Case("its status", Admin, status.clone(), Guard("status")),
        Case("its status", Edit, status.clone(), NoGuard),
        Case("its status by patch", Controller, status, NoGuard),
        Case("its hosts", Edit, wider.clone(), NoGuard),
        Case("its hosts", Controller, wider.clone(), NoGuard),
        Case("its hosts", Admin, wider, Nothing),
    ])
    .await;
    let api: kube::Api<cofferdam_api::SandboxCredential> = kube::Api::all(client().await);
    api.delete(name, &kube::api::DeleteParams::default())
        .await
        .expect("the credential is ours");
}

#[tokio::test]
async fn frozen_policies_are_swept_by_the_controller_alone() {
    let maps = format!("/api/v1/namespaces/{OPERATOR_NAMESPACE}/configmaps");
    let (frozen, other) = ("policy-guard-swept", "guard-swept");
    let map =
        |name: &str| json!({"metadata": {"name": name}, "immutable": true, "data": {"policy.json": "{}"}});
    let by = |who, name: &str, meets| Case("deleted", who, Call::delete(&format!("{maps}/{name}")), meets);
    check(vec![
        Case(
            "a frozen policy",
            Controller,
            Call::post(&maps, map(frozen)),
            Nothing,
        ),
        Case("another ConfigMap", Admin, Call::post(&maps, map(other)), Nothing),
        by(Admin, frozen, Guard("policies")),
        by(Edit, frozen, NoGuard),
        by(Controller, frozen, Nothing),
        by(Controller, other, Guard("controller-names")),
        by(Admin, other, Nothing),
        by(Kubernetes("namespace-controller"), frozen, Nothing),
    ])
    .await;
    for (who, name) in [(Controller, frozen), (Admin, other)] {
        let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> =
            kube::Api::namespaced(who.client().await, OPERATOR_NAMESPACE);
        maps.delete(name, &kube::api::DeleteParams::default())
            .await
            .expect("it is the test's own");
    }
}

#[tokio::test]
async fn who_may_start_runs_sets_no_ceiling_over_them() {
    let world = World::open("ceiling", false).await;
    let ours = |plural: &str| {
        format!(
            "/apis/cofferdam.dev/v1alpha1/namespaces/{}/{plural}",
            world.namespace
        )
    };
    let cluster_policies = "/apis/cofferdam.dev/v1alpha1/clustersandboxpolicies".to_owned();
    let policy = |kind: &str, spec: serde_json::Value| json!({"apiVersion": "cofferdam.dev/v1alpha1", "kind": kind, "metadata": {"name": "lax"}, "spec": spec});
    let limits = json!({"runtime": {"runtimeClassNames": ["gvisor"]}});
    let lax = policy("SandboxPolicy", json!({"limits": limits}));
    let everywhere = policy(
        "ClusterSandboxPolicy",
        json!({"namespaceSelector": {}, "limits": limits}),
    );
    let run = suspended_run("mine");
    let admin = Who::Admin.client().await;
    Call::post(&ours("sandboxpolicies"), lax.clone())
        .send(&admin)
        .await
        .expect("an admin sets a ceiling");
    Call::post(&world.bindings(), use_binding())
        .send(&admin)
        .await
        .expect("and lets them be used");
    let there = format!("{}/lax", ours("sandboxpolicies"));
    let more = json!({"spec": {"limits": {"runtime": {"runtimeClassNames": ["runc"]}}}});
    let other = |mut policy: serde_json::Value| {
        policy["metadata"]["name"] = json!("laxer");
        policy
    };
    let opted_in = json!({"metadata": {"labels": {"cofferdam.dev/sandbox": "enabled"}}});
    let namespace = format!("/api/v1/namespaces/{}", world.namespace);
    let mut cases = vec![Case(
        "a run",
        Edit,
        Call::create(&ours("agentruns"), run),
        Nothing,
    )];
    for (what, call) in [
        ("a policy", Call::create(&ours("sandboxpolicies"), other(lax))),
        ("a changed policy", Call::patch(&there, more)),
        ("no policy", Call::delete(&there)),
        (
            "a cluster policy",
            Call::create(&cluster_policies, other(everywhere)),
        ),
        ("a namespace's label", Call::patch(&namespace, opted_in)),
    ] {
        cases.push(Case(what, Edit, call.clone(), NoGuard));
        cases.push(Case(what, Admin, call, Nothing));
    }
    let removed = Call::delete(&format!("{cluster_policies}/default"));
    cases.push(Case("no cluster policy", Edit, removed.clone(), NoGuard));
    cases.push(Case("no cluster policy", Admin, removed, Nothing));
    world.check(cases).await;
}
