//! Every rule: what it refuses, with the message that a user reads, and what it lets through.

use rstest::rstest;
use serde_json::{Value, json};

use crate::manifests::{cluster_policy, policy, run, with, without};
use crate::schema::problems;

fn assert_accepted(manifest: &Value, old: Option<&Value>) {
    assert_eq!(problems(manifest, old), Vec::<String>::new());
}

/// Exactly one rule speaks, and says this.
fn assert_refused(manifest: &Value, old: Option<&Value>, message: &str) {
    let problems = problems(manifest, old);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains(message), "{}", problems[0]);
}

#[test]
fn manifests_that_use_every_field_are_accepted() {
    for manifest in [run(), policy(), cluster_policy()] {
        assert_accepted(&manifest, None);
        assert_accepted(&manifest, Some(&manifest));
    }
}

#[test]
fn the_least_that_can_be_written_is_accepted() {
    let least = |kind: &str, spec: Value| json!({"apiVersion": "cofferdam.dev/v1alpha1", "kind": kind, "metadata": {"name": "a"}, "spec": spec});
    assert_accepted(
        &least(
            "AgentRun",
            json!({"task": {"prompt": "x"}, "agent": {"image": "a"}}),
        ),
        None,
    );
    assert_accepted(&least("SandboxPolicy", json!({"limits": {}})), None);
    assert_accepted(
        &least(
            "ClusterSandboxPolicy",
            json!({"limits": {}, "namespaceSelector": {}}),
        ),
        None,
    );
}

#[rstest]
#[case("/metadata/name", json!("fix.login"), "metadata.name must be a DNS label")]
#[case("/metadata/name", json!("a".repeat(64)), "metadata.name must be a DNS label of at most 63 characters")]
#[case("/spec/policyRef/name", json!("My.Policy"), "policyRef.name must be a DNS label")]
#[case("/spec/task", json!({}), "exactly one of prompt and promptFrom must be given")]
#[case("/spec/task", json!({"prompt": "x", "promptFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}), "exactly one of prompt and promptFrom")]
#[case("/spec/task", json!({"promptFrom": {"configMapKeyRef": {"name": "A_b", "key": "b"}}}), "configMapKeyRef.name must be a DNS name")]
#[case("/spec/task", json!({"promptFrom": {"configMapKeyRef": {"name": "a", "key": "a/b"}}}), "configMapKeyRef.key must be a key of the ConfigMap")]
#[case("/spec/agent/image", json!("ghcr.io/Team/agent"), "image must be registry/repository:tag")]
#[case("/spec/agent/image", json!("ghcr.io/team/agent:"), "image must be registry/repository:tag")]
#[case("/spec/agent/image", json!("ghcr.io/team/agent@sha256:abc"), "image must be registry/repository:tag")]
#[case("/spec/agent/image", json!("ghcr.io/team/*"), "image must be registry/repository:tag")]
#[case("/spec/agent/image", json!("ghcr.io//agent"), "image must be registry/repository:tag")]
#[case("/spec/agent/env/0/name", json!("1A"), "name must consist of letters, digits and '_'")]
#[case("/spec/agent/env/0/name", json!("A-B"), "name must consist of letters, digits and '_'")]
#[case("/spec/agent/env/0/name", json!("A=B"), "name must consist of letters, digits and '_'")]
#[case("/spec/agent/env/0/name", json!("HOME"), "name is one that the sandbox sets itself")]
#[case("/spec/agent/env/0/name", json!("https_proxy"), "name is one that the sandbox sets itself")]
#[case("/spec/agent/env/0/name", json!("NO_PROXY"), "name is one that the sandbox sets itself")]
#[case("/spec/agent/env/0/name", json!("SSL_CERT_FILE"), "name is one that the sandbox sets itself")]
#[case("/spec/agent/env/0/name", json!("COFFERDAM_ANYTHING"), "name is one that the sandbox sets itself")]
#[case("/spec/repositories/0/name", json!("App"), "repositories[].name must be a DNS label")]
#[case("/spec/repositories/0/path", json!("../up"), "repositories[].path must be a DNS label")]
#[case("/spec/repositories/0/path", json!("a/b"), "repositories[].path must be a DNS label")]
#[case("/spec/repositories/0/path", json!("manual"), "each of repositories needs a directory of its own")]
#[case("/spec/repositories/1/path", json!("app"), "each of repositories needs a directory of its own")]
#[case("/spec/repositories/0/url", json!("git@github.com:team-a/app.git"), "url must start with https://")]
#[case("/spec/repositories/0/url", json!("http://github.com/team-a/app"), "url must start with https://")]
#[case("/spec/repositories/0/url", json!("https://user:word@github.com/team-a/app"), "url must not carry user information")]
#[case("/spec/repositories/0/url", json!("https://github.com"), "url must be https://host[:port]/path")]
#[case("/spec/repositories/0/url", json!("https://github.com/team%2fa"), "url must be https://host[:port]/path")]
#[case("/spec/repositories/0/url", json!("https://github.com/team?x"), "url must be https://host[:port]/path")]
#[case("/spec/repositories/0/url", json!("https://github.com:0/team"), "url must be https://host[:port]/path")]
#[case("/spec/repositories/0/ref", json!("--upload-pack=id"), "ref must be a branch, a tag or a full commit")]
#[case("/spec/repositories/0/ref", json!("a..b"), "ref must be a branch, a tag or a full commit")]
#[case("/spec/repositories/0/ref", json!("HEAD@{1}"), "ref must be a branch, a tag or a full commit")]
#[case("/spec/repositories/0/ref", json!("a b"), "ref must be a branch, a tag or a full commit")]
#[case("/spec/repositories/0/ref", json!("a:b"), "ref must be a branch, a tag or a full commit")]
#[case("/spec/resources/limits", json!({"nvidia.com/gpu": "1"}), "only cpu, memory and ephemeral-storage")]
#[case("/spec/resources/requests", json!({"hugepages-2Mi": "1"}), "only cpu, memory and ephemeral-storage")]
#[case("/spec/resources/limits", json!({"cpu": "0"}), "every amount must be a quantity of more than zero")]
#[case("/spec/resources/limits", json!({"memory": "-1Gi"}), "every amount must be a quantity of more than zero")]
#[case("/spec/resources/limits", json!({"memory": "much"}), "every amount must be a quantity of more than zero")]
#[case("/spec/resources/requests", json!({"cpu": "3"}), "requests must not be above limits")]
fn a_malformed_run_is_refused_with_the_field_and_the_fix(
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] message: &str,
) {
    let mut manifest = run();
    if pointer.ends_with("/limits") {
        manifest = without(&manifest, "/spec/resources/requests");
    }
    assert_refused(&with(&manifest, pointer, value), None, message);
}

