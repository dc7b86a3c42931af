use proptest::prelude::*;

use super::*;

/// A chain with each kind of record, as controller and gateway write them.
fn chain() -> Vec<String> {
    let mut seq = 0;
    let mut line = |source: &str, class: &str, kind: &str, data: &Value| {
        seq += 1;
        json!({"seq": seq, "time": format!("2026-11-26T10:00:{seq:02}Z"), "run": "6f1c", "source": source, "sourceSeq": seq,
            "class": class, "version": 3, "type": kind, "data": data, "prev": "00"})
        .to_string()
    };
    let digest = format!("sha256:{}", "1".repeat(64));
    let mut lines = vec![line(
        "controller/pod/1-1",
        "Observed",
        "Admitted",
        &json!({"run": "team-a/fix", "attempt": 1, "requestedBy": "oidc:anna", "onBehalfOf": "bert", "specDigest": digest,
            "policyHash": "p".repeat(52), "policies": ["SandboxPolicy/default u 1"], "image": "ghcr.io/a/agent:1",
            "runtimeClassName": "gvisor"}),
    )];
    for (kind, data) in [
        (
            "Document",
            json!({"name": "spec", "digest": digest, "part": 1, "parts": 1, "text": "{}"}),
        ),
        (
            "Prepared",
            json!({"commits": ["app aaaa"], "provenTime": "2026-11-26T10:00:00Z", "nodeAccess": "Denied"}),
        ),
    ] {
        lines.push(line("controller/pod/1-1", "Reported", kind, &data));
    }
    for (kind, data) in [
        ("StreamOpened", Value::Null),
        (
            "Allowed",
            json!({"host": "a.test:443", "method": "CONNECT", "address": "203.0.113.1:443",
            "rules": ["SandboxPolicy/default/a", "ClusterSandboxPolicy/all/b"], "by": "agent"}),
        ),
        (
            "Allowed",
            json!({"host": "[2001:db8::1]:80", "method": "GET", "path": "/x?sha256=00", "address": "[2001:db8::1]:80",
            "rules": ["SandboxPolicy/default/a"], "credential": "model", "by": "agent"}),
        ),
        (
            "Denied",
            json!({"host": "evil.test:443", "method": "POST", "path": "/", "code": "HostNotAllowed",
            "layer": "SandboxPolicy/default", "message": "no rule allows it", "by": "agent", "count": 2}),
        ),
        (
            "Denied",
            json!({"host": "a b\u{202e}", "method": "BREW", "code": "HostInvalid", "message": "no host", "by": "prepare",
            "count": 1}),
        ),
        (
            "Closed",
            json!({"host": "a.test:443", "sent": 10, "received": 20, "cause": "Ended"}),
        ),
        ("IsolationLost", json!({"probe": "canary", "detail": "answered"})),
        ("PodMutated", json!({"built": "x", "live": "y"})),
        ("Reserved", json!({"tokens": 5})),
        ("StreamClosed", json!({"count": 9, "cause": "RunEnded"})),
    ] {
        lines.push(line("gateway/pod/2-1", "Observed", kind, &data));
    }
    for (reason, exit) in [("Completed", 0), ("AgentFailed", 3)] {
        lines.push(line(
            "controller/pod/1-1",
            "Observed",
            "Ended",
            &json!({"run": "team-a/fix", "reason": reason, "message": "The agent has ended.", "attempt": 1, "exitCode": exit,
                "promptDigest": digest, "images": [format!("agent ghcr.io/a/agent@{digest}"), "sidecar x"]}),
        ));
    }
    lines.push(line("archive", "Observed", "Sealed", &json!({"complete": true})));
    lines.push(
        r#"{"seq": 99, "run": "6f1c", "type": "Allowed", "data": {"host": 1}, "time": "yesterday"}"#
            .to_owned(),
    );
    lines.push("no record".to_owned());
    lines
}

fn written() -> String {
    let mut records = Spool::new().unwrap();
    for line in chain() {
        records.take(format!("{line}\n").as_bytes()).unwrap();
    }
    let mut text = String::new();
    events(&mut records, |event| {
        text.extend([event.to_string().as_str(), "\n"]);
        Ok(())
    })
    .unwrap();
    text
}

/// `tests/ocsf/check.sh` holds these events to the published schema.
#[test]
fn every_record_is_the_event_that_was_held_to_the_schema() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/audit/ocsf/events.jsonl");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, written()).unwrap();
    }
    assert_eq!(written(), std::fs::read_to_string(path).unwrap());
}

/// A sandbox writes no record of the controller's, and so no tag.
#[test]
fn tags_are_the_controllers_word() {
    let mut tags = Tags::default();
    let admitted = chain()[0].replace("controller/", "gateway/");
    tags.take(admitted.as_bytes());
    assert_eq!(tags, Tags::default());
    tags.take(chain()[0].as_bytes());
    assert_eq!((tags.run(), tags.requester()), ("team-a/fix", Some("oidc:anna")));
}

proptest! {
    #[test]
    fn every_line_is_one_event_with_what_every_event_must_have(line in "\\PC{0,60}|\\{\"type\":\"[A-Z][a-z]{0,9}\",\"time\":\"\\PC{0,9}\",\"data\":(1|null|\\{\\})\\}") {
        let event = event(line.as_bytes(), &Tags::default());
        for field in ["class_uid", "category_uid", "activity_id", "type_uid", "severity_id", "time", "metadata"] {
            prop_assert!(event.get(field).is_some(), "{field}: {event}");
        }
        prop_assert!(!event.to_string().contains('\n'));
    }
}
