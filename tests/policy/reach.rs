//! The list of what a run reaches agrees with the decision about each host.

use cofferdam_api::{Mode, TlsMode, Tunnels};
use cofferdam_policy::decision::Decision;
use cofferdam_policy::dimension::egress::{EgressAsk, EgressAskRule, EgressLayer, EgressRule, ServiceUse};
use cofferdam_policy::dimension::requests::Request;
use cofferdam_policy::explain::reach::{Reached, reach};
use cofferdam_policy::pattern::host::{Host, HostPattern};
use cofferdam_policy::pattern::path::Target;
use cofferdam_policy::refusal::LayerKind;
use cofferdam_policy::route::route;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use rstest::rstest;

use crate::generated::{ADDRESSES, HOST_PATTERNS, HOSTS, NETWORKS, PORTS};

const KINDS: [LayerKind; 2] = [LayerKind::ClusterSandboxPolicy, LayerKind::SandboxPolicy];
/// Names of Services, and a star over some.
const SERVICES: [&str; 3] = ["a.n.svc", "b.n.svc", "*.n.svc"];
const METHODS: [&str; 2] = ["GET", "POST"];
const PATHS: [&str; 4] = ["/a/*", "/*/b", "/a/**", "/a/b?k=v"];

/// Requests near the rules: some that several allow, some that none does.
fn requests() -> impl Iterator<Item = Request> {
    let targets = ["/a/b", "/a/b?k=v", "/a/c", "/c/b", "/a/b/c", "/"];
    let all = targets
        .into_iter()
        .flat_map(|target| ["GET", "POST", "PUT"].map(|method| (method, target)));
    all.map(|(method, target)| Request {
        method: method.parse().unwrap(),
        target: Target::parse(target).unwrap(),
    })
}

fn patterns() -> impl Strategy<Value = Vec<HostPattern>> {
    subsequence(&HOST_PATTERNS[..], 1..=3)
        .prop_map(|texts| texts.iter().map(|text| text.parse().unwrap()).collect())
}

fn ports() -> impl Strategy<Value = Vec<u16>> {
    subsequence(&PORTS[..], 1..=3)
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![1 => Just(Mode::DenyAll), 9 => Just(Mode::AllowList)]
}

fn layers() -> impl Strategy<Value = Vec<EgressLayer>> {
    let requests = (subsequence(&METHODS[..], 0..=2), subsequence(&PATHS[..], 0..=2));
    // Most rules are tunnels, so that some hosts are.
    let requests = prop_oneof![3 => Just((Vec::new(), Vec::new())), 1 => requests];
    let networks = subsequence(&NETWORKS[..], 0..=3);
    let rule =
        (patterns(), ports(), networks, requests).prop_map(|(hosts, ports, networks, (methods, paths))| {
            EgressRule {
                name: String::new(),
                hosts,
                addresses: networks.iter().map(|net| net.parse().unwrap()).collect(),
                ports,
                tls: TlsMode::Tunnel,
                methods: methods.iter().map(|method| method.parse().unwrap()).collect(),
                paths: paths.iter().map(|path| path.parse().unwrap()).collect(),
                credential: None,
                service: None,
            }
        });
    let rule = (
        rule,
        option::weighted(0.3, (subsequence(&SERVICES[..], 1..=2), any::<bool>())),
    )
        .prop_map(|(rule, of_services)| match of_services {
            Some((names, true)) => EgressRule {
                hosts: names
                    .iter()
                    // Each is named in full.
                    .filter(|name| !name.starts_with('*'))
                    .map(|name| name.parse().unwrap())
                    .collect(),
                addresses: Vec::new(),
                tls: TlsMode::Inspect,
                service: Some(ServiceUse::default()),
                ..rule
            },
            // A rule for hosts that are called like Services.
            Some((names, false)) => EgressRule {
                hosts: names.iter().map(|name| name.parse().unwrap()).collect(),
                ..rule
            },
            None => rule,
        });
    let layer = (select(&KINDS[..]), mode(), vec(rule, 1..5)).prop_map(|(kind, mode, rules)| EgressLayer {
        kind,
        name: String::new(),
        mode,
        rules,
    });
    vec(layer, 0..4).prop_map(|mut layers| {
        for (index, layer) in layers.iter_mut().enumerate() {
            layer.name = format!("layer-{index}");
            for (index, rule) in layer.rules.iter_mut().enumerate() {
                rule.name = format!("rule-{index}");
            }
        }
        layers
    })
}

fn tunnels() -> impl Strategy<Value = Tunnels> {
    prop_oneof![3 => Just(Tunnels::Allow), 1 => Just(Tunnels::Deny)]
}

fn ask() -> impl Strategy<Value = Option<EgressAsk>> {
    let rule = (patterns(), ports()).prop_map(|(hosts, ports)| EgressAskRule {
        name: "ask".to_owned(),
        hosts,
        ports,
    });
    option::of((mode(), vec(rule, 1..4)).prop_map(|(mode, rules)| EgressAsk { mode, rules }))
}

