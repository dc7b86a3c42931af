//! What a platform team sees of its policies, and what its later words do to runs that are under way.

use std::time::Duration;

use cofferdam_api::{ClusterSandboxPolicy, Reason, SandboxPolicy, names};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{
    ATTACKER, BUSYBOX, Internet, Run, Space, ceiling, client, default_limits, eventually, forget_ceiling,
    until,
};

const GOVERNED: &str = include_str!("scripts/governed.py");
/// A changed status is expected within this time.
const STATUS: Duration = Duration::from_secs(15);
/// By when a denial must have reached every gateway.
const DENIAL: Duration = Duration::from_secs(5);

fn condition<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Waits until a condition of `SandboxPolicy/default` says `status/reason`, and gives its message.
async fn says(space: &Space, type_: &str, word: &str) -> String {
    let policies: Api<SandboxPolicy> = space.api();
    let policies = &policies;
    until(&format!("{type_} says {word}"), STATUS, move || async move {
        let policy = policies.get("default").await.unwrap();
        let generation = policy.metadata.generation;
        let status = policy.status.unwrap_or_default();
        let found = condition(&status.conditions, type_).cloned();
        match &found {
            Some(said)
                if format!("{}/{}", said.status, said.reason) == word
                    && status.observed_generation == generation =>
            {
                Ok(said.message.clone())
            }
            _ => Err(found),
        }
    })
    .await
}

/// A cluster policy over the namespace of `space` alone; gives its name.
async fn over(space: &Space, name: &str, limits: Value) -> String {
    let name = format!("{}-{name}", space.name);
    space.ceiling(&name, limits).await;
    name
}

