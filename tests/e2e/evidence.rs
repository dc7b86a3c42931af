//! The chain of records that a run leaves in the archive, read from its volume.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use cofferdam_api::Reason;
use cofferdam_wire::chain::verify::{Expected, verify};
use cofferdam_wire::record::{Record, RecordEvent};
use serde_json::{Value, json};

use crate::harness::{BUSYBOX, Space, until};

/// Where the archive of the embedded cluster keeps the chain of a run.
fn chain(run_uid: &str) -> Option<PathBuf> {
    let state = std::env::var("COFFERDAM_STATE").unwrap_or_else(|_| "/var/tmp/cofferdam".into());
    let volumes = std::fs::read_dir(PathBuf::from(state).join("volumes")).unwrap();
    let mut chains = volumes.map(|volume| {
        volume
            .unwrap()
            .path()
            .join("runs")
            .join(run_uid)
            .join("chain.jsonl")
    });
    chains.find(|path| path.exists())
}

fn records(text: &str) -> Vec<(String, Record)> {
    let read = |line: &str| {
        let stamped: Value = serde_json::from_str(line).unwrap();
        assert_eq!(stamped["class"], "Observed");
        let source = stamped["source"].as_str().unwrap().to_owned();
        (source, serde_json::from_value(stamped).unwrap())
    };
    text.lines().map(read).collect()
}

/// Which streams were opened, and which of them were closed.
fn streams(text: &str) -> HashMap<String, bool> {
    let mut streams = HashMap::new();
    for (source, record) in records(text) {
        match record.event {
            RecordEvent::StreamOpened => drop(streams.insert(source, false)),
            RecordEvent::StreamClosed { count, .. } => {
                assert_eq!(count + 1, record.source_seq);
                streams.insert(source, true);
            }
            _ => {}
        }
    }
    streams
}

/// The chain of a run, once each of its streams is closed.
fn whole(run_uid: &str) -> Result<String, &'static str> {
    let path = chain(run_uid).ok_or("the archive has no chain")?;
    let text = std::fs::read_to_string(path).map_err(|_| "the chain cannot be read")?;
    let streams = streams(&text);
    let is_whole = !streams.is_empty() && streams.values().all(|closed| *closed);
    is_whole.then_some(text).ok_or("a stream is open")
}

#[tokio::test]
async fn a_run_leaves_a_chain_that_verifies_and_has_its_end() {
    let space = Space::open("chain").await;
    let run = space
        .script("leaves-a-chain", BUSYBOX, "sh", "true", json!({}))
        .await;
    let ended = run.ends(Reason::Completed).await;
    let uid = ended.metadata.uid.unwrap();
    let text = until("the chain has its end", Duration::from_mins(1), || async {
        whole(&uid)
    })
    .await;
    let verified = verify(&uid, text.as_bytes(), Expected::Nothing).unwrap();
    for (source, stream) in &verified.sources {
        assert!(source.starts_with("gateway/"), "{source}");
        assert!(stream.missing.is_empty(), "{source}: {stream:?}");
    }
    let usage = ended.status.unwrap().usage.unwrap();
    let records = records(&text);
    let is_allowed = |record: &&(String, Record)| matches!(record.1.event, RecordEvent::Allowed { .. });
    let allowed = records.iter().filter(is_allowed).count();
    // At least its repository was cloned.
    assert!(allowed > 0);
    assert_eq!(i64::try_from(allowed).unwrap(), usage.allowed_requests);
    space.close().await;
}