#[rstest]
#[case("/spec/task", json!({"promptFrom": {"configMapKeyRef": {"name": "a.b", "key": "prompt.md"}}}))]
#[case("/spec/agent/image", json!("agent"))]
#[case("/spec/agent/image", json!("localhost:5000/agent"))]
#[case("/spec/agent/image", json!(format!("ghcr.io/team/sub/agent__x:V1@sha256:{}", "a".repeat(64))))]
#[case("/spec/agent/env/0/name", json!("_HOME"))]
#[case("/spec/agent/env/0/name", json!("HOME_2"))]
#[case("/spec/repositories/0/ref", json!("refs/heads/feature/x+y@2"))]
#[case("/spec/repositories/0/ref", json!("0123456789abcdef0123456789abcdef01234567"))]
#[case("/spec/repositories/0/url", json!("https://git.example.com/a/b/c.git/"))]
#[case("/spec/resources/limits", json!({"cpu": "500m", "memory": "1.5Gi", "ephemeral-storage": "1e9"}))]
#[case("/spec/suspend", json!(true))]
#[case("/spec/cancel", json!("Immediate"))]
fn what_is_well_formed_is_accepted(#[case] pointer: &str, #[case] value: Value) {
    assert_accepted(&with(&run(), pointer, value), None);
}

#[rstest]
#[case("/spec/policyRef", json!({"name": "other"}), "spec.policyRef cannot be changed after creation: create a new AgentRun")]
#[case("/spec/task", json!({"prompt": "Something else."}), "spec.task cannot be changed")]
#[case("/spec/agent/image", json!("ghcr.io/team-a/agent:2.2"), "spec.agent cannot be changed")]
#[case("/spec/agent/env/0/value", json!("false"), "spec.agent cannot be changed")]
#[case("/spec/repositories/0/ref", json!("other"), "spec.repositories cannot be changed")]
#[case("/spec/resources/limits/cpu", json!("1"), "spec.resources cannot be changed")]
#[case("/spec/startTimeoutSeconds", json!(301), "spec.startTimeoutSeconds cannot be changed")]
#[case("/spec/timeoutSeconds", json!(1801), "spec.timeoutSeconds cannot be changed")]
fn what_a_run_asked_for_never_changes(#[case] pointer: &str, #[case] value: Value, #[case] message: &str) {
    assert_refused(&with(&run(), pointer, value), Some(&run()), message);
}