/// Names near the patterns: some meant by several, some by none.
fn host() -> impl Strategy<Value = Host> {
    let label = select(&["a", "b", "zz", "example"][..]);
    let stem = select(&["example.com", "b.example.com", "example.org", "example.net"][..]);
    prop_oneof![
        select(&HOSTS[..]).prop_map(str::to_owned),
        (label, stem).prop_map(|(label, stem)| format!("{label}.{stem}")),
        select(&SERVICES[..2]).prop_map(str::to_owned),
    ]
    .prop_map(|name| Host::parse(&name).unwrap())
}

/// The entry that speaks of the host: the most specific one.
fn entry<'a>(reached: &'a [Reached], host: &Host, port: u16) -> Option<&'a Reached> {
    let mut meant = reached
        .iter()
        .filter(|entry| entry.ports.contains(&port) && entry.host.matches(host));
    let exact = meant
        .clone()
        .find(|entry| matches!(entry.host, HostPattern::Exact(_)));
    exact.or_else(|| meant.next())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_list_agrees_with_every_decision(
        layers in layers(), tunnels in tunnels(), ask in ask(), host in host(), port in select(&PORTS[..]),
    ) {
        let reached = reach(&layers, tunnels, ask.as_ref());
        let entry = entry(&reached, &host, port);
        match route(&layers, tunnels, ask.as_ref(), &host, port) {
            Decision::Deny(denied) => prop_assert!(entry.is_none(), "{denied}, but listed: {entry:?}"),
            Decision::Allow(route) => {
                let Some(entry) = entry else {
                    return Err(TestCaseError::fail(format!("{host}:{port} is allowed and not listed: {reached:?}")));
                };
                for address in ADDRESSES {
                    let address = address.parse().unwrap();
                    let listed = entry.addresses.iter().any(|net| net.contains(&address));
                    prop_assert!(!route.permits_address(address) || listed, "{address}: {entry:?}");
                }
                prop_assert_eq!(&route.rules(), &entry.rules);
                prop_assert_eq!(route.service(), entry.service.clone());
                prop_assert_eq!(route.tls(), entry.tls);
                prop_assert_eq!(entry.requests.is_some(), entry.is_inspected());
                for request in requests() {
                    let listed = entry.requests.iter().flatten().any(|requests| requests.have(&request));
                    prop_assert_eq!(route.permit(request.clone()).is_allowed(), listed || !entry.is_inspected(), "{}", request);
                }
            }
        }
    }

    /// The other way round: every entry is a host that is really reached.
    #[test]
    fn nothing_is_listed_that_is_denied(layers in layers(), tunnels in tunnels(), ask in ask()) {
        for entry in reach(&layers, tunnels, ask.as_ref()) {
            let host = match &entry.host {
                HostPattern::Exact(host) => host.clone(),
                HostPattern::Wildcard(rest) => Host::parse(&format!("not-named-anywhere.{rest}")).unwrap(),
            };
            for port in &entry.ports {
                let decided = route(&layers, tunnels, ask.as_ref(), &host, *port);
                prop_assert!(decided.is_allowed(), "{entry:?}: {decided:?}");
            }
        }
    }
}

fn layer(name: &str, rules: &[(&str, &[&str], &[u16])]) -> EgressLayer {
    EgressLayer {
        kind: LayerKind::SandboxPolicy,
        name: name.to_owned(),
        mode: Mode::AllowList,
        rules: rules
            .iter()
            .map(|(name, hosts, ports)| EgressRule {
                name: (*name).to_owned(),
                hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
                addresses: Vec::new(),
                ports: ports.to_vec(),
                tls: TlsMode::Tunnel,
                methods: Vec::new(),
                paths: Vec::new(),
                credential: None,
                service: None,
            })
            .collect(),
    }
}

#[rstest]
#[case::no_layer(&[], &[])]
#[case::one_layer(&[layer("one", &[("r", &["*.example.com", "a.test.org"], &[443, 80])])], &["a.test.org:80,443 SandboxPolicy/one/r", "*.example.com:80,443 SandboxPolicy/one/r"])]
#[case::a_wildcard_meets_a_name_of_it(
    &[layer("wide", &[("any", &["*.example.com"], &[443, 80])]), layer("narrow", &[("one", &["a.example.com", "b.c.example.com"], &[443])])],
    &["a.example.com:443 SandboxPolicy/wide/any SandboxPolicy/narrow/one"],
)]
#[case::nothing_in_common(&[layer("one", &[("r", &["a.example.com"], &[443])]), layer("two", &[("r", &["a.example.com"], &[80])])], &[])]
fn hosts_are_listed_with_their_rules(#[case] layers: &[EgressLayer], #[case] listed: &[&str]) {
    let shown = reach(layers, Tunnels::Allow, None).into_iter().map(|entry| {
        let ports: Vec<String> = entry.ports.iter().map(u16::to_string).collect();
        format!("{}:{} {}", entry.host, ports.join(","), entry.rules.join(" "))
    });
    assert_eq!(shown.collect::<Vec<_>>(), listed);
}
