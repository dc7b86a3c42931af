//! Services of the cluster: granted by cluster policies, narrowed by every layer, and never meant by a rule for hosts.

use super::*;
use crate::dimension::egress::ServiceUse;
use crate::dimension::requests::Request;
use crate::pattern::path::Target;
use rstest::rstest;
use std::net::IpAddr;

const SERVICE: &str = "litellm.models.svc";

fn of_services(name: &str, hosts: &[&str], port: u16, clear_text: bool) -> EgressRule {
    EgressRule {
        tls: TlsMode::Inspect,
        service: Some(ServiceUse { clear_text }),
        ..rule(name, hosts, &[port], &[])
    }
}

fn cluster(rules: Vec<EgressRule>) -> EgressLayer {
    layer(LayerKind::ClusterSandboxPolicy, "base", Mode::AllowList, rules)
}

fn own(rules: Vec<EgressRule>) -> EgressLayer {
    layer(LayerKind::SandboxPolicy, "default", Mode::AllowList, rules)
}

fn granted() -> EgressRule {
    of_services("models", &[SERVICE], 4000, false)
}

#[test]
fn a_cluster_policy_grants_a_service_and_the_route_leads_to_it_alone() {
    let route = decide(&[cluster(vec![granted()])], SERVICE, 4000).unwrap();
    assert_eq!(route.service().unwrap().to_string(), "models/litellm");
    assert_eq!(route.tls(), TlsMode::Inspect);
    assert_eq!(route.rules(), ["ClusterSandboxPolicy/base/models"]);
    let hosts = decide(&layers(), "git.example.com", 443).unwrap();
    assert_eq!(hosts.service(), None);
}

#[rstest]
#[case::another("other.models.svc", 4000, DenyReason::HostNotAllowed)]
#[case::another_namespace("litellm.other.svc", 4000, DenyReason::HostNotAllowed)]
#[case::another_port("litellm.models.svc", 80, DenyReason::PortNotAllowed)]
#[case::the_long_name_as_it_is("litellm.models.svc.cluster.local", 4000, DenyReason::HostNotAllowed)]
#[case::a_pod_of_it("pod-0.litellm.models.svc", 4000, DenyReason::HostNotAllowed)]
fn nothing_beside_it_is_granted(#[case] host: &str, #[case] port: u16, #[case] expected: DenyReason) {
    assert_eq!(reason(&[cluster(vec![granted()])], host, port), Some(expected));
}

#[rstest]
#[case::by_name(&[SERVICE])]
#[case::by_a_star(&["*.models.svc"])]
fn a_rule_for_hosts_means_no_service(#[case] hosts: &[&str]) {
    let by_hosts = rule("hosts", hosts, &[4000], &["10.0.0.0/8"]);
    let denied = decide(&[cluster(vec![by_hosts.clone()])], SERVICE, 4000).unwrap_err();
    insta::allow_duplicates! {
        insta::assert_snapshot!(denied.message, @"litellm.models.svc:4000 is denied by ClusterSandboxPolicy/base: no rule has this Service in services, and hosts do not name Services; allowed: none");
    }
    // Nor where another layer has the Service.
    let layers = [cluster(vec![granted()]), own(vec![by_hosts.clone()])];
    assert_eq!(reason(&layers, SERVICE, 4000), Some(DenyReason::HostNotAllowed));
    let pattern: HostPattern = hosts[0].parse().unwrap();
    let listed = grant(&[cluster(vec![by_hosts])], Tunnels::Allow, None, &pattern, 4000);
    assert!(!listed.is_allowed(), "{listed:?}");
}

#[test]
fn a_rule_with_services_means_no_host() {
    let odd = of_services("odd", &["git.example.com"], 443, false);
    assert_eq!(
        reason(&[cluster(vec![odd])], "git.example.com", 443),
        Some(DenyReason::HostNotAllowed)
    );
}