#[rstest]
#[case("/spec/policyRef")]
#[case("/spec/repositories")]
#[case("/spec/resources")]
#[case("/spec/startTimeoutSeconds")]
#[case("/spec/timeoutSeconds")]
fn what_a_run_asked_for_is_neither_added_nor_removed(#[case] pointer: &str) {
    let field = pointer.trim_start_matches("/spec/");
    let message = format!("spec.{field} cannot be changed");
    assert_refused(&without(&run(), pointer), Some(&run()), &message);
    assert_refused(&run(), Some(&without(&run(), pointer)), &message);
}

#[test]
fn the_time_to_live_can_change() {
    assert_accepted(
        &with(&run(), "/spec/ttlSecondsAfterFinished", json!(60)),
        Some(&run()),
    );
    assert_accepted(&without(&run(), "/spec/ttlSecondsAfterFinished"), Some(&run()));
}

#[test]
fn a_run_can_be_suspended_only_before_it_started() {
    let suspended = |manifest: &Value| with(manifest, "/spec/suspend", json!(true));
    let waiting = with(&run(), "/status", json!({"phase": "Pending"}));
    let started = with(&run(), "/status", json!({"startTime": "2026-01-01T00:00:00Z"}));
    assert_accepted(&suspended(&run()), Some(&run()));
    assert_accepted(&suspended(&waiting), Some(&waiting));
    assert_accepted(&run(), Some(&suspended(&run())));
    assert_refused(
        &suspended(&started),
        Some(&started),
        "spec.suspend cannot be set after the run has started",
    );
}

#[rstest]
#[case(None, Some("Graceful"), true)]
#[case(None, Some("Immediate"), true)]
#[case(Some("Graceful"), Some("Graceful"), true)]
#[case(Some("Graceful"), Some("Immediate"), true)]
#[case(Some("Immediate"), Some("Graceful"), false)]
#[case(Some("Graceful"), None, false)]
#[case(Some("Immediate"), None, false)]
fn a_cancel_is_never_taken_back(
    #[case] old: Option<&str>,
    #[case] new: Option<&str>,
    #[case] accepted: bool,
) {
    let cancelled =
        |word: Option<&str>| word.map_or_else(run, |word| with(&run(), "/spec/cancel", json!(word)));
    if accepted {
        assert_accepted(&cancelled(new), Some(&cancelled(old)));
    } else {
        assert_refused(
            &cancelled(new),
            Some(&cancelled(old)),
            "spec.cancel cannot be taken back",
        );
    }
}

