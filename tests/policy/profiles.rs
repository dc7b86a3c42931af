//! Agents that policies offer by a name: a run that names one is judged as if it had written the profile's values itself.

use std::cell::Cell;

use cofferdam_api::Reason;
use cofferdam_policy::decide::{Admitted, Refusal};
use cofferdam_policy::explain::findings::Verdict;
use cofferdam_policy::pattern::host::Host;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rstest::rstest;
use serde_json::{Value, json};

use crate::fixtures::{World, cluster_policy};
use crate::generated::{PINNED, egress_ask, full_limits, worlds};

/// An image of the namespace's own registry, by digest.
fn image() -> String {
    format!("ghcr.io/team-a/claude-code@sha256:{}", "1".repeat(64))
}

fn profile(name: &str) -> Value {
    json!({"name": name, "image": image(), "command": ["claude"], "args": ["--print"],
        "env": [{"name": "MODEL", "value": "large"}, {"name": "LANG", "value": "C"}]})
}

/// A run that names the profile; what it says of the agent itself is `agent`.
fn naming(name: &str, agent: Value) -> World {
    let world = World::admitting().run("agentProfile", json!(name));
    world.run("agent", agent)
}

trait Offers {
    /// The namespace's policy offers these.
    fn own(self, profiles: Value) -> Self;
    /// The first cluster policy offers these.
    fn above(self, profiles: Value) -> Self;
}

impl Offers for World {
    fn own(mut self, profiles: Value) -> Self {
        self.policy.as_mut().unwrap()["spec"]["agentProfiles"] = profiles;
        self
    }

    fn above(mut self, profiles: Value) -> Self {
        self.cluster[0]["spec"]["agentProfiles"] = profiles;
        self
    }
}

fn started(world: &World) -> (String, Vec<String>, Vec<String>, Vec<String>) {
    let Admitted {
        agent, agent_image, ..
    } = world.decide().unwrap();
    let env = agent.env.iter();
    let env = env.map(|variable| format!("{}={}", variable.name, variable.value));
    (agent_image.to_string(), agent.command, agent.args, env.collect())
}

#[test]
fn a_run_says_nothing_of_its_agent_but_the_name() {
    let world = naming("claude-code", json!(null)).own(json!([profile("claude-code")]));
    assert_eq!(
        started(&world),
        (
            image(),
            vec!["claude".to_owned()],
            vec!["--print".to_owned()],
            vec!["MODEL=large".to_owned(), "LANG=C".to_owned()]
        )
    );
    let resolved = world.decide().unwrap().profile.unwrap().resolved();
    assert_eq!(
        (
            resolved.name.as_str(),
            resolved.policy_kind.as_str(),
            resolved.policy_name.as_str()
        ),
        ("claude-code", "SandboxPolicy", "default")
    );
    // `printf %s '{"args":["--print"],"command":["claude"],…}' | sha256sum`, so that anyone can compute it.
    insta::assert_snapshot!(resolved.digest);
}

#[test]
fn a_run_replaces_arguments_and_variables_of_a_profile() {
    let agent = json!({"args": ["--fast"], "env": [{"name": "MODEL", "value": "small"}, {"name": "MORE", "value": "1"}]});
    let world = naming("claude-code", agent).own(json!([profile("claude-code")]));
    let (_, command, args, env) = started(&world);
    assert_eq!(
        (command, args),
        (vec!["claude".to_owned()], vec!["--fast".to_owned()])
    );
    assert_eq!(env, ["LANG=C", "MODEL=small", "MORE=1"]);
}

#[test]
fn a_cluster_policy_offers_to_the_namespaces_that_it_selects() {
    let world = naming("claude-code", json!(null)).above(json!([profile("claude-code")]));
    assert_eq!(
        world.decide().unwrap().profile.unwrap().layer.to_string(),
        "ClusterSandboxPolicy/baseline"
    );
    let mut elsewhere = world;
    elsewhere.labels.insert("tier".to_owned(), "silver".to_owned());
    let refusal = elsewhere.decide().unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.field.as_str()),
        (Reason::PolicyDenied, "spec.agentProfile")
    );
}

fn refused(world: &World) -> Refusal {
    world.decide().unwrap_err()
}

/// What a namespace's policy offers is held to the cluster policies above it, and the refusal says where the value stands.
#[test]
fn what_cannot_be_had_is_refused_with_its_place() {
    let own = |profile: Value| naming("p", json!(null)).own(json!([profile]));
    let with = |field: &str, value: Value| {
        let mut profile = profile("p");
        profile[field] = value;
        own(profile)
    };
    let elsewhere = format!("evil.example/agent@sha256:{}", "2".repeat(64));
    let tagged = with("image", json!("ghcr.io/team-a/claude-code:1"));
    let mut other = profile("p");
    other["args"] = json!([]);
    let key = format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
    let odd_host = json!({"mode": "AllowList", "rules": [{"name": "x", "hosts": ["10.0.0.1"]}]});
    let above_is_narrower = own(profile("p")).cluster(
        "images",
        json!({"mode": "AllowList", "allowed": ["ghcr.io/team-a/other"]}),
    );
    let mut two = naming("p", json!(null)).above(json!([profile("p")]));
    two.cluster.push(cluster_policy("stricter", &json!({})));
    two.cluster[1]["spec"]["agentProfiles"] = json!([other]);
    insta::assert_snapshot!(
        [
            refused(
                &naming("q", json!(null))
                    .own(json!([profile("b"), profile("a")]))
                    .above(json!([profile("a")]))
            )
            .message(),
            refused(&naming("q", json!(null))).message(),
            refused(&naming("p", json!({"image": image()})).own(json!([profile("p")]))).message(),
            refused(&World::admitting().run("agent", json!(null))).message(),
            refused(&with("image", json!(elsewhere))).message(),
            refused(
                &above_is_narrower.policy("images", json!({"mode": "AllowList", "allowed": ["ghcr.io/**"]}))
            )
            .message(),
            refused(&tagged).message(),
            refused(&own(profile("p")).above(json!([other]))).message(),
            refused(&two).message(),
            refused(&with("env", json!([{"name": "TOKEN", "value": key}]))).message(),
            refused(&with("egress", odd_host)).message(),
        ]
        .join("\n")
    );
}

