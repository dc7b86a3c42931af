//! The recorder in front of the real archive.

use super::*;
use crate::evidence::Spool;
use cofferdam_wire::chain::verify::{Expected, verify};
use cofferdam_wire::record::StreamEnd;

fn closed(sent: u64) -> RecordEvent {
    RecordEvent::Closed {
        host: "a.test:443".to_owned(),
        sent,
        received: 1,
        cause: CloseCause::Ended.into(),
    }
}

/// Gateways are killed again and again, some with records that the archive does not have; each chain verifies, no
/// record is missing, none is there twice, and each stream has its end.
#[tokio::test]
async fn whoever_is_killed_the_archive_has_every_record_once() {
    let issuer = Issuer::new("key-1");
    let data = tempfile::tempdir().unwrap();
    let spool = tempfile::tempdir().unwrap();
    let (url, token) = archive(&issuer, data.path()).await;
    let runs = ["aaaa", "bbbb"];
    let mut made = [0_u64; 2];
    for process in 1..=30 {
        let client = ArchiveClient::new(&url, token.clone());
        let recorder = Recorder::new(ProcessId(process), client).spooled(Spool::open(spool.path()).unwrap());
        recorder.send_left().await;
        for (index, run) in runs.iter().enumerate() {
            assert!(recorder.accepts(run).await);
            for _ in 0..process % 7 {
                recorder.record(run, None, closed(made[index]));
                made[index] += 1;
            }
            if process % 3 == 0 {
                assert!(recorder.flush(run).await);
                recorder.record(run, None, closed(made[index]));
                made[index] += 1;
            }
        }
        if process == 30 {
            recorder.flush_all(|_| false, StreamEnd::RunEnded).await;
        }
    }
    for (run, made) in runs.iter().zip(made) {
        let bytes = std::fs::read(data.path().join("runs").join(run).join("chain.jsonl")).unwrap();
        let verified = verify(run, &bytes, Expected::Nothing).unwrap();
        assert!(
            verified
                .sources
                .keys()
                .all(|source| source.starts_with("gateway/gateway-uid/"))
        );
        assert_eq!(verified.sources.len(), 30);
        assert!(verified.sources.values().all(|stream| stream.missing.is_empty()));
        let text = String::from_utf8(bytes).unwrap();
        let events: Vec<RecordEvent> = text
            .lines()
            .map(|line| serde_json::from_str::<Record>(line).unwrap().event)
            .collect();
        let sent: Vec<u64> = events
            .iter()
            .filter_map(|event| match event {
                RecordEvent::Closed { sent, .. } => Some(*sent),
                _ => None,
            })
            .collect();
        assert_eq!(sent, (0..made).collect::<Vec<u64>>());
        let ends = events
            .iter()
            .filter(|event| matches!(event, RecordEvent::StreamClosed { .. }));
        assert_eq!(ends.count(), 30);
    }
    assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 0);
}
