//! What changes after a run was created: policies, other runs, and the run's own mutable fields.

use std::time::Duration;

use cofferdam_api::{AgentRun, Reason, SandboxPolicy};
use kube::api::DeleteParams;
use serde_json::json;

use super::spec::{limits, run};
use super::world::World;
use crate::harness::{Run, eventually, merge};

const SOON: Duration = Duration::from_mins(1);

async fn gets_a_job(world: &World, run: &Run) {
    eventually(&format!("{} has a Job", run.name), SOON, || async {
        world.job(run).await.is_some()
    })
    .await;
}

#[tokio::test]
async fn a_run_that_waited_meets_the_policies_of_the_day_it_starts() {
    let world = World::open("access-suspended", limits()).await;
    let suspended = run(&json!({"suspend": true}));
    let early = world.run("early", &suspended).await.expect("within the ceiling");
    let late = world.run("late", &suspended).await.expect("within the ceiling");
    early
        .change(json!({"suspend": false}))
        .await
        .expect("it may start");
    gets_a_job(&world, &early).await;
    let mut narrower = limits();
    merge(
        &mut narrower,
        &json!({"images": {"mode": "DenyAll", "allowed": null}}),
    );
    world.policy("default", narrower).await;
    // Policies and runs come to the controller by two watches; its status of the policy says that this one has come.
    let policies = world.space.api::<SandboxPolicy>();
    eventually("the controller has seen the policy", SOON, || async {
        let policy = policies.get("default").await.expect("it was just applied");
        policy.status.and_then(|status| status.observed_generation) == policy.metadata.generation
    })
    .await;
    late.change(json!({"suspend": false}))
        .await
        .expect("it may start");
    late.ends(Reason::ImageDenied).await;
    world.close().await;
}

#[tokio::test]
async fn runs_above_the_number_wait_for_those_before_them() {
    let mut one = limits();
    merge(&mut one, &json!({"maxRunning": 1}));
    let world = World::open("access-running", one).await;
    let first = world
        .run("first", &run(&json!({})))
        .await
        .expect("within the ceiling");
    gets_a_job(&world, &first).await;
    let second = world
        .run("second", &run(&json!({})))
        .await
        .expect("within the ceiling");
    second.in_phase("Queued").await;
    assert!(world.job(&second).await.is_none());
    let runs = world.space.api::<AgentRun>();
    runs.delete("first", &DeleteParams::default())
        .await
        .expect("Kim's own");
    gets_a_job(&world, &second).await;
    world.close().await;
}

#[tokio::test]
async fn a_run_is_not_kept_longer_than_the_ceiling_by_what_it_says_later() {
    let mut short = limits();
    merge(&mut short, &json!({"maxTTLSecondsAfterFinished": 20}));
    let world = World::open("access-kept", short).await;
    world.policy("long", limits()).await;
    world.may_use("long").await;
    let refused =
        |policy: &str| run(&json!({"policyRef": {"name": policy}, "agent": {"image": "evil.test/agent:1"}}));
    let kept = world.run("kept", &refused("default")).await.expect("well formed");
    let control = world.run("control", &refused("long")).await.expect("well formed");
    for run in [&kept, &control] {
        run.ends(Reason::ImageDenied).await;
        run.change(json!({"ttlSecondsAfterFinished": 31_536_000}))
            .await
            .expect("it may change");
    }
    eventually("the run is deleted", SOON, || async { !world.has("kept").await }).await;
    assert!(world.has("control").await);
    world.close().await;
}
