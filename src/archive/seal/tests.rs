use std::fs;
use std::path::Path;

use cofferdam_wire::chain::verify::{Expected, verify};
use cofferdam_wire::record::{RecordEvent, StreamEnd};
use cofferdam_wire::seal::SealEntry;
use rstest::rstest;

use super::*;
use crate::error::StoreError;
use crate::log::RECORDS_LIMIT;
use crate::log::testing::{closed, line};
use crate::store::Store;

const UID: &str = "0b7c9f3e-1111-4222-8333-444455556666";

struct Rig {
    data: tempfile::TempDir,
    store: Store,
}

fn rig() -> Rig {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    Rig { data, store }
}

/// What the controller sends last.
fn request(cause: SealCause, incomplete: bool, types: &[&str]) -> SealRequest {
    let numbered = types.iter().zip(1..);
    let records = numbered.map(|(kind, number)| {
        let record = json!({"sourceSeq": number, "time": "t", "type": kind, "data": {}});
        SealEntry {
            class: if *kind == "Prepared" {
                Class::Reported
            } else {
                Class::Observed
            },
            record: serde_json::from_value(record).unwrap(),
        }
    });
    SealRequest {
        version: VERSION,
        cause,
        incomplete,
        stream: "0000000000000009-1".to_owned(),
        records: records.collect(),
    }
}

fn opened(number: u64) -> Vec<u8> {
    line(number, RecordEvent::StreamOpened)
}

fn stream_closed(number: u64) -> Vec<u8> {
    let cause = StreamEnd::RunEnded.into();
    let count = number - 1;
    line(number, RecordEvent::StreamClosed { count, cause })
}

impl Rig {
    async fn append(&self, source: &str, lines: &[Vec<u8>]) -> Result<(), StoreError> {
        let lines = lines.concat();
        let prepared = self
            .store
            .prepare(UID, source.to_owned(), Class::Observed, &lines)?;
        self.store.commit(prepared).await
    }

    async fn seal(&self, request: SealRequest) -> Result<Seal, StoreError> {
        let prepared = self.store.prepare_seal(UID, request, "controller/pod-c")?;
        self.store.seal(prepared).await
    }

    async fn ended(&self) -> Result<Seal, StoreError> {
        self.seal(request(SealCause::RunEnded, false, &["Ended"])).await
    }

    /// The same volume after a restart.
    fn again(self) -> Self {
        let Self { data, store } = self;
        drop(store);
        Self {
            store: Store::open(data.path()).unwrap(),
            data,
        }
    }

    fn chain(&self) -> Vec<u8> {
        fs::read(file(self.data.path())).unwrap()
    }
}

fn file(data: &Path) -> std::path::PathBuf {
    data.join("runs").join(UID).join("chain.jsonl")
}

#[tokio::test]
async fn a_seal_is_the_last_record_and_names_where_the_chain_ends() {
    let rig = rig();
    rig.append("gateway/pod-g/1", &[opened(1), closed(2), stream_closed(3)])
        .await
        .unwrap();
    let types = ["Admitted", "Prepared", "Ended"];
    let seal = rig
        .seal(request(SealCause::RunEnded, false, &types))
        .await
        .unwrap();
    let chain = rig.chain();
    verify(UID, &chain, Expected::Exactly(seal.head)).unwrap();
    let lines: Vec<Value> = chain
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let told = |line: &Value| {
        let word = |name: &str| line[name].as_str().unwrap().to_owned();
        format!(
            "{} {} {} {}",
            word("source"),
            line["sourceSeq"],
            word("class"),
            word("type")
        )
    };
    let told: Vec<String> = lines[3..].iter().map(told).collect();
    assert_eq!(
        told,
        [
            "controller/pod-c/0000000000000009-1 1 Observed Admitted",
            "controller/pod-c/0000000000000009-1 2 Reported Prepared",
            "controller/pod-c/0000000000000009-1 3 Observed Ended",
            "archive/-/seal 1 Observed Sealed",
        ]
    );
    assert_eq!(lines[6]["data"], json!(seal.data));
    assert!(seal.data.complete && !seal.signed);
    assert_eq!(seal.data.logs, "NotCollected");
    assert_eq!(lines[6]["data"].get("missing"), None);
}

