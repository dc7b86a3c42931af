//! Every way in which a run can end otherwise than by success.

use std::time::Duration;

use cofferdam_api::{AgentRun, Reason, Snapshot};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

use crate::harness::{BUSYBOX, Run, Space, default_limits, eventually, repository};

/// An agent that leaves a file, ignores SIGTERM and never ends.
const STUBBORN: &str = "trap '' TERM INT\necho begun > begun\nwhile :; do sleep 1; done\n";

async fn has_begun(run: &Run) {
    run.in_phase("Running").await;
}

#[tokio::test]
async fn an_agent_that_exits_3_failed_and_its_patch_is_kept() {
    let space = Space::open("exit-3").await;
    let run = space
        .script(
            "half-done",
            BUSYBOX,
            "sh",
            "echo half > file\nexit 3\n",
            json!({}),
        )
        .await;
    let status = run.ends(Reason::AgentFailed).await.status.unwrap();
    assert_eq!(status.exit_code, Some(3));
    assert_eq!(run.added("file").await, ["half"]);
    assert_eq!(status.outputs.unwrap().patches[0].files, 1);
    space.close().await;
}

#[tokio::test]
async fn at_the_time_out_the_work_is_kept_though_the_agent_ignores_sigterm() {
    let space = Space::open("time-out").await;
    let run = space
        .script(
            "endless",
            BUSYBOX,
            "sh",
            STUBBORN,
            json!({"activeDeadlineSeconds": 8}),
        )
        .await;
    let status = run.ends(Reason::DeadlineExceeded).await.status.unwrap();
    let patch = &status.outputs.expect("the snapshot's patch").patches[0];
    assert_eq!((patch.snapshot, patch.files), (Snapshot::Live, 1));
    space.close().await;
}

#[tokio::test]
async fn a_graceful_cancel_keeps_the_work() {
    let space = Space::open("cancel-graceful").await;
    let run = space
        .script("cancelled", BUSYBOX, "sh", STUBBORN, json!({}))
        .await;
    has_begun(&run).await;
    run.change(json!({"cancel": "KeepWork"}))
        .await
        .expect("cancel may be set");
    let status = run.ends(Reason::Cancelled).await.status.unwrap();
    assert_eq!(
        status.outputs.expect("the snapshot's patch").patches[0].snapshot,
        Snapshot::Live
    );
    space.close().await;
}

#[tokio::test]
async fn an_immediate_cancel_ends_without_a_patch() {
    let space = Space::open("cancel-immediate").await;
    let run = space.script("aborted", BUSYBOX, "sh", STUBBORN, json!({})).await;
    has_begun(&run).await;
    run.change(json!({"cancel": "DiscardWork"}))
        .await
        .expect("cancel may be set");
    let status = run.ends(Reason::Cancelled).await.status.unwrap();
    assert!(status.outputs.is_none_or(|outputs| outputs.patches.is_empty()));
    space.close().await;
}

#[tokio::test]
async fn deleting_a_run_removes_its_pod() {
    let space = Space::open("delete").await;
    let run = space.script("deleted", BUSYBOX, "sh", STUBBORN, json!({})).await;
    has_begun(&run).await;
    space
        .api::<AgentRun>()
        .delete(&run.name, &DeleteParams::default())
        .await
        .expect("the run can be deleted");
    eventually("pods and Jobs are gone", Duration::from_mins(2), || async {
        run.jobs().await.is_empty() && run.pod().await.is_none()
    })
    .await;
    space.close().await;
}

#[tokio::test]
async fn a_job_that_someone_deletes_is_told() {
    let space = Space::open("job-deleted").await;
    let run = space.script("orphaned", BUSYBOX, "sh", STUBBORN, json!({})).await;
    has_begun(&run).await;
    let job = run.jobs().await.remove(0).metadata.name.unwrap();
    space
        .api::<k8s_openapi::api::batch::v1::Job>()
        .delete(&job, &DeleteParams::background())
        .await
        .expect("an admin may delete the Job");
    run.ends(Reason::WorkloadDeleted).await;
    space.close().await;
}

#[tokio::test]
async fn an_image_that_does_not_exist() {
    let space = Space::open("no-image").await;
    let spec = json!({
        "task": {"prompt": "nothing"},
        "agent": {"image": "cofferdam.test/absent:dev"},
    });
    let status = space
        .run("pull", spec)
        .await
        .ends(Reason::ImagePullFailed)
        .await
        .status
        .unwrap();
    assert!(
        status
            .message
            .unwrap_or_default()
            .contains("cofferdam.test/absent:dev")
    );
    space.close().await;
}

