//! What a tenant may do to his own runs, and what that comes to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use cofferdam_api::{AgentRun, Reason};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::harness::{BUSYBOX, Space, eventually};

const PATIENT: &str = "echo begun >begun\nwhile :; do sleep 1; done\n";
/// Writers at a time, and how many changes each makes at most.
const WRITERS: u32 = 4;
const CHANGES: u32 = 20_000;

/// Who changes the metadata of a run without end keeps neither its stop nor its status from being written.
#[tokio::test]
async fn a_run_whose_metadata_never_rests_is_stopped_and_told_all_the_same() {
    let space = Space::open("churn").await;
    let run = space.script("restless", BUSYBOX, "sh", PATIENT, json!({})).await;
    let (done, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (runs, name) = (space.api::<AgentRun>(), run.name.clone());
            let (done, made) = (Arc::clone(&done), Arc::clone(&made));
            tokio::spawn(async move {
                for change in 0..CHANGES {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let patch = json!({"metadata": {"annotations": {format!("example.com/w{writer}"): change.to_string()}}});
                    let patched = runs.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
                    made.fetch_add(u32::from(patched.is_ok()), Ordering::Relaxed);
                }
            })
        })
        .collect();
    run.in_phase("Running").await;
    let before = made.load(Ordering::Relaxed);
    run.change(json!({"cancel": "KeepWork"}))
        .await
        .expect("cancel may be set");
    let status = run.ends(Reason::Cancelled).await.status.unwrap();
    let after = made.load(Ordering::Relaxed);
    done.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    // The control: it did never rest, before and while it was stopped.
    assert!(before > 20 && after > before + 20, "{before} {after}");
    assert_eq!(status.outputs.map_or(0, |outputs| outputs.patches.len()), 1);
    eventually(
        "its end is told by an event",
        std::time::Duration::from_secs(30),
        || async {
            run.event_reasons()
                .await
                .iter()
                .any(|reason| reason.contains("Cancelled"))
        },
    )
    .await;
    space.close().await;
}
