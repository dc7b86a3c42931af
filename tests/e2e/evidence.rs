//! The chain of records that a run leaves in the archive, read from its volume.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cofferdam_api::{AgentRun, Reason, names};
use cofferdam_wire::chain::Head;
use cofferdam_wire::chain::verify::{Expected, verify};
use cofferdam_wire::record::{Record, RecordEvent};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::DeleteParams;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::harness::{BUSYBOX, OPERATOR_NAMESPACE, Space, client, until};

/// Where the archive of the embedded cluster keeps the chain of a run.
pub fn chain(run_uid: &str) -> Option<PathBuf> {
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
        let is_reported = stamped["type"] == "Prepared";
        assert_eq!(
            stamped["class"],
            if is_reported { "Reported" } else { "Observed" }
        );
        let source = stamped["source"].as_str().unwrap().to_owned();
        (source, serde_json::from_value(stamped).unwrap())
    };
    text.lines().map(read).collect()
}

/// The evidence of a run, once its statement is there.
async fn sealed(run_uid: &str) -> (PathBuf, String) {
    until("the run has a statement", Duration::from_mins(5), || async {
        let chain = chain(run_uid).ok_or("the archive has no chain")?;
        let statement = chain.with_file_name("statement.json");
        let text = std::fs::read_to_string(chain).map_err(|_| "the chain cannot be read")?;
        if statement.exists() {
            Ok((statement, text))
        } else {
            Err("the run has no statement")
        }
    })
    .await
}

/// The types of records, in their order; parts of documents count once.
fn kinds(text: &str) -> Vec<String> {
    let kinds = text.lines().map(|line| {
        let record: Value = serde_json::from_str(line).unwrap();
        let source = record["source"]
            .as_str()
            .unwrap()
            .split('/')
            .next()
            .unwrap()
            .to_owned();
        format!("{source} {}", record["type"].as_str().unwrap())
    });
    let mut kinds: Vec<String> = kinds.collect();
    kinds.dedup();
    kinds
}

/// The payload of an envelope that `examples/verify.sh` verifies with the Python of the docs.
async fn verified(run_uid: &str, statement: &Path) -> Value {
    let maps: Api<ConfigMap> = Api::namespaced(client().await, OPERATOR_NAMESPACE);
    let published = maps.get(names::PUBLIC_KEYS).await.unwrap().data.unwrap();
    let keys = std::env::temp_dir().join(format!("cofferdam-e2e-{run_uid}-keys.json"));
    std::fs::write(&keys, &published["keys.json"]).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/verify.sh");
    let said = Command::new(script)
        .arg(statement.with_file_name("chain.jsonl"))
        .arg(statement)
        .arg(&keys)
        .output()
        .unwrap();
    std::fs::remove_file(keys).unwrap();
    let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    assert!(
        said.status.success() && text.contains("records, sealed, verified"),
        "{text}"
    );
    let envelope: Value = serde_json::from_slice(&std::fs::read(statement).unwrap()).unwrap();
    let payload = envelope["payload"].as_str().unwrap();
    let decoded = k8s_openapi::ByteString::deserialize(json!(payload)).unwrap();
    serde_json::from_slice(&decoded.0).unwrap()
}

