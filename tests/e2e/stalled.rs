//! Input that is well formed and cannot be had, as only the controller can see: it ends in `Stalled`, and says which layer
//! and which rule said no. Beside the namespace's policies stands the ceiling that `make install` applies.

use std::time::Duration;

use cofferdam_api::{AgentRun, LiveReason, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{BUSYBOX, Run, Space, default_limits, merge, prompt_from, repository, until};

/// One ask: name, what it adds to a good run, reason, words of the message.
type Ask = (&'static str, Value, Reason, &'static [&'static str]);

/// The usual limits with these in their place; `null` takes one away.
fn limits(more: &Value) -> Value {
    let mut limits = default_limits();
    merge(&mut limits, more);
    limits
}

/// Policies of the namespace, by name.
async fn policies(space: &Space) {
    for (name, more) in [
        ("default", json!({})),
        (
            "brief",
            json!({
                "maxActiveDeadlineSeconds": 60, "maxStartDeadlineSeconds": 240, "maxTTLSecondsAfterFinished": 1000,
                "maxResources": {"memory": "1Gi"},
            }),
        ),
        ("by-digest", json!({"images": {"digest": "Required"}})),
        (
            "no-images",
            json!({"images": {"mode": "DenyAll", "allowed": null}}),
        ),
        ("no-word-of-images", json!({"images": null})),
        ("no-word-of-code", json!({"repositories": null})),
        (
            "no-code",
            json!({"repositories": {"mode": "DenyAll", "clone": null}}),
        ),
        ("alone", json!({"runtime": {"runtimeClassNames": ["kata"]}})),
        (
            "not-there",
            json!({"runtime": {"runtimeClassNames": ["no-such-runtime"]}}),
        ),
        (
            "unreadable",
            json!({"egress": {"rules": [{"name": "rented", "hosts": ["*.co.uk"], "tls": "Tunnel"}]}}),
        ),
    ] {
        space.policy(name, limits(&more)).await;
    }
}

fn under(policy: &str) -> Value {
    json!({"policyRef": {"name": policy}})
}

/// What `brief` and the ceiling allow at most.
fn brief(more: &Value) -> Value {
    let mut spec = under("brief");
    merge(&mut spec, more);
    spec
}

/// Asks about images and code.
fn sources() -> Vec<Ask> {
    let elsewhere = json!({"agent": {"image": "elsewhere.test/agent:1"}});
    let foreign = json!({"repositories": [
        {"name": "work", "url": "https://denied.internet.test/git/two-first.git", "access": "ReadWrite"}]});
    vec![
        (
            "image",
            elsewhere,
            Reason::ImageDenied,
            &[
                "spec.agent.image",
                "SandboxPolicy/default (limits.images.allowed)",
                "allowed: cofferdam.test/**",
            ],
        ),
        (
            "tag",
            under("by-digest"),
            Reason::ImageDenied,
            &[
                "SandboxPolicy/by-digest (limits.images.digest)",
                "must be named by its digest",
            ],
        ),
        (
            "any-image",
            under("no-images"),
            Reason::ImageDenied,
            &[
                "SandboxPolicy/no-images (limits.images.allowed)",
                "allows none at all",
            ],
        ),
        (
            "ungoverned-image",
            under("no-word-of-images"),
            Reason::ImageDenied,
            &["spec.agent.image", "no policy in force sets limits.images"],
        ),
        (
            "code",
            foreign,
            Reason::PolicyDenied,
            &[
                "spec.repositories[work].url",
                "SandboxPolicy/default (limits.repositories.clone)",
                "allowed: https://git.internet.test/**",
            ],
        ),
        (
            "any-code",
            under("no-code"),
            Reason::PolicyDenied,
            &[
                "SandboxPolicy/no-code (limits.repositories.clone)",
                "allows none at all",
            ],
        ),
        (
            "ungoverned-code",
            under("no-word-of-code"),
            Reason::PolicyDenied,
            &[
                "spec.repositories[work].url",
                "no policy in force sets limits.repositories",
            ],
        ),
    ]
}

/// Asks for amounts.
fn amounts() -> Vec<Ask> {
    let memory = json!({"resources": {"requests": {}, "limits": {"memory": "2Gi"}}});
    let processors = json!({"resources": {"requests": {}, "limits": {"cpu": "9"}}});
    vec![
        (
            "time",
            brief(&json!({"activeDeadlineSeconds": 61})),
            Reason::PolicyDenied,
            &[
                "spec.activeDeadlineSeconds `61`",
                "SandboxPolicy/brief (limits.maxActiveDeadlineSeconds)",
                "allowed: 1 to 60",
            ],
        ),
        (
            "time-of-the-cluster",
            json!({"activeDeadlineSeconds": 14401}),
            Reason::PolicyDenied,
            &[
                "ClusterSandboxPolicy/default (limits.maxActiveDeadlineSeconds)",
                "allowed: 1 to 14400",
            ],
        ),
        (
            "time-to-start",
            brief(&json!({"startDeadlineSeconds": 241})),
            Reason::PolicyDenied,
            &[
                "spec.startDeadlineSeconds `241`",
                "SandboxPolicy/brief (limits.maxStartDeadlineSeconds)",
            ],
        ),
        (
            "time-to-live",
            brief(&json!({"ttlSecondsAfterFinished": 1001})),
            Reason::PolicyDenied,
            &[
                "spec.ttlSecondsAfterFinished `1001`",
                "SandboxPolicy/brief (limits.maxTTLSecondsAfterFinished)",
            ],
        ),
        (
            "memory",
            brief(&memory),
            Reason::PolicyDenied,
            &[
                "spec.resources.limits.memory `2Gi`",
                "SandboxPolicy/brief (limits.maxResources.memory)",
                "up to 1Gi",
            ],
        ),
        (
            "processors-of-the-cluster",
            processors,
            Reason::PolicyDenied,
            &[
                "spec.resources.limits.cpu `9`",
                "ClusterSandboxPolicy/default (limits.maxResources.cpu)",
                "up to 8",
            ],
        ),
    ]
}

/// Asks for what is not there, or under what cannot be had.
fn absences() -> Vec<Ask> {
    let rented =
        json!({"egress": {"mode": "AllowList", "rules": [{"name": "rented", "hosts": ["*.co.uk"]}]}});
    vec![
        (
            "profile",
            json!({"schedulingProfileName": "fast-lane"}),
            Reason::PolicyDenied,
            &[
                "spec.schedulingProfileName `fast-lane`",
                "SandboxPolicy/default (schedulingProfiles)",
            ],
        ),
        (
            "policy",
            under("absent"),
            Reason::PolicyMissing,
            &[
                "spec.policyRef.name `absent`",
                "has no SandboxPolicy of this name",
            ],
        ),
        (
            "runtime-of-one-layer",
            under("alone"),
            Reason::PolicyDenied,
            &[
                "runtimeClassName `kata`",
                "ClusterSandboxPolicy/default (limits.runtime.runtimeClassNames)",
            ],
        ),
        (
            "runtime",
            under("not-there"),
            Reason::RuntimeUnavailable,
            &[
                "runtimeClassName `no-such-runtime`",
                "(limits.runtime.runtimeClassNames)",
                "gvisor",
            ],
        ),
        (
            "policy-that-cannot-be-read",
            under("unreadable"),
            Reason::PolicyDenied,
            &["`*.co.uk`", "SandboxPolicy/unreadable", "public suffix"],
        ),
        (
            "host-that-cannot-be-read",
            rented,
            Reason::PolicyDenied,
            &["spec.egress.rules[rented].hosts `*.co.uk`", "public suffix"],
        ),
    ]
}

fn condition<'a>(run: &'a AgentRun, kind: &str) -> Option<&'a Condition> {
    let conditions = run.status.as_ref().map(|status| &status.conditions);
    conditions?.iter().find(|condition| condition.type_ == kind)
}

/// What is wrong with the end of a refused run.
async fn wrong(run: &Run, reason: Reason, words: &[&str]) -> Vec<String> {
    let ended = run.ended().await;
    let mut wrong = Vec::new();
    let status = ended.status.clone().unwrap_or_default();
    if status.reason.as_deref() != Some(reason.as_str()) {
        wrong.push(format!("{reason}, not {:?}: {:?}", status.reason, status.message));
    }
    for (kind, value) in [("Stalled", "True"), ("Failed", "True"), ("Ready", "False")] {
        let Some(said) = condition(&ended, kind) else {
            wrong.push(format!("no {kind}"));
            continue;
        };
        if said.status != value || said.reason != reason.as_str() {
            wrong.push(format!("{kind} is {} for {}", said.status, said.reason));
        }
    }
    let stalled = condition(&ended, "Stalled").map(|said| said.message.clone());
    for (place, text) in [("message", status.message), ("Stalled", stalled)] {
        let text = text.unwrap_or_default();
        let unsaid = words.iter().filter(|word| !text.contains(**word));
        wrong.extend(unsaid.map(|word| format!("{place} does not say {word}: {text}")));
    }
    if !run.jobs().await.is_empty() {
        wrong.push("it has a Job".to_owned());
    }
    wrong.iter().map(|what| format!("{}: {what}", run.name)).collect()
}

#[tokio::test]
async fn a_refused_run_stalls_and_names_layer_and_rule() {
    let space = Space::open_bare("stalled").await;
    policies(&space).await;
    let asks: Vec<Ask> = [sources(), amounts(), absences()].into_iter().flatten().collect();
    let mut runs = Vec::new();
    for (name, spec, reason, words) in asks {
        let run = space.script(name, BUSYBOX, "sh", "true\n", spec).await;
        runs.push((run, reason, words));
    }
    // The controls: the same asks within the same policies are had.
    let most = json!({
        "activeDeadlineSeconds": 60, "startDeadlineSeconds": 240, "ttlSecondsAfterFinished": 1000,
        "resources": {"requests": {"memory": "64Mi"}, "limits": {"memory": "1Gi"}},
    });
    let without_code = |policy| {
        let mut spec = under(policy);
        spec["repositories"] = Value::Null;
        spec
    };
    let mut good = Vec::new();
    for (name, spec) in [
        ("as-usual", json!({})),
        ("at-the-ceiling", brief(&most)),
        ("without-code", without_code("no-code")),
        ("without-a-word-of-code", without_code("no-word-of-code")),
    ] {
        good.push(space.script(name, BUSYBOX, "sh", "true\n", spec).await);
    }
    let mut all = Vec::new();
    for (run, reason, words) in &runs {
        all.extend(wrong(run, *reason, words).await);
    }
    assert!(all.is_empty(), "{all:#?}");
    for run in good {
        run.ends(Reason::Completed).await;
    }
    space.close().await;
}

/// What the kubelet alone can see is passed on in its words.
#[rstest]
#[case::map("no-map", "absent", "prompt")]
#[case::key("no-key", "there", "absent")]
#[tokio::test]
async fn a_prompt_that_is_nowhere_is_named(#[case] name: &str, #[case] map: &str, #[case] key: &str) {
    let space = Space::open(&format!("prompt-{name}")).await;
    space.prompt("there", "true\n").await;
    let ask = |map: &str, key: &str| {
        json!({
            "task": prompt_from(map, key, "true\n"),
            "agent": {"image": BUSYBOX, "command": ["true"]},
            "repositories": [repository("work", "two-first", "ReadWrite")],
        })
    };
    let mut hasty = ask(map, key);
    merge(&mut hasty, &json!({"startDeadlineSeconds": 20}));
    let run = space.run("nowhere", hasty).await;
    let wrong = wrong(&run, Reason::StartTimeout, &["startDeadlineSeconds", "absent"]).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The control: the prompt that is there.
    let run = space.run("somewhere", ask("there", "prompt")).await;
    run.ends(Reason::Completed).await;
    space.close().await;
}

/// What may only come later is told at once and waited for a while.
#[tokio::test]
async fn run_that_came_before_its_policy_waits_for_it() {
    let space = Space::open_bare("stalled-early").await;
    let run = space.script("early", BUSYBOX, "sh", "true\n", json!({})).await;
    until("it is told what is missing", Duration::from_secs(20), || async {
        let run = run.get().await;
        match condition(&run, "Ready") {
            Some(said) if said.reason == LiveReason::WaitingForPolicy.as_str() => {
                assert!(condition(&run, "Stalled").is_none(), "it may still come");
                Ok(())
            }
            other => Err(other.cloned()),
        }
    })
    .await;
    assert!(run.jobs().await.is_empty());
    space.policy("default", default_limits()).await;
    let ended = run.ends(Reason::Completed).await;
    assert!(condition(&ended, "Stalled").is_none(), "{:#?}", ended.status);
    space.close().await;
}
