//! Credentials in a decision: who may name one, where it may be sent, and what is frozen of it.

use cofferdam_api::{Reason, SandboxCredential};
use cofferdam_policy::decide::Refusal;
use rstest::rstest;
use serde_json::{Value, json};

use crate::fixtures::{World, credential};

/// Egress whose one rule has a credential.
fn keyed(credential: &str, hosts: &[&str]) -> Value {
    json!({"mode": "AllowList", "rules": [
        {"name": "keyed", "hosts": hosts, "methods": ["POST"], "paths": ["/v1/messages"], "credential": credential}]})
}

fn open(hosts: &[&str]) -> Value {
    json!({"mode": "AllowList", "rules": [{"name": "open", "hosts": hosts}]})
}

fn world(own: Value, cluster: Value) -> World {
    World::admitting()
        .policy("egress", own)
        .cluster("egress", cluster)
}

fn names(world: &World) -> Result<Vec<String>, Refusal> {
    let admitted = world.decide()?;
    let frozen = admitted.frozen.credentials().iter();
    Ok(frozen.map(|credential| credential.name.clone()).collect())
}

const A: &[&str] = &["a.example.com"];

#[rstest]
#[case::silent(open(A), open(A), &[])]
#[case::own(keyed("one", A), open(A), &["one"])]
#[case::cluster(open(A), keyed("one", A), &["one"])]
#[case::both(keyed("one", A), keyed("one", A), &["one"])]
fn a_layer_that_names_a_credential_has_it_frozen(
    #[case] own: Value,
    #[case] cluster: Value,
    #[case] expected: &[&str],
) {
    assert_eq!(names(&world(own, cluster)).unwrap(), expected);
}

#[test]
fn an_ask_for_other_hosts_needs_no_credential() {
    let hosts = &["a.example.com", "b.example.com"];
    let asking = |host: &str| {
        let ask = json!({"mode": "AllowList", "rules": [{"name": "x", "hosts": [host]}]});
        let rules = json!({"mode": "AllowList", "rules": [
            {"name": "keyed", "hosts": A, "methods": ["POST"], "paths": ["/v1/messages"], "credential": "none"},
            {"name": "open", "hosts": ["b.example.com"]}]});
        world(rules, open(hosts)).run("egress", ask).decide()
    };
    assert!(asking("b.example.com").unwrap().frozen.credentials().is_empty());
    assert_eq!(
        asking("a.example.com").unwrap_err().reason,
        Reason::CredentialFailed
    );
    let nothing = world(keyed("none", A), open(A)).run("egress", json!({"mode": "DenyAll"}));
    assert!(nothing.decide().unwrap().frozen.credentials().is_empty());
}

fn selecting(labels: &Value) -> SandboxCredential {
    let mut selective = credential("one", A);
    selective.spec.namespace_selector = serde_json::from_value(json!({"matchLabels": labels})).unwrap();
    selective
}

fn with_placeholder(name: &str) -> SandboxCredential {
    let mut one = credential(name, A);
    one.spec.placeholder = Some(serde_json::from_value(json!({"env": "API_KEY"})).unwrap());
    one
}

