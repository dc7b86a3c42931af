//! The clock is not in the sandbox: whatever an agent does there, its exit closes in time, and it ends.
//!
//! Times are compared with those that the node and the servers of the test's internet wrote; all of them are on this
//! machine's clock.

use std::time::Duration;

use cofferdam_api::{AgentRun, Cancel, Reason, names};
use cofferdam_wire::output::COLLECT_BUDGET;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use rstest::rstest;
use serde_json::{Value, json};

use crate::guard::Who;
use crate::harness::{ATTACKER, Internet, Run, Space, eventually};

const OVERTIME: &str = include_str!("scripts/overtime.py");
/// Seconds for which the agents may work.
const TIME: i64 = 15;
/// Seconds after which nothing of a run passes the gateway any more.
const SHUT: f64 = 2.0;
/// Seconds from a deadline or a stop to the agent's death: 10 from when its work was taken, which is little here.
const DEAD: f64 = 14.0;
/// The same where a sidecar has next to no CPU to collect with, and takes all of its time for that.
const DEAD_AFTER_ALL_OF_COLLECTING: f64 = DEAD + COLLECT_BUDGET.as_secs_f64();

/// A run of an agent that attacks in these ways and uses its exit, and the path of its requests.
async fn overtime(space: &Space, name: &str, attacks: &[&str], more: Value) -> (Run, String) {
    let path = format!("/{}-{}", space.name, Timestamp::now().as_millisecond());
    let targets = json!({"path": path, "attacks": attacks, "control": 3131});
    let script = OVERTIME.replace("@@TARGETS@@", &targets.to_string());
    let run = space.script(name, ATTACKER, "python3", &script, more).await;
    (run, path)
}

/// The requests of a run that arrived, those on fresh connections and those in the tunnel that it keeps.
fn arrived(path: &str) -> [Vec<Timestamp>; 2] {
    let requests = Internet::requests();
    ["fresh", "tunnel"].map(|way| {
        let of = format!("{path}/{way}");
        let seen = requests.iter().filter(|seen| seen.path == of);
        seen.map(|seen| seen.time).collect()
    })
}

/// The control of every test here: while the run may, its requests arrive both ways.
async fn requests_arrive(path: &str) {
    eventually("requests arrive both ways", Duration::from_mins(1), || async {
        arrived(path).iter().all(|way| way.len() > 3)
    })
    .await;
}

/// What arrived more than [`SHUT`] seconds after `end`.
fn late(path: &str, end: Timestamp) -> Vec<f64> {
    let after = arrived(path)
        .into_iter()
        .flatten()
        .map(|time| time.duration_since(end).as_secs_f64());
    after.filter(|seconds| *seconds > SHUT).collect()
}

/// When the agent's time is over, by the status.
fn deadline(run: &AgentRun) -> Timestamp {
    let started = run
        .status
        .as_ref()
        .and_then(|status| status.agent_start_time.as_ref());
    started.expect("its agent started").0 + jiff::SignedDuration::from_secs(TIME)
}

/// When the agent's container ended, by its node.
fn died(pod: &Pod) -> Option<Timestamp> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let agent = statuses
        .iter()
        .find(|container| container.name == names::CONTAINER_AGENT)?;
    let ended = agent.state.as_ref()?.terminated.as_ref()?;
    ended.finished_at.as_ref().map(|time| time.0)
}

/// Seconds from `since` to the agent's death. The pod is still there.
async fn lived_on(run: &Run, since: Timestamp) -> f64 {
    let pod = run.pod().await.expect("the pod is kept");
    let died = died(&pod).unwrap_or_else(|| panic!("the agent has ended: {:#?}", pod.status));
    died.duration_since(since).as_secs_f64()
}

#[rstest]
#[case::that_ignores_every_signal("overtime", &[])]
#[case::that_leaves_the_sidecar_no_cpu("overtime-starve", &["starve"])]
#[case::that_kills_what_it_can("overtime-kill", &["kill"])]
#[case::that_answers_the_kubelet("overtime-listen", &["listen"])]
#[tokio::test]
async fn at_the_deadline_the_exit_is_shut_and_the_agent_dies(#[case] name: &str, #[case] attacks: &[&str]) {
    let space = Space::open(name).await;
    let more = json!({"activeDeadlineSeconds": TIME});
    let (run, path) = overtime(&space, "late", attacks, more).await;
    requests_arrive(&path).await;
    let ended = run.ends(Reason::DeadlineExceeded).await;
    let deadline = deadline(&ended);
    let late = late(&path, deadline);
    assert!(late.is_empty(), "seconds after the deadline: {late:?}");
    let lived_on = lived_on(&run, deadline).await;
    let dead = if attacks == ["starve"] {
        DEAD_AFTER_ALL_OF_COLLECTING
    } else {
        DEAD
    };
    assert!((0.0..=dead).contains(&lived_on), "it lived on for {lived_on} s");
    assert_eq!(run.added("begun").await, ["begun"], "its work was kept");
    let printed = run.log(names::CONTAINER_AGENT).await;
    if attacks == ["listen"] {
        listens_nowhere(&printed);
    }
    if attacks == ["kill"] {
        assert!(printed.contains("killing done"), "{printed}");
    }
    space.close().await;
}

