//! Bad input: what the API server refuses, with a message that says what and how to fix it.

use cofferdam_api::{AgentRun, Reason};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{BUSYBOX, Space, default_limits, merge, prompt_from, restricted};

fn good() -> Value {
    json!({
        "task": {"prompt": "nothing"},
        "agent": {"image": BUSYBOX},
        "repositories": [{"name": "work", "url": "https://git.internet.test/two-first.git", "access": "ReadWrite"}],
    })
}

/// What is sent as it is written: a typed client could not even say some of these.
async fn create_raw(space: &Space, name: &str, spec: Value) -> kube::Result<Value> {
    let body = json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun",
        "metadata": {"name": name, "namespace": space.name}, "spec": spec,
    });
    let url = format!(
        "/apis/cofferdam.dev/v1alpha1/namespaces/{}/agentruns?dryRun=All&fieldValidation=Strict",
        space.name
    );
    let request = http::Request::post(url)
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes())
        .unwrap();
    space.client.request::<Value>(request).await
}

#[tokio::test]
async fn malformed_runs_are_refused_with_the_field_and_the_fix() {
    let space = Space::open_bare("refusals").await;
    create_raw(&space, "good", good())
        .await
        .expect("the control: a good run is taken");
    let cases: &[(&str, Value, &str)] = &[
        ("no task", json!({"task": null}), "task"),
        (
            "both prompts",
            json!({"task": prompt_from("a", "b", "x")}),
            "prompt",
        ),
        (
            "a prompt of a ConfigMap without its digest",
            json!({"task": {"prompt": null, "promptFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}}),
            "digest",
        ),
        ("neither prompt", json!({"task": {"prompt": null}}), "prompt"),
        (
            "long prompt",
            json!({"task": {"prompt": "x".repeat(3000)}}),
            "prompt",
        ),
        ("no image", json!({"agent": {"image": null}}), "image"),
        ("unknown field", json!({"budget": {"maxTokens": 1}}), "budget"),
        (
            "zero time-out",
            json!({"activeDeadlineSeconds": 0}),
            "activeDeadlineSeconds",
        ),
        (
            "negative time to live",
            json!({"ttlSecondsAfterFinished": -1}),
            "ttlSecondsAfterFinished",
        ),
        ("unknown cancel", json!({"cancel": "Later"}), "cancel"),
        (
            "reserved variable",
            json!({"agent": {"env": [{"name": "HTTPS_PROXY", "value": "http://other"}]}}),
            "env",
        ),
        (
            "ssh url",
            json!({"repositories": [{"name": "work", "url": "git@git.internet.test:two-first.git"}]}),
            "url",
        ),
        (
            "credentials in url",
            json!({"repositories": [{"name": "work", "url": "https://me:secret@git.internet.test/a"}]}),
            "url",
        ),
        (
            "option as ref",
            json!({"repositories": [{"name": "work", "url": "https://git.internet.test/a", "ref": "--upload-pack=x"}]}),
            "ref",
        ),
        (
            "path out",
            json!({"repositories": [{"name": "work", "url": "https://git.internet.test/a", "path": "../etc"}]}),
            "path",
        ),
        (
            "two of a name",
            json!({"repositories": [
            {"name": "work", "url": "https://git.internet.test/a"}, {"name": "work", "url": "https://git.internet.test/b"}]}),
            "work",
        ),
    ];
    for (what, change, field) in cases {
        let mut spec = good();
        merge(&mut spec, change);
        let refusal = create_raw(&space, "bad", spec).await.expect_err(what).to_string();
        assert!(refusal.contains(field), "{what}: {refusal}");
    }
    create_raw(&space, &"n".repeat(64), good())
        .await
        .expect_err("a name of 64 characters");
    space.close().await;
}

#[tokio::test]
async fn a_run_cannot_be_changed_after_it_was_made() {
    let space = Space::open_bare("immutable").await;
    let mut spec = good();
    merge(&mut spec, &json!({"suspend": true}));
    let run = space.run("fixed", spec).await;
    for change in [
        json!({"task": {"prompt": "something else"}}),
        json!({"agent": {"image": "cofferdam.test/other:dev"}}),
        json!({"repositories": null}),
        json!({"activeDeadlineSeconds": 99}),
        json!({"policyRef": {"name": "laxer"}}),
    ] {
        let refusal = run
            .change(change.clone())
            .await
            .expect_err("immutable")
            .to_string();
        assert!(refusal.contains("immutable"), "{change}: {refusal}");
    }
    run.change(json!({"ttlSecondsAfterFinished": 60}))
        .await
        .expect("the control: this field may change");
    space.close().await;
}

#[rstest]
#[case::no_mode("no-mode", json!({"egress": {"rules": []}}), "mode")]
#[case::empty_allow_list("empty-list", json!({"egress": {"mode": "AllowList"}}), "rules")]
#[case::deny_all_with_rules("deny-with-rules", json!({"images": {"mode": "DenyAll", "allowed": ["cofferdam.test/**"]}}), "allowed")]
#[case::unknown_tls("unknown-tls", json!({"egress": {"mode": "AllowList", "rules": [{"name": "a", "hosts": ["a.example"], "tls": "Trust"}]}}), "tls")]
#[case::bad_port("bad-port", json!({"egress": {"mode": "AllowList", "rules": [{"name": "a", "hosts": ["a.example"], "ports": [0], "tls": "Tunnel"}]}}), "ports")]
#[case::address_as_host("address-host", json!({"egress": {"mode": "AllowList", "rules": [{"name": "a", "hosts": ["203.0.113.1"], "tls": "Tunnel"}]}}), "hosts")]
#[case::no_classes("no-classes", json!({"runtime": {"runtimeClassNames": []}}), "runtimeClassNames")]
#[tokio::test]
async fn malformed_policies_are_refused(#[case] name: &str, #[case] limits: Value, #[case] field: &str) {
    let client = crate::harness::client().await;
    let url =
        "/apis/cofferdam.dev/v1alpha1/namespaces/default/sandboxpolicies?dryRun=All&fieldValidation=Strict";
    let create = |limits: Value| {
        let body = json!({"apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxPolicy", "metadata": {"name": name}, "spec": {"limits": limits}});
        let request = http::Request::post(url)
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes())
            .unwrap();
        client.request::<Value>(request)
    };
    create(default_limits())
        .await
        .expect("the control: a good policy is taken");
    let refusal = create(limits).await.expect_err(name).to_string();
    assert!(refusal.contains(field), "{refusal}");
}

#[tokio::test]
async fn a_namespace_that_did_not_opt_in_runs_nothing() {
    let space = Space::open_with("not-opted-in", &restricted()).await;
    space.policy("default", default_limits()).await;
    let run = space.run("outside", good()).await;
    let message = run
        .ends(Reason::PolicyMissing)
        .await
        .status
        .unwrap()
        .message
        .unwrap_or_default();
    assert!(message.contains("cofferdam.dev/sandbox"), "{message}");
    assert!(space.api::<AgentRun>().get("outside").await.is_ok());
    space.close().await;
}
