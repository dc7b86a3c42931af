//! One run cannot starve others: an agent that hoards tunnels whose answers it never reads costs its own run, while
//! another run is served and the gateway lives within its memory.

use std::time::Duration;

use cofferdam_api::{Reason, names};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use crate::harness::{ATTACKER, OPERATOR_NAMESPACE, Run, Space, client, eventually};

const HOARD: &str = include_str!("scripts/hoard.py");
const STEADY: &str = include_str!("scripts/steady.py");
/// Requests of the honest run.
const REQUESTS: u32 = 300;
/// Tunnels that the hostile run opens, and the bytes that it reads of each at first.
const TUNNELS: u32 = 250;
const READ: u32 = 4 << 20;

/// Restarts of the operator's containers of one role, and how each ended last.
pub async fn restarts(component: &str) -> Vec<(i32, Option<String>)> {
    let pods: Api<Pod> = Api::namespaced(client().await, OPERATOR_NAMESPACE);
    let ours = ListParams::default().labels(&format!("app.kubernetes.io/component={component}"));
    let pods = pods.list(&ours).await.expect("pods can be listed").items;
    // Another test has pods with the labels of a role, which belong to nobody.
    let pods = pods
        .into_iter()
        .filter(|pod| pod.metadata.owner_references.is_some());
    let statuses = pods.filter_map(|pod| pod.status?.container_statuses);
    statuses
        .flatten()
        .map(|status| {
            let last = status.last_state.and_then(|last| last.terminated);
            (status.restart_count, last.and_then(|last| last.reason))
        })
        .collect()
}

async fn steady(space: &Space, name: &str) -> Run {
    let script = STEADY.replace("@@TARGETS@@", &json!({"requests": REQUESTS}).to_string());
    space.script(name, ATTACKER, "python3", &script, json!({})).await
}

/// What the honest run says of its times. They are shown and not judged: tests share the machine.
async fn answered(run: &Run) -> String {
    run.ends(Reason::Completed).await;
    assert_eq!(run.added("answered").await, [REQUESTS.to_string()]);
    let log = run.log(names::CONTAINER_AGENT).await;
    let line = log.lines().find(|line| line.starts_with("answered"));
    line.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn an_agent_that_hoards_tunnels_starves_nobody_else() {
    let (hostile, honest) = (Space::open("starving").await, Space::open("starved").await);
    let before = restarts("gateway").await;
    // The control: what an honest run has without the other.
    let alone = answered(&steady(&honest, "alone").await).await;
    let targets = json!({"tunnels": TUNNELS, "read": READ}).to_string();
    let script = HOARD.replace("@@TARGETS@@", &targets);
    let more = json!({"activeDeadlineSeconds": 600});
    let hoarder = hostile
        .script("hoarder", ATTACKER, "python3", &script, more)
        .await;
    eventually(
        "the hoarder holds as many tunnels as it asked for",
        Duration::from_mins(5),
        || async {
            // There is no log before the agent's container has started.
            let started = hoarder
                .get()
                .await
                .status
                .and_then(|status| status.agent_start_time);
            started.is_some() && hoarder.log(names::CONTAINER_AGENT).await.contains(" ended ")
        },
    )
    .await;
    let beside = answered(&steady(&honest, "beside").await).await;
    println!("alone: {alone}; beside {TUNNELS} slow readers: {beside}");
    assert_eq!(restarts("gateway").await, before);
    let printed = hoarder.log(names::CONTAINER_AGENT).await;
    let most = printed
        .lines()
        .filter_map(|line| line.split(' ').nth(1)?.parse::<u32>().ok())
        .max();
    assert!(most.is_some_and(|most| most > TUNNELS / 2), "{printed}");
    hoarder
        .change(json!({"cancel": "DiscardWork"}))
        .await
        .expect("it may be cancelled");
    hoarder.ends(Reason::Cancelled).await;
    hostile.close().await;
    honest.close().await;
}
