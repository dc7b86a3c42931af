//! A run is small, and goes when it is deleted.

use serde_json::{Value, json};

use super::objects::{suspended_run as run, with};
use super::pods::both;
use super::{Call, Case, Meets, Who, World};

use Meets::{Guard, Nothing};
use Who::{Edit, Kubernetes};

/// Bytes that a run may have in what its author writes.
const LIMIT: usize = 10_240;

/// Every part of a run whose author decides how long it is, with about `size` bytes in it.
fn parts(size: usize) -> Vec<(&'static str, Value)> {
    let filled = |path: &str, value: Value| with(&run("sized"), path, value);
    let words = |bytes: usize| vec!["x".repeat(2_000); bytes / 2_000];
    let many = |bytes: usize, each: &dyn Fn(usize) -> Value| -> Vec<Value> {
        (0..bytes / 1_000).map(each).collect()
    };
    vec![
        ("an annotation", filled("/metadata/annotations/notes", json!("x".repeat(size)))),
        (
            "many annotations",
            filled(
                "/metadata/annotations",
                (0..size / 50)
                    .map(|n| (format!("{n:050}"), json!("")))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
            ),
        ),
        (
            "an annotation of long letters",
            filled("/metadata/annotations/notes", json!("\u{1F980}".repeat(size / 4))),
        ),
        (
            "labels",
            filled(
                "/metadata/labels",
                (0..size / 100)
                    .map(|n| (format!("l{n:049}"), json!("v".repeat(50))))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
            ),
        ),
        (
            "owners",
            filled(
                "/metadata/ownerReferences",
                many(size, &|n| {
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": format!("n{n:0900}"), "uid": format!("u{n:0100}")})
                })
                .into(),
            ),
        ),
        ("a command", filled("/spec/agent/command", json!(words(size)))),
        ("arguments", filled("/spec/agent/args", json!(words(size)))),
        (
            "variables",
            filled(
                "/spec/agent/env",
                many(size, &|n| json!({"name": format!("V{n}"), "value": "x".repeat(1_000)})).into(),
            ),
        ),
        (
            "sparse directories",
            filled(
                "/spec/repositories",
                json!((0..size / 2_000).map(|r| {
                    let sparse: Vec<String> = (0..10).map(|d| format!("{0}/d{d}", "a".repeat(197))).collect();
                    json!({"name": format!("r{r}"), "url": "https://git.internet.test/a.git", "clone": {"sparse": sparse}})
                }).collect::<Vec<_>>()),
            ),
        ),
        (
            "hosts",
            filled(
                "/spec/egress",
                json!({"mode": "AllowList", "rules": (0..size / 2_000).map(|r| {
                    let hosts: Vec<String> = (0..10).map(|h| format!("{0}.{0}.{0}.r{r}h{h}.test", "a".repeat(62))).collect();
                    json!({"name": format!("r{r}"), "hosts": hosts})
                }).collect::<Vec<_>>()}),
            ),
        ),
    ]
}

#[tokio::test]
async fn a_run_is_small() {
    let world = World::open("sizes", true).await;
    let runs = world.runs();
    let mut cases = vec![world.use_is_given()];
    for (what, large) in parts(LIMIT + 2_000) {
        cases.extend(both(what, &Call::create(&runs, large), Guard("runs")));
    }
    for (what, small) in parts(LIMIT - 2_000) {
        cases.extend(both(what, &Call::create(&runs, small), Nothing));
    }
    // Just so, and one byte more: `notes` and the prompt's one byte count.
    for (bytes, meets) in [(LIMIT - 6, Nothing), (LIMIT - 5, Guard("runs"))] {
        let sized = with(
            &run("sized"),
            "/metadata/annotations/notes",
            json!("x".repeat(bytes)),
        );
        cases.extend(both("to the byte", &Call::create(&runs, sized), meets));
    }
    // Sizes of whatever a large object may be: the expressions stay within their cost.
    for size in [200_000, 1_000_000] {
        let huge = with(
            &run("sized"),
            "/spec/agent/args",
            json!(vec!["x".repeat(2_048); 64]),
        );
        let huge = with(&huge, "/metadata/labels", json!({"a": "x".repeat(63)}));
        let huge = with(
            &huge,
            "/metadata/annotations/notes",
            json!("x".repeat(size.min(250_000))),
        );
        cases.extend(both("a huge one", &Call::create(&runs, huge), Guard("runs")));
    }
    // One that is there grows.
    cases.push(Case("a run", Edit, Call::post(&runs, run("held")), Nothing));
    let there = format!("{runs}/held");
    let note = |bytes: usize| json!({"metadata": {"annotations": {"notes": "x".repeat(bytes)}}});
    cases.extend(both("grown", &Call::patch(&there, note(12_000)), Guard("runs")));
    cases.extend(both("annotated", &Call::patch(&there, note(5_000)), Nothing));
    cases.extend(both(
        "begun",
        &Call::patch(&there, json!({"spec": {"suspend": false}})),
        Nothing,
    ));
    // The label of a hold finds room where a tenant filled all there is.
    let full = with(
        &run("full"),
        "/metadata/annotations/notes",
        json!("x".repeat(LIMIT - 6)),
    );
    cases.push(Case("a full run", Edit, Call::post(&runs, full), Nothing));
    let full = format!("{runs}/full");
    let label = |name: &str| Call::patch(&full, json!({"metadata": {"labels": {name: "true"}}}));
    cases.extend(both("held", &label("cofferdam.dev/legal-hold"), Nothing));
    cases.extend(both("labelled", &label("example.com/more"), Guard("runs")));
    world.check(cases).await;
}

