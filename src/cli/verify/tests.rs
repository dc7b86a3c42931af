use std::path::Path;

use rstest::rstest;
use serde_json::json;

use super::check::{Check, Verdict};
use super::checks::{all, is_ending};
use super::place::{from_export, on_checkout};
use super::*;
use cofferdam_wire::chain::{Class, Entry, Head, Stamp};
use cofferdam_wire::output_api::RunSummary;

const UID: &str = "0b7c9f3e-1111-4222-8333-444455556666";

/// Evidence of a run with two requests and one patch.
fn material(base: &str, patch: &[u8]) -> Material {
    let (mut head, mut records) = (Head::EMPTY, Vec::new());
    let allowed = json!({"host": "a.test:443", "method": "CONNECT", "address": "203.0.113.1:443", "rules": [], "by": "agent"});
    let denied = json!({"host": "b.test:443", "method": "CONNECT", "code": "HostNotAllowed", "layer": null, "message": "m", "by": "agent", "count": 2});
    let closed = json!({"count": 3, "cause": "RunEnded"});
    for (number, (kind, data)) in (1..).zip([
        ("StreamOpened", json!(null)),
        ("Allowed", allowed),
        ("Denied", denied),
        ("StreamClosed", closed),
    ]) {
        let mut record =
            json!({"version": 3, "sourceSeq": number, "time": "2026-11-26T10:00:00Z", "type": kind});
        if !data.is_null() {
            record["data"] = data;
        }
        let stamp = Stamp {
            run: UID,
            source: "gateway/pod/1-1",
            class: Class::Observed,
        };
        Entry::parse(record.to_string().as_bytes())
            .unwrap()
            .chain(&mut head, stamp, &mut records);
    }
    let manifest = json!({"version": 1, "stopped": null, "refused": [], "patches": [{"repository": "app", "baseCommit": base,
        "bytes": patch.len(), "digest": cofferdam_api::names::digest(patch), "files": 1, "insertions": 1, "deletions": 0, "snapshot": "Final"}]});
    let summary: RunSummary = serde_json::from_value(json!({
        "apiVersion": "output.cofferdam.dev/v1alpha1", "kind": "AgentRunSummary",
        "metadata": {"name": "fix", "namespace": "team-a", "uid": UID},
        "record": {"version": 1, "requests": 1, "deniedRequests": 2, "lastDenied": [], "isolationLost": null,
            "receipt": {"version": 1, "runUid": UID, "receivedAt": "2026-11-26T10:00:00Z", "manifest": manifest},
            "chain": {"bytes": records.len(), "head": head}},
    }))
    .unwrap();
    Material {
        summary,
        records,
        patches: vec![("app".to_owned(), patch.to_vec())],
        statement: None,
    }
}

fn whole() -> Material {
    material("c0ffee", b"patch")
}

fn worst(material: &Material) -> Verdict {
    verdict(&all(material, None))
}

#[test]
fn whole_evidence_holds() {
    let checks = all(&whole(), None);
    insta::assert_snapshot!(text(&whole().describe(), &checks, Paint::Plain));
    assert_eq!(verdict(&checks), Verdict::Holds);
}

