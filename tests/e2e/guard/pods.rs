//! Sandbox pods: nobody forges, changes, enters or places one.

use serde_json::{Value, json};

use super::objects::{ordinary_pod, sandbox_pod, with};
use super::{Call, Case, Meets, Who, World};

use Meets::{Guard, NoGuard, Nothing};
use Who::{Admin, Controller, Edit, Kubernetes, Node, Scheduler};

/// The same case for the user whom RBAC lets do it and for the one whom it stops from nothing.
pub fn both(what: &'static str, call: &Call, meets: Meets) -> [Case; 2] {
    [
        Case(what, Edit, call.clone(), meets),
        Case(what, Admin, call.clone(), meets),
    ]
}

fn forged(world: &World) -> Vec<Case> {
    let pods = world.core("pods");
    let plain = ordinary_pod("mine");
    let mut cases = Vec::new();
    cases.extend(both(
        "an ordinary pod",
        &Call::create(&pods, plain.clone()),
        Nothing,
    ));
    let forgeries = [
        ("its name", "/metadata/name", json!("agr-mine-0b7c9f3e-x7k2p")),
        ("its label", "/metadata/labels/cofferdam.dev~1run", json!("held")),
        (
            "another label of ours",
            "/metadata/labels/cofferdam.dev~1anything",
            json!("held"),
        ),
        (
            "its annotation",
            "/metadata/annotations/cofferdam.dev~1pod-digest",
            json!("sha256:0"),
        ),
        (
            "its account",
            "/spec/serviceAccountName",
            json!("cofferdam-sandbox"),
        ),
        (
            "its owner",
            "/metadata/ownerReferences",
            sandbox_pod(&world.job)["metadata"]["ownerReferences"].clone(),
        ),
    ];
    for (what, path, value) in forgeries {
        let forged = with(&plain, path, value);
        cases.extend(both(what, &Call::create(&pods, forged), Guard("pods")));
    }
    let mut generated = with(&plain, "/metadata/generateName", json!("agr-mine-"));
    generated["metadata"]
        .as_object_mut()
        .expect("metadata")
        .remove("name");
    cases.extend(both(
        "its generated name",
        &Call::create(&pods, generated),
        Guard("pods"),
    ));
    let whole = Call::create(&pods, sandbox_pod(&world.job));
    cases.extend(both("a whole sandbox pod", &whole, Guard("pods")));
    cases.push(Case(
        "a whole sandbox pod",
        Kubernetes("replicaset-controller"),
        whole.clone(),
        Guard("pods"),
    ));
    cases.push(Case("a whole sandbox pod", Node, whole.clone(), NoGuard));
    cases.push(Case("the same", Kubernetes("job-controller"), whole, Nothing));
    for (what, path, value) in [
        (
            "one that no Job of ours owns",
            "/metadata/ownerReferences/0/name",
            json!("mine"),
        ),
        (
            "one that its owner does not control",
            "/metadata/ownerReferences/0/controller",
            json!(false),
        ),
        (
            "one with a label that a foreign policy may select",
            "/metadata/labels/app",
            json!("web"),
        ),
        (
            "one with a label that charts select",
            "/metadata/labels/app.kubernetes.io~1name",
            json!("web"),
        ),
    ] {
        let changed = with(&sandbox_pod(&world.job), path, value);
        let call = Call::create(&pods, changed);
        cases.push(Case(what, Kubernetes("job-controller"), call, Guard("pods")));
    }
    let mut bare = sandbox_pod(&world.job);
    bare["metadata"]["labels"]
        .as_object_mut()
        .expect("labels")
        .remove("cofferdam.dev/run");
    let bare = Call::create(&pods, bare);
    cases.push(Case(
        "one without the fence's label",
        Kubernetes("job-controller"),
        bare,
        Guard("pods"),
    ));
    cases
}

fn label(key: &str, value: Option<&str>) -> Value {
    json!({"metadata": {"labels": {key: value}}})
}

fn note(key: &str) -> Value {
    json!({"metadata": {"annotations": {key: "x"}}})
}

