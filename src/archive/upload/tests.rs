use super::*;
use cofferdam_api::names::digest;
use cofferdam_api::{Reason, Snapshot};

const UID: &str = "0b7c9f3e-1111-4222-8333-444455556666";

fn manifest(patches: &[(&str, &[u8])]) -> OutputManifest {
    let patches = patches.iter().map(|(repository, bytes)| PatchManifest {
        repository: (*repository).to_owned(),
        submodule: None,
        base_commit: "c".repeat(40),
        bytes: bytes.len() as u64,
        digest: digest(bytes),
        files: 1,
        insertions: 2,
        deletions: 3,
        snapshot: Snapshot::Final,
        completeness: cofferdam_api::Completeness::Complete,
        lfs_files: 0,
        left_out: None,
    });
    OutputManifest {
        version: VERSION,
        patches: patches.collect(),
        stopped: Some(Reason::DeadlineExceeded),
        refused: Vec::new(),
    }
}

fn body(manifest: &OutputManifest, patches: &[u8]) -> Vec<u8> {
    [
        serde_json::to_vec(manifest).unwrap(),
        b"\n".to_vec(),
        patches.to_vec(),
    ]
    .concat()
}

async fn send(store: &Store, bytes: &[u8], chunk: usize) -> Result<Receipt, UploadError> {
    let chunks: Vec<_> = bytes
        .chunks(chunk)
        .map(|part| Ok(Bytes::copy_from_slice(part)))
        .collect();
    receive(store, UID, "team-a/fix", futures::stream::iter(chunks)).await
}

fn store() -> (tempfile::TempDir, Store) {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    (data, store)
}