/// The agent could not listen where the kubelet asks, though each of its ways works on the port beside that.
fn listens_nowhere(printed: &str) {
    let said = |start: &str, port: &str| {
        let lines = printed.lines();
        lines
            .filter(|line| line.starts_with(start) && line.contains(port))
            .collect::<Vec<_>>()
    };
    assert_eq!(said("listens", " probe "), Vec::<&str>::new(), "{printed}");
    assert_eq!(said("answered", ""), Vec::<&str>::new(), "{printed}");
    assert_eq!(said("refused", " probe ").len(), 20, "{printed}");
    assert!(said("listens", " control ").len() >= 12, "{printed}");
}

#[rstest]
#[case::that_keeps_its_work("stopped-keep", Cancel::KeepWork)]
#[case::that_discards_its_work("stopped-discard", Cancel::DiscardWork)]
#[tokio::test]
async fn at_a_stop_the_exit_is_shut_and_the_agent_dies(#[case] name: &str, #[case] cancel: Cancel) {
    let space = Space::open(name).await;
    let (run, path) = overtime(&space, "stopped", &[], json!({})).await;
    requests_arrive(&path).await;
    run.in_phase("Running").await;
    let pod_name = run.pod().await.and_then(|pod| pod.metadata.name).expect("a pod");
    let pods: Api<Pod> = space.api();
    let asked = Timestamp::now();
    run.change(json!({"cancel": cancel}))
        .await
        .expect("it may be cancelled");
    let dead = || async {
        let pod = pods.get_opt(&pod_name).await.expect("pods can be read");
        pod.is_none_or(|pod| died(&pod).is_some())
    };
    eventually("the agent is dead", Duration::from_mins(1), dead).await;
    let lived_on = Timestamp::now().duration_since(asked).as_secs_f64();
    assert!(lived_on <= DEAD + SHUT, "it lived on for {lived_on} s");
    let late = late(&path, asked);
    assert!(late.is_empty(), "seconds after the stop: {late:?}");
    let outputs = run
        .ends(Reason::Cancelled)
        .await
        .status
        .and_then(|status| status.outputs);
    let patches = outputs.map_or(0, |outputs| outputs.patches.len());
    assert_eq!(patches, usize::from(cancel == Cancel::KeepWork));
    space.close().await;
}

/// The guard lets nobody delete a run's Job as an orphan. Here its garbage collector is made to leave the pod behind all
/// the same: as if the guard had not been there.
#[tokio::test]
async fn an_orphan_has_no_exit_and_dies() {
    let space = Space::open("orphan").await;
    let (run, path) = overtime(&space, "orphan", &[], json!({})).await;
    requests_arrive(&path).await;
    run.in_phase("Running").await;
    let job = run.jobs().await.remove(0).metadata.name.expect("Jobs have names");
    let collector = Who::Kubernetes("generic-garbage-collector").client().await;
    let as_collector: Api<Job> = Api::namespaced(collector, &space.name);
    let orphaned = Patch::Merge(json!({"metadata": {"finalizers": ["orphan"]}}));
    let patched = as_collector.patch(&job, &PatchParams::default(), &orphaned).await;
    patched.map(drop).expect("the garbage collector tends finalizers");
    let deleted = Timestamp::now();
    // Without a word on dependents the finalizer decides.
    let jobs: Api<Job> = space.api();
    let gone = jobs.delete(&job, &DeleteParams::default()).await;
    gone.map(drop).expect("a Job may be deleted");
    let pods: Api<Pod> = space.api();
    let pod_name = run.pod().await.and_then(|pod| pod.metadata.name).expect("a pod");
    eventually(
        "the pod has no owner or is dead",
        Duration::from_secs(20),
        || async {
            let pod = pods.get_opt(&pod_name).await.expect("pods can be read");
            pod.is_none_or(|pod| pod.metadata.owner_references.is_none())
        },
    )
    .await;
    let unowned = Timestamp::now();
    run.ends(Reason::WorkloadDeleted).await;
    let lived_on = Timestamp::now().duration_since(deleted).as_secs_f64();
    assert!(lived_on <= DEAD * 2.0, "it lived on for {lived_on} s");
    let late = late(&path, unowned);
    assert!(late.is_empty(), "seconds after it was orphaned: {late:?}");
    space.close().await;
}
