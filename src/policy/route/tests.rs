use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use rstest::rstest;

use super::grant::stricter;
use super::matching::grant;
use super::*;
use crate::decision::{Denied, DenyReason};
use crate::dimension::egress::{EgressAskRule, EgressRule};
use crate::pattern::host::HostPattern;
use crate::refusal::LayerKind;
use cofferdam_api::Mode;

fn rule(name: &str, hosts: &[&str], ports: &[u16], addresses: &[&str]) -> EgressRule {
    EgressRule {
        name: name.into(),
        hosts: hosts.iter().map(|h| h.parse().unwrap()).collect(),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        ports: ports.to_vec(),
        tls: TlsMode::Tunnel,
        methods: Vec::new(),
        paths: Vec::new(),
        credential: None,
        service: None,
    }
}

fn layer(kind: LayerKind, name: &str, mode: Mode, rules: Vec<EgressRule>) -> EgressLayer {
    EgressLayer {
        kind,
        name: name.into(),
        mode,
        rules,
    }
}

fn layers() -> Vec<EgressLayer> {
    vec![
        layer(
            LayerKind::ClusterSandboxPolicy,
            "base",
            Mode::AllowList,
            vec![
                rule("forges", &["*.example.com"], &[443, 8443], &["10.0.0.0/8"]),
                rule("model", &["model.example.org"], &[443], &[]),
            ],
        ),
        layer(
            LayerKind::SandboxPolicy,
            "default",
            Mode::AllowList,
            vec![
                rule("git", &["git.example.com"], &[443], &["10.1.0.0/16"]),
                rule("git-too", &["git.example.com"], &[443], &["10.2.0.0/16"]),
                rule("wide", &["model.example.org", "other.example.net"], &[443], &[]),
            ],
        ),
    ]
}

fn decide(layers: &[EgressLayer], host: &str, port: u16) -> Result<Route, Denied> {
    route(layers, Tunnels::Allow, None, &Host::parse(host).unwrap(), port).into_result()
}

fn reason(layers: &[EgressLayer], host: &str, port: u16) -> Option<DenyReason> {
    decide(layers, host, port).err().map(|denied| denied.reason)
}

#[rstest]
#[case("git.example.com", 443, None)]
#[case("model.example.org", 443, None)]
#[case("other.example.net", 443, Some(DenyReason::HostNotAllowed))]
#[case("www.example.com", 443, Some(DenyReason::HostNotAllowed))]
#[case("git.example.com", 8443, Some(DenyReason::PortNotAllowed))]
#[case("model.example.org", 80, Some(DenyReason::PortNotAllowed))]
#[case("denied.example", 443, Some(DenyReason::HostNotAllowed))]
fn route_needs_every_layer(#[case] host: &str, #[case] port: u16, #[case] denied: Option<DenyReason>) {
    assert_eq!(reason(&layers(), host, port), denied);
}

#[test]
fn route_needs_a_layer_and_none_that_denies_all() {
    let asked = |layers: &[EgressLayer]| reason(layers, "git.example.com", 443);
    assert_eq!(asked(&[]), Some(DenyReason::NoEgressPolicy));
    let mut with_denial = layers();
    let rules = with_denial[0].rules.clone();
    with_denial.push(layer(LayerKind::SandboxPolicy, "closed", Mode::DenyAll, rules));
    assert_eq!(asked(&with_denial), Some(DenyReason::EgressDenied));
    let empty = layer(LayerKind::SandboxPolicy, "empty", Mode::AllowList, vec![]);
    assert_eq!(asked(&[empty]), Some(DenyReason::HostNotAllowed));
}

#[test]
fn route_names_every_matching_rule() {
    assert_eq!(
        decide(&layers(), "git.example.com", 443).unwrap().rules(),
        [
            "ClusterSandboxPolicy/base/forges",
            "SandboxPolicy/default/git",
            "SandboxPolicy/default/git-too"
        ]
    );
}

#[test]
fn denied_names_the_layer_and_what_it_allows() {
    let host = decide(&layers(), "denied.example", 443).unwrap_err();
    insta::assert_snapshot!(host.message, @"denied.example:443 is denied by ClusterSandboxPolicy/base: no rule names this host; allowed: *.example.com, model.example.org");
    assert_eq!(host.layer.unwrap().to_string(), "ClusterSandboxPolicy/base");
    let port = decide(&layers(), "git.example.com", 8443).unwrap_err();
    insta::assert_snapshot!(port.message, @"git.example.com:8443 is denied by SandboxPolicy/default: no rule for this host names the port; allowed: 443, 443");
}