#[tokio::test]
async fn a_run_leaves_a_chain_that_is_sealed_and_signed_before_its_status() {
    let space = Space::open("chain").await;
    let run = space
        .script("leaves-a-chain", BUSYBOX, "sh", "true", json!({}))
        .await;
    let ended = run.ends(Reason::Completed).await;
    let (uid, status) = (ended.metadata.uid.unwrap(), ended.status.unwrap());
    let evidence = status.evidence.clone().unwrap();
    // It is there when the status says so.
    let path = chain(&uid).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let head = Head {
        seq: u64::try_from(evidence.sequence).unwrap(),
        sha256: evidence.head.strip_prefix("sha256:").unwrap().parse().unwrap(),
    };
    let chain = verify(&uid, text.as_bytes(), Expected::Exactly(head)).unwrap();
    for (source, stream) in &chain.sources {
        assert!(stream.missing.is_empty(), "{source}: {stream:?}");
    }
    let sealed = status.condition("Sealed").unwrap();
    assert_eq!(
        (sealed.status.as_str(), sealed.reason.as_str()),
        ("True", "Sealed")
    );
    let kinds = kinds(&text);
    let last: Vec<&str> = kinds.iter().rev().take(3).rev().map(String::as_str).collect();
    assert_eq!(
        last,
        ["controller Prepared", "controller Ended", "archive Sealed"]
    );
    for told in [
        "controller Admitted",
        "controller Document",
        "gateway StreamClosed",
    ] {
        assert!(kinds.iter().any(|kind| kind == told), "{told}: {kinds:?}");
    }
    let allowed = records(&text)
        .iter()
        .filter(|(_, record)| matches!(record.event, RecordEvent::Allowed { .. }))
        .count();
    // At least its repository was cloned.
    assert!(allowed > 0);
    assert_eq!(
        i64::try_from(allowed).unwrap(),
        status.usage.unwrap().allowed_requests
    );

    let statement = verified(&uid, &path.with_file_name("statement.json")).await;
    let subjects = statement["subject"].as_array().unwrap();
    let patches = status.outputs.unwrap().patches;
    let (left, named) = (&patches[0], &subjects[0]);
    assert_eq!(named["name"], format!("{}.patch", left.repository));
    let digest = named["digest"]["sha256"].as_str().unwrap();
    assert_eq!(format!("sha256:{digest}"), left.digest);
    space.close().await;
}

/// A run that was refused had no sandbox, and a run that was deleted has no status any more.
#[tokio::test]
async fn refused_and_deleted_runs_are_sealed_too() {
    let space = Space::open("sealed").await;
    let refused = json!({"agent": {"image": "elsewhere.test/no-such:v1"}});
    let refused = space.script("refused", BUSYBOX, "sh", "true", refused).await;
    let refused = refused.ends(Reason::ImageDenied).await;
    let uid = refused.metadata.uid.unwrap();
    assert!(refused.status.unwrap().evidence.is_some());
    let (statement, text) = sealed(&uid).await;
    assert_eq!(
        kinds(&text),
        ["controller Document", "controller Ended", "archive Sealed"]
    );
    verified(&uid, &statement).await;

    let deleted = space
        .script("deleted", BUSYBOX, "sh", "sleep 600", json!({}))
        .await;
    let uid = deleted.in_phase("Running").await.metadata.uid.unwrap();
    let runs: Api<AgentRun> = space.api();
    runs.delete(&deleted.name, &DeleteParams::default())
        .await
        .unwrap();
    let (statement, text) = sealed(&uid).await;
    let kinds = kinds(&text);
    assert!(kinds.contains(&"controller Admitted".to_owned()), "{kinds:?}");
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["data"]["cause"], "RunDeleted", "{last}");
    let statement = verified(&uid, &statement).await;
    assert_eq!(
        statement["predicate"]["runDetails"]["metadata"]["invocationId"],
        uid
    );
    space.close().await;
}

/// A directory of a run that never was, on the archive's volume; it goes with the test.
struct Litter(PathBuf);

impl Litter {
    /// As if a run of this namespace had left a terabyte. The file is sparse: it takes no space.
    async fn of(space: &Space, beside: &Path) -> Self {
        let namespaces: Api<Namespace> = Api::all(space.client.clone());
        let uid = namespaces.get(&space.name).await.unwrap().metadata.uid.unwrap();
        let directory = beside.with_file_name(format!("e2e{}", &uid.replace('-', "")[..20]));
        std::fs::create_dir_all(directory.join("patches")).unwrap();
        let index = json!({"run": format!("{}/never", space.name), "namespaceUid": uid, "time": "2026-01-01T00:00:00Z"});
        std::fs::write(directory.join("index.json"), index.to_string()).unwrap();
        let patch = std::fs::File::create(directory.join("patches/a.patch")).unwrap();
        patch.set_len(1 << 40).unwrap();
        Self(directory)
    }
}