/// Entries of those that update are joined by the API server; those that apply are counted by the guard, and take from nobody
/// else the means to stop a run.
#[tokio::test]
async fn a_run_that_many_applied_can_be_stopped() {
    let world = World::open("appliers", true).await;
    let runs = world.runs();
    let mut cases = vec![
        world.use_is_given(),
        Case("a run", Edit, Call::post(&runs, run("held")), Nothing),
    ];
    let there = format!("{runs}/held");
    let applied = |number: u32| {
        let own = json!({"apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun",
            "metadata": {"annotations": {format!("note-{number}"): "x"}}});
        Call::apply(&there, &format!("manager-{number}"), own)
    };
    for number in 0..16 {
        cases.push(Case("applied", Edit, applied(number), Nothing));
    }
    cases.push(Case("applied once more", Edit, applied(16), Guard("runs")));
    cases.push(Case("applied again", Edit, applied(3), Nothing));
    cases.extend(both(
        "stopped",
        &Call::patch(&there, json!({"spec": {"cancel": "KeepWork"}})),
        Nothing,
    ));
    cases.extend(both(
        "held",
        &Call::patch(
            &there,
            json!({"metadata": {"labels": {"cofferdam.dev/legal-hold": "true"}}}),
        ),
        Nothing,
    ));
    world.check(cases).await;
}

/// Garbage collection deletes what has no owner that exists: patching would be deleting.
#[tokio::test]
async fn a_run_gets_no_owner_after_its_creation() {
    let world = World::open("owners", true).await;
    let runs = world.runs();
    let absent = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "absent",
        "uid": "11111111-0000-0000-0000-000000000000"}]);
    let born = with(&run("born"), "/metadata/ownerReferences", absent.clone());
    let mut cases = vec![
        world.use_is_given(),
        Case("a run", Edit, Call::post(&runs, run("held")), Nothing),
    ];
    cases.extend(both("with an owner", &Call::create(&runs, born), Nothing));
    let there = format!("{runs}/held");
    let adopted = Call::patch(&there, json!({"metadata": {"ownerReferences": absent}}));
    cases.extend(both("adopted", &adopted, Guard("runs")));
    world.check(cases).await;
}

#[tokio::test]
async fn a_run_has_no_finalizer() {
    let world = World::open("finalizers", true).await;
    let runs = world.runs();
    let mut cases = vec![
        world.use_is_given(),
        Case("a run", Edit, Call::post(&runs, run("held")), Nothing),
    ];
    let there = format!("{runs}/held");
    for finalizer in ["example.com/keep", "orphan", "foregroundDeletion"] {
        let made = with(&run("kept"), "/metadata/finalizers", json!([finalizer]));
        cases.extend(both(finalizer, &Call::create(&runs, made), Guard("runs")));
        let patch = Call::patch(&there, json!({"metadata": {"finalizers": [finalizer]}}));
        cases.extend(both(finalizer, &patch, Guard("runs")));
        cases.push(Case(
            finalizer,
            Kubernetes("generic-garbage-collector"),
            patch,
            Guard("runs"),
        ));
    }
    cases.extend(both(
        "none",
        &Call::patch(
            &there,
            json!({"metadata": {"finalizers": null, "annotations": {"a": "b"}}}),
        ),
        Nothing,
    ));
    world.check(cases).await;
}
