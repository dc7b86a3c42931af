//! Laws that hold for any policies.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use cofferdam_api::{KernelCheck, NodeAccess, PullPolicy, Retry, RunAsUser, TlsMode};
use cofferdam_policy::decide::Admitted;
use cofferdam_policy::dimension::vulnerabilities::Counts;
use cofferdam_policy::explain::findings::Verdict;
use cofferdam_policy::pattern::host::Host;
use cofferdam_policy::pattern::quantity::Amount;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::fixtures::{World, cluster_policy};
use crate::generated::{
    ADDRESSES, HOSTS, PINNED, PORTS, egress_ask, full_limits, limits, reports, vulnerabilities, worlds,
};

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Every host and port that a run may reach, with the addresses that may be dialled though not global.
fn reach(admitted: &Admitted) -> BTreeMap<(String, u16), Vec<IpAddr>> {
    let asks = HOSTS
        .iter()
        .flat_map(|host| PORTS.iter().map(move |port| (*host, *port)));
    asks.filter_map(|(host, port)| {
        let route = admitted.frozen.agent_route(&Host::parse(host).unwrap(), port);
        let route = route.into_result().ok()?;
        let addresses = ADDRESSES
            .iter()
            .map(|text| text.parse().unwrap())
            .filter(|address| route.permits_address(*address))
            .collect();
        Some(((host.to_owned(), port), addresses))
    })
    .collect()
}

/// Every host and port of which nobody reads what passes.
fn unread(admitted: &Admitted) -> BTreeSet<(&'static str, u16)> {
    let asks = HOSTS
        .iter()
        .flat_map(|host| PORTS.iter().map(move |port| (*host, *port)));
    asks.filter(|(host, port)| {
        let route = admitted.frozen.agent_route(&Host::parse(host).unwrap(), *port);
        route
            .into_result()
            .is_ok_and(|route| route.tls() == TlsMode::Tunnel)
    })
    .collect()
}

fn amounts(admitted: &Admitted) -> Vec<Amount> {
    let resources = [&admitted.resources.requests, &admitted.resources.limits];
    resources
        .iter()
        .flat_map(|amounts| amounts.values())
        .map(|quantity| Amount::parse(&quantity.0).unwrap())
        .collect()
}

/// Whether `less` allows nothing that `more` does not.
fn within(less: &Admitted, more: &Admitted) -> Result<(), TestCaseError> {
    let (less_reach, more_reach) = (reach(less), reach(more));
    for (ask, addresses) in &less_reach {
        let wider = more_reach.get(ask);
        prop_assert!(wider.is_some(), "{ask:?} is new");
        prop_assert!(
            addresses
                .iter()
                .all(|a| wider.is_some_and(|wider| wider.contains(a))),
            "{ask:?}: an address is new"
        );
    }
    prop_assert!(unread(less).is_subset(&unread(more)), "a host is no longer read");
    let strictness = |admitted: &Admitted| {
        [
            admitted.run_as_user == RunAsUser::Fixed,
            admitted.kernel_check == KernelCheck::GVisor,
            admitted.pull_policy == Some(PullPolicy::Always),
            admitted.retry == Retry::Never,
            !admitted.frozen.continues_without_evidence(),
        ]
    };
    let stricter = strictness(less).into_iter().zip(strictness(more));
    prop_assert!(
        stricter.clone().all(|(less, more)| less || !more),
        "a mode was loosened: {:?}",
        stricter.collect::<Vec<_>>()
    );
    let kept = |admitted: &Admitted| {
        let evidence = admitted.evidence.unwrap_or_default();
        [evidence.keep_records_days, evidence.keep_patches_days]
    };
    let shortened = kept(less)
        .into_iter()
        .zip(kept(more))
        .any(|(less, more)| less < more);
    prop_assert!(!shortened, "evidence is kept for fewer days");
    prop_assert!(less.max_running.value <= more.max_running.value);
    prop_assert!(less.max_clone_bytes <= more.max_clone_bytes);
    prop_assert!(less.ttl_seconds_after_finished <= more.ttl_seconds_after_finished);
    prop_assert!(less.active_deadline_seconds <= more.active_deadline_seconds);
    prop_assert!(less.start_deadline_seconds <= more.start_deadline_seconds);
    prop_assert!(
        amounts(less)
            .iter()
            .zip(amounts(more))
            .all(|(less, more)| *less <= more),
        "resources grew"
    );
    prop_assert!(less.node_access == NodeAccess::Deny || more.node_access == NodeAccess::Allow);
    Ok(())
}

/// Whether nothing is worse than `most`, with what nobody has judged among the worst. Judged here by other code.
fn is_harmless(found: &Counts, most: &Value) -> bool {
    let worse = match most.as_str().unwrap() {
        "Low" => found.medium + found.high + found.critical + found.unknown,
        "Medium" => found.high + found.critical + found.unknown,
        "High" => found.critical + found.unknown,
        _ => 0,
    };
    worse == 0
}