#[rstest]
#[case("10.1.2.3", true)]
#[case("10.2.2.3", true)]
#[case("10.3.2.3", false)]
#[case("192.168.0.1", false)]
#[case("::ffff:10.1.2.3", false)]
#[case("8.8.8.8", true)]
fn address_needs_every_layer(#[case] address: &str, #[case] permitted: bool) {
    let address: IpAddr = address.parse().unwrap();
    let route = decide(&layers(), "git.example.com", 443).unwrap();
    assert_eq!(route.permits_address(address), permitted);
    let model = decide(&layers(), "model.example.org", 443).unwrap();
    assert_eq!(model.permits_address(address), is_global(address));
}

#[rstest]
#[case("127.0.0.1")]
#[case("169.254.169.254")]
#[case("168.63.129.16")]
#[case("100.100.100.200")]
#[case("::ffff:127.0.0.1")]
#[case("fd00:ec2::254")]
#[case("fd20:ce::254")]
#[case("::1")]
fn address_of_loopback_or_metadata_is_never_permitted(#[case] address: &str) {
    let all = &["0.0.0.0/0", "::/0"];
    let rules = vec![rule("all", &["git.example.com"], &[443], all)];
    let open = layer(LayerKind::SandboxPolicy, "open", Mode::AllowList, rules);
    let route = decide(&[open], "git.example.com", 443).unwrap();
    assert!(route.permits_address("10.0.0.1".parse().unwrap()));
    assert!(!route.permits_address(address.parse().unwrap()));
}

const PATTERNS: [&str; 4] = [
    "a.example.com",
    "*.example.com",
    "b.c.example.com",
    "*.c.example.com",
];
const HOSTS: [&str; 4] = [
    "a.example.com",
    "b.example.com",
    "b.c.example.com",
    "d.example.org",
];
const NETWORKS: [&str; 4] = ["10.0.0.0/8", "10.1.0.0/16", "fd12::/32", "0.0.0.0/0"];
const ADDRESSES: [&str; 5] = ["10.1.2.3", "10.2.0.1", "127.0.0.1", "fd12::1", "8.8.8.8"];

fn patterns() -> impl Strategy<Value = Vec<HostPattern>> {
    subsequence(&PATTERNS[..], 1..=3)
        .prop_map(|texts| texts.iter().map(|text| text.parse().unwrap()).collect())
}

fn ports() -> impl Strategy<Value = Vec<u16>> {
    subsequence(&[443, 80][..], 1..=2)
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![1 => Just(Mode::DenyAll), 9 => Just(Mode::AllowList)]
}

fn any_layer() -> impl Strategy<Value = EgressLayer> {
    let rule = (
        patterns(),
        ports(),
        subsequence(&NETWORKS[..], 0..=3),
        any::<bool>(),
    );
    let layer = (mode(), vec(rule, 1..5));
    layer.prop_map(|(mode, rules)| {
        let named = |(index, (hosts, ports, networks, read)): (usize, (_, _, Vec<&str>, bool))| EgressRule {
            name: format!("{}-{index}", if read { "read" } else { "unread" }),
            hosts,
            addresses: networks.iter().map(|net| net.parse().unwrap()).collect(),
            ports,
            tls: if read { TlsMode::Inspect } else { TlsMode::Tunnel },
            methods: Vec::new(),
            paths: Vec::new(),
            credential: None,
            service: None,
        };
        let rules = rules.into_iter().enumerate().map(named).collect();
        layer_of("", mode, rules)
    })
}

fn layer_of(name: &str, mode: Mode, rules: Vec<EgressRule>) -> EgressLayer {
    layer(LayerKind::ClusterSandboxPolicy, name, mode, rules)
}

fn any_layers() -> impl Strategy<Value = Vec<EgressLayer>> {
    vec(any_layer(), 0..4).prop_map(|mut layers| {
        for (index, layer) in layers.iter_mut().enumerate() {
            layer.name = format!("layer-{index}");
        }
        layers
    })
}

