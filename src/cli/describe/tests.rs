use super::*;
use cofferdam_text::is_hidden;
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: &str = "2026-11-26T10:05:00Z";

fn failed() -> Value {
    json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun",
        "metadata": {"name": "fix-login", "namespace": "team-a", "uid": "0b7c9f3e-1111-4222-8333-444455556666",
            "creationTimestamp": "2026-11-26T10:00:00Z"},
        "spec": {
            "task": {"prompt": "Fix the test.\nAll of it."},
            "agent": {"image": "ghcr.io/team-a/agent:1", "args": ["--fast"]},
            "requestedBy": {"username": "anna"}, "onBehalfOf": "octocat",
            "repositories": [{"name": "shop", "url": "https://git.example.com/shop", "ref": "main", "access": "ReadWrite"}],
        },
        "status": {
            "phase": "Failed", "reason": "AgentFailed", "failureClass": "Agent", "exitCode": 3,
            "message": "the agent exited with code 3",
            "startTime": "2026-11-26T10:00:01Z", "agentStartTime": "2026-11-26T10:00:09Z",
            "completionTime": "2026-11-26T10:02:09Z",
            "conditions": [{"type": "Failed", "status": "True", "reason": "AgentFailed", "message": "", "lastTransitionTime": NOW}],
            "workload": {"kind": "Job", "name": "agr-fix-login-0b7c9f3e", "uid": "u"},
            "resolved": {"image": "ghcr.io/team-a/agent:1", "runtimeClassName": "gvisor", "policyHash": "abc",
                "images": [{"name": "agent", "imageID": "ghcr.io/team-a/agent@sha256:00"}],
                "policies": [{"kind": "SandboxPolicy", "name": "default", "uid": "p", "generation": 2}],
                "repositories": [{"name": "shop", "commit": "1111111111111111111111111111111111111111"}]},
            "isolation": {"runtimeClassName": "gvisor", "fence": "cofferdam-fence", "nodeAccess": "Denied",
                "provenTime": "2026-11-26T10:00:07Z", "podSpecDigest": "sha256:11"},
            "usage": {"allowedRequests": 12, "deniedRequests": 1},
            "lastDenied": [{"time": "2026-11-26T10:01:00Z", "host": "evil.example:443", "code": "HostDenied"}],
            "outputs": {"patches": [{"repository": "shop", "digest": "sha256:22", "bytes": 120, "files": 1, "insertions": 3,
                "deletions": 1, "snapshot": "Final", "leftOut": {"count": 1, "ignored": 0,
                    "paths": [{"path": "data/pipe", "reason": "NotAFile"}]}}]},
        },
    })
}

fn described(run: Value, events: Option<Value>) -> String {
    let run: AgentRun = serde_json::from_value(run).unwrap();
    let facts = Facts {
        run: &run,
        events: events.map(|events| serde_json::from_value(events).unwrap()),
        place: None,
    };
    render(&facts, NOW.parse().unwrap(), Paint::Plain)
}

#[test]
fn what_happened_why_and_what_to_do() {
    let events = json!([
        {"metadata": {}, "involvedObject": {}, "type": "Warning", "reason": "RequestDenied", "count": 2,
            "message": "evil.example:443 is not allowed", "lastTimestamp": "2026-11-26T10:01:00Z"},
    ]);
    insta::assert_snapshot!(described(failed(), Some(events)));
}

#[test]
fn a_run_that_goes_on_says_how_long_it_may() {
    let mut run = failed();
    run["spec"]["activeDeadlineSeconds"] = json!(600);
    run["status"] = json!({
        "phase": "Running", "reason": "Running", "agentStartTime": "2026-11-26T10:00:09Z",
        "conditions": [{"type": "Reconciling", "status": "True", "reason": "Running", "message": "", "lastTransitionTime": NOW}],
    });
    let text = described(run, None);
    assert!(text.contains("the agent works for 4m51s, 5m9s left"), "{text}");
    assert!(
        text.contains("events are not shown") && text.contains("kubectl cofferdam cancel fix-login"),
        "{text}"
    );
}

#[test]
fn a_run_that_no_controller_has_seen_is_described_too() {
    let mut run = failed();
    run.as_object_mut().unwrap().remove("status");
    let text = described(run, Some(json!([])));
    assert!(
        text.contains("phase         Pending") && text.contains("+0s"),
        "{text}"
    );
}

proptest! {
    /// Whatever a run's author, its agent or its controller write, a terminal obeys none of it.
    #[test]
    fn no_text_of_a_stranger_reaches_a_terminal_as_it_is(text in "\\PC{0,8}[\\x00-\\x1f\\x7f-\\u{9f}\\u{202e}\\u{200b}]{1,4}\\PC{0,8}") {
        let mut run = failed();
        for pointer in ["/spec/task/prompt", "/spec/agent/image", "/spec/agent/args/0", "/spec/requestedBy/username",
            "/spec/onBehalfOf", "/spec/repositories/0/url", "/status/message", "/status/reason", "/status/phase",
            "/status/failureClass", "/status/workload/name", "/status/resolved/policies/0/name",
            "/status/lastDenied/0/host", "/status/outputs/patches/0/repository",
            "/status/outputs/patches/0/leftOut/paths/0/path"] {
            *run.pointer_mut(pointer).unwrap() = Value::from(text.clone());
        }
        let events = json!([{"metadata": {}, "involvedObject": {}, "reason": text, "message": text, "lastTimestamp": NOW}]);
        let shown = described(run, Some(events));
        prop_assert!(shown.chars().all(|character| character == '\n' || !is_hidden(character)), "{shown:?}");
    }
}
