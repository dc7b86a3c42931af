//! Which runs had a name, through crashes and upgrades.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::Store;
use cofferdam_wire::archive::NamedRun;
use cofferdam_wire::chain::Class;

const UID: &str = "0b7c9f3e-1111-4222-8333-444455556666";
const CONTROLLER: &str = "controller/pod-uid/1";

/// Stores a record of the controller, and brings the index up to it where `indexed`.
async fn tell(store: &Store, number: u64, kind: &str, namespace_uid: Option<&str>, indexed: bool) {
    let data = json!({"run": "team-a/fix", "namespaceUid": namespace_uid});
    let line =
        json!({"sourceSeq": number, "time": format!("t{number}"), "version": 3, "type": kind, "data": data});
    let line = format!("{line}\n").into_bytes();
    let prepared = store.prepare(UID, CONTROLLER.to_owned(), Class::Observed, &line);
    store.commit(prepared.unwrap()).await.unwrap();
    if indexed {
        store.note_origin(UID).unwrap();
    }
}

/// As an upload leaves it.
fn receive(store: &Store, data: &Path) {
    let directory = data.join("runs").join(UID);
    let manifest = json!({"version": 1, "patches": [], "stopped": null, "refused": []});
    let receipt = json!({"version": 1, "runUid": UID, "receivedAt": "t5", "manifest": manifest});
    fs::write(directory.join("run"), "team-a/fix").unwrap();
    fs::write(directory.join("receipt.json"), receipt.to_string()).unwrap();
    store.note_name("team-a/fix", UID);
}

fn run(received_at: &str, namespace_uid: Option<&str>, left_output: bool) -> Vec<NamedRun> {
    vec![NamedRun {
        run_uid: UID.to_owned(),
        received_at: received_at.to_owned(),
        namespace_uid: namespace_uid.map(str::to_owned),
        left_output,
    }]
}

#[tokio::test]
async fn the_uid_of_the_namespace_is_known_before_the_output_and_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let mut store = Store::open(data.path()).unwrap();
    assert_eq!(store.named("team-a", "fix").unwrap(), []);
    tell(&store, 1, "Admitted", Some("n"), true).await;
    for _ in 0..2 {
        assert_eq!(store.named("team-a", "fix").unwrap(), run("t1", Some("n"), false));
        drop(store);
        store = Store::open(data.path()).unwrap();
    }
    receive(&store, data.path());
    for _ in 0..2 {
        assert_eq!(store.named("team-a", "fix").unwrap(), run("t5", Some("n"), true));
        drop(store);
        store = Store::open(data.path()).unwrap();
    }
    assert_eq!(store.named("team-b", "fix").unwrap(), []);
}

#[tokio::test]
async fn the_uid_is_known_where_the_output_came_first_or_a_crash_came_in_between() {
    let data = tempfile::tempdir().unwrap();
    let mut store = Store::open(data.path()).unwrap();
    // The index is not brought up to the record: the process was killed after its commit.
    tell(&store, 1, "Admitted", Some("n"), false).await;
    receive(&store, data.path());
    let index = data.path().join("runs").join(UID).join("index.json");
    for whole in [false, true] {
        drop(store);
        store = Store::open(data.path()).unwrap();
        assert_eq!(index.exists(), whole);
        assert_eq!(store.named("team-a", "fix").unwrap(), run("t5", Some("n"), true));
    }
    // Without an output nobody asks by name before the index is complete.
    fs::remove_file(&index).unwrap();
    fs::remove_file(index.with_file_name("run")).unwrap();
    drop(store);
    store = Store::open(data.path()).unwrap();
    assert_eq!(store.named("team-a", "fix").unwrap(), []);
    store.complete_index().unwrap();
    assert_eq!(store.named("team-a", "fix").unwrap(), run("t5", Some("n"), true));
}

/// A controller that tells no uid was renewed while the run was running.
#[tokio::test]
async fn a_uid_that_is_told_later_is_added_and_another_one_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    tell(&store, 1, "Admitted", None, true).await;
    assert_eq!(store.named("team-a", "fix").unwrap(), run("t1", None, false));
    tell(&store, 2, "Ended", Some("n"), true).await;
    tell(&store, 3, "Admitted", Some("other"), true).await;
    assert_eq!(store.named("team-a", "fix").unwrap(), run("t1", Some("n"), false));
}

/// The index is made of the chain: completing it keeps nothing longer.
#[tokio::test]
async fn completing_the_index_is_no_write_to_the_run() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    tell(&store, 1, "Admitted", Some("n"), false).await;
    let directory = data.path().join("runs").join(UID);
    let before = super::last_write(&directory).unwrap();
    let old = before - std::time::Duration::from_secs(1000);
    let chain = fs::File::options()
        .append(true)
        .open(directory.join("chain.jsonl"))
        .unwrap();
    chain.set_modified(old).unwrap();
    store.complete_index().unwrap();
    assert!(directory.join("index.json").exists());
    assert_eq!(super::last_write(&directory).unwrap(), old);
}