fn any_ask() -> impl Strategy<Value = EgressAsk> {
    let rule = (patterns(), ports()).prop_map(|(hosts, ports)| EgressAskRule {
        name: "ask".to_owned(),
        hosts,
        ports,
    });
    (mode(), vec(rule, 1..4)).prop_map(|(mode, rules)| EgressAsk { mode, rules })
}

fn any_host() -> impl Strategy<Value = Host> {
    select(&HOSTS[..]).prop_map(|host| Host::parse(host).unwrap())
}

fn any_port() -> impl Strategy<Value = u16> {
    select(&[443, 80, 8443][..])
}

fn permitted(route: &Route) -> Vec<&'static str> {
    let permits = |address: &&&str| route.permits_address(address.parse().unwrap());
    ADDRESSES.iter().filter(permits).copied().collect()
}

/// What does not depend on any order.
fn unordered(decision: Decision<Route>) -> Option<(TlsMode, BTreeSet<String>, Vec<&'static str>)> {
    let route = decision.into_result().ok()?;
    let rules = route.rules().into_iter().collect();
    Some((route.tls(), rules, permitted(&route)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// An ask takes whole routes away and changes nothing about those that it leaves.
    #[test]
    fn ask_only_narrows(layers in any_layers(), ask in any_ask(), host in any_host(), port in any_port()) {
        let Ok(narrowed) = route(&layers, Tunnels::Allow, Some(&ask), &host, port).into_result() else { return Ok(()) };
        let whole = route(&layers, Tunnels::Allow, None, &host, port).into_result();
        prop_assert!(whole.is_ok(), "an ask granted: {whole:?}");
        let whole = whole.unwrap();
        prop_assert_eq!(permitted(&narrowed), permitted(&whole));
        prop_assert_eq!(narrowed.tls(), whole.tls());
        prop_assert!(narrowed.rules().starts_with(&whole.rules()));
        prop_assert!(ask.asked().iter().any(|rule| rule.names(&host, port)));
    }

    #[test]
    fn further_layer_never_widens(
        layers in vec(any_layer(), 1..4), further in any_layer(), at in any::<prop::sample::Index>(), host in any_host(), port in any_port(),
    ) {
        let mut more = layers.clone();
        more.insert(at.index(layers.len() + 1), further);
        let Ok(less) = grant(&more, Tunnels::Allow, None, &host, port).into_result() else { return Ok(()) };
        let before = grant(&layers, Tunnels::Allow, None, &host, port).into_result();
        prop_assert!(before.is_ok(), "the further layer granted: {before:?}");
        let before = before.unwrap();
        prop_assert_eq!(stricter(less.mode(), before.mode()), less.mode(), "the mode was loosened");
        let special = |grant: &Grant, address: &&&str| grant.permits_special(address.parse().unwrap());
        prop_assert!(ADDRESSES.iter().filter(|address| special(&less, address)).all(|address| special(&before, &address)));
    }

    /// Asking the further layers by themselves and putting both routes together is the same as one list of layers.
    #[test]
    fn under_is_the_fold_over_both(layers in any_layers(), over in any_layers(), host in any_host(), port in any_port()) {
        let all: Vec<EgressLayer> = layers.iter().chain(&over).cloned().collect();
        let (Ok(route_of), Ok(ceiling)) =
            (route(&layers, Tunnels::Allow, None, &host, port).into_result(), route(&over, Tunnels::Allow, None, &host, port).into_result())
        else { return Ok(()) };
        let together = route(&all, Tunnels::Allow, None, &host, port);
        prop_assert_eq!(unordered(Decision::Allow(route_of.under(ceiling))), unordered(together));
    }

    /// Judged here by other code: every rule that names host and port, in every layer, and nothing else.
    #[test]
    fn mode_is_the_strictest_of_all_matching_rules(layers in any_layers(), host in any_host(), port in any_port()) {
        let Ok(grant) = grant(&layers, Tunnels::Allow, None, &host, port).into_result() else { return Ok(()) };
        let all = layers.iter().flat_map(|layer| &layer.rules);
        let matching: Vec<_> = all
            .filter(|rule| rule.ports.contains(&port) && rule.hosts.iter().any(|pattern| pattern.matches(&host)))
            .collect();
        let read = matching.iter().any(|rule| rule.name.starts_with("read"));
        prop_assert_eq!(grant.mode(), if read { TlsMode::Inspect } else { TlsMode::Tunnel });
        prop_assert_eq!(grant.rules().len(), matching.len());
    }

    /// Denied tunnels take nothing away but that: the same rules, networks and requests, and everything is read.
    #[test]
    fn where_tunnels_are_denied_everything_is_read_and_nothing_else_changes(
        layers in any_layers(), ask in option::of(any_ask()), host in any_host(), port in any_port(),
    ) {
        let [allowed, denied] = [Tunnels::Allow, Tunnels::Deny].map(|tunnels| route(&layers, tunnels, ask.as_ref(), &host, port));
        let (Ok(allowed), Ok(denied)) = (allowed.into_result(), denied.into_result()) else { return Ok(()) };
        prop_assert_eq!(denied.tls(), TlsMode::Inspect);
        prop_assert_eq!(denied.rules(), allowed.rules());
        prop_assert_eq!(permitted(&denied), permitted(&allowed));
        prop_assert_eq!(denied.grant.common_requests(), allowed.grant.common_requests());
        prop_assert_eq!(denied, allowed.within(Tunnels::Deny));
    }

    #[test]
    fn order_of_layers_and_rules_is_irrelevant(
        (layers, shuffled) in any_layers().prop_flat_map(|layers| {
            let rules: Vec<_> = layers.iter().map(|layer| Just(layer.rules.clone()).prop_shuffle()).collect();
            let shuffled = (Just(layers.clone()), rules).prop_map(|(mut layers, rules)| {
                layers.iter_mut().zip(rules).for_each(|(layer, rules)| layer.rules = rules);
                layers
            });
            (Just(layers), shuffled.prop_shuffle())
        }),
        host in any_host(),
        port in any_port(),
    ) {
        prop_assert_eq!(unordered(route(&layers, Tunnels::Allow, None, &host, port)), unordered(route(&shuffled, Tunnels::Allow, None, &host, port)));
        let mode = |layers: &[EgressLayer]| grant(layers, Tunnels::Allow, None, &host, port).into_result().ok().map(|grant| grant.mode());
        prop_assert_eq!(mode(&layers), mode(&shuffled));
    }

    /// Each name leads to a rule that names the host and port, and each layer has one.
    #[test]
    fn provenance_names_real_rules(layers in any_layers(), ask in option::of(any_ask()), host in any_host(), port in any_port()) {
        let Ok(route) = route(&layers, Tunnels::Allow, ask.as_ref(), &host, port).into_result() else { return Ok(()) };
        let (asked, granted): (Vec<String>, Vec<String>) =
            route.rules().into_iter().partition(|rule| rule.starts_with("AgentRun/"));
        prop_assert_eq!(asked.is_empty(), ask.is_none());
        for name in &granted {
            let mut parts = name.splitn(3, '/');
            let (kind, layer, rule) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
            let found = layers.iter().find(|known| known.kind.as_str() == kind && known.name == layer).unwrap();
            let rule = found.rules.iter().find(|known| known.name == rule).unwrap();
            prop_assert!(rule.ports.contains(&port) && rule.hosts.iter().any(|pattern| pattern.matches(&host)), "{name}");
        }
        for layer in &layers {
            prop_assert!(granted.iter().any(|rule| rule.starts_with(&format!("{layer}/"))), "{layer} has no rule in {granted:?}");
        }
    }
}

/// The laws are about something: among the generated cases many are allowed, and in some of those modes differ.
#[test]
fn generated_layers_often_allow() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut allowed = [0, 0];
    for _ in 0..2000 {
        let (layers, host, port) = (any_layers(), any_host(), any_port())
            .new_tree(&mut runner)
            .unwrap()
            .current();
        if let Ok(grant) = grant(&layers, Tunnels::Allow, None, &host, port).into_result() {
            let modes: Vec<bool> = grant.rules().iter().map(|rule| rule.contains("/read-")).collect();
            allowed[usize::from(modes.contains(&true) && modes.contains(&false))] += 1;
        }
    }
    assert!(allowed.iter().all(|count| *count > 100), "{allowed:?}");
}

mod credentials;
mod requests;
mod services;
