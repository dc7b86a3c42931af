use super::*;
use crate::log::testing::{closed, line};
use cofferdam_wire::chain::verify::{Expected, Verified, verify};
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::record::RecordEvent;
use proptest::prelude::*;

const UID: &str = "0b7c9f3e-1111-4222-8333-444455556666";
const SOURCE: &str = "gateway/pod-uid/1";

async fn append(store: &Store, run: &str, source: &str, lines: &[u8]) -> Result<(), StoreError> {
    let prepared = store.prepare(run, source.to_owned(), Class::Observed, lines)?;
    store.commit(prepared).await
}

fn file(data: &Path, run: &str) -> PathBuf {
    data.join("runs").join(run).join("chain.jsonl")
}

fn verified(data: &Path, run: &str) -> Verified {
    verify(run, &fs::read(file(data, run)).unwrap(), Expected::Nothing).unwrap()
}

#[tokio::test]
async fn a_batch_that_is_sent_again_is_stored_once() {
    let data = tempfile::tempdir().unwrap();
    let mut store = Store::open(data.path()).unwrap();
    for _ in 0..3 {
        append(&store, UID, SOURCE, &closed(1)).await.unwrap();
        // Also by an archive that starts anew between the two.
        drop(store);
        store = Store::open(data.path()).unwrap();
    }
    let both = [closed(1), closed(2)].concat();
    append(&store, UID, SOURCE, &both).await.unwrap();
    assert_eq!(verified(data.path(), UID).head.seq, 2);
}

/// A container that restarts in its pod counts from 1 again, in a stream of its own.
#[tokio::test]
async fn records_of_two_processes_of_one_pod_are_all_stored() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    for source in ["gateway/pod-uid/1", "gateway/pod-uid/2"] {
        for number in 1..=3 {
            append(&store, UID, source, &closed(number)).await.unwrap();
        }
    }
    let verified = verified(data.path(), UID);
    assert_eq!(verified.head.seq, 6);
    assert!(verified.sources.values().all(|stream| stream.last == 3));
}

#[tokio::test]
async fn record_of_a_newer_version_is_stored_as_it_came() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    let later = br#"{"sourceSeq":1,"version":9,"time":"t","type":"Reserved","data":{"tokens":5},"more":[1]}"#;
    append(&store, UID, SOURCE, &[later, &b"\n"[..]].concat())
        .await
        .unwrap();
    let stored: serde_json::Value =
        serde_json::from_slice(&fs::read(file(data.path(), UID)).unwrap()).unwrap();
    let sent: serde_json::Value = serde_json::from_slice(later).unwrap();
    assert!(
        sent.as_object()
            .unwrap()
            .iter()
            .all(|(name, value)| stored[name] == *value)
    );
    assert_eq!(
        (&stored["source"], &stored["class"]),
        (&SOURCE.into(), &"Observed".into())
    );
    assert_eq!(store.run_record(UID).unwrap().requests, 0);
}

#[test]
fn what_is_not_a_record_is_refused_whole() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    let prepared = |lines: &[u8]| store.prepare(UID, SOURCE.to_owned(), Class::Observed, lines);
    let whole = closed(1);
    for (lines, at) in [
        (Vec::new(), 0),
        (whole[..20].to_vec(), 0),
        (b"\n".to_vec(), 1),
        (b"{}\n".to_vec(), 1),
        ([&whole[..], b"x\n"].concat(), 2),
        ([&whole[..], b"\n"].concat(), 2),
    ] {
        let refused = prepared(&lines);
        assert!(
            matches!(refused, Err(StoreError::Record { line, .. }) if line == at),
            "{refused:?}"
        );
    }
    assert!(prepared(&whole).is_ok());
}

#[test]
fn names_never_leave_their_place() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    let prepared = |uid: &str| store.prepare(uid, SOURCE.to_owned(), Class::Observed, &closed(1));
    for uid in ["", "..", "../x", "a/b", ".", "a b", "%2e", &"a".repeat(65), "x\0"] {
        assert!(store.directory(uid).is_err(), "{uid}");
        assert!(prepared(uid).is_err(), "{uid}");
    }
    for name in [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        ".hidden",
        "a\0",
        "ä",
        &"a".repeat(64),
    ] {
        assert!(patch_file(name).is_err(), "{name}");
    }
    assert_eq!(patch_file("app").unwrap(), "app.patch");
    assert!(prepared(UID).is_ok());
}

fn denied(number: u64, host: u64) -> Vec<u8> {
    let event = RecordEvent::Denied {
        host: format!("{host}.test:443"),
        method: "CONNECT".to_owned(),
        path: None,
        code: DenialCode::HostNotAllowed.into(),
        layer: None,
        message: "no".to_owned(),
        by: "agent".to_owned(),
        count: 2,
    };
    line(number, event)
}

