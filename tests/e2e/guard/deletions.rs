//! What ends a sandbox ends all of it: nothing is orphaned, and no pod leaves the API before its containers ended.

use cofferdam_api::Reason;
use serde_json::{Value, json};

use super::objects::{edit_binding, suspended_run};
use super::pods::both;
use super::{Call, Case, Meets, Who, World, bindings_of};
use crate::guard::call;
use crate::harness::{BUSYBOX, Space};

use Meets::{Guard, Nothing};
use Who::{Admin, Edit, Kubernetes, Node};

/// Ways to say that what an object owns stays.
fn orphaning() -> [Value; 2] {
    [
        json!({"propagationPolicy": "Orphan"}),
        json!({"orphanDependents": true}),
    ]
}

#[tokio::test]
async fn neither_runs_nor_their_jobs_are_orphaned() {
    let world = World::open("deletions", true).await;
    let runs = world.runs();
    let run = suspended_run("held");
    let ordinary = json!({"metadata": {"name": "mine"}, "spec": {"suspend": true, "template": {"spec": {
        "restartPolicy": "Never", "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "a", "image": "cofferdam.test/busybox:dev", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}}}});
    let jobs = world.jobs();
    let pods = world.core("pods");
    let mut cases = vec![
        world.use_is_given(),
        Case("a run", Edit, Call::post(&runs, run), Nothing),
        Case("an ordinary Job", Edit, Call::post(&jobs, ordinary), Nothing),
    ];
    for (what, path) in [
        ("a run", format!("{runs}/held")),
        ("all runs", runs.clone()),
        ("its Job", format!("{jobs}/{}", world.job)),
        ("all Jobs", jobs.clone()),
        ("its pod", format!("{pods}/{}", world.pod)),
    ] {
        for options in orphaning() {
            let call = Call::delete_with(&path, &options);
            cases.extend(both(what, &call, Guard("deletions")));
        }
        for policy in ["Background", "Foreground"] {
            let call = Call::delete_with(&path, &json!({"propagationPolicy": policy}));
            cases.extend(both(what, &call, Nothing));
        }
    }
    for options in orphaning() {
        let call = Call::delete_with(&format!("{jobs}/mine"), &options);
        cases.extend(both("an ordinary Job", &call, Nothing));
    }
    // A pod without a node has no container.
    let forced = Call::delete_with(
        &format!("{pods}/{}", world.pod),
        &json!({"gracePeriodSeconds": 0}),
    );
    cases.extend(both("a pod that waits for a node", &forced, Nothing));
    world.check(cases).await;
}

#[tokio::test]
async fn a_running_sandbox_is_not_deleted_by_force() {
    let space = Space::open("guard-forced").await;
    let admin = Admin.client().await;
    let bindings = bindings_of(&space.name);
    Call::post(&bindings, edit_binding())
        .send(&admin)
        .await
        .expect("an admin binds the user");
    let run = space
        .script("forced", BUSYBOX, "sh", "while :; do sleep 1; done\n", json!({}))
        .await;
    run.in_phase("Running").await;
    let pod = run
        .pod()
        .await
        .and_then(|pod| pod.metadata.name)
        .expect("its pod");
    let path = format!("/api/v1/namespaces/{}/pods/{pod}", space.name);
    let all = format!("/api/v1/namespaces/{}/pods", space.name);
    let by = |seconds: i64| json!({"gracePeriodSeconds": seconds});
    let evict = |options: Value| {
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}, "deleteOptions": options});
        Call::create(&format!("{path}/eviction"), body)
    };
    let mut cases = Vec::new();
    for (what, call, meets) in [
        ("by force", Call::delete_with(&path, &by(0)), Guard("deletions")),
        (
            "all pods by force",
            Call::delete_with(&all, &by(0)),
            Guard("deletions"),
        ),
        ("in a second", Call::delete_with(&path, &by(1)), Nothing),
        ("as usual", Call::delete(&path), Nothing),
        ("evicted by force", evict(by(0)), Guard("deletions")),
        ("evicted", evict(json!({})), Nothing),
        (
            "evicted and orphaned",
            evict(json!({"propagationPolicy": "Orphan"})),
            Guard("deletions"),
        ),
    ] {
        cases.extend(both(what, &call, meets));
    }
    for who in [Node, Kubernetes("pod-garbage-collector")] {
        // NodeRestriction refuses the kubelet of another node, after or before the guard.
        let meets = if who == Node { Meets::NoGuard } else { Nothing };
        cases.push(Case("by force", who, Call::delete_with(&path, &by(0)), meets));
    }
    let wrong = call::wrong(cases).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    run.change(json!({"cancel": "DiscardWork"}))
        .await
        .expect("its owner cancels it");
    run.ends(Reason::Cancelled).await;
    space.close().await;
}