#[rstest]
#[case("/metadata/name", json!("a.b"), "metadata.name must be a DNS label")]
#[case("/spec/limits/runtime/classes", json!(["gVisor"]), "every item of classes must be a DNS name")]
#[case("/spec/limits/images", json!({"mode": "AllowList"}), "mode AllowList needs at least one item in allowed")]
#[case("/spec/limits/images", json!({"mode": "AllowList", "allowed": []}), "mode AllowList needs at least one item in allowed")]
#[case("/spec/limits/images", json!({"mode": "DenyAll", "allowed": ["a.b/c"]}), "mode DenyAll allows nothing, so allowed must be left out")]
#[case("/spec/limits/images/allowed/0", json!("**"), "every item of allowed must be registry/repository")]
#[case("/spec/limits/images/allowed/0", json!("*/app"), "every item of allowed must be registry/repository")]
#[case("/spec/limits/images/allowed/0", json!("ghcr.io/team*"), "every item of allowed must be registry/repository")]
#[case("/spec/limits/images/allowed/0", json!("ghcr.io/**/app"), "every item of allowed must be registry/repository")]
#[case("/spec/limits/images/allowed/0", json!("ghcr.io/Team/app"), "every item of allowed must be registry/repository")]
#[case("/spec/limits/repositories", json!({"mode": "AllowList"}), "mode AllowList needs at least one item in read")]
#[case("/spec/limits/repositories", json!({"mode": "DenyAll", "read": [{"name": "a", "url": "https://a.b/c"}]}), "mode DenyAll allows nothing, so read must be left out")]
#[case("/spec/limits/repositories/read/0/name", json!("A"), "name of a rule must be a DNS label")]
#[case("/spec/limits/repositories/read/0/url", json!("https://*.example.com/a"), "url must be https://host[:port]/path with '*'")]
#[case("/spec/limits/repositories/read/0/url", json!("https://github.com"), "url must be https://host[:port]/path with '*'")]
#[case("/spec/limits/repositories/read/0/url", json!("https://github.com/a*"), "url must be https://host[:port]/path with '*'")]
#[case("/spec/limits/repositories/read/0/url", json!("https://github.com/**/a"), "url must be https://host[:port]/path with '*'")]
#[case("/spec/limits/repositories/read/0/url", json!("git@github.com:a/*"), "url must be https://host[:port]/path with '*'")]
#[case("/spec/limits/repositories/read/1/addresses/0", json!("10.0.0.1"), "every item of addresses must be a CIDR")]
#[case("/spec/limits/repositories/read/1/addresses/0", json!("10.0.0.0/33"), "every item of addresses must be a CIDR")]
#[case("/spec/limits/egress", json!({"mode": "AllowList"}), "mode AllowList needs at least one item in rules")]
#[case("/spec/limits/egress", json!({"mode": "DenyAll", "rules": [{"name": "a", "hosts": ["a.b"], "tls": "Tunnel"}]}), "mode DenyAll allows nothing, so rules must be left out")]
#[case("/spec/limits/egress/rules/0/name", json!("a b"), "name of a rule must be a DNS label")]
#[case("/spec/limits/egress/rules/0/hosts/0", json!("API.example.com"), "every item of hosts must be a full host name in lower case")]
#[case("/spec/limits/egress/rules/0/hosts/0", json!("localhost"), "every item of hosts must be a full host name in lower case")]
#[case("/spec/limits/egress/rules/0/hosts/0", json!("api.example.com."), "every item of hosts must be a full host name in lower case")]
#[case("/spec/limits/egress/rules/0/hosts/0", json!("https://api.example.com"), "every item of hosts must be a full host name in lower case")]
#[case("/spec/limits/egress/rules/0/hosts/0", json!("a.*.example.com"), "every item of hosts must be a full host name in lower case")]
#[case("/spec/limits/egress/rules/0/hosts/0", json!("203.0.113.7"), "hosts must not be IP addresses")]
#[case("/spec/limits/egress/rules/0/hosts/0", json!("a.0x7f"), "hosts must not be IP addresses")]
#[case("/spec/limits/egress/rules/0/hosts/0", json!("*.com"), "nor cover a whole top-level domain")]
#[case("/spec/limits/egress/rules/1/addresses/0", json!("private"), "every item of addresses must be a CIDR")]
#[case("/spec/limits/maxResources", json!({"gpu": "1"}), "only cpu, memory and ephemeral-storage")]
#[case("/spec/limits/maxResources", json!({"cpu": "0"}), "every amount must be a quantity of more than zero")]
fn a_malformed_policy_is_refused_with_the_field_and_the_fix(
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] message: &str,
) {
    assert_refused(&with(&policy(), pointer, value.clone()), None, message);
    assert_refused(&with(&cluster_policy(), pointer, value), None, message);
}

#[rstest]
#[case("/spec/limits/images", json!({"mode": "DenyAll"}))]
#[case("/spec/limits/images", json!({"mode": "DenyAll", "allowed": []}))]
#[case("/spec/limits/images/allowed/0", json!("docker.io/**"))]
#[case("/spec/limits/images/allowed/0", json!("nginx"))]
#[case("/spec/limits/images/allowed/0", json!(format!("ghcr.io/a/b@sha256:{}", "0".repeat(64))))]
#[case("/spec/limits/repositories", json!({"mode": "DenyAll"}))]
#[case("/spec/limits/repositories/read/0/url", json!("https://github.com/**"))]
#[case("/spec/limits/egress", json!({"mode": "DenyAll"}))]
#[case("/spec/limits/egress/rules/0/hosts/0", json!("*.a.example"))]
#[case("/spec/limits/egress/rules/0/hosts/0", json!("xn--bcher-kva.example"))]
fn well_formed_limits_are_accepted(#[case] pointer: &str, #[case] value: Value) {
    assert_accepted(&with(&policy(), pointer, value.clone()), None);
    assert_accepted(&with(&cluster_policy(), pointer, value), None);
}

#[rstest]
#[case(json!({"key": "a", "operator": "In"}), false)]
#[case(json!({"key": "a", "operator": "NotIn", "values": []}), false)]
#[case(json!({"key": "a", "operator": "Exists", "values": ["b"]}), false)]
#[case(json!({"key": "a", "operator": "In", "values": ["b"]}), true)]
#[case(json!({"key": "a", "operator": "DoesNotExist"}), true)]
fn a_selector_must_mean_something(#[case] expression: Value, #[case] accepted: bool) {
    let manifest = with(
        &cluster_policy(),
        "/spec/namespaceSelector/matchExpressions",
        json!([expression]),
    );
    if accepted {
        assert_accepted(&manifest, None);
    } else {
        assert_refused(
            &manifest,
            None,
            "matchExpressions with operator In or NotIn need values",
        );
    }
}
