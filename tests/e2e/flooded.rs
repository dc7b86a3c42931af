//! A tenant cannot fill the operator's memory: with the largest `NetworkPolicies` that the API server takes, in a namespace
//! that never opted in, and very many runs as large as they may be, the roles live within their limits, start anew, and
//! serve others. Ignored by default, for it is the whole cluster's; `make e2e` runs it alone, by name.

use std::time::Duration;

use cofferdam_api::{AgentRun, Reason};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{BUSYBOX, OPERATOR_NAMESPACE, Space, client, restricted, until};
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