#[rstest]
#[case::altered_line("chain", Verdict::Fails, |m: &mut Material| m.records[30] ^= 1)]
#[case::cut_line("chain", Verdict::Fails, |m: &mut Material| { m.records.pop(); })]
#[case::missing_end("chain", Verdict::Fails, |m: &mut Material| {
    let end = m.records[..m.records.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    m.records.truncate(end + 1);
})]
#[case::nothing("chain", Verdict::Fails, |m: &mut Material| m.records.clear())]
#[case::of_another_run("chain", Verdict::Fails, |m: &mut Material| m.summary.metadata.uid = "other".to_owned())]
#[case::fault_of_the_archive("chain", Verdict::Fails, |m: &mut Material| {
    let chain = m.summary.record.chain.as_mut().unwrap();
    (chain.head, chain.fault) = (None, Some("line 3: altered".to_owned()));
})]
#[case::no_head("chain", Verdict::Missing, |m: &mut Material| m.summary.record.chain = None)]
#[case::counts("counts", Verdict::Fails, |m: &mut Material| m.summary.record.denied_requests = 7)]
#[case::altered_patch("patch of app", Verdict::Fails, |m: &mut Material| m.patches[0].1.push(b'x'))]
#[case::missing_patch("patch of app", Verdict::Missing, |m: &mut Material| m.patches.clear())]
#[case::removed_patch("patch of app", Verdict::Missing, |m: &mut Material| {
    m.patches.clear();
    m.summary.record.patches_removed = true;
})]
#[case::statement("statement", Verdict::Missing, |m: &mut Material| m.statement = Some(b"{}".to_vec()))]
fn each_fault_is_found_and_named(
    #[case] what: &str,
    #[case] expected: Verdict,
    #[case] spoil: fn(&mut Material),
) {
    assert_eq!(worst(&whole()), Verdict::Holds);
    let mut spoiled = whole();
    spoil(&mut spoiled);
    let checks = all(&spoiled, None);
    let found: Vec<&Check> = checks.iter().filter(|check| check.verdict == expected).collect();
    assert!(found.iter().any(|check| check.what == what), "{checks:?}");
    assert_eq!(verdict(&checks), expected);
}

#[test]
fn records_that_are_lost_or_have_no_end_are_told() {
    let mut open = whole();
    let lines: Vec<Vec<u8>> = open
        .records
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    open.records = lines[..3].concat();
    let head = cofferdam_wire::chain::verify::verify(
        UID,
        &open.records,
        cofferdam_wire::chain::verify::Expected::Nothing,
    )
    .unwrap()
    .head;
    open.summary.record.chain.as_mut().unwrap().head = Some(head);
    assert_eq!(worst(&open), Verdict::Missing);
    assert!(is_ending(&open) && !is_ending(&whole()));
    open.summary.record.receipt = None;
    assert!(!is_ending(&open), "it goes on");
}

fn write(material: &Material, directory: &Path) {
    std::fs::create_dir(directory.join("patches")).unwrap();
    std::fs::write(
        directory.join("summary.json"),
        serde_json::to_vec(&material.summary).unwrap(),
    )
    .unwrap();
    std::fs::write(directory.join("records.jsonl"), &material.records).unwrap();
    for (name, bytes) in &material.patches {
        std::fs::write(directory.join(format!("patches/{name}.patch")), bytes).unwrap();
    }
}

#[test]
fn an_export_is_verified_without_a_cluster() {
    let directory = tempfile::tempdir().unwrap();
    write(&whole(), directory.path());
    let read = from_export(directory.path()).unwrap();
    assert_eq!(worst(&read), Verdict::Holds);
    std::fs::remove_file(directory.path().join("patches/app.patch")).unwrap();
    assert_eq!(worst(&from_export(directory.path()).unwrap()), Verdict::Missing);
    std::fs::remove_file(directory.path().join("records.jsonl")).unwrap();
    assert_eq!(
        from_export(directory.path()).err().unwrap().exit(),
        Exit::CannotTell
    );
}

#[test]
fn patches_are_tried_on_their_base_and_nothing_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let run = |args: &[&str]| {
        let said = crate::git::git(root, args, None).unwrap();
        assert!(said.done, "{args:?}: {}", said.error);
        said.out
    };
    run(&["init", "-q", "-b", "main"]);
    std::fs::write(root.join("file"), "one\n").unwrap();
    run(&["add", "."]);
    run(&[
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@a.test",
        "commit",
        "-q",
        "-m",
        "base",
    ]);
    let base = String::from_utf8(run(&["rev-parse", "HEAD"]))
        .unwrap()
        .trim()
        .to_owned();
    std::fs::write(root.join("file"), "two\n").unwrap();
    let patch = run(&["diff"]);
    let of = |material: &Material| on_checkout(material, root).unwrap()[0].verdict;
    assert_eq!(of(&material(&base, &patch)), Verdict::Holds);
    assert_eq!(of(&material(&base, b"")), Verdict::Holds);
    assert_eq!(of(&material(&base, b"no patch\n")), Verdict::Fails);
    assert_eq!(of(&material(&"1".repeat(40), &patch)), Verdict::Missing);
    assert_eq!(of(&material("main", &patch)), Verdict::Fails);
    assert_eq!(std::fs::read_to_string(root.join("file")).unwrap(), "two\n");
}