/// However many sources there are, the number of all that is missing is exact.
#[tokio::test]
async fn every_missing_record_is_counted() {
    let rig = rig();
    let sources = u64::try_from(GAPS).unwrap() + 8;
    for source in 0..sources {
        let source = format!("gateway/pod-{source}/1");
        rig.append(&source, &[opened(1), closed(2000), stream_closed(2001)])
            .await
            .unwrap();
    }
    let seal = rig.ended().await.unwrap();
    assert_eq!((seal.data.gaps.len(), seal.data.missing), (GAPS, sources * 1998));
    assert_eq!(rig.again().ended().await.unwrap(), seal);
}

#[tokio::test]
async fn a_seal_is_given_again_and_the_chain_stays_as_it_is() {
    let mut rig = rig();
    let first = rig.ended().await.unwrap();
    let chain = rig.chain();
    for _ in 0..2 {
        let other = request(SealCause::RunDeleted, true, &["Ended", "Ended"]);
        assert_eq!(rig.seal(other).await.unwrap(), first);
        assert_eq!(rig.chain(), chain);
        rig = rig.again();
    }
}

#[tokio::test]
async fn a_sealed_chain_takes_what_it_has_and_nothing_else() {
    let mut rig = rig();
    rig.append("gateway/pod-g/1", &[closed(1), closed(2)])
        .await
        .unwrap();
    rig.ended().await.unwrap();
    let chain = rig.chain();
    for _ in 0..2 {
        rig.append("gateway/pod-g/1", &[closed(1), closed(2)])
            .await
            .unwrap();
        for (source, lines) in [
            ("gateway/pod-g/1", vec![closed(3)]),
            ("gateway/pod-g/1", vec![closed(2), closed(3)]),
            ("gateway/pod-g/2", vec![opened(1)]),
        ] {
            let refused = rig.append(source, &lines).await;
            assert!(matches!(refused, Err(StoreError::Sealed)), "{refused:?}");
        }
        assert_eq!(rig.chain(), chain);
        rig = rig.again();
    }
}

#[tokio::test]
async fn an_open_stream_is_waited_for_and_then_told() {
    let mut rig = rig();
    rig.append("gateway/pod-a/1", &[opened(1), closed(2)])
        .await
        .unwrap();
    rig.append(
        "gateway/pod-b/1",
        &[opened(1), closed(3), closed(6), stream_closed(7)],
    )
    .await
    .unwrap();
    for _ in 0..2 {
        let Err(StoreError::StreamsOpen(streams)) = rig.ended().await else {
            panic!("it is sealed")
        };
        assert_eq!(streams, "gateway/pod-a/1");
        rig = rig.again();
    }
    let seal = rig
        .seal(request(SealCause::RunEnded, true, &["Ended"]))
        .await
        .unwrap();
    let gap = |source: &str, missing, open| Gap {
        source: source.to_owned(),
        missing,
        open,
    };
    assert_eq!(
        seal.data.gaps,
        [gap("gateway/pod-a/1", 0, true), gap("gateway/pod-b/1", 3, false)]
    );
    assert!(!seal.data.complete);
    assert_eq!(seal.data.missing, 3);
    let again = rig.again().ended().await.unwrap();
    assert_eq!(again, seal);
}