#[tokio::test]
async fn a_runtime_class_that_does_not_exist_is_no_reason_to_take_another() {
    let space = Space::open_bare("no-runtime").await;
    let mut limits = default_limits();
    limits["runtime"]["runtimeClassNames"] = json!(["missing-runtime"]);
    space.policy("default", limits).await;
    let run = space.script("nowhere", BUSYBOX, "sh", "true\n", json!({})).await;
    let status = run.ends(Reason::RuntimeUnavailable).await.status.unwrap();
    assert!(status.message.unwrap_or_default().contains("missing-runtime"));
    assert!(run.jobs().await.is_empty());
    space.close().await;
}

#[tokio::test]
async fn without_a_policy_nothing_runs() {
    let space = Space::open_bare("no-policy").await;
    let run = space
        .script("ungoverned", BUSYBOX, "sh", "true\n", json!({}))
        .await;
    run.ends(Reason::PolicyMissing).await;
    assert!(run.jobs().await.is_empty());
    space.close().await;
}

#[tokio::test]
async fn an_image_that_no_layer_grants() {
    let space = Space::open("image-denied").await;
    // `cofferdam.test/**` must not be read as a string prefix.
    let spec = json!({"task": {"prompt": "nothing"}, "agent": {"image": "cofferdam.test-evil/busybox:dev"}});
    let run = space.run("foreign-image", spec).await;
    let status = run.ends(Reason::ImageDenied).await.status.unwrap();
    assert!(status.message.unwrap_or_default().contains("images"));
    assert!(run.jobs().await.is_empty());
    space.close().await;
}

#[tokio::test]
async fn a_repository_that_no_layer_grants() {
    let space = Space::open("repository-denied").await;
    let more = json!({"repositories": [{"name": "work", "url": "https://denied.internet.test/code.git"}]});
    let run = space.script("foreign-code", BUSYBOX, "sh", "true\n", more).await;
    run.ends(Reason::PolicyDenied).await;
    assert!(run.jobs().await.is_empty());
    space.close().await;
}

#[tokio::test]
async fn an_unknown_ref_names_the_repository() {
    let space = Space::open("unknown-ref").await;
    let mut wanted = repository("work", "two-first", "ReadWrite");
    wanted["ref"] = json!("no-such-branch");
    let run = space
        .script(
            "wrong-ref",
            BUSYBOX,
            "sh",
            "true\n",
            json!({"repositories": [wanted]}),
        )
        .await;
    let message = run
        .ends(Reason::CloneRefused)
        .await
        .status
        .unwrap()
        .message
        .unwrap_or_default();
    assert!(
        message.contains("work") && message.contains("no-such-branch"),
        "{message}"
    );
    space.close().await;
}

#[tokio::test]
async fn an_unreachable_repository_names_itself() {
    let space = Space::open("no-repository-there").await;
    let more = json!({"repositories": [repository("lost", "absent", "ReadWrite")]});
    let run = space.script("lost-code", BUSYBOX, "sh", "true\n", more).await;
    let message = run
        .ends(Reason::CloneRefused)
        .await
        .status
        .unwrap()
        .message
        .unwrap_or_default();
    assert!(
        message.contains("lost") && message.contains("private or absent (the server answers 404)"),
        "{message}"
    );
    space.close().await;
}

#[tokio::test]
async fn a_pod_that_the_quota_refuses() {
    let space = Space::open("quota").await;
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    let quota: ResourceQuota = serde_json::from_value(quota).unwrap();
    space
        .api::<ResourceQuota>()
        .create(&PostParams::default(), &quota)
        .await
        .expect("a quota");
    eventually("the quota counts", Duration::from_secs(30), || async {
        let seen = space.api::<ResourceQuota>().get("none").await.unwrap();
        seen.status.is_some_and(|status| status.used.is_some())
    })
    .await;
    let run = space.script("too-much", BUSYBOX, "sh", "true\n", json!({})).await;
    let message = run
        .ends(Reason::QuotaExceeded)
        .await
        .status
        .unwrap()
        .message
        .unwrap_or_default();
    assert!(message.contains("none"), "the quota's name in: {message}");
    assert!(
        space
            .api::<Pod>()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    space.close().await;
}
