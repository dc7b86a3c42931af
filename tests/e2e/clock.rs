//! The clock is not in the sandbox: whatever an agent does there, its exit closes in time, and it ends.
//!
//! Times are compared with those that the node and the servers of the test's internet wrote; all of them are on this
//! machine's clock.

use std::time::Duration;

use cofferdam_api::{AgentRun, Reason};
use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{ATTACKER, Internet, Run, Space, eventually};

const OVERTIME: &str = include_str!("scripts/overtime.py");
/// Seconds for which the agents may work.
const TIME: i64 = 15;
/// Seconds after which nothing of a run passes the gateway any more.
const SHUT: f64 = 2.0;

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
    eventually("requests arrive both ways", Duration::from_secs(60), || async {
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

#[rstest]
#[case::that_ignores_every_signal("overtime", &[])]
#[case::that_leaves_the_sidecar_no_cpu("overtime-starve", &["starve"])]
#[tokio::test]
async fn at_the_deadline_the_exit_of_an_agent_is_shut(#[case] name: &str, #[case] attacks: &[&str]) {
    let space = Space::open(name).await;
    let more = json!({"activeDeadlineSeconds": TIME});
    let (run, path) = overtime(&space, "late", attacks, more).await;
    requests_arrive(&path).await;
    let ended = run.ends(Reason::DeadlineExceeded).await;
    let late = late(&path, deadline(&ended));
    assert!(late.is_empty(), "seconds after the deadline: {late:?}");
    space.close().await;
}
