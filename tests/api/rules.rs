//! Every rule: what it refuses, with the message that a user reads, and what it lets through.

use rstest::rstest;
use serde_json::{Value, json};

use crate::cases;
use crate::credential_cases::{accepted_credentials, credential, refused_credentials};
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

/// A run by a profile.
fn run_by_profile() -> Value {
    let agent = json!({"args": ["--fast"], "env": [{"name": "EDITOR", "value": "true"}]});
    with(
        &with(&run(), "/spec/agent", agent),
        "/spec/agentProfile",
        json!("claude-code"),
    )
}

#[test]
fn manifests_that_use_every_field_are_accepted() {
    for manifest in [run(), run_by_profile(), policy(), cluster_policy(), credential()] {
        assert_accepted(&manifest, None);
        assert_accepted(&manifest, Some(&manifest));
    }
}

#[rstest]
#[case::ref_(
    "/spec/repositories/0/ref",
    &["HEAD", "@", "main", "@user/fix", "#12-fix", "it's", "a&b", "(wip)", "ünï", "a$b", "\"quoted\"", "%41", "a;b", "a|b", "日本語",
      "v1.0+build", "refs/pull/5/head", "pull/5/head", "dependabot/npm_and_yarn/@types/node-20.1.0", "0123abc"]
)]
#[case::url(
    "/spec/repositories/0/url",
    &["https://dev.azure.com/org/My%20Project/_git/shop", "https://git.example.com/a/C%23", "https://git.example.com:8443/a.git/"]
)]
fn what_git_and_forges_allow_is_accepted(#[case] pointer: &str, #[case] values: &[&str]) {
    for value in values {
        assert_accepted(&with(&run(), pointer, json!(value)), None);
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
    assert_accepted(
        &least(
            "AgentRun",
            json!({"task": {"prompt": "x"}, "agentProfile": "claude-code"}),
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

#[test]
fn a_malformed_run_is_refused_with_the_field_and_the_fix() {
    for (manifest, message) in cases::refused_run_manifests() {
        assert_refused(&manifest, None, message);
    }
}

#[test]
fn what_is_well_formed_is_accepted() {
    for (pointer, value) in cases::accepted_runs() {
        assert_accepted(&with(&run(), pointer, value), None);
    }
}

#[rstest]
#[case("/spec/policyRef", json!({"name": "other"}), "spec.policyRef is immutable: create a new AgentRun")]
#[case("/spec/task", json!({"prompt": "Something else."}), "spec.task is immutable")]
#[case("/spec/agent/image", json!("ghcr.io/team-a/agent:2.2"), "spec.agent is immutable")]
#[case("/spec/agent/env/0/value", json!("false"), "spec.agent is immutable")]
#[case("/spec/repositories/0/ref", json!("other"), "spec.repositories is immutable")]
#[case("/spec/resources/limits/cpu", json!("1"), "spec.resources is immutable")]
#[case("/spec/egress", json!({"mode": "DenyAll"}), "spec.egress is immutable")]
#[case("/spec/schedulingProfileName", json!("other"), "spec.schedulingProfileName is immutable")]
#[case("/spec/onBehalfOf", json!("someone"), "spec.onBehalfOf is immutable")]
#[case("/spec/requestedBy", json!({"username": "zoe"}), "spec.requestedBy is immutable")]
#[case("/spec/startDeadlineSeconds", json!(301), "spec.startDeadlineSeconds is immutable")]
#[case("/spec/activeDeadlineSeconds", json!(1801), "spec.activeDeadlineSeconds is immutable")]
fn what_a_run_asked_for_never_changes(#[case] pointer: &str, #[case] value: Value, #[case] message: &str) {
    assert_refused(&with(&run(), pointer, value), Some(&run()), message);
}

#[rstest]
#[case("/spec/policyRef")]
#[case("/spec/repositories")]
#[case("/spec/egress")]
#[case("/spec/resources")]
#[case("/spec/schedulingProfileName")]
#[case("/spec/onBehalfOf")]
#[case("/spec/startDeadlineSeconds")]
#[case("/spec/activeDeadlineSeconds")]
fn what_a_run_asked_for_is_neither_added_nor_removed(#[case] pointer: &str) {
    let field = pointer.trim_start_matches("/spec/");
    let message = format!("spec.{field} is immutable");
    assert_refused(&without(&run(), pointer), Some(&run()), &message);
    assert_refused(&run(), Some(&without(&run(), pointer)), &message);
}

/// A run names an image or a profile, and a profile has the command.
#[test]
fn a_run_has_one_source_of_its_agent() {
    let named = with(&run(), "/spec/agentProfile", json!("claude-code"));
    let one_of = "exactly one of agent.image and agentProfile must be given";
    let commanding = with(&run_by_profile(), "/spec/agent/command", json!(["sh"]));
    assert_refused(&without(&named, "/spec/agent/command"), None, one_of);
    assert_refused(&without(&run(), "/spec/agent/image"), None, one_of);
    assert_refused(&without(&run(), "/spec/agent"), None, one_of);
    assert_refused(
        &commanding,
        None,
        "agent.command cannot be given with agentProfile",
    );
    assert_accepted(&without(&run_by_profile(), "/spec/agent"), None);
    let odd = with(&run_by_profile(), "/spec/agentProfile", json!("Claude"));
    assert_refused(&odd, None, "agentProfile must be a DNS label");
    let other = with(&run_by_profile(), "/spec/agentProfile", json!("codex"));
    assert_refused(&other, Some(&run_by_profile()), "spec.agentProfile is immutable");
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
#[case(None, Some("KeepWork"), true)]
#[case(None, Some("DiscardWork"), true)]
#[case(Some("KeepWork"), Some("KeepWork"), true)]
#[case(Some("KeepWork"), Some("DiscardWork"), true)]
#[case(Some("DiscardWork"), Some("KeepWork"), false)]
#[case(Some("KeepWork"), None, false)]
#[case(Some("DiscardWork"), None, false)]
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

#[test]
fn a_malformed_policy_is_refused_with_the_field_and_the_fix() {
    for (pointer, value, message) in cases::refused_policies() {
        assert_refused(&with(&policy(), pointer, value.clone()), None, message);
        assert_refused(&with(&cluster_policy(), pointer, value), None, message);
    }
}

#[test]
fn well_formed_limits_are_accepted() {
    for (pointer, value) in cases::accepted_policies() {
        assert_accepted(&with(&policy(), pointer, value.clone()), None);
        assert_accepted(&with(&cluster_policy(), pointer, value), None);
    }
}

#[test]
fn a_malformed_credential_is_refused_with_the_field_and_the_fix() {
    for (pointer, value, message) in refused_credentials() {
        assert_refused(&with(&credential(), pointer, value), None, message);
    }
    assert_refused(
        &without(&credential(), "/spec/inject"),
        None,
        "exactly one of inject and basic must be given",
    );
    let basic = with(
        &credential(),
        "/spec/basic",
        json!({"username": "x-access-token"}),
    );
    assert_accepted(&without(&basic, "/spec/inject"), None);
    for (pointer, value) in accepted_credentials() {
        assert_accepted(&with(&credential(), pointer, value), None);
    }
}

#[test]
fn what_only_a_namespaces_policy_has_is_judged_too() {
    for (pointer, value, message) in cases::refused_own_fields() {
        assert_refused(&with(&policy(), pointer, value), None, message);
    }
    for (pointer, value) in cases::accepted_own_fields() {
        assert_accepted(&with(&policy(), pointer, value), None);
    }
}

#[test]
fn what_a_namespaces_policy_cannot_grant_a_cluster_policy_can() {
    for (pointer, value) in [
        ("/spec/limits/tunnels", json!("Allow")),
        ("/spec/limits/evidence/onSinkFailure", json!("Continue")),
    ] {
        assert_refused(
            &with(&policy(), pointer, value.clone()),
            None,
            "counts from a ClusterSandboxPolicy alone",
        );
        assert_accepted(&with(&cluster_policy(), pointer, value), None);
    }
}

#[test]
fn a_requester_may_have_any_name_that_an_authenticator_gives() {
    let requester = json!({"username": "system:serviceaccount:a:b", "uid": "7", "groups": ["A group, odd: √"], "credentialID": "JTI=1"});
    let known = with(&run(), "/spec/requestedBy", requester);
    assert_accepted(&known, None);
    assert_accepted(&known, Some(&known));
    assert_refused(&run(), Some(&known), "spec.requestedBy is immutable");
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