/// Names of everything in the run's directory.
fn left(store: &Store) -> Vec<String> {
    let entries = std::fs::read_dir(store.directory(UID).unwrap()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_upload_in_any_pieces_is_stored_once() {
    let (one, two) = (b"patch of one\n".as_slice(), b"".as_slice());
    let manifest = manifest(&[("one", one), ("two", two)]);
    let bytes = body(&manifest, one);
    for chunk in [1, 7, 1000] {
        let (_data, store) = store();
        let receipt = send(&store, &bytes, chunk).await.unwrap();
        assert_eq!(
            (receipt.manifest.clone(), receipt.run_uid.as_str()),
            (manifest.clone(), UID)
        );
        assert_eq!(store.receipt(UID).unwrap(), Some(receipt));
        assert_eq!(
            std::fs::read(store.patch(UID, "one").unwrap().unwrap()).unwrap(),
            one
        );
        assert_eq!(
            std::fs::read(store.patch(UID, "two").unwrap().unwrap()).unwrap(),
            two
        );
        assert_eq!(store.patch(UID, "three").unwrap(), None);
        assert_eq!(left(&store), ["patches", "receipt.json", "run"]);
        assert!(matches!(
            send(&store, &bytes, 1000).await,
            Err(UploadError::Second)
        ));
    }
}

#[tokio::test]
async fn bytes_that_are_not_what_the_manifest_says_leave_nothing() {
    let patch = b"patch of one\n".as_slice();
    let good = manifest(&[("one", patch)]);
    let mutated = |mutate: fn(&mut OutputManifest)| {
        let mut manifest = good.clone();
        mutate(&mut manifest);
        body(&manifest, patch)
    };
    let cases = [
        ("shorter", body(&good, &patch[1..])),
        ("longer", body(&good, b"patch of one\n!")),
        ("other bytes", body(&good, b"patch of two\n")),
        (
            "other digest",
            mutated(|manifest| manifest.patches[0].digest = digest(b"x")),
        ),
        (
            "no digest",
            mutated(|manifest| manifest.patches[0].digest.clear()),
        ),
        (
            "path",
            mutated(|manifest| manifest.patches[0].repository = "../../evil".to_owned()),
        ),
        ("version", mutated(|manifest| manifest.version = 2)),
        (
            "twice",
            mutated(|manifest| {
                manifest.patches[0].bytes = 0;
                let again = manifest.patches[0].clone();
                manifest.patches.push(again);
            }),
        ),
        (
            "huge",
            mutated(|manifest| manifest.patches[0].bytes = UPLOAD_LIMIT + 1),
        ),
        (
            "overflow",
            mutated(|manifest| {
                let mut other = manifest.patches[0].clone();
                other.repository = "two".to_owned();
                other.bytes = u64::MAX;
                manifest.patches.push(other);
            }),
        ),
        ("long manifest", vec![b' '; MANIFEST_LIMIT + 10]),
        ("no manifest", b"{}".to_vec()),
        (
            "unknown field",
            body(&good, patch).replacen_first(b"{", b"{\"extra\":1,"),
        ),
        ("nothing", Vec::new()),
    ];
    let (_data, store) = store();
    for (name, bytes) in cases {
        assert!(send(&store, &bytes, 4096).await.is_err(), "{name}");
        assert_eq!(store.receipt(UID).unwrap(), None, "{name}");
        assert!(left(&store).is_empty(), "{name}: {:?}", left(&store));
    }
    send(&store, &body(&good, patch), 4096).await.unwrap();
}

trait ReplaceFirst {
    fn replacen_first(self, from: &[u8], to: &[u8]) -> Vec<u8>;
}

impl ReplaceFirst for Vec<u8> {
    fn replacen_first(self, from: &[u8], to: &[u8]) -> Vec<u8> {
        assert!(self.starts_with(from));
        [to, &self[from.len()..]].concat()
    }
}

#[tokio::test]
async fn only_one_upload_at_a_time_and_one_that_breaks_off_frees_the_place() {
    let patch = b"patch of one\n".as_slice();
    let bytes = body(&manifest(&[("one", patch)]), patch);
    let (_data, store) = store();
    let slow = futures::stream::iter([Ok(Bytes::copy_from_slice(&bytes[..20]))])
        .chain(futures::stream::pending::<Result<Bytes, String>>());
    {
        let slow = std::pin::pin!(slow);
        let first = std::pin::pin!(receive(&store, UID, "team-a/fix", slow));
        assert!(futures::poll!(first).is_pending());
    }
    // It was dropped above. Now one that is still under way:
    let slow = futures::stream::pending::<Result<Bytes, String>>();
    let mut second = Box::pin(receive(&store, UID, "team-a/fix", slow));
    let waiting = tokio::time::timeout(Duration::from_millis(100), &mut second).await;
    assert!(waiting.is_err());
    assert!(matches!(send(&store, &bytes, 4096).await, Err(UploadError::Busy)));
    drop(second);
    assert!(send(&store, &bytes, 4096).await.is_ok());
}

type Crash = fn(&Path);

#[tokio::test]
async fn a_crash_at_any_step_leaves_a_run_that_can_still_be_received() {
    let patch = b"patch of one\n".as_slice();
    let bytes = body(&manifest(&[("one", patch)]), patch);
    let crashes: [(&str, Crash); 4] = [
        ("while staging", |run| {
            std::fs::create_dir_all(run.join(".tmp-patches")).unwrap();
            std::fs::write(run.join(".tmp-patches/one.patch"), "pat").unwrap();
        }),
        ("after the patches", |run| {
            std::fs::create_dir_all(run.join("patches")).unwrap();
            std::fs::write(run.join("patches/old.patch"), "old").unwrap();
        }),
        ("before the receipt's name", |run| {
            std::fs::create_dir_all(run.join("patches")).unwrap();
            std::fs::write(run.join(".tmp-receipt.json"), "{").unwrap();
        }),
        ("with torn records", |run| {
            std::fs::create_dir_all(run).unwrap();
            std::fs::write(run.join("chain.jsonl"), "{\"time\":").unwrap();
        }),
    ];
    for (name, crash) in crashes {
        let data = tempfile::tempdir().unwrap();
        crash(&data.path().join("runs").join(UID));
        let store = Store::open(data.path()).unwrap();
        assert_eq!(store.receipt(UID).unwrap(), None, "{name}");
        assert_eq!(store.patch(UID, "old").unwrap(), None, "{name}");
        assert_eq!(store.run_record(UID).unwrap().requests, 0, "{name}");
        send(&store, &bytes, 4096).await.unwrap();
        drop(store);
        let store = Store::open(data.path()).unwrap();
        let stored = store.patch(UID, "one").unwrap().unwrap();
        assert_eq!(std::fs::read(stored).unwrap(), patch, "{name}");
        assert!(
            !left(&store).iter().any(|entry| entry.starts_with(TEMPORARY)),
            "{name}"
        );
    }
}