/// What was summed up as it came is what a process that starts reads from the file.
#[tokio::test]
async fn summary_is_the_same_as_it_comes_and_after_a_start() {
    let data = tempfile::tempdir().unwrap();
    let mut store = Store::open(data.path()).unwrap();
    for step in 0..40 {
        let lines = [
            denied(step * 3 + 1, step % 13),
            closed(step * 3 + 2),
            denied(step * 3 + 3, step % 3),
        ]
        .concat();
        append(&store, UID, SOURCE, &lines).await.unwrap();
        let running = store.run_record(UID).unwrap();
        assert_eq!(running.denied_requests, (step + 1) * 4);
        drop(store);
        store = Store::open(data.path()).unwrap();
        if step % 2 == 0 {
            assert_eq!(store.run_record(UID).unwrap(), running, "step {step}");
        }
    }
}

#[tokio::test]
async fn corrupt_run_is_closed_and_others_go_on() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    for run in [UID, "ffff"] {
        let lines = [denied(1, 1), denied(2, 2), denied(3, 3)].concat();
        append(&store, run, SOURCE, &lines).await.unwrap();
    }
    drop(store);
    let path = file(data.path(), UID);
    let spoilt = fs::read_to_string(&path).unwrap().replace("2.test", "3.test");
    fs::write(&path, &spoilt).unwrap();
    let store = Store::open(data.path()).unwrap();
    let refused = append(&store, UID, SOURCE, &closed(4)).await;
    assert!(
        matches!(&refused, Err(StoreError::Corrupt(fault)) if fault.line == 2 || fault.line == 3),
        "{refused:?}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), spoilt);
    assert!(store.run_record(UID).unwrap().denied_requests < 6);
    append(&store, "ffff", SOURCE, &closed(4)).await.unwrap();
    assert_eq!(verified(data.path(), "ffff").head.seq, 4);
}

/// Someone takes acknowledged lines away while the archive runs.
#[tokio::test]
async fn file_that_shrinks_under_the_archive_closes_its_run() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    for spoil in [
        |path: &Path| fs::remove_file(path).unwrap(),
        |path: &Path| {
            let text = fs::read_to_string(path).unwrap();
            fs::write(path, text.split_inclusive('\n').next().unwrap()).unwrap();
        },
    ] {
        let run = format!("{}", fs::read_dir(data.path().join("runs")).unwrap().count());
        let lines = [closed(1), closed(2)].concat();
        append(&store, &run, SOURCE, &lines).await.unwrap();
        spoil(&file(data.path(), &run));
        assert!(append(&store, &run, SOURCE, &closed(3)).await.is_err());
        let refused = append(&store, &run, SOURCE, &closed(3)).await;
        assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn all_that_waits_at_once_is_stored_in_its_own_chain() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    let runs: Vec<String> = (0..20).map(|run| format!("{run:04}")).collect();
    let (store_ref, runs_ref) = (&store, &runs);
    let appends = (0..400).map(|index| async move {
        let source = format!("gateway/pod/{}", index / 20);
        append(store_ref, &runs_ref[index % 20], &source, &closed(1)).await
    });
    for done in futures::future::join_all(appends).await {
        done.unwrap();
    }
    for run in &runs {
        let verified = verified(data.path(), run);
        assert_eq!((verified.head.seq, verified.sources.len()), (20, 20));
    }
}

/// The lines of Python in `docs/evidence.md`, as a stranger runs them.
#[tokio::test]
async fn stranger_verifies_a_chain_with_the_python_of_the_docs() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/evidence.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, code) = page.split_once("```python\n").unwrap();
    let (code, _) = code.split_once("```").unwrap();
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    for numbers in [1..3, 5..7] {
        let lines: Vec<u8> = numbers.flat_map(closed).collect();
        append(&store, UID, SOURCE, &lines).await.unwrap();
    }
    let head = verified(data.path(), UID).head;
    let path = file(data.path(), UID);
    let python = |head: Head| {
        let run = std::process::Command::new("python3")
            .args(["-c", code])
            .arg(&path)
            .args([UID, &head.seq.to_string(), &head.sha256.to_string()])
            .output()
            .unwrap();
        let said = [run.stdout, run.stderr].concat();
        (run.status.success(), String::from_utf8(said).unwrap())
    };
    let (verifies, said) = python(head);
    assert!(verifies, "{said}");
    assert!(said.contains(&format!("record 4 of {SOURCE} was lost")), "{said}");
    assert!(
        said.contains(&format!("chain of 4 records, verified: {}", head.sha256)),
        "{said}"
    );
    assert!(!python(Head { seq: 5, ..head }).0);
    let spoilt = fs::read_to_string(&path).unwrap().replacen("a.test", "b.test", 1);
    fs::write(&path, spoilt).unwrap();
    let (verifies, said) = python(head);
    assert!(
        !verifies && said.contains("line 2 does not follow line 1"),
        "{said}"
    );
}

/// Runs that nobody holds are forgotten, and go on where they were.
#[tokio::test]
async fn forgotten_run_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    append(&store, UID, SOURCE, &closed(1)).await.unwrap();
    let held = store.run("abc").unwrap();
    for number in 0..REMEMBERED_RUNS {
        store.run(&format!("{number:x}-")).unwrap();
    }
    assert!(!store.known.lock().contains_key(UID));
    assert!(Arc::ptr_eq(&held, &store.run("abc").unwrap()));
    append(&store, UID, SOURCE, &closed(2)).await.unwrap();
    assert_ne!(verified(data.path(), UID).head, Head::EMPTY);
    assert_eq!(verified(data.path(), UID).head.seq, 2);
}

