//! The queue of a namespace: no more runs than policy allows have a workload, the oldest go first.

use std::time::Duration;

use cofferdam_api::{AgentRun, Reason};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use crate::harness::{BUSYBOX, Run, Space, default_limits, until};

/// An agent that waits to be cancelled.
const PATIENT: &str = "while :; do sleep 1; done\n";

async fn space(name: &str, max_running: i32) -> Space {
    let space = Space::open_bare(name).await;
    let mut limits = default_limits();
    limits["maxRunning"] = json!(max_running);
    space.policy("default", limits).await;
    space
}

/// A run of the second after the last one's, so that their ages differ.
async fn later(space: &Space, name: &str, script: &str) -> Run {
    tokio::time::sleep(Duration::from_millis(1100)).await;
    space.script(name, BUSYBOX, "sh", script, json!({})).await
}

/// Waits until the run is queued, and returns what it says.
async fn queued(run: &Run) -> String {
    run.in_phase("Queued").await;
    let status = run.get().await.status.unwrap_or_default();
    assert_eq!(status.reason.as_deref(), Some("Queued"));
    status.message.unwrap_or_default()
}

#[tokio::test]
async fn of_three_runs_under_a_ceiling_of_one_two_wait_and_go_by_age() {
    let space = space("queue", 1).await;
    let first = space.script("zeta", BUSYBOX, "sh", PATIENT, json!({})).await;
    first.in_phase("Running").await;
    let second = later(&space, "gamma", "sleep 5\n").await;
    let message = queued(&second).await;
    assert!(
        message.contains("SandboxPolicy/default (limits.maxRunning) allows 1"),
        "{message}"
    );
    let version = second.get().await.metadata.resource_version;
    let third = later(&space, "alpha", "true\n").await;
    queued(&third).await;
    assert_eq!(
        second.get().await.metadata.resource_version,
        version,
        "another run in the queue costs it no write"
    );
    assert!(second.jobs().await.is_empty() && third.jobs().await.is_empty());
    first
        .change(json!({"cancel": "DiscardWork"}))
        .await
        .expect("cancel may be set");
    first.ends(Reason::Cancelled).await;
    let second = second.ends(Reason::Completed).await.status.unwrap();
    let third = third.ends(Reason::Completed).await.status.unwrap();
    assert!(third.start_time.unwrap().0 >= second.completion_time.unwrap().0);
    space.close().await;
}

#[tokio::test]
async fn a_suspended_run_holds_nobody_up_and_a_deleted_one_gives_way() {
    let space = space("queue-gives-way", 1).await;
    let suspended = space
        .script("sleeper", BUSYBOX, "sh", "true\n", json!({"suspend": true}))
        .await;
    suspended.in_phase("Suspended").await;
    let live = later(&space, "live", PATIENT).await;
    live.in_phase("Running").await;
    let waiting = later(&space, "waiting", "true\n").await;
    queued(&waiting).await;
    space
        .api::<AgentRun>()
        .delete(&live.name, &DeleteParams::default())
        .await
        .expect("the run can be deleted");
    waiting.ends(Reason::Completed).await;
    space.close().await;
}

#[tokio::test]
async fn a_queued_run_is_decided_by_the_policy_of_the_moment_when_it_starts() {
    let space = space("queue-policy", 1).await;
    let live = space.script("live", BUSYBOX, "sh", PATIENT, json!({})).await;
    live.in_phase("Running").await;
    let denied = later(&space, "denied", "true\n").await;
    queued(&denied).await;
    let mut limits = default_limits();
    limits["images"] = json!({"mode": "AllowList", "allowed": ["cofferdam.test/other"]});
    space.policy("default", limits).await;
    denied.ends(Reason::ImageDenied).await;
    assert!(denied.jobs().await.is_empty());
    space.close().await;
}

/// An agent that nothing but the end of its pod's grace ends.
const STUBBORN: &str = "trap '' TERM INT\nwhile :; do sleep 1; done\n";

/// Whether the kubelet has seen all of its containers end: what is left of it is a name.
fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// A deleted run's pod counts until it is over, so that nobody has more pods than `maxRunning` by deleting runs.
#[tokio::test]
async fn a_deleted_run_keeps_its_slot_until_its_pod_is_over() {
    let space = space("queue-slots", 1).await;
    let mut last = space.script("slot-0", BUSYBOX, "sh", STUBBORN, json!({})).await;
    for number in 1..3 {
        last.in_phase("Running").await;
        let next = later(&space, &format!("slot-{number}"), STUBBORN).await;
        queued(&next).await;
        let deleted = space
            .api::<AgentRun>()
            .delete(&last.name, &DeleteParams::default())
            .await;
        deleted.map(drop).expect("the run can be deleted");
        until("the next run has its pod", Duration::from_mins(2), || async {
            let pods = space.api::<Pod>().list(&ListParams::default()).await;
            let names: Vec<String> = pods
                .expect("pods can be listed")
                .into_iter()
                .filter(|pod| !is_over(pod))
                .filter_map(|pod| pod.metadata.name)
                .collect();
            assert!(names.len() <= 1, "{names:?}");
            let is_next = names.first().is_some_and(|name| name.contains(&next.name));
            if is_next { Ok(()) } else { Err(names) }
        })
        .await;
        last = next;
    }
    last.change(json!({"cancel": "DiscardWork"}))
        .await
        .expect("cancel may be set");
    last.ends(Reason::Cancelled).await;
    space.close().await;
}