proptest! {
    #![proptest_config(config())]

    /// A further layer only takes away. (From silence it may grant; so the namespace's policy speaks of everything.)
    #[test]
    fn adding_a_layer_never_allows_more(world in worlds(full_limits()), extra in limits()) {
        // A namespace's policy cannot speak for tunnels, so that here silence is broken by the further layer's consent.
        let mut extra = extra;
        if extra["tunnels"] == "Allow" && world.cluster.iter().all(|policy| policy["spec"]["limits"]["tunnels"] != "Allow") {
            extra["tunnels"] = json!("Deny");
        }
        // Nor for traffic without evidence.
        let goes_on = |limits: &Value| limits["evidence"]["onSinkFailure"] == "Continue";
        if goes_on(&extra) && !world.cluster.iter().any(|policy| goes_on(&policy["spec"]["limits"])) {
            extra["evidence"]["onSinkFailure"] = json!("Stop");
        }
        let mut narrower = world.clone();
        narrower.cluster.push(cluster_policy("extra", &extra));
        if let Ok(less) = narrower.decide() {
            let more = world.decide();
            prop_assert!(more.is_ok(), "the layer let a refused run through: {more:?}");
            within(&less, &more.unwrap())?;
        }
    }

    /// The same layer under two names is one layer.
    #[test]
    fn a_layer_met_with_itself_changes_nothing(world in worlds(limits())) {
        let mut doubled = world.clone();
        for (index, policy) in world.cluster.iter().enumerate() {
            doubled.cluster.push(cluster_policy(&format!("layer-{index}-again"), &policy["spec"]["limits"]));
        }
        match (world.decide(), doubled.decide()) {
            (Ok(one), Ok(two)) => {
                within(&one, &two)?;
                within(&two, &one)?;
                prop_assert_eq!(one.runtime_class, two.runtime_class);
                prop_assert_eq!(one.frozen.git(), two.frozen.git());
            }
            (Err(one), Err(two)) => prop_assert_eq!(one, two),
            (one, two) => prop_assert!(false, "{one:?} but {two:?}"),
        }
    }

    /// Decisions, frozen policies and refusals are the same in any order of cluster policies.
    #[test]
    fn the_order_of_layers_is_irrelevant(
        (world, shuffled) in worlds(limits()).prop_flat_map(|world| (Just(world.clone()), Just(world.cluster).prop_shuffle())),
    ) {
        let other = World { cluster: shuffled, ..world.clone() };
        prop_assert_eq!(world.decide(), other.decide());
    }

    /// Taking away what a run asks for never takes away its admission, nor changes what it may reach.
    #[test]
    fn asks_only_remove(
        world in worlds(limits()),
        field in proptest::sample::select(&["repositories", "resources", "startDeadlineSeconds", "activeDeadlineSeconds", "ttlSecondsAfterFinished"][..]),
    ) {
        let silent = world.clone().run(field, Value::Null);
        if let Ok(asking) = world.decide() {
            let silent = silent.decide();
            prop_assert!(silent.is_ok(), "refused without the ask: {silent:?}");
            prop_assert_eq!(reach(&asking), reach(&silent.unwrap()));
        }
    }

    /// What a run asks to reach never adds to what its policies grant, and takes nothing else away.
    #[test]
    fn an_egress_ask_only_narrows(world in worlds(limits()), ask in egress_ask()) {
        let silent = world.clone().run("egress", Value::Null).decide();
        let asking = world.run("egress", ask.clone()).decide();
        prop_assert_eq!(silent.is_ok(), asking.is_ok());
        if let (Ok(silent), Ok(asking)) = (silent, asking) {
            let (all, narrowed) = (reach(&silent), reach(&asking));
            for (target, addresses) in &all {
                let named = list(&json!({"ask": ask}), "ask", "rules").iter().any(|rule| rule_names(rule, &target.0, target.1));
                prop_assert_eq!(narrowed.get(target), named.then_some(addresses), "{:?}", target);
            }
            prop_assert!(narrowed.keys().all(|target| all.contains_key(target)));
            prop_assert_eq!(silent.frozen.git(), asking.frozen.git());
        }
    }

    /// What one layer requires, no other layer takes back.
    #[test]
    fn what_one_layer_requires_holds(world in worlds(limits())) {
        if let Ok(admitted) = world.decide() {
            let layers = layers(&world);
            let says = |dimension: &str, field: &str, word: &str| layers.iter().any(|layer| layer[dimension][field] == word);
            let requires = |field: &str, word: &str| layers.iter().any(|layer| layer[field] == word);
            prop_assert!(!says("runtime", "kernelCheck", "GVisor") || admitted.kernel_check == KernelCheck::GVisor);
            prop_assert!(!says("runtime", "userNamespaces", "Required") || admitted.user_namespace);
            prop_assert!(!says("runtime", "userNamespaces", "Disabled") || !admitted.user_namespace);
            prop_assert!(!says("runtime", "runAsUser", "Fixed") || admitted.run_as_user == RunAsUser::Fixed);
            prop_assert!(admitted.run_as_user == RunAsUser::Fixed || says("runtime", "runAsUser", "PlatformAssigned"));
            prop_assert!(!says("images", "digest", "Required") || world.run["spec"]["agent"]["image"].as_str().unwrap().contains("@sha256:"));
            prop_assert!(!says("images", "pullPolicy", "Always") || admitted.pull_policy == Some(PullPolicy::Always));
            prop_assert!(!requires("requester", "Required") || world.run["spec"].get("requestedBy").is_some());
            prop_assert!(!requires("retry", "Never") || admitted.retry == Retry::Never);
            prop_assert!(admitted.retry == Retry::Never || requires("retry", "BeforeAgentStart"));
            let is_unread = !unread(&admitted).is_empty();
            prop_assert!(!requires("tunnels", "Deny") || !is_unread);
            prop_assert!(!is_unread || world.cluster.iter().any(|policy| policy["spec"]["limits"]["tunnels"] == "Allow"));
            let goes_on = admitted.frozen.continues_without_evidence();
            prop_assert!(!says("evidence", "onSinkFailure", "Stop") || !goes_on);
            let is_granted = |policy: &Value| policy["spec"]["limits"]["evidence"]["onSinkFailure"] == "Continue";
            prop_assert!(!goes_on || world.cluster.iter().any(is_granted));
            let floor = |field: &str| layers.iter().filter_map(|layer| layer["evidence"][field].as_i64()).max();
            let evidence = admitted.evidence.unwrap_or_default();
            prop_assert_eq!(evidence.keep_records_days.map(i64::from), floor("keepRecordsDays"));
            prop_assert_eq!(evidence.keep_patches_days.map(i64::from), floor("keepPatchesDays"));
            let ceiling = |field: &str| layers.iter().filter_map(|layer| layer[field].as_i64()).min();
            prop_assert_eq!(i64::from(admitted.max_running.value), ceiling("maxRunning").unwrap_or(1000));
            prop_assert_eq!(admitted.max_clone_bytes, ceiling("maxCloneBytes").unwrap_or(17_179_869_184));
            prop_assert!(ceiling("maxTTLSecondsAfterFinished").is_none_or(|most| i64::from(admitted.ttl_seconds_after_finished) <= most));
        }
    }

    /// An image passes exactly if every layer that speaks of vulnerabilities lets it.
    #[test]
    fn what_a_scanner_found_is_held_to_every_layer(gates in vec(vulnerabilities(), 0..4), reports in reports()) {
        let images = json!({"mode": "AllowList", "allowed": ["ghcr.io/a/*"]});
        let mut world = World::admitting().run("agent", json!({"image": PINNED})).policy("images", images.clone());
        world.cluster = gates.iter().enumerate().map(|(index, gate)| {
            let mut images = images.clone();
            images["vulnerabilities"] = gate.clone();
            cluster_policy(&format!("layer-{index}"), &json!({"images": images}))
        }).collect();
        let found = reports.values().next();
        let lets_pass = |gate: &Value| match found {
            Some(found) => is_harmless(found, &gate["maxSeverity"]),
            None => gate["onMissingReport"] == "Allow",
        };
        let all = gates.iter().all(lets_pass);
        world.reports = reports.clone();
        prop_assert_eq!(world.decide().is_ok(), all, "{:?}", world.decide().err());
    }

    /// Judging everything and taking the first refusal are one decision.
    #[test]
    fn what_is_judged_is_what_is_decided(world in worlds(limits())) {
        let refused = world.evaluate().unwrap().findings().into_iter().find_map(|finding| match finding.verdict {
            Verdict::Refused { refusal } => Some(refusal),
            Verdict::Allowed { .. } => None,
        });
        prop_assert_eq!(world.decide().err(), refused);
    }

    /// Whatever is allowed, some policy says so in so many words. Judged here from the manifests, by other code.
    #[test]
    fn what_is_allowed_some_rule_names(world in worlds(limits())) {
        if let Ok(admitted) = world.decide() {
            let layers = layers(&world);
            let image = world.run["spec"]["agent"]["image"].as_str().unwrap();
            prop_assert!(layers.iter().any(|l| list(l, "images", "allowed").iter().any(|p| image_named(p.as_str().unwrap(), image))));
            prop_assert!(layers.iter().any(|l| list(&l["runtime"], "", "runtimeClassNames").contains(&admitted.runtime_class.as_str().into())));
            for ((host, port), addresses) in reach(&admitted) {
                let rules: Vec<&Value> = layers.iter().flat_map(|l| list(l, "egress", "rules")).filter(|rule| rule_names(rule, &host, port)).collect();
                prop_assert!(!rules.is_empty(), "{host}:{port}");
                for address in addresses {
                    let names = |rule: &&Value| list(rule, "", "addresses").iter().any(|net| net.as_str().unwrap().parse::<ipnet::IpNet>().unwrap().contains(&address));
                    prop_assert!(rules.iter().any(names), "{host}:{port} at {address}");
                }
            }
            for repository in &admitted.repositories {
                let prefix = format!("https://{}", repository.url.host());
                let named = |rule: &&Value| rule["url"].as_str().unwrap().starts_with(&prefix);
                prop_assert!(layers.iter().flat_map(|l| list(l, "repositories", "clone")).any(|rule| named(&rule)));
            }
        }
    }

    /// No layer's silence or denial is ever overruled: each layer with an opinion has a rule for what is allowed.
    #[test]
    fn every_layer_with_an_opinion_agrees(world in worlds(limits())) {
        if let Ok(admitted) = world.decide() {
            for (host, port) in reach(&admitted).keys() {
                for layer in layers(&world).iter().filter(|layer| layer.get("egress").is_some()) {
                    prop_assert!(list(layer, "egress", "rules").iter().any(|rule| rule_names(rule, host, *port)), "{host}:{port} against {layer}");
                }
            }
        }
    }
}