/// `/dev/null` takes every byte and refuses to be synced.
#[tokio::test]
async fn sync_that_fails_ends_all_acknowledgements() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    append(&store, "ffff", SOURCE, &closed(1)).await.unwrap();
    make_directory(&store.directory(UID).unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/null", file(data.path(), UID)).unwrap();
    for run in [UID, "eeee", "ffff"] {
        let stored = append(&store, run, SOURCE, &closed(1)).await;
        assert!(matches!(stored, Err(StoreError::Unsynced)), "{run}: {stored:?}");
    }
    store.unsynced().await;
}

/// What happens to a store, in any order.
#[derive(Clone, Debug)]
enum Step {
    /// A source sends its records from one number to another: again, further, or with some lost in between.
    Send {
        run: usize,
        source: usize,
        back: u64,
        count: u64,
        lost: u64,
    },
    /// The process ends and another one starts.
    Restart,
    /// A crash leaves a part of a line that was not acknowledged, or of several.
    Tear { run: usize, bytes: Vec<u8> },
}

fn step() -> impl Strategy<Value = Step> {
    let send = (0_usize..3, 0_usize..3, 0_u64..4, 0_u64..6, 0_u64..2);
    prop_oneof![
        6 => send.prop_map(|(run, source, back, count, lost)| Step::Send { run, source, back, count, lost }),
        1 => Just(Step::Restart),
        1 => (0_usize..3, proptest::collection::vec(0_u8..9, 1..200)).prop_map(|(run, bytes)| Step::Tear { run, bytes }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens, each chain verifies, has each acknowledged record once, and says what is missing.
    #[test]
    fn whatever_happens_to_the_archive_nothing_acknowledged_is_lost(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let data = tempfile::tempdir().unwrap();
        let mut store = Store::open(data.path()).unwrap();
        let mut sent = std::collections::BTreeMap::<(usize, usize), std::collections::BTreeSet<u64>>::new();
        for step in steps {
            match step {
                Step::Send { run, source, back, count, lost } => {
                    let numbers = sent.entry((run, source)).or_default();
                    let last = numbers.last().copied().unwrap_or_default();
                    let from = (last + 1 + lost).saturating_sub(back).max(1);
                    let lines: Vec<u8> = (from..=from + count).flat_map(closed).collect();
                    runtime.block_on(append(&store, &format!("{run}"), &format!("g/{source}"), &lines)).unwrap();
                    numbers.extend((from..=from + count).filter(|number| *number > last));
                }
                Step::Restart => {
                    drop(store);
                    store = Store::open(data.path()).unwrap();
                }
                Step::Tear { run, bytes } => {
                    drop(store);
                    let path = file(data.path(), &run.to_string());
                    if let Ok(mut file) = fs::File::options().append(true).open(path) {
                        std::io::Write::write_all(&mut file, &bytes).unwrap();
                    }
                    store = Store::open(data.path()).unwrap();
                }
            }
        }
        drop(store);
        let mut stored = std::collections::BTreeMap::<(usize, usize), std::collections::BTreeSet<u64>>::new();
        for run in 0..3 {
            let Ok(bytes) = fs::read(file(data.path(), &run.to_string())) else { continue };
            // A torn line stays in the file until the next one is written.
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let verified = verify(&run.to_string(), &bytes[..whole], Expected::Nothing).unwrap();
            for (source, stream) in verified.sources {
                let missing: std::collections::BTreeSet<u64> = stream.missing.into_iter().flatten().collect();
                let numbers = (1..=stream.last).filter(|number| !missing.contains(number)).collect();
                stored.insert((run, source[2..].parse().unwrap()), numbers);
            }
        }
        sent.retain(|_, numbers| !numbers.is_empty());
        prop_assert_eq!(stored, sent);
    }
}

#[tokio::test]
async fn only_what_is_acknowledged_is_handed_out_and_a_corrupt_chain_with_its_fault() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    assert_eq!(store.chain(UID).unwrap().1.bytes, 0);
    append(&store, UID, SOURCE, &[closed(1), closed(2)].concat())
        .await
        .unwrap();
    let (path, state) = store.chain(UID).unwrap();
    let whole = fs::read(&path).unwrap();
    assert_eq!((state.bytes, state.fault), (whole.len() as u64, None));
    // A write that was not acknowledged.
    fs::write(&path, [&whole[..], b"{\"torn"].concat()).unwrap();
    assert_eq!(store.chain(UID).unwrap().1.bytes, whole.len() as u64);
    drop(store);
    let mut spoiled = whole;
    spoiled[10] ^= 1;
    fs::write(&path, &spoiled).unwrap();
    let store = Store::open(data.path()).unwrap();
    let state = store.chain(UID).unwrap().1;
    assert_eq!((state.bytes, state.head), (spoiled.len() as u64, None));
    assert!(state.fault.unwrap().starts_with("line "));
}