/// A statement about the material, signed by a key of its own.
fn sign(material: &Material, change: impl Fn(&mut serde_json::Value)) -> (Vec<u8>, signature::Keys) {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use cofferdam_wire::keys::{ED25519, PublicKey, PublicKeys, key_id, spki};
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let public: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
    let head = material.summary.record.chain.as_ref().unwrap().head.unwrap();
    let patch = &material.summary.record.receipt.as_ref().unwrap().manifest.patches[0];
    let mut statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [{"name": "app.patch", "digest": {"sha256": patch.digest.strip_prefix("sha256:")}}],
        "predicate": {
            "buildDefinition": {"buildType": "b", "externalParameters": {}, "internalParameters": {}, "resolvedDependencies": []},
            "runDetails": {"builder": {"id": "i", "version": {}}, "metadata": {"invocationId": material.summary.metadata.uid},
                "byproducts": [{"name": "chain", "digest": {"sha256": head.sha256}, "annotations": {"seq": head.seq}}]},
        },
    });
    change(&mut statement);
    let payload = statement.to_string();
    let kind = cofferdam_wire::statement::PAYLOAD_TYPE;
    let signature = pair.sign(&cofferdam_wire::statement::pae(kind, payload.as_bytes()));
    let envelope = json!({"payload": STANDARD.encode(&payload), "payloadType": kind,
        "signatures": [{"keyid": key_id(&public), "sig": STANDARD.encode(signature)}]});
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(spki(&public))
    );
    let key = PublicKey {
        key_id: key_id(&public),
        algorithm: ED25519.to_owned(),
        public_key: pem,
        created: "t".to_owned(),
        retired: None,
    };
    let keys = PublicKeys {
        version: 1,
        current: key.key_id.clone(),
        keys: vec![key],
    };
    (
        envelope.to_string().into_bytes(),
        signature::Keys {
            keys,
            from: "the test".to_owned(),
        },
    )
}

#[test]
fn a_statement_is_believed_only_if_a_key_of_the_installation_signed_it_and_it_speaks_of_this() {
    let judged = |change: fn(&mut serde_json::Value)| {
        let mut material = whole();
        let (statement, keys) = sign(&material, change);
        material.statement = Some(statement);
        verdict(&all(&material, Some(&keys)))
    };
    assert_eq!(judged(|_| {}), Verdict::Holds);
    for change in [
        (|statement| statement["predicate"]["runDetails"]["metadata"]["invocationId"] = json!("other"))
            as fn(&mut serde_json::Value),
        |statement| statement["predicate"]["runDetails"]["byproducts"][0]["annotations"]["seq"] = json!(3),
        |statement| statement["predicate"]["runDetails"]["byproducts"] = json!([]),
        |statement| statement["subject"][0]["digest"]["sha256"] = json!("00"),
        |statement| statement["subject"] = json!([]),
        |statement| statement["_type"] = json!("else"),
    ] {
        assert_eq!(judged(change), Verdict::Fails);
    }
    let mut material = whole();
    let (statement, _) = sign(&material, |_| {});
    let (_, others) = sign(&material, |_| {});
    material.statement = Some(statement.clone());
    assert_eq!(
        verdict(&all(&material, Some(&others))),
        Verdict::Fails,
        "another installation's key"
    );
    assert_eq!(verdict(&all(&material, None)), Verdict::Missing, "no key");
    material.statement = Some(b"{}".to_vec());
    assert_eq!(verdict(&all(&material, Some(&others))), Verdict::Fails);
}