#[test]
fn what_a_credential_does_not_allow_refuses_the_run() {
    let named = world(keyed("one", A), open(A));
    let two = json!({"mode": "AllowList", "rules": [
        {"name": "x", "hosts": A, "methods": ["POST"], "paths": ["/x"], "credential": "one"},
        {"name": "y", "hosts": A, "methods": ["POST"], "paths": ["/y"], "credential": "two"}]});
    let of = |world: &World, credentials: Vec<SandboxCredential>| {
        let world = World {
            credentials,
            ..world.clone()
        };
        world.decide().unwrap_err().message()
    };
    let mut sets_it = named.clone();
    sets_it.run["spec"]["agent"]["env"] = json!([{"name": "API_KEY", "value": "x"}]);
    let mut odd = credential("one", A);
    odd.spec.inject = None;
    insta::assert_snapshot!([
        of(&named, Vec::new()),
        of(&named, vec![selecting(&json!({"tier": "silver"}))]),
        of(&world(keyed("one", &["a.example.com", "b.example.com"]), open(&["*.example.com"])), vec![credential("one", A)]),
        of(&world(two, open(A)), vec![with_placeholder("one"), with_placeholder("two")]),
        of(&sets_it, vec![with_placeholder("one")]),
        of(&named, vec![odd]),
    ].join("\n"), @"
    credential `one` is refused by SandboxPolicy/default (limits.egress.rules[keyed].credential): there is no SandboxCredential of this name; help: ask whoever owns the cluster to create it, or have the rule name another one
    credential `one` is refused by SandboxPolicy/default (limits.egress.rules[keyed].credential): its namespaceSelector does not select the run's namespace; help: take it out of SandboxPolicy/default, or ask whoever owns SandboxCredential/one to select the namespace
    credential `one` is refused by SandboxPolicy/default (limits.egress.rules[keyed].credential): the rule would send it to b.example.com, which is not among its hosts; allowed: a.example.com; help: take the host out of the rule, or ask whoever owns SandboxCredential/one to add it to spec.hosts
    credential `two` is refused by SandboxPolicy/default (limits.egress.rules[y].credential): its placeholder sets API_KEY, and so does that of one; help: let the rules of a run's policies name one of them only
    spec.agent.env[API_KEY] is refused by SandboxPolicy/default (limits.egress.rules[keyed].credential): the placeholder of SandboxCredential/one sets this variable; help: leave the variable out: the gateway adds the real key to the requests that policy lists
    credential `one` is refused by SandboxPolicy/default (limits.egress.rules[keyed].credential): exactly one of spec.inject and spec.basic must be given; help: correct SandboxCredential/one: no run starts under a policy that names it
    ");
    let selected = World {
        credentials: vec![selecting(&json!({"tier": "gold"}))],
        ..named.clone()
    };
    assert_eq!(names(&selected).unwrap(), ["one"]);
}

/// A rule that cannot say which requests get the credential is unreadable, whoever let it pass.
#[test]
fn a_rule_with_a_credential_lists_requests() {
    let unlisted = json!({"mode": "AllowList", "rules": [{"name": "x", "hosts": A, "credential": "one"}]});
    let refusal = world(unlisted, open(A)).decide().unwrap_err();
    assert_eq!(refusal.field, "spec.limits.egress.rules[x].credential");
}

#[test]
fn the_frozen_policy_says_where_and_how_and_never_what() {
    let admitted = world(keyed("one", A), open(A)).decide().unwrap();
    let text = admitted.frozen.to_json();
    assert!(
        text.contains(r#""credentials":[{"hosts":["a.example.com"],"inject":{"header":"x-api-key","type":"Header"},"name":"one","secret":{"key":"token","name":"of-one"}}]"#),
        "{text}"
    );
}

/// A token of an App is made for what the run clones there, and for nothing that policy would let it clone besides.
#[test]
fn what_a_run_clones_is_frozen_with_an_app() {
    let mut app = credential("github", &["github.com"]);
    app.spec.type_ = cofferdam_api::CredentialType::GitHubApp;
    app.spec.git_hub_app = Some(cofferdam_api::GitHubApp::default());
    let rules = json!([{"name": "team", "url": "https://github.com/team-a/*", "credential": "github"}]);
    let mut world = World::admitting().policy("repositories", json!({"mode": "AllowList", "clone": rules}));
    world.credentials = vec![app];
    let of = |world: &World| {
        let admitted = world.decide().unwrap();
        let app = admitted.frozen.credential("github").unwrap().app.clone().unwrap();
        app.repositories
    };
    let repository =
        |name: &str| json!({"name": name, "url": format!("https://github.com/team-a/{name}.git")});
    assert_eq!(of(&world), ["team-a/app"]);
    let several = world.run("repositories", json!([repository("two"), repository("one")]));
    assert_eq!(of(&several), ["team-a/one", "team-a/two"]);
}
