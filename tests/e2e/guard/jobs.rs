//! Sandbox Jobs: nobody forges or changes one, and no other workload makes the job-controller's peers forge a pod.

use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::objects::{ordinary_job, ordinary_pod, sandbox_job, with};
use super::{Call, Case, Meets, Who, World, check};
use crate::harness::{client, until};

use Meets::{Guard, Nothing};
use Who::{Admin, Controller, Edit, Kubernetes, Queue};

#[tokio::test]
async fn nobody_forges_or_changes_a_sandbox_job() {
    let world = World::open("jobs", true).await;
    let jobs = world.jobs();
    let plain = ordinary_job("mine");
    let mut cases = Vec::new();
    let mut both = |what: &'static str, call: &Call, meets: Meets| {
        cases.push(Case(what, Edit, call.clone(), meets));
        cases.push(Case(what, Admin, call.clone(), meets));
    };
    both("an ordinary Job", &Call::create(&jobs, plain.clone()), Nothing);
    for (what, path, value) in [
        ("its name", "/metadata/name", json!("agr-mine-0b7c9f3e")),
        ("its label", "/metadata/labels/cofferdam.dev~1run", json!("held")),
        (
            "its pods' label",
            "/spec/template/metadata/labels/cofferdam.dev~1run",
            json!("held"),
        ),
        (
            "its pods' annotation",
            "/spec/template/metadata/annotations/cofferdam.dev~1stop",
            json!("x"),
        ),
        (
            "its pods' account",
            "/spec/template/spec/serviceAccountName",
            json!("cofferdam-sandbox"),
        ),
    ] {
        both(
            what,
            &Call::create(&jobs, with(&plain, path, value)),
            Guard("jobs"),
        );
    }
    both(
        "a whole one",
        &Call::create(&jobs, sandbox_job("agr-mine-0b7c9f3e")),
        Guard("jobs"),
    );
    let ours = format!("{jobs}/{}", world.job);
    for (what, body) in [
        ("suspended", json!({"spec": {"suspend": true}})),
        ("multiplied", json!({"spec": {"parallelism": 5}})),
        (
            "relabelled",
            json!({"metadata": {"labels": {"cofferdam.dev/run": null}}}),
        ),
        (
            "annotated",
            json!({"metadata": {"annotations": {"example.com/x": "x"}}}),
        ),
        (
            "with a finalizer",
            json!({"metadata": {"finalizers": ["example.com/keep"]}}),
        ),
    ] {
        both(what, &Call::patch(&ours, body), Guard("jobs"));
    }
    both("deleted", &Call::delete(&ours), Nothing);
    let scheduled = Call::create(&jobs, sandbox_job("agr-mine-28000000"));
    cases.push(Case(
        "one of a CronJob",
        Kubernetes("cronjob-controller"),
        scheduled,
        Guard("jobs"),
    ));
    let ended = json!({"status": {"terminating": 1}});
    let status = Call::patch(&format!("{ours}/status"), ended);
    cases.push(Case("its status", Admin, status, Guard("jobs")));
    world.check(cases).await;
}

#[tokio::test]
async fn a_queue_lets_a_held_job_begin_and_does_nothing_else_to_it() {
    let world = World::open("queue", true).await;
    let jobs = world.jobs();
    let name = "agr-queued-0b7c9f3e";
    let held = with(&sandbox_job(name), "/spec/suspend", json!(true));
    let made = Call::post(&jobs, held).send(&Controller.client().await).await;
    assert_eq!(
        made,
        Ok(()),
        "the controller makes Jobs, and a queue's webhook holds them"
    );
    let (held, running) = (format!("{jobs}/{name}"), format!("{jobs}/{}", world.job));
    let begin = |template: Value| json!({"spec": {"suspend": false, "template": template}});
    let placed = json!({"metadata": {"labels": {"kueue.x-k8s.io/podset": "main"}}, "spec": {"nodeSelector": {"pool": "a"}}});
    let mut cases = vec![
        Case("begun", Queue, Call::patch(&held, begin(json!({}))), Nothing),
        Case(
            "begun and placed",
            Queue,
            Call::patch(&held, begin(placed)),
            Nothing,
        ),
        Case(
            "held again",
            Queue,
            Call::patch(&running, json!({"spec": {"suspend": true}})),
            Guard("jobs"),
        ),
        Case(
            "placed without beginning",
            Queue,
            Call::patch(
                &held,
                json!({"spec": {"template": {"spec": {"nodeSelector": {"pool": "a"}}}}}),
            ),
            Guard("jobs"),
        ),
        Case(
            "tried more than once",
            Queue,
            Call::patch(&held, json!({"spec": {"suspend": false, "backoffLimit": 3}})),
            Guard("jobs"),
        ),
    ];
    for (what, metadata) in [
        ("another run's", json!({"labels": {"cofferdam.dev/run": "other"}})),
        ("without its run", json!({"labels": {"cofferdam.dev/run": null}})),
        (
            "another pod's",
            json!({"annotations": {"cofferdam.dev/pod-digest": "sha256:1"}}),
        ),
        (
            "in a mesh",
            json!({"labels": {"sidecar.istio.io/inject": "true"}}),
        ),
    ] {
        let call = Call::patch(&held, begin(json!({"metadata": metadata})));
        cases.push(Case(what, Queue, call, Guard("jobs")));
    }
    for who in [Admin, Edit] {
        cases.push(Case(
            "begun by another",
            who,
            Call::patch(&held, begin(json!({}))),
            Guard("jobs"),
        ));
    }
    world.check(cases).await;
}

fn deployment(name: &str, label: &str) -> Value {
    let mut template = json!({"metadata": {"labels": {"app": name}}, "spec": ordinary_pod("unused")["spec"]});
    template["metadata"]["labels"][label] = json!("held");
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template},
    })
}

#[tokio::test]
async fn a_deployment_with_our_label_gets_no_pod_and_says_why() {
    let world = World::open("workloads", false).await;
    let path = format!("/apis/apps/v1/namespaces/{}/deployments", world.namespace);
    check(vec![
        Case(
            "a forger",
            Edit,
            Call::post(&path, deployment("forger", "cofferdam.dev/run")),
            Nothing,
        ),
        Case(
            "its like",
            Edit,
            Call::post(&path, deployment("honest", "example.com/run")),
            Nothing,
        ),
    ])
    .await;
    let client = client().await;
    let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), &world.namespace);
    let pods: Api<Pod> = Api::namespaced(client, &world.namespace);
    let count = async |app: &str| {
        let labelled = ListParams::default().labels(&format!("app={app}"));
        pods.list(&labelled)
            .await
            .expect("pods can be listed")
            .items
            .len()
    };
    until("the ReplicaSet is told", Duration::from_secs(30), || async {
        let labelled = ListParams::default().labels("app=forger");
        let set = sets
            .list(&labelled)
            .await
            .expect("ReplicaSets can be listed")
            .items
            .pop();
        let conditions = set
            .and_then(|set| set.status)
            .and_then(|status| status.conditions);
        let told = conditions
            .iter()
            .flatten()
            .filter_map(|condition| condition.message.clone());
        let told: Vec<String> = told.collect();
        if told
            .iter()
            .any(|message| message.contains("cofferdam-guard-pods"))
        {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
    until("the honest one has its pod", Duration::from_secs(30), || async {
        if count("honest").await == 1 {
            Ok(())
        } else {
            Err("no pod")
        }
    })
    .await;
    assert_eq!(count("forger").await, 0);
    world.close().await;
}
