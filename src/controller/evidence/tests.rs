//! A run's evidence from its admission to a stranger's verification, against a real archive.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cofferdam_identity::Verifier;
use cofferdam_identity::testing::{FixedKeys, Issuer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::records::{self, Before};
use super::seal::{SealOutcome, Sealer};
use super::signer::Signer;
use super::statement;
use crate::agent_run::observe::{self, End};
use crate::agent_run::status::{self, Built};
use crate::archive::Archive;
use crate::testing::{self, RUN_UID, at, job, origin, plan, run, seal, workload};
use crate::verdict::Verdict;
use cofferdam_api::{AgentRun, AgentRunStatus, ProvenNodeAccess, Reason, ResolvedImage};
use cofferdam_wire::keys::{ED25519, PublicKey, PublicKeys, VERSION, key_id, spki};
use cofferdam_wire::record::{ProcessId, StreamId};
use cofferdam_wire::run_record::RunEvent;
use cofferdam_wire::runner::PrepareReport;
use cofferdam_wire::seal::Seal;
use cofferdam_wire::statement::Envelope;

const NAMESPACE: &str = "operator-space";

/// The status of a run that ran and left a patch.
fn ended() -> AgentRunStatus {
    let report: PrepareReport = serde_json::from_value(json!({
        "version": 1, "provenTime": at(5).to_string(), "nodeOpen": false,
        "commits": [{"name": "code", "commit": "c".repeat(40), "tolerated": []}],
        "failure": null, "probesMade": 9,
    }))
    .unwrap();
    let end = End {
        verdict: Verdict::new(Reason::Completed, "It is done."),
        exit_code: Some(0),
        agent_started: Some(at(10)),
        proof: Some(observe::Proof {
            report,
            node_access: ProvenNodeAccess::Denied,
            proven_time: at(5),
        }),
        images: vec![ResolvedImage {
            name: "agent".to_owned(),
            image_id: format!("images.example/agent@sha256:{}", "a".repeat(64)),
        }],
        unstarted: false,
        record: None,
    };
    let (job, plan) = (job(), plan());
    let built = Built {
        job: &job,
        plan: &plan,
    };
    status::ended(&run(), Some(built), &end, at(60))
}

fn asked() -> AgentRun {
    let mut run = run();
    run.spec.requested_by = Some(cofferdam_api::Requester {
        username: "jane".to_owned(),
        ..cofferdam_api::Requester::default()
    });
    run
}

#[test]
fn a_statement_says_what_went_in_and_what_came_out() {
    let mut statement = statement::of_run(&asked(), &ended(), &seal(), &origin());
    let predicate = &mut statement.predicate;
    predicate.run_details.builder.version["controller"] = json!("x.y.z");
    // It changes with whatever the pod is made of.
    let digest = &mut predicate.build_definition.internal_parameters["isolation"]["podSpecDigest"];
    assert_eq!(*digest, json!(plan().pod_digest));
    *digest = json!("sha256:…");
    insta::assert_json_snapshot!(statement);
}

#[test]
fn a_statement_of_a_lost_run_says_what_is_known() {
    let statement = statement::of_chain(RUN_UID, &seal(), &origin());
    assert_eq!(statement.subject.len(), 2);
    let details = statement.predicate.run_details;
    assert_eq!(details.metadata.invocation_id, RUN_UID);
    assert_eq!(details.byproducts[0].annotations["seq"], 7);
}

#[test]
fn values_of_variables_and_prompts_stay_in_the_spec() {
    let statement = statement::of_run(&asked(), &ended(), &seal(), &origin());
    let text = serde_json::to_string(&statement).unwrap();
    assert!(text.contains("images.example/agent:v1"));
    assert!(!text.contains("m1") && !text.contains("Mend $(HOME)"));
}

fn kinds(events: &[RunEvent]) -> Vec<String> {
    let kind = |event: &RunEvent| {
        let value = serde_json::to_value(event).unwrap();
        let name = value["data"]["name"].as_str().map(|name| format!(" {name}"));
        format!("{}{}", value["type"].as_str().unwrap(), name.unwrap_or_default())
    };
    events.iter().map(kind).collect()
}

#[test]
fn the_end_tells_of_the_admission_what_the_chain_lacks() {
    let admitted = records::admitted(&run(), Some(testing::NAMESPACE_UID), &workload(&run()));
    assert_eq!(kinds(&admitted), ["Admitted", "Document policy", "Document spec"]);
    let ended = ended();
    let told = |status, before| kinds(&records::ended(&run(), status, before));
    let known = Before {
        admitted: true,
        ..Before::default()
    };
    assert_eq!(told(&ended, known), ["Prepared", "Ended"]);
    let unknown = Before {
        policy: Some("{}"),
        ..Before::default()
    };
    assert_eq!(
        told(&ended, unknown),
        [
            "Admitted",
            "Document policy",
            "Document spec",
            "Prepared",
            "Ended"
        ]
    );
    let refused = status::refused(&run(), &Verdict::new(Reason::PolicyDenied, "no"), at(5));
    assert_eq!(told(&refused, Before::default()), ["Document spec", "Ended"]);
}

/// By it the archive tells tenants apart that had one name after the other.
#[tokio::test]
async fn records_name_the_namespace_that_the_run_was_made_in_and_no_later_one() {
    let sealer = testing::sealer();
    assert_eq!(
        sealer.namespace_uid(&run()).as_deref(),
        Some(testing::NAMESPACE_UID)
    );
    let mut older = run();
    older.metadata.creation_timestamp = Some(Time(at(-61)));
    assert_eq!(sealer.namespace_uid(&older), None, "its namespace was made anew");
    let mut elsewhere = run();
    elsewhere.metadata.namespace = Some("tenant-b".to_owned());
    assert_eq!(sealer.namespace_uid(&elsewhere), None);
    let uid = Some(testing::NAMESPACE_UID);
    let before = Before {
        namespace_uid: uid,
        ..Before::default()
    };
    let mut events = records::admitted(&run(), uid, &workload(&run()));
    events.extend(records::ended(&run(), &ended(), before));
    let told = events.iter().filter_map(|event| match event {
        RunEvent::Admitted { namespace_uid, .. } | RunEvent::Ended { namespace_uid, .. } => {
            Some(namespace_uid.as_deref())
        }
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [uid, uid, uid]);
}

/// What a policy's hash stands for is in the chain.
#[test]
fn the_document_of_the_policy_is_what_the_hash_was_made_of() {
    let events = records::admitted(&run(), Some(testing::NAMESPACE_UID), &workload(&run()));
    let RunEvent::Admitted {
        policy_hash,
        spec_digest,
        ..
    } = &events[0]
    else {
        panic!()
    };
    let text = |wanted: &str| {
        let parts = events.iter().filter_map(|event| match event {
            RunEvent::Document { name, text, .. } if name == wanted => Some(text.as_str()),
            _ => None,
        });
        parts.collect::<String>()
    };
    assert_eq!(
        cofferdam_api::names::short_hash(text("policy").as_bytes()),
        *policy_hash
    );
    assert_eq!(
        cofferdam_api::names::digest(text("spec").as_bytes()),
        *spec_digest
    );
}

struct Rig {
    directory: tempfile::TempDir,
    sealer: Sealer,
    controller: Archive,
    gateway: Archive,
}

impl Rig {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn in_run(&self, name: &str) -> PathBuf {
        self.path("data").join("runs").join(RUN_UID).join(name)
    }
}

/// Writes a signing key and the list of public keys.
fn write_keys(directory: &Path) {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let public: &[u8; 32] = pair.public_key().as_ref().try_into().unwrap();
    let keys = PublicKeys {
        version: VERSION,
        current: key_id(public),
        keys: vec![PublicKey {
            key_id: key_id(public),
            algorithm: ED25519.to_owned(),
            public_key: pem::encode(&pem::Pem::new("PUBLIC KEY", spki(public))),
            created: at(0).to_string(),
            retired: None,
        }],
    };
    let private = pem::encode(&pem::Pem::new("PRIVATE KEY", document.as_ref()));
    std::fs::write(directory.join("current.key"), private).unwrap();
    std::fs::write(directory.join("keys.json"), serde_json::to_vec(&keys).unwrap()).unwrap();
}

async fn rig() -> Rig {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    std::fs::create_dir(&data).unwrap();
    write_keys(directory.path());
    let issuer = Issuer::new("key-1");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let verifier = Verifier::new(FixedKeys::of(&issuer));
    tokio::spawn(
        async move { cofferdam_archive::testing::serve(&data, verifier, NAMESPACE, listener).await },
    );
    let as_role = |role: &str| {
        let token = issuer.pod_token("cofferdam-archive", NAMESPACE, role, ("pod", "pod-uid"));
        let file = directory.path().join(role);
        std::fs::write(&file, token).unwrap();
        Archive::new(&url, file)
    };
    let (controller, gateway) = (as_role("controller"), as_role("gateway"));
    let nobody = testing::client(std::sync::Arc::new(|_, _, _| testing::failure(404, "NotFound")));
    Rig {
        sealer: Sealer::new(
            controller.clone(),
            Signer::new(directory.path().join("current.key")),
            origin(),
            kube::Api::namespaced(nobody, NAMESPACE),
            testing::namespaces(),
            ProcessId(7),
        ),
        controller,
        gateway,
        directory,
    }
}

/// Runs a program of `docs/evidence.md`, the first or the second one.
fn python(program: usize, arguments: &[&str]) -> (bool, String) {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/evidence.md");
    let page = std::fs::read_to_string(page).unwrap();
    let code = page.split("```python\n").nth(program).unwrap();
    let (code, _) = code.split_once("```").unwrap();
    let run = Command::new("python3")
        .args(["-c", code])
        .args(arguments)
        .output()
        .unwrap();
    let text = if run.status.success() {
        run.stdout
    } else {
        run.stderr
    };
    (run.status.success(), String::from_utf8(text).unwrap())
}

fn verify_statement(rig: &Rig, file: &Path) -> (bool, String) {
    let keys = rig.path("keys.json");
    python(2, &[file.to_str().unwrap(), keys.to_str().unwrap()])
}

fn sealed(outcome: SealOutcome) -> Seal {
    match outcome {
        SealOutcome::Sealed { seal, unsigned: None } => *seal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_archive_tells_the_controller_and_nobody_else_how_full_it_is() {
    let rig = rig().await;
    let space = rig.controller.space().await.unwrap();
    assert!((1..=100).contains(&space.percent));
    let refused = rig.gateway.space().await.unwrap_err();
    assert_eq!(refused.code(), Some("Forbidden"));
}

#[tokio::test]
async fn a_stranger_verifies_a_run_with_the_python_of_the_docs() {
    let rig = rig().await;
    rig.sealer.tell_admitted(
        RUN_UID,
        &records::admitted(&run(), Some(testing::NAMESPACE_UID), &workload(&run())),
    );
    while rig.controller.record(RUN_UID).await.unwrap().admitted == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let opened = br#"{"version":3,"sourceSeq":1,"time":"t","type":"StreamOpened"}
{"version":3,"sourceSeq":2,"time":"t","type":"StreamClosed","data":{"count":1,"cause":"RunEnded"}}
"#;
    let stream = StreamId::new(ProcessId(1), 1);
    rig.gateway
        .append(RUN_UID, &stream, opened.to_vec())
        .await
        .unwrap();
    let seal = sealed(rig.sealer.seal(&run(), RUN_UID, &ended(), true, false).await);
    assert!(seal.data.complete);

    let (verifies, head) = verify_statement(&rig, &rig.in_run("statement.json"));
    assert!(verifies, "{head}");
    let chain = rig.in_run("chain.jsonl");
    let mut arguments = vec![chain.to_str().unwrap()];
    arguments.extend(head.split_whitespace());
    assert_eq!(arguments[1], RUN_UID);
    let (verifies, said) = python(1, &arguments);
    assert!(verifies, "{said}");
    let expected = format!(
        "chain of {} records, sealed, verified: {}\n",
        seal.head.seq, seal.head.sha256
    );
    assert_eq!(said, expected);
    // A chain that was written anew, seal and all, is not the one that was signed.
    let text = std::fs::read_to_string(&chain).unwrap();
    let (last, rest) = text
        .trim_end()
        .rsplit_once('\n')
        .map(|(rest, last)| (last, rest))
        .unwrap();
    std::fs::write(
        &chain,
        format!("{rest}\n{}\n", last.replace("NotCollected", "Collected")),
    )
    .unwrap();
    let (verifies, said) = python(1, &arguments);
    assert!(!verifies && said.contains("the chain ends with"), "{said}");
}

#[tokio::test]
async fn a_statement_that_was_changed_or_signed_by_another_does_not_verify() {
    let rig = rig().await;
    sealed(rig.sealer.seal(&run(), RUN_UID, &ended(), true, false).await);
    let file = rig.in_run("statement.json");
    let good: Envelope = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert!(verify_statement(&rig, &file).0);
    let payload = String::from_utf8(STANDARD.decode(&good.payload).unwrap()).unwrap();
    let changed = |of: &str, to: &str| {
        assert!(payload.contains(of));
        STANDARD.encode(payload.replacen(of, to, 1))
    };
    let other = tempfile::tempdir().unwrap();
    write_keys(other.path());
    let signer = Signer::new(other.path().join("current.key"));
    let theirs = signer
        .sign(&serde_json::from_str(&payload).unwrap())
        .await
        .unwrap();
    let mut under_our_name = theirs.clone();
    under_our_name.signatures[0]
        .keyid
        .clone_from(&good.signatures[0].keyid);
    for (what, spoilt) in [
        (
            "payload",
            Envelope {
                payload: changed("Completed", "Cancelled"),
                ..good.clone()
            },
        ),
        (
            "type",
            Envelope {
                payload_type: "text/plain".to_owned(),
                ..good.clone()
            },
        ),
        ("another's", theirs),
        ("another's under our name", under_our_name),
    ] {
        let path = rig.path("spoilt.json");
        std::fs::write(&path, serde_json::to_vec(&spoilt).unwrap()).unwrap();
        assert!(!verify_statement(&rig, &path).0, "{what}");
    }
}

#[tokio::test]
async fn sealing_again_gives_the_same_seal_and_statement() {
    let rig = rig().await;
    let first = sealed(rig.sealer.seal(&run(), RUN_UID, &ended(), false, false).await);
    let statement = std::fs::read(rig.in_run("statement.json")).unwrap();
    let mut other = ended();
    other.reason = Some("Cancelled".to_owned());
    let again = sealed(rig.sealer.seal(&run(), RUN_UID, &other, false, false).await);
    assert_eq!((again.head, again.signed), (first.head, true));
    assert_eq!(sealed(rig.sealer.seal_gone(RUN_UID).await).head, first.head);
    assert_eq!(std::fs::read(rig.in_run("statement.json")).unwrap(), statement);
}

#[tokio::test]
async fn a_key_that_comes_late_signs_later() {
    let rig = rig().await;
    let key = rig.path("current.key");
    let text = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let outcome = rig.sealer.seal(&run(), RUN_UID, &ended(), false, false).await;
    let SealOutcome::Sealed {
        seal,
        unsigned: Some(why),
    } = outcome
    else {
        panic!("it is signed")
    };
    assert!(why.contains("current.key"), "{why}");
    assert_eq!(rig.controller.unsealed().await.unwrap()[0].run, RUN_UID);
    std::fs::write(&key, text).unwrap();
    let later = sealed(rig.sealer.seal(&run(), RUN_UID, &ended(), false, false).await);
    assert_eq!(later.head, seal.head);
    assert_eq!(rig.controller.unsealed().await.unwrap(), []);
}

#[tokio::test]
async fn what_stands_in_the_way_of_a_seal_is_told_apart() {
    let rig = rig().await;
    let opened = b"{\"version\":3,\"sourceSeq\":1,\"time\":\"t\",\"type\":\"StreamOpened\"}\n";
    let stream = StreamId::new(ProcessId(1), 1);
    rig.gateway
        .append(RUN_UID, &stream, opened.to_vec())
        .await
        .unwrap();
    let open = rig.sealer.seal(&run(), RUN_UID, &ended(), true, false).await;
    assert!(matches!(open, SealOutcome::Open(_)), "{open:?}");
    let incomplete = sealed(rig.sealer.seal(&run(), RUN_UID, &ended(), true, true).await);
    assert!(!incomplete.data.complete);
    let away = testing::sealer()
        .seal(&run(), RUN_UID, &ended(), true, false)
        .await;
    assert!(matches!(away, SealOutcome::Unavailable(_)), "{away:?}");
}

/// A run that is gone is sealed with what the chain knows.
#[tokio::test]
async fn a_deleted_run_is_sealed_by_its_chain() {
    let rig = rig().await;
    rig.sealer.tell_admitted(
        RUN_UID,
        &records::admitted(&run(), Some(testing::NAMESPACE_UID), &workload(&run())),
    );
    while rig.controller.record(RUN_UID).await.unwrap().admitted == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let seal = sealed(rig.sealer.seal_gone(RUN_UID).await);
    assert_eq!(
        serde_json::to_value(seal.data.cause).unwrap(),
        json!("RunDeleted")
    );
    let unknown = "ffffffff-1111-4222-8333-444455556666";
    let seal = sealed(rig.sealer.seal_gone(unknown).await);
    assert_eq!(
        serde_json::to_value(seal.data.cause).unwrap(),
        json!("RunUnknown")
    );
    let statement = std::fs::read(rig.in_run("statement.json")).unwrap();
    let envelope: Value = serde_json::from_slice(&statement).unwrap();
    assert_eq!(envelope["payloadType"], "application/vnd.in-toto+json");
}