/// A namespace that has not opted in, with a NetworkPolicy that lets everybody ask DNS.
async fn widened(name: &str) -> Space {
    let space = Space {
        client: client().await,
        name: format!("e2e-{name}"),
    };
    let namespace = json!({"metadata": {"name": space.name}});
    Api::<Namespace>::all(space.client.clone())
        .create(
            &PostParams::default(),
            &serde_json::from_value(namespace).unwrap(),
        )
        .await
        .expect("a fresh namespace");
    let allow = json!({"metadata": {"name": "allow-dns"}, "spec": {
        "podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"protocol": "UDP", "port": 53}]}]}});
    space
        .api::<NetworkPolicy>()
        .create(&PostParams::default(), &serde_json::from_value(allow).unwrap())
        .await
        .expect("no guard before the opt-in");
    space
}

#[tokio::test]
async fn a_policy_says_what_is_in_the_way_of_its_runs() {
    let space = widened("status").await;
    space.policy("default", default_limits()).await;
    let message = says(&space, "NamespaceFenceable", "False/NamespaceNotOptedIn").await;
    assert!(
        message.contains("kubectl label namespace e2e-status") && message.contains("allow-dns"),
        "{message}"
    );

    let label = json!({"metadata": {"labels": {names::LABEL_SANDBOX: names::SANDBOX_ENABLED}}});
    Api::<Namespace>::all(space.client.clone())
        .patch(&space.name, &PatchParams::default(), &Patch::Merge(label))
        .await
        .expect("the namespace is ours");
    let message = says(&space, "NamespaceFenceable", "False/ForeignNetworkPolicy").await;
    assert!(
        message.contains("allow-dns") && message.contains("{key: cofferdam.dev/run, operator: DoesNotExist}"),
        "{message}"
    );
    says(&space, "Ready", "False/ForeignNetworkPolicy").await;

    // What the message says is the cure.
    let cured = json!({"spec": {"podSelector": {
        "matchExpressions": [{"key": "cofferdam.dev/run", "operator": "DoesNotExist"}]}}});
    space
        .api::<NetworkPolicy>()
        .patch("allow-dns", &PatchParams::default(), &Patch::Merge(cured))
        .await
        .expect("the guard takes what leaves sandboxes out");
    says(&space, "NamespaceFenceable", "True/Fenceable").await;
    says(&space, "RuntimeAvailable", "True/Available").await;
    says(&space, "Ready", "True/Ready").await;

    let mut limits = default_limits();
    limits["runtime"]["runtimeClassNames"] = json!(["no-such-runtime"]);
    space.policy("default", limits).await;
    says(&space, "RuntimeAvailable", "False/RuntimeUnavailable").await;
    space.policy("default", default_limits()).await;
    says(&space, "Ready", "True/Ready").await;

    // The event follows the status that it tells of.
    let about = ListParams::default().fields("regarding.name=default,regarding.kind=SandboxPolicy");
    let (events, about) = (space.api::<Event>(), &about);
    let events = &events;
    until("each change is told", STATUS, move || async move {
        let events = events.list(about).await.unwrap().items;
        let told: Vec<String> = events.into_iter().filter_map(|event| event.reason).collect();
        let count = |word: &str| told.iter().filter(|reason| *reason == word).count();
        if count("ForeignNetworkPolicy") == 1 && count("Ready") == 2 {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
    space.close().await;
}

#[tokio::test]
async fn a_policy_says_when_a_cluster_policy_contradicts_it_and_writes_no_more_than_that() {
    let space = Space::open("contradiction").await;
    says(&space, "Ready", "True/Ready").await;
    let hash = policy_hash(&space).await;
    let name = over(&space, "images", json!({"images": {"mode": "DenyAll"}})).await;
    let message = says(&space, "Ready", "False/NoRunCanStart").await;
    assert!(
        message.contains(&name) && message.contains("No image is allowed"),
        "{message}"
    );
    forget_ceiling(&space.client, &name).await;
    says(&space, "Ready", "True/Ready").await;

    let closed = over(&space, "closed", json!({"egress": {"mode": "DenyAll"}})).await;
    let message = says(&space, "Ready", "False/RuleMatchesNothing").await;
    let named = "limits.egress.rules of SandboxPolicy/default `allowed`";
    assert!(message.contains(named) && message.contains(&closed), "{message}");
    assert_ne!(policy_hash(&space).await, hash);
    // What the policy says of itself is what its runs are refused with, though they ask for nothing of it.
    let under = space.script("under-it", BUSYBOX, "sh", "true\n", json!({})).await;
    let refused = under.ends(Reason::PolicyDenied).await.status.unwrap();
    let why = refused.message.unwrap_or_default();
    assert!(why.contains(named) && why.contains(&closed), "{why}");
    assert!(under.jobs().await.is_empty());
    forget_ceiling(&space.client, &closed).await;
    says(&space, "Ready", "True/Ready").await;
    // The control: the same run, once the two agree.
    let after = space.script("after-it", BUSYBOX, "sh", "true\n", json!({})).await;
    after.ends(Reason::Completed).await;
    assert_eq!(policy_hash(&space).await, hash);

    // No hot loop: a status that says it all is not written again.
    let version = || async {
        space
            .api::<SandboxPolicy>()
            .get("default")
            .await
            .unwrap()
            .metadata
            .resource_version
    };
    let before = version().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(version().await, before);
    space.close().await;
}

async fn policy_hash(space: &Space) -> Option<String> {
    let policy = space.api::<SandboxPolicy>().get("default").await.unwrap();
    policy.status.unwrap_or_default().policy_hash
}

#[tokio::test]
async fn a_cluster_policy_that_stands_over_nothing_says_so() {
    let space = Space::open_bare("selected").await;
    let nowhere = format!("{}-nowhere", space.name);
    let selector = json!({"matchLabels": {"cofferdam.test/no-such-label": "here"}});
    ceiling(
        &space.client,
        &nowhere,
        selector,
        json!({"maxActiveDeadlineSeconds": 60}),
    )
    .await;
    let somewhere = over(&space, "somewhere", json!({"maxActiveDeadlineSeconds": 60})).await;
    let policies: Api<ClusterSandboxPolicy> = Api::all(space.client.clone());
    for (name, word) in [(&nowhere, "False/SelectsNoNamespace"), (&somewhere, "True/Ready")] {
        let policies = &policies;
        until(&format!("{name} says {word}"), STATUS, move || async move {
            let status = policies.get(name).await.unwrap().status.unwrap_or_default();
            let said = condition(&status.conditions, "Ready").cloned();
            let right = said
                .as_ref()
                .is_some_and(|said| format!("{}/{}", said.status, said.reason) == word);
            if right { Ok(()) } else { Err(said) }
        })
        .await;
        forget_ceiling(&space.client, name).await;
    }
    space.close().await;
}

/// Starts the agent that asks both hosts, and waits until the allowed one has been reached: the control.
pub async fn governed(space: &Space, name: &str) -> Run {
    let script = GOVERNED.replace("@@RUN@@", name);
    let run = space.script(name, ATTACKER, "python3", &script, json!({})).await;
    run.in_phase("Running").await;
    eventually("requests arrive", Duration::from_secs(30), || async {
        arrived(name, "allowed").len() > 3
    })
    .await;
    run
}

/// When requests of the run arrived at a host.
pub fn arrived(name: &str, host: &str) -> Vec<jiff::Timestamp> {
    let path = format!("/{name}-{host}");
    let seen = Internet::requests().into_iter().filter(|seen| seen.path == path);
    seen.map(|seen| seen.time).collect()
}

pub fn after(times: &[jiff::Timestamp], start: jiff::Timestamp, seconds: f64) -> usize {
    let late = |time: &&jiff::Timestamp| time.duration_since(start).as_secs_f64() > seconds;
    times.iter().filter(late).count()
}

#[tokio::test]
async fn a_later_denial_reaches_a_running_agent_within_five_seconds_and_can_be_taken_back() {
    let space = Space::open("later-denial").await;
    let name = "later-denial";
    governed(&space, name).await;

    let closed = over(&space, "closed", json!({"egress": {"mode": "DenyAll"}})).await;
    let denied_at = jiff::Timestamp::now();
    tokio::time::sleep(DENIAL * 2).await;
    let late = after(&arrived(name, "allowed"), denied_at, DENIAL.as_secs_f64());
    assert_eq!(late, 0, "requests arrived later than 5 s after the denial");

    forget_ceiling(&space.client, &closed).await;
    let lifted_at = jiff::Timestamp::now();
    eventually("requests arrive again", Duration::from_secs(20), || async {
        after(&arrived(name, "allowed"), lifted_at, 0.0) > 3
    })
    .await;
    assert!(
        arrived(name, "denied").is_empty(),
        "what the frozen policy does not grant"
    );
    space.close().await;
}

#[tokio::test]
async fn a_tunnel_needs_the_consent_of_cluster_policies() {
    let space = Space::open("tunnels").await;
    // The control: the second ceiling over every namespace consents.
    says(&space, "Ready", "True/Ready").await;
    let without = over(&space, "no-tunnels", json!({"tunnels": "Deny"})).await;
    let message = says(&space, "Ready", "False/TunnelDenied").await;
    for part in ["`allowed`", without.as_str(), "(limits.tunnels)", "leave tls out"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    let refused = space.script("unread", BUSYBOX, "sh", "true\n", json!({})).await;
    let status = refused.ends(Reason::PolicyDenied).await.status.unwrap();
    assert!(status.message.unwrap_or_default().contains("(limits.tunnels)"));
    assert!(refused.jobs().await.is_empty());
    // As the message says: without `tls` the same rule is inspected, and needs nobody's consent.
    let mut limits = default_limits();
    limits["egress"]["rules"][0]
        .as_object_mut()
        .unwrap()
        .remove("tls");
    space.policy("default", limits).await;
    says(&space, "Ready", "True/Ready").await;
    forget_ceiling(&space.client, &without).await;
    space.close().await;
}

#[tokio::test]
async fn a_later_grant_never_reaches_a_running_agent() {
    let space = Space::open("later-grant").await;
    let name = "later-grant";
    governed(&space, name).await;

    let rule = json!({"name": "both", "hosts": ["allowed.internet.test", "denied.internet.test"],
        "addresses": ["203.0.113.0/24"], "ports": [80, 443], "tls": "Tunnel"});
    let wide = json!({"egress": {"mode": "AllowList", "rules": [rule]}});
    let above = over(&space, "wide", wide.clone()).await;
    let mut limits = default_limits();
    limits["egress"] = wide["egress"].clone();
    space.policy("default", limits).await;
    let granted_at = jiff::Timestamp::now();
    tokio::time::sleep(DENIAL * 2).await;
    assert!(
        arrived(name, "denied").is_empty(),
        "a grant reached a run that was admitted before it"
    );
    // The control: the agent lived on and asked.
    assert!(after(&arrived(name, "allowed"), granted_at, DENIAL.as_secs_f64()) > 3);

    // The control of the grant itself: a run that starts under it reaches the host.
    governed(&space, "later-grant-new").await;
    eventually("the new run reaches it", Duration::from_secs(30), || async {
        !arrived("later-grant-new", "denied").is_empty()
    })
    .await;
    forget_ceiling(&space.client, &above).await;
    space.close().await;
}
