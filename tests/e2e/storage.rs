//! Ephemeral storage is what policy and the run say, volume by volume.

use cofferdam_api::Reason;
use rstest::rstest;
use serde_json::json;

use crate::harness::{BUSYBOX, Space};

/// The agent's limit is a quarter of what our own containers may hold beside it.
#[rstest]
#[case::in_tmp("tmp", "/tmp/filled", 320, Reason::StorageExceeded)]
#[case::at_home("home", "/home/agent/filled", 320, Reason::StorageExceeded)]
#[case::in_the_workspace("workspace", "/workspace/filled", 320, Reason::StorageExceeded)]
#[case::within_it("within", "/tmp/filled", 100, Reason::Completed)]
#[tokio::test]
async fn a_volume_is_held_to_the_agents_limit(
    #[case] name: &str,
    #[case] file: &str,
    #[case] mebibytes: u32,
    #[case] reason: Reason,
) {
    let space = Space::open(&format!("storage-{name}")).await;
    // The kubelet looks every ten seconds.
    let script = format!(
        "dd if=/dev/zero of={file} bs=1048576 count={mebibytes} 2>/dev/null\n\
         n=0; while [ {mebibytes} -gt 256 ] && [ $n -lt 150 ]; do sleep 1; n=$((n + 1)); done\n"
    );
    let more = json!({
        "repositories": null,
        "resources": {"requests": {"ephemeral-storage": "64Mi"}, "limits": {"ephemeral-storage": "256Mi"}},
    });
    let run = space.script("filler", BUSYBOX, "sh", &script, more).await;
    let status = run.ends(reason).await.status.unwrap();
    if reason == Reason::StorageExceeded {
        let message = status.message.unwrap_or_default();
        assert!(message.contains("256Mi"), "{message}");
    }
    space.close().await;
}