/// The run's own values are named as the run's.
#[test]
fn a_refusal_of_what_the_run_says_names_the_run() {
    let key = format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
    let agent = json!({"env": [{"name": "MODEL", "value": key}]});
    let refusal = refused(&naming("p", agent).own(json!([profile("p")])));
    assert_eq!(refusal.field, "spec.agent.env[MODEL]");
}

#[test]
fn equal_offers_of_two_policies_are_one() {
    let both = naming("p", json!(null))
        .own(json!([profile("p")]))
        .above(json!([profile("p")]));
    assert_eq!(
        both.decide().unwrap().profile.unwrap().layer.to_string(),
        "ClusterSandboxPolicy/baseline"
    );
}

/// A profile asks for hosts; it never opens one.
#[rstest]
#[case::allowed_by_all("model.example.org", 443, true)]
#[case::not_allowed_above("other.example.org", 443, false)]
#[case::not_asked_for("git.corp.example.com", 8443, false)]
fn hosts_of_a_profile_only_narrow(#[case] host: &str, #[case] port: u16, #[case] expected: bool) {
    let mut asking = profile("p");
    asking["egress"] = json!({"mode": "AllowList", "rules": [{"name": "model", "hosts": ["model.example.org", "other.example.org"]}]});
    let world = naming("p", json!(null)).own(json!([asking]));
    let admitted = world.decide().unwrap();
    let route = admitted.frozen.agent_route(&Host::parse(host).unwrap(), port);
    assert_eq!(route.is_allowed(), expected);
    let own = world.run("egress", json!({"mode": "DenyAll"})).decide().unwrap();
    let route = own
        .frozen
        .agent_route(&Host::parse("model.example.org").unwrap(), 443);
    assert!(!route.is_allowed(), "the run's own word counts");
}

#[test]
fn a_profile_that_nobody_names_changes_nothing() {
    let odd = json!({"name": "p", "image": format!("evil.example/agent@sha256:{}", "2".repeat(64))});
    let world = World::admitting();
    assert_eq!(
        world.clone().own(json!([odd])).decide().unwrap(),
        world.decide().unwrap()
    );
}

#[test]
fn explain_shows_what_a_profile_starts_and_who_offers_it() {
    let findings = |world: &World| world.evaluate().unwrap().findings();
    let named = naming("p", json!(null)).own(json!([profile("p")]));
    let found = findings(&named);
    let shown = found
        .iter()
        .find(|finding| finding.field == "spec.agentProfile")
        .unwrap();
    let Verdict::Allowed { value, note, by } = &shown.verdict else {
        panic!("{shown:?}")
    };
    assert_eq!((value.as_str(), note.as_deref()), ("p", Some("starts claude")));
    assert_eq!(serde_json::to_value(by).unwrap()["rule"], "agentProfiles[p]");
    let missing = findings(&naming("q", json!(null)));
    let fields: Vec<&str> = missing.iter().map(|finding| finding.field.as_str()).collect();
    assert!(
        fields.contains(&"spec.agentProfile") && !fields.contains(&"spec.agent.image"),
        "{fields:?}"
    );
    assert!(
        findings(&World::admitting())
            .iter()
            .all(|finding| finding.field != "spec.agentProfile")
    );
}

/// The law from which all others follow: a profile allows nothing that the run could not have asked for itself.
#[test]
fn a_run_by_a_profile_is_the_run_written_out() {
    let admitted = Cell::new(0);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let any = (
        worlds(full_limits()),
        proptest::option::of(egress_ask()),
        any::<bool>(),
        any::<bool>(),
    );
    let checked = runner.run(&any, |(world, ask, above, args)| {
        let agent = |args: &str| {
            json!({"image": PINNED, "command": ["agent"], "args": [args], "env": [{"name": "A", "value": "b"}]})
        };
        let (mut written, mut naming) = (world.clone(), world);
        written.run["spec"]["agent"] = agent(if args { "own" } else { "a" });
        let mut offered = agent("a");
        offered["name"] = json!("p");
        if let Some(ask) = ask {
            offered["egress"] = ask.clone();
            if written.run["spec"].get("egress").is_none() {
                written.run["spec"]["egress"] = ask;
            }
        }
        naming.run["spec"]["agent"] = if args { json!({"args": ["own"]}) } else { json!({}) };
        naming.run["spec"]["agentProfile"] = json!("p");
        let policy = naming.cluster.first_mut().filter(|_| above);
        let policy = policy.or(naming.policy.as_mut()).unwrap();
        policy["spec"]["agentProfiles"] = json!([offered]);
        match (naming.decide(), written.decide()) {
            (Ok(named), Ok(by_hand)) => {
                admitted.set(admitted.get() + 1);
                prop_assert_eq!(Admitted { profile: None, ..named }, by_hand);
            }
            (Err(named), Err(by_hand)) => {
                let nowhere = |refusal| Refusal { field: String::new(), ..refusal };
                prop_assert_eq!(nowhere(named), nowhere(by_hand));
            }
            (named, by_hand) => prop_assert!(false, "{named:?}, and {by_hand:?} written out"),
        }
        Ok(())
    });
    checked.unwrap();
    assert!(admitted.get() > 20, "{} of them admitted", admitted.get());
}