impl Drop for Litter {
    fn drop(&mut self) {
        // A second try finds nothing.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_namespace_that_filled_its_share_waits_and_another_one_does_not() {
    let space = Space::open("share").await;
    let first = space.script("first", BUSYBOX, "sh", "true", json!({})).await;
    let uid = first.ends(Reason::Completed).await.metadata.uid.unwrap();
    let directory = chain(&uid).unwrap().parent().unwrap().to_owned();
    let litter = Litter::of(&space, &directory).await;
    // The archive adds up every 30 s, and the controller asks every 5 s: runs start until both have looked.
    let mut number = 0;
    let waiting = loop {
        number += 1;
        assert!(number < 30, "no run waits");
        let name = format!("run-{number}");
        let run = space.script(&name, BUSYBOX, "sh", "true", json!({})).await;
        let status = until("the run waits or has ended", Duration::from_mins(2), || async {
            let status = run.get().await.status.unwrap_or_default();
            match status.reason.as_deref() {
                Some("ArchiveShareExceeded" | "Completed") => Ok(status),
                _ => Err(status),
            }
        })
        .await;
        if status.reason.as_deref() == Some("ArchiveShareExceeded") {
            assert!(status.message.unwrap_or_default().contains(&space.name));
            break run;
        }
    };
    // The control: another namespace has a share of its own.
    let other = Space::open("share-other").await;
    let control = other.script("control", BUSYBOX, "sh", "true", json!({})).await;
    control.ends(Reason::Completed).await;
    drop(litter);
    waiting.ends(Reason::Completed).await;
    space.close().await;
    other.close().await;
}

/// Each minute a root over the heads of chains stands outside the archive.
#[tokio::test]
async fn where_a_chain_ended_is_witnessed_outside_the_archive() {
    let space = Space::open("witness").await;
    let run = space.script("watched", BUSYBOX, "sh", "true", json!({})).await;
    let ended = run.ends(Reason::Completed).await;
    let sequence = ended.status.unwrap().evidence.unwrap().sequence;
    let path = chain(&ended.metadata.uid.unwrap()).unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client().await, OPERATOR_NAMESPACE);
    let kept = std::sync::Mutex::new(String::new());
    let witnessed = until("the sealed head is witnessed", Duration::from_mins(3), || async {
        let data = maps.get(names::WITNESS).await.unwrap().data.unwrap_or_default();
        kept.lock()
            .unwrap()
            .extend(data.get("root").map(|root| format!("{root}\n")));
        let proofs = std::fs::read_to_string(path.with_file_name("witness.jsonl")).unwrap_or_default();
        let last: Value = proofs
            .lines()
            .last()
            .map(|line| serde_json::from_str(line).unwrap())
            .unwrap_or_default();
        let root = last["root"].as_str().unwrap_or("none").to_owned();
        let is_kept = kept.lock().unwrap().contains(&root);
        if last["seq"] == sequence && is_kept {
            Ok(root)
        } else {
            Err(last)
        }
    })
    .await;
    assert_eq!(witnessed.len(), 64);
    // By the program of the docs.
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/evidence.md");
    let page = std::fs::read_to_string(page).unwrap();
    let code = page.split("```python\n").nth(3).unwrap();
    let (code, _) = code.split_once("```").unwrap();
    let roots = std::env::temp_dir().join(format!("cofferdam-e2e-{witnessed}"));
    std::fs::write(&roots, kept.into_inner().unwrap()).unwrap();
    let said = Command::new("python3")
        .args(["-c", code])
        .arg(&path)
        .arg(path.with_file_name("witness.jsonl"))
        .arg(&roots)
        .output()
        .unwrap();
    std::fs::remove_file(roots).unwrap();
    let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    assert!(said.status.success() && !text.starts_with("0 of"), "{text}");
    space.close().await;
}