#[test]
fn a_namespace_alone_grants_none_and_can_narrow() {
    let mut narrow = granted();
    narrow.methods = vec!["GET".parse().unwrap()];
    let alone = [own(vec![narrow.clone()])];
    let denied = decide(&alone, SERVICE, 4000).unwrap_err();
    assert_eq!(denied.reason, DenyReason::ServiceNotGranted);
    insta::assert_snapshot!(denied.message, @"litellm.models.svc:4000 is denied: a ClusterSandboxPolicy alone grants Services of the cluster, and none in force has limits.egress");
    let route = decide(&[cluster(vec![granted()]), own(vec![narrow])], SERVICE, 4000).unwrap();
    let asked = |method: &str| {
        let request = Request {
            method: method.parse().unwrap(),
            target: Target::parse("/v1/models").unwrap(),
        };
        route.permit(request).is_allowed()
    };
    assert!(asked("GET") && !asked("POST"));
    let silent = [
        cluster(vec![granted()]),
        own(vec![rule("model", &["model.example.org"], &[443], &[])]),
    ];
    assert_eq!(reason(&silent, SERVICE, 4000), Some(DenyReason::HostNotAllowed));
}

#[test]
fn requests_to_services_are_read_whatever_a_rule_says() {
    let unread = EgressRule {
        tls: TlsMode::Tunnel,
        ..granted()
    };
    let route = decide(&[cluster(vec![unread])], SERVICE, 4000).unwrap();
    assert_eq!(route.tls(), TlsMode::Inspect);
}

#[test]
fn no_address_is_permitted_for_what_leads_to_a_service() {
    let route = decide(&[cluster(vec![granted()])], SERVICE, 4000).unwrap();
    for address in ["10.244.9.9", "10.96.7.7", "192.168.1.1", "169.254.169.254"] {
        assert!(
            !route.permits_address(address.parse::<IpAddr>().unwrap()),
            "{address}"
        );
    }
}

fn kind() -> impl Strategy<Value = LayerKind> {
    select(&[LayerKind::ClusterSandboxPolicy, LayerKind::SandboxPolicy][..])
}

const NAMES: [&str; 4] = [SERVICE, "other.models.svc", "a.example.com", "*.models.svc"];

fn mixed() -> impl Strategy<Value = EgressLayer> {
    let rules = vec(
        (
            subsequence(&NAMES[..], 1..=3),
            any::<bool>(),
            select(&[443, 4000][..]),
        ),
        0..4,
    );
    (kind(), rules).prop_map(|(kind, rules)| {
        let rules = rules
            .into_iter()
            .enumerate()
            .map(|(index, (hosts, is_of_services, port))| {
                let name = format!("rule-{index}");
                if is_of_services {
                    // Each is named in full.
                    let hosts: Vec<&str> = hosts.into_iter().filter(|host| !host.starts_with('*')).collect();
                    of_services(&name, &hosts, port, false)
                } else {
                    rule(&name, &hosts, &[port], &["10.0.0.0/8"])
                }
            });
        layer(kind, "random", Mode::AllowList, rules.collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// What leads to a Service stands in the services of a rule of every layer, of which one is the cluster's; and what does
    /// not lead to one goes by its name.
    #[test]
    fn a_route_leads_to_a_service_where_every_layer_lists_it(
        layers in vec(mixed(), 0..4), host in select(&NAMES[..3]), port in select(&[443, 4000][..]),
    ) {
        let lists = |layer: &EgressLayer, services: bool| layer.rules.iter().any(|rule| {
            rule.service.is_some() == services && rule.ports == [port] && rule.hosts.iter().any(|name| name.to_string() == host)
        });
        let is_service = host != "a.example.com";
        let by_the_cluster = layers.iter().any(|layer| layer.kind == LayerKind::ClusterSandboxPolicy);
        let expected = !layers.is_empty()
            && layers.iter().all(|layer| lists(layer, is_service))
            && (by_the_cluster || !is_service);
        match decide(&layers, host, port) {
            Ok(route) => {
                prop_assert!(expected, "{route:?}");
                prop_assert_eq!(route.service().is_some(), is_service);
            }
            Err(denied) => prop_assert!(!expected, "{denied}"),
        }
    }

    /// Once the cluster's owner has spoken of egress, a further layer only takes away.
    #[test]
    fn a_further_layer_grants_no_service(
        layers in vec(mixed(), 0..4), first in mixed(), extra in mixed(), host in select(&NAMES[..3]), port in select(&[443, 4000][..]),
    ) {
        let first = EgressLayer { kind: LayerKind::ClusterSandboxPolicy, ..first };
        let before: Vec<EgressLayer> = layers.into_iter().chain([first]).collect();
        let after: Vec<EgressLayer> = before.iter().cloned().chain([extra]).collect();
        prop_assert!(decide(&after, host, port).is_err() || decide(&before, host, port).is_ok());
    }
}
