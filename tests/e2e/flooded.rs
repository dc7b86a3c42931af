//! A tenant cannot fill the operator's memory: with the largest `NetworkPolicies` that the API server takes, in a namespace
//! that never opted in, and very many runs as large as they may be, the roles live within their limits, start anew, and
//! serve others, and so they do beside a long queue. Ignored by default, for both take the whole cluster; `make e2e` runs
//! them alone, by name.

use std::time::Duration;

use cofferdam_api::{AgentRun, Reason};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{BUSYBOX, OPERATOR_NAMESPACE, Space, client, default_limits, restricted, until};
use crate::starving::restarts;

/// `NetworkPolicies`, and the peers of each: 1 MB of JSON.
const POLICIES: u32 = 60;
const PEERS: u32 = 28_000;
/// Runs, and the bytes of the annotation of each: all that the guard lets them have.
const RUNS: u32 = 2_000;
const ANNOTATION: usize = 9_500;
/// Requests at a time.
const AT_ONCE: usize = 16;

fn policy(number: u32) -> Value {
    let peers = (0..PEERS).map(|peer| {
        let cidr = format!("10.{}.{}.{}/32", peer >> 16 & 255, peer >> 8 & 255, peer & 255);
        json!({"ipBlock": {"cidr": cidr}})
    });
    json!({
        "metadata": {"name": format!("flood-{number}")},
        "spec": {"podSelector": {"matchLabels": {"app": "none"}}, "policyTypes": ["Egress"],
            "egress": [{"to": peers.collect::<Vec<_>>()}]},
    })
}

/// Runs that wait in one namespace.
const QUEUED: u32 = 1_000;
/// How long a run of another namespace may wait for its Job meanwhile. Alone it takes well below a second.
const PROMPT: Duration = Duration::from_secs(15);

fn run(number: u32, annotation: usize) -> Value {
    json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun",
        "metadata": {"name": format!("flood-{number}"), "annotations": {"example.com/flood": "x".repeat(annotation)}},
        "spec": {"task": {"prompt": "x"}, "agent": {"image": BUSYBOX}, "suspend": true},
    })
}

/// Deletes the pods of a role and waits until new ones serve.
async fn start_anew(component: &str) {
    let pods: Api<Pod> = Api::namespaced(client().await, OPERATOR_NAMESPACE);
    let ours = ListParams::default().labels(&format!("app.kubernetes.io/component={component}"));
    let old = pods.list(&ours).await.expect("pods can be listed").items;
    let old: Vec<String> = old.into_iter().filter_map(|pod| pod.metadata.uid).collect();
    let gone = pods.delete_collection(&DeleteParams::default(), &ours).await;
    gone.map(drop).expect("an admin deletes them");
    until(
        &format!("{component} starts anew"),
        Duration::from_mins(3),
        || async {
            let now = pods.list(&ours).await.expect("pods can be listed").items;
            let fresh = now
                .iter()
                .all(|pod| pod.metadata.uid.as_ref().is_some_and(|uid| !old.contains(uid)));
            let ready = now.iter().all(|pod| {
                let conditions = pod
                    .status
                    .iter()
                    .flat_map(|status| status.conditions.iter().flatten());
                conditions
                    .filter(|each| each.type_ == "Ready" && each.status == "True")
                    .count()
                    == 1
            });
            if fresh && ready && now.len() == old.len() {
                Ok(())
            } else {
                Err(now.into_iter().map(|pod| pod.status).collect::<Vec<_>>())
            }
        },
    )
    .await;
}

#[tokio::test]
#[ignore = "floods the whole cluster"]
async fn the_largest_objects_of_a_tenant_fill_nobodys_memory() {
    let foreign = Space::open_with("flood-foreign", &restricted()).await;
    let tenant = Space::open("flood-runs").await;
    let policies: Api<NetworkPolicy> = foreign.api();
    let made = stream::iter(0..POLICIES).for_each_concurrent(4, |number| {
        let policies = policies.clone();
        async move {
            let policy = serde_json::from_value(policy(number)).expect("a policy");
            policies
                .create(&PostParams::default(), &policy)
                .await
                .map(drop)
                .expect("the API server takes it");
        }
    });
    made.await;
    let runs: Api<AgentRun> = tenant.api();
    let create = |number, annotation| {
        let runs = runs.clone();
        async move {
            let run = serde_json::from_value(run(number, annotation)).expect("a run");
            runs.create(&PostParams::default(), &run).await
        }
    };
    // What is larger than runs may be is refused, long before Kubernetes' own bound of 256 KiB.
    let refused = create(RUNS, 200 * 1024)
        .await
        .expect_err("200 KiB of annotations");
    assert!(refused.to_string().contains("cofferdam-guard-runs"), "{refused}");
    let made = stream::iter(0..RUNS).for_each_concurrent(AT_ONCE, |number| {
        let created = create(number, ANNOTATION);
        async move { created.await.map(drop).expect("the API server takes it") }
    });
    made.await;
    for component in ["controller", "gateway"] {
        start_anew(component).await;
    }
    // Both have read all of it, and neither has died of it.
    let ordinary = tenant
        .script("ordinary", BUSYBOX, "sh", "echo done >done\n", json!({}))
        .await;
    ordinary.ends(Reason::Completed).await;
    for component in ["controller", "gateway"] {
        let restarts = restarts(component).await;
        assert!(
            !restarts.is_empty() && restarts.iter().all(|each| *each == (0, None)),
            "{component}: {restarts:?}"
        );
    }
    foreign.close().await;
    tenant.close().await;
}

/// A queue costs whoever is in it, whatever becomes of the runs before: a run of another namespace gets its Job while
/// very many wait, come, end and are deleted.
#[tokio::test]
#[ignore = "makes a thousand runs"]
async fn a_long_queue_of_one_namespace_holds_no_other_up() {
    let crowded = Space::open_bare("queue-crowded").await;
    let mut limits = default_limits();
    limits["maxRunning"] = json!(1);
    crowded.policy("default", limits).await;
    let other = Space::open("queue-other").await;
    let runs: Api<AgentRun> = crowded.api();
    let create = |number: u32| {
        let runs = runs.clone();
        async move {
            let mut waiting = run(number, 0);
            waiting["spec"] = json!({"task": {"prompt": "x"}, "agent": {"image": BUSYBOX, "command": ["sleep", "3"]},
                "resources": {"requests": {"cpu": "50m", "memory": "64Mi", "ephemeral-storage": "64Mi"}}});
            let waiting = serde_json::from_value(waiting).expect("a run");
            runs.create(&PostParams::default(), &waiting)
                .await
                .map(drop)
                .expect("the API server takes it");
        }
    };
    stream::iter(0..QUEUED).for_each_concurrent(AT_ONCE, create).await;
    until("most of them wait", Duration::from_mins(3), || async {
        let all = runs
            .list(&ListParams::default())
            .await
            .expect("runs can be listed")
            .items;
        let queued = all
            .iter()
            .filter(|run| run.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Queued"));
        let queued = queued.count();
        if queued > QUEUED as usize * 9 / 10 {
            Ok(())
        } else {
            Err(queued)
        }
    })
    .await;
    for number in 0..5 {
        let name = format!("prompt-{number}");
        let run = other.script(&name, BUSYBOX, "sh", "true\n", json!({})).await;
        until("a run of another namespace has its Job", PROMPT, || async {
            if run.jobs().await.is_empty() {
                Err("no Job")
            } else {
                Ok(())
            }
        })
        .await;
        run.ends(Reason::Completed).await;
    }
    crowded.close().await;
    other.close().await;
}