fn changed(world: &World) -> Vec<Case> {
    let ours = world.core(&format!("pods/{}", world.pod));
    let other = world.core("pods/ordinary");
    let mut cases = Vec::new();
    for (what, body) in [
        ("unlabel", label("cofferdam.dev/run", None)),
        ("relabel", label("cofferdam.dev/run", Some("other"))),
        ("a label that a foreign policy selects", label("app", Some("web"))),
        ("a stop", note("cofferdam.dev/stop")),
        ("an annotation for a webhook", note("example.com/inject")),
        (
            "a finalizer",
            json!({"metadata": {"finalizers": ["example.com/keep"]}}),
        ),
        ("an image", json!({"spec": {"activeDeadlineSeconds": 5}})),
    ] {
        cases.extend(both(what, &Call::patch(&ours, body), Guard("pods")));
    }
    for (what, body) in [
        (
            "an ordinary pod gets our label",
            label("cofferdam.dev/run", Some("held")),
        ),
        (
            "an ordinary pod gets our annotation",
            note("cofferdam.dev/pod-digest"),
        ),
    ] {
        cases.extend(both(what, &Call::patch(&other, body), Guard("pods")));
    }
    cases.extend(both(
        "an ordinary pod gets a label",
        &Call::patch(&other, label("tier", Some("x"))),
        Nothing,
    ));
    cases.extend([
        Case(
            "a stop",
            Controller,
            Call::patch(&ours, note("cofferdam.dev/stop")),
            Nothing,
        ),
        Case(
            "another annotation",
            Controller,
            Call::patch(&ours, note("cofferdam.dev/pod-digest")),
            Guard("pods"),
        ),
        Case(
            "a label",
            Controller,
            Call::patch(&ours, label("tier", Some("x"))),
            Guard("pods"),
        ),
        Case(
            "an ordinary pod's annotation",
            Controller,
            Call::patch(&other, note("example.com/x")),
            Guard("controller-names"),
        ),
        Case(
            "a finalizer",
            Kubernetes("job-controller"),
            Call::patch(&ours, json!({"metadata": {"finalizers": null}})),
            Nothing,
        ),
        Case(
            "a label",
            Kubernetes("job-controller"),
            Call::patch(&ours, label("tier", Some("x"))),
            Guard("pods"),
        ),
    ]);
    cases
}

fn debugged(world: &World) -> Vec<Case> {
    let ours = world.core(&format!("pods/{}", world.pod));
    let other = world.core("pods/ordinary");
    let mut cases = Vec::new();
    let mut extra = ordinary_pod("unused")["spec"]["containers"][0].clone();
    extra["name"] = json!("in");
    let extra = json!({"spec": {"ephemeralContainers": [extra]}});
    let debug = |pod: &str| Call::patch(&format!("{pod}/ephemeralcontainers"), extra.clone());
    cases.push(Case("an ephemeral container", Admin, debug(&ours), Guard("pods")));
    let agent = "/spec/containers/1";
    let size = json!([
        {"op": "test", "path": format!("{agent}/name"), "value": "agent"},
        {"op": "replace", "path": format!("{agent}/resources/requests/memory"), "value": "32Mi"},
        {"op": "replace", "path": format!("{agent}/resources/limits/memory"), "value": "64Mi"},
    ]);
    cases.push(Case(
        "a resize",
        Admin,
        Call::patch(&format!("{ours}/resize"), size),
        Guard("pods"),
    ));
    let address = json!({"status": {"podIP": "10.244.9.9", "podIPs": [{"ip": "10.244.9.9"}]}});
    let status = |pod: &str, body: Value| Call::patch(&format!("{pod}/status"), body);
    cases.extend([
        Case(
            "a forged address",
            Admin,
            status(&ours, address.clone()),
            Guard("pods"),
        ),
        Case(
            "an ordinary pod's address",
            Admin,
            status(&other, address),
            Nothing,
        ),
        Case(
            "a note of a network plugin",
            Admin,
            status(&ours, note("cni.example.com/ip")),
            Nothing,
        ),
        Case(
            "a label by the status",
            Admin,
            status(&ours, label("cofferdam.dev/run", None)),
            Guard("pods"),
        ),
        Case(
            "a nomination",
            Scheduler,
            status(&ours, json!({"status": {"nominatedNodeName": "node-a"}})),
            Nothing,
        ),
        Case(
            "a disruption",
            Kubernetes("pod-garbage-collector"),
            status(&ours, json!({"status": {"reason": "x"}})),
            Nothing,
        ),
        Case("its deletion", Edit, Call::delete(&ours), Nothing),
    ]);
    cases
}

#[tokio::test]
async fn nobody_forges_changes_enters_or_places_a_sandbox_pod() {
    let world = World::open("pods", true).await;
    let mut cases = forged(&world);
    cases.extend(changed(&world));
    cases.extend(debugged(&world));
    cases.extend(super::entered::cases(&world));
    world.check(cases).await;
}
