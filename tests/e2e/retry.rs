//! Attempts: what failed before the agent started is tried again where policy lets it, the agent itself never.

use std::time::Duration;

use cofferdam_api::{AgentRun, Reason};
use serde_json::{Value, json};

use crate::harness::{BUSYBOX, Run, Space, default_limits, repository, until};

async fn space(name: &str, retry: &str) -> Space {
    let space = Space::open_bare(name).await;
    let mut limits = default_limits();
    limits["retry"] = json!(retry);
    space.policy("default", limits).await;
    space
}

/// A run whose git server answers 503, which may pass.
async fn with_busy_server(space: &Space, name: &str) -> Run {
    let url = "https://git.internet.test/unavailable/two-first.git";
    let more = json!({"repositories": [{"name": "lost", "url": url, "access": "ReadWrite"}]});
    space.script(name, BUSYBOX, "sh", "true\n", more).await
}

fn attempt(run: &AgentRun) -> Option<i32> {
    run.status.as_ref().and_then(|status| status.attempt)
}

fn count(reasons: &[String], wanted: &str) -> usize {
    reasons.iter().filter(|reason| *reason == wanted).count()
}

#[tokio::test]
async fn a_server_that_is_unavailable_is_tried_by_three_attempts() {
    let space = space("retry-clone", "BeforeAgentStart").await;
    let run = with_busy_server(&space, "persistent").await;
    let ended = run.ends(Reason::CloneFailed).await;
    assert_eq!(attempt(&ended), Some(3));
    let reasons = run.event_reasons().await;
    assert_eq!(count(&reasons, "RetryingCloneFailed"), 2, "{reasons:?}");
    assert_eq!(count(&reasons, "Attempt"), 2, "{reasons:?}");
    assert_eq!(count(&reasons, "CloneFailed"), 1, "{reasons:?}");

    // What no further attempt can change gets none.
    let more = json!({"repositories": [repository("lost", "absent", "ReadWrite")]});
    let run = space.script("resigned", BUSYBOX, "sh", "true\n", more).await;
    assert_eq!(attempt(&run.ends(Reason::CloneRefused).await), Some(1));
    space.close().await;
}

#[tokio::test]
async fn where_policy_says_never_there_is_one_attempt() {
    let space = space("retry-never", "Never").await;
    let run = with_busy_server(&space, "resigned").await;
    assert_eq!(attempt(&run.ends(Reason::CloneFailed).await), Some(1));
    let reasons = run.event_reasons().await;
    assert_eq!(count(&reasons, "RetryingCloneFailed"), 0, "{reasons:?}");
    space.close().await;
}

#[tokio::test]
async fn a_pod_that_is_given_up_while_its_image_does_not_come_is_followed_by_another() {
    let space = space("retry-image", "BeforeAgentStart").await;
    let spec = json!({"task": {"prompt": "nothing"}, "agent": {"image": "cofferdam.test/absent:dev"}});
    let run = space.run("pull", spec).await;
    // An attempt gives a failing pull a minute to pass, and its pod a while to go. That the third is the last is shown
    // above, where it takes seconds.
    until("the second attempt", Duration::from_mins(5), || async {
        let run = run.get().await;
        if attempt(&run) == Some(2) {
            Ok(())
        } else {
            Err(run.status)
        }
    })
    .await;
    space.close().await;
}

#[tokio::test]
async fn an_agent_that_failed_is_not_started_again() {
    let space = space("retry-agent", "BeforeAgentStart").await;
    let run = space.script("once", BUSYBOX, "sh", "exit 3\n", json!({})).await;
    assert_eq!(attempt(&run.ends(Reason::AgentFailed).await), Some(1));
    space.close().await;
}

#[tokio::test]
async fn the_images_that_ran_and_who_asked_stand_in_the_status() {
    let space = space("digests", "Never").await;
    let run = space.script("seen", BUSYBOX, "sh", "sleep 5\n", json!({})).await;
    let images = |run: &AgentRun| -> Vec<Value> {
        let status = serde_json::to_value(run.status.as_ref().unwrap()).unwrap();
        status["resolved"]["images"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let running = images(&run.in_phase("Running").await);
    assert!(!running.is_empty());
    let ended = run.ends(Reason::Completed).await;
    let names: Vec<Value> = images(&ended).iter().map(|image| image["name"].clone()).collect();
    assert_eq!(names, ["agent", "prepare", "sidecar"]);
    for image in images(&ended) {
        assert!(
            image["imageID"]
                .as_str()
                .is_some_and(|text| text.contains("sha256:")),
            "{image}"
        );
    }
    let told = ended.status.unwrap().conditions;
    assert!(told.iter().any(|each| each.type_ == "RequesterKnown"));
    space.close().await;
}