/// Positive control of all laws: many of the worlds are admitted, under several layers, and reach something. One in
/// twenty is asked for, of so many that chance does not decide.
#[test]
fn the_laws_are_not_about_nothing() {
    const WORLDS: u32 = 2000;
    let mut runner = TestRunner::new(ProptestConfig {
        cases: WORLDS,
        ..config()
    });
    let (admitted, reaching, layered) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let (tunnelled, going_on) = (Cell::new(0), Cell::new(0));
    let run = runner.run(&worlds(limits()), |world| {
        if let Ok(decision) = world.decide() {
            admitted.set(admitted.get() + 1);
            reaching.set(reaching.get() + u32::from(!reach(&decision).is_empty()));
            layered.set(layered.get() + u32::from(decision.policies.len() > 1));
            tunnelled.set(tunnelled.get() + u32::from(!unread(&decision).is_empty()));
            going_on.set(going_on.get() + u32::from(decision.frozen.continues_without_evidence()));
        }
        Ok(())
    });
    run.unwrap();
    let counts = [admitted, reaching, layered].map(Cell::into_inner);
    assert!(counts.iter().all(|count| *count >= WORLDS / 20), "{counts:?}");
    // Rarer: every rule for a host must be a tunnel, and a cluster policy consent.
    assert!(tunnelled.get() >= WORLDS / 400, "{tunnelled:?}");
    assert!(going_on.get() >= WORLDS / 100, "{going_on:?}");
}

