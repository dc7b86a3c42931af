//! A cluster that stops to enforce its fences while an agent runs. Ignored by default, for that is the whole cluster's
//! affair; `make e2e` runs it alone, by name. Its control runs with the others.

use std::path::Path;
use std::process::Command;

use cofferdam_api::{Reason, Snapshot};
use serde_json::json;

use crate::harness::{BUSYBOX, Space};

/// The cluster without enforcement, until this is dropped: what fails meanwhile must not leave it so.
struct Withdrawn;

impl Withdrawn {
    /// Ends the enforcer and takes its rules from the kernel.
    fn begin() -> Self {
        cluster(&["up", "--no-network-policy"]);
        Self
    }
}

impl Drop for Withdrawn {
    fn drop(&mut self) {
        cluster(&["up"]);
    }
}

/// Brings the cluster to another setting; it goes on running.
fn cluster(arguments: &[&str]) {
    let program = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("target/cluster");
    let output = Command::new(&program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

#[tokio::test]
#[ignore = "takes enforcement from the whole cluster and gives it back"]
async fn an_agent_is_stopped_when_its_fence_is_lost() {
    let space = Space::open("fence-lost").await;
    let endless = "echo begun > begun\nwhile :; do sleep 1; done\n";
    let run = space.script("lost", BUSYBOX, "sh", endless, json!({})).await;
    // That it came so far shows that the fence was closed when it started.
    run.in_phase("Running").await;
    let withdrawn = Withdrawn::begin();
    let status = run.ends(Reason::EgressNotEnforced).await.status.unwrap();
    drop(withdrawn);
    let message = status.message.unwrap_or_default();
    assert!(message.starts_with("While the agent ran"), "{message}");
    // The first that got out; which one depends on when in a round the fence went.
    let probes = [
        "gateway-canary",
        "api-server",
        "kubelet",
        "metadata",
        "dns-0",
        "public-0",
    ];
    assert!(probes.iter().any(|probe| message.contains(probe)), "{message}");
    assert!(status.isolation.is_some(), "what was proven before");
    let patch = &status.outputs.expect("its work is kept").patches[0];
    assert_eq!((patch.snapshot, patch.files), (Snapshot::Live, 1));
    space.close().await;
}

/// The control: where the fence stays, an agent lives on through a round of the sidecar's probes, which is 30 s.
#[tokio::test]
async fn an_agent_lives_on_while_its_fence_stays() {
    let space = Space::open("fence-stays").await;
    let run = space.script("kept", BUSYBOX, "sh", "sleep 35\n", json!({})).await;
    run.ends(Reason::Completed).await;
    space.close().await;
}