#[rstest]
#[case::admitted("controller/pod-c/1", &["Admitted"], SealCause::RunDeleted)]
#[case::never_heard_of("controller/pod-c/1", &[], SealCause::RunUnknown)]
#[case::other_records("controller/pod-c/1", &["Document"], SealCause::RunUnknown)]
#[case::a_gateway_says_so("gateway/pod-c/1", &["Admitted"], SealCause::RunUnknown)]
#[tokio::test]
async fn a_run_that_is_gone_was_deleted_if_the_controller_told_of_it(
    #[case] source: &str,
    #[case] types: &[&str],
    #[case] cause: SealCause,
) {
    for restart in [false, true] {
        let mut rig = rig();
        let lines = types.iter().zip(1..).map(|(kind, number)| {
            format!(r#"{{"sourceSeq":{number},"time":"t","type":"{kind}","data":{{}}}}"#).into_bytes()
        });
        let lines: Vec<Vec<u8>> = lines.map(|line| [line, b"\n".to_vec()].concat()).collect();
        if !lines.is_empty() {
            rig.append(source, &lines).await.unwrap();
        }
        if restart {
            rig = rig.again();
        }
        let seal = rig.seal(request(SealCause::RunDeleted, true, &[])).await.unwrap();
        assert_eq!(seal.data.cause, cause);
    }
}

/// What a run may have is for its gateways; its end always finds room.
#[tokio::test]
async fn a_full_chain_can_be_sealed() {
    let rig = rig();
    let long = vec![b'x'; 15 * 1024];
    let record = |number: u64| {
        let text = String::from_utf8(long.clone()).unwrap();
        format!(r#"{{"sourceSeq":{number},"time":"t","type":"T","data":"{text}"}}"#).into_bytes()
    };
    let mut number = 0;
    loop {
        number += 1;
        let line = [record(number), b"\n".to_vec()].concat();
        match rig.append("gateway/pod-g/1", &[line]).await {
            Ok(()) => {}
            Err(StoreError::Full) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(u64::try_from(rig.chain().len()).unwrap() > RECORDS_LIMIT - 20 * 1024);
    let seal = rig.ended().await.unwrap();
    verify(UID, &rig.chain(), Expected::Exactly(seal.head)).unwrap();
}

#[tokio::test]
async fn a_corrupt_chain_is_not_sealed() {
    let rig = rig();
    rig.append("gateway/pod-g/1", &[closed(1), closed(2)])
        .await
        .unwrap();
    let path = file(rig.data.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[10] ^= 1;
    fs::write(&path, bytes).unwrap();
    let refused = rig.again().ended().await;
    assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
}

#[tokio::test]
async fn a_statement_is_kept_once_and_only_for_a_sealed_chain() {
    let rig = rig();
    rig.append("gateway/pod-g/1", &[closed(1)]).await.unwrap();
    let early = rig.store.keep_statement(UID, b"{}");
    assert!(matches!(early, Err(StoreError::Statement(_))), "{early:?}");
    let uids = |rig: &Rig| -> Vec<String> {
        let runs = rig.store.unsealed().unwrap().into_iter();
        runs.map(|run| run.run).collect()
    };
    rig.ended().await.unwrap();
    assert_eq!(uids(&rig), [UID]);
    assert!(rig.store.keep_statement(UID, b"no JSON").is_err());
    rig.store.keep_statement(UID, b"{\"a\":1}").unwrap();
    rig.store.keep_statement(UID, b"{\"b\":2}").unwrap();
    assert_eq!(rig.store.statement(UID).unwrap().unwrap(), b"{\"a\":1}");
    assert_eq!(uids(&rig), [""; 0]);
    assert!(rig.ended().await.unwrap().signed);
}

#[rstest]
#[case::stamped(json!({"sourceSeq": 1, "time": "t", "type": "Ended", "class": "Observed"}))]
#[case::no_number(json!({"time": "t", "type": "Ended"}))]
#[case::too_long(json!({"sourceSeq": 1, "time": "t", "type": "Ended", "data": "x".repeat(17_000)}))]
#[tokio::test]
async fn a_request_with_a_line_that_is_no_record_seals_nothing(#[case] record: Value) {
    let rig = rig();
    let mut request = request(SealCause::RunEnded, false, &["Ended"]);
    request.records[0].record = serde_json::from_value(record).unwrap();
    let refused = rig.seal(request).await;
    assert!(
        matches!(refused, Err(StoreError::Record { line: 1, .. })),
        "{refused:?}"
    );
    assert!(!file(rig.data.path()).exists());
}