fn layers(world: &World) -> Vec<Value> {
    let policies = world.cluster.iter().chain(&world.policy);
    policies.map(|policy| policy["spec"]["limits"].clone()).collect()
}

/// The items of a list that grants: none where the mode denies.
fn list<'a>(layer: &'a Value, dimension: &str, field: &str) -> &'a [Value] {
    let object = if dimension.is_empty() {
        layer
    } else {
        &layer[dimension]
    };
    if object["mode"] == "DenyAll" {
        return &[];
    }
    object[field].as_array().map_or(&[], Vec::as_slice)
}

fn rule_names(rule: &Value, host: &str, port: u16) -> bool {
    let host_named =
        list(rule, "", "hosts")
            .iter()
            .any(|pattern| match pattern.as_str().unwrap().strip_prefix('*') {
                Some(suffix) => host
                    .strip_suffix(suffix)
                    .is_some_and(|label| !label.is_empty() && !label.contains('.')),
                None => pattern == host,
            });
    host_named && list(rule, "", "ports").contains(&port.into())
}

/// The few patterns of the generator, spelt out.
fn image_named(pattern: &str, image: &str) -> bool {
    match pattern {
        "ghcr.io/a/*" => ["ghcr.io/a/x:1", "ghcr.io/a/x:2"].contains(&image) || image.contains('@'),
        "ghcr.io/**" => image.starts_with("ghcr.io/"),
        "ghcr.io/a/x:1" => image == "ghcr.io/a/x:1",
        "docker.io/*" => image == "x",
        "ghcr.io/a/**" => image.starts_with("ghcr.io/a/"),
        _ => false,
    }
}
