//! What is decided about requests, by the laws that hold for hosts.

use super::*;
use crate::dimension::requests::{Request, Requests};
use crate::pattern::path::Target;
use crate::route::permit::Permitted;

const PATHS: [&str; 6] = ["/**", "/*", "/a", "/a/**", "/*/b", "/a?k=v"];
const METHODS: [&str; 3] = ["GET", "HEAD", "POST"];
const ASKED: [&str; 8] = ["/", "/a", "/b", "/a/b", "/c/b", "/a/b/c", "/a?k=v", "/a%2fb"];

fn ask(text: &str) -> Request {
    let (method, target) = text.split_once(' ').unwrap();
    Request {
        method: method.parse().unwrap(),
        target: Target::parse(target).unwrap(),
    }
}

fn read(name: &str, methods: &[&str], paths: &[&str]) -> EgressRule {
    EgressRule {
        tls: TlsMode::Inspect,
        methods: methods.iter().map(|method| method.parse().unwrap()).collect(),
        paths: paths.iter().map(|path| path.parse().unwrap()).collect(),
        ..rule(name, &["api.example.com"], &[80], &[])
    }
}

fn two_layers() -> Vec<EgressLayer> {
    vec![
        layer(
            LayerKind::ClusterSandboxPolicy,
            "base",
            Mode::AllowList,
            vec![
                rule("all", &["*.example.com"], &[80], &[]),
                read("reads", &["GET", "HEAD"], &["/repos/**"]),
            ],
        ),
        layer(
            LayerKind::SandboxPolicy,
            "default",
            Mode::AllowList,
            vec![
                read("repos", &["GET"], &["/repos/org/*", "/user"]),
                read("issues", &["GET", "POST"], &["/repos/org/*/issues"]),
            ],
        ),
    ]
}

fn permit(layers: &[EgressLayer], request: &str) -> Result<Permitted, Denied> {
    decide(layers, "api.example.com", 80)
        .unwrap()
        .permit(ask(request))
        .into_result()
}

#[rstest]
#[case(
    "GET /repos/org/app",
    Some("ClusterSandboxPolicy/base/all ClusterSandboxPolicy/base/reads SandboxPolicy/default/repos")
)]
#[case(
    "GET /user",
    Some("ClusterSandboxPolicy/base/all SandboxPolicy/default/repos")
)]
#[case(
    "POST /repos/org/app/issues",
    Some("ClusterSandboxPolicy/base/all SandboxPolicy/default/issues")
)]
#[case("POST /repos/org/app", None)]
#[case("HEAD /repos/org/app", None)]
#[case("GET /repos/other/app", None)]
#[case("GET /repos/org/a%2fb", None)]
fn request_needs_a_rule_of_every_layer(#[case] request: &str, #[case] rules: Option<&str>) {
    let permitted = permit(&two_layers(), request);
    assert_eq!(
        permitted
            .as_ref()
            .ok()
            .map(|permitted| permitted.rules().join(" "))
            .as_deref(),
        rules
    );
    match permitted {
        Ok(permitted) => assert_eq!(permitted.request(), &ask(request)),
        Err(denied) => assert_eq!(denied.reason, DenyReason::RequestNotAllowed),
    }
}

#[test]
fn denied_names_the_layer_and_the_requests_that_it_allows() {
    let method = permit(&two_layers(), "DELETE /repos/org/app").unwrap_err();
    insta::assert_snapshot!(method, @"DELETE /repos/org/app of api.example.com:80 is denied by SandboxPolicy/default: no rule for this host allows DELETE; allowed: GET, GET, POST");
    let path = permit(&two_layers(), "POST /user?token=x").unwrap_err();
    insta::assert_snapshot!(path, @"POST /user of api.example.com:80 is denied by SandboxPolicy/default: no rule for this host allows this path with POST; allowed: /repos/org/*/issues");
    assert_eq!(path.layer.unwrap().to_string(), "SandboxPolicy/default");
}

/// Whatever the others say: one rule that is to be inspected, or that has to be, makes the host inspected.
#[test]
fn mode_is_inspect_if_one_rule_has_to_be_read() {
    let tunnel = || rule("tunnel", &["api.example.com"], &[80], &[]);
    let modes = |rules: Vec<EgressRule>| {
        let layers = [layer(LayerKind::SandboxPolicy, "default", Mode::AllowList, rules)];
        decide(&layers, "api.example.com", 80).unwrap().tls()
    };
    let inspect = EgressRule {
        tls: TlsMode::Inspect,
        ..tunnel()
    };
    let with_paths = EgressRule {
        paths: vec!["/a".parse().unwrap()],
        ..tunnel()
    };
    assert_eq!(modes(vec![tunnel(), tunnel()]), TlsMode::Tunnel);
    for read in [inspect, with_paths, read("reads", &["GET"], &[])] {
        assert_eq!(modes(vec![tunnel(), read.clone()]), TlsMode::Inspect);
        assert_eq!(modes(vec![read, tunnel()]), TlsMode::Inspect);
    }
}

/// A rule that is not read allows every request, of those that another rule's inspection shows.
#[test]
fn a_tunnel_beside_an_inspected_rule_allows_all_requests() {
    let rules = vec![
        rule("all", &["api.example.com"], &[80], &[]),
        read("reads", &["GET"], &["/a"]),
    ];
    let layers = [layer(LayerKind::SandboxPolicy, "default", Mode::AllowList, rules)];
    assert_eq!(
        permit(&layers, "POST /b").unwrap().rules(),
        ["SandboxPolicy/default/all"]
    );
}

fn any_layers_with_requests() -> impl Strategy<Value = Vec<EgressLayer>> {
    let requests = (subsequence(&METHODS[..], 0..=3), subsequence(&PATHS[..], 0..=3));
    (any_layers(), vec(requests, 20)).prop_map(|(mut layers, requests)| {
        let rules = layers.iter_mut().flat_map(|layer| &mut layer.rules);
        for (rule, (methods, paths)) in rules.zip(requests) {
            rule.methods = methods.iter().map(|method| method.parse().unwrap()).collect();
            rule.paths = paths.iter().map(|path| path.parse().unwrap()).collect();
        }
        layers
    })
}

fn any_request() -> impl Strategy<Value = Request> {
    (select(&["GET", "HEAD", "POST", "PUT"][..]), select(&ASKED[..]))
        .prop_map(|(method, target)| ask(&format!("{method} {target}")))
}

fn permitted_by(
    layers: &[EgressLayer],
    ask: Option<&EgressAsk>,
    to: (&Host, u16),
    request: &Request,
) -> Option<Permitted> {
    let route = route(layers, Tunnels::Allow, ask, to.0, to.1)
        .into_result()
        .ok()?;
    route.permit(request.clone()).into_result().ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Judged here by other code: in every layer a rule for host and port that has method and path, and what is named is
    /// just these rules.
    #[test]
    fn request_is_permitted_by_a_rule_of_every_layer(
        layers in any_layers_with_requests(), host in any_host(), port in any_port(), request in any_request(),
    ) {
        let allows = |rule: &&EgressRule| {
            rule.ports.contains(&port)
                && rule.hosts.iter().any(|pattern| pattern.matches(&host))
                && (rule.methods.is_empty() || rule.methods.contains(&request.method))
                && (rule.paths.is_empty() || rule.paths.iter().any(|path| path.matches(&request.target)))
        };
        let of = |layer: &EgressLayer| -> Vec<String> {
            let rules = layer.rules.iter().filter(|_| layer.mode == Mode::AllowList);
            rules.filter(allows).map(|rule| format!("{layer}/{}", rule.name)).collect()
        };
        let by_layer: Vec<Vec<String>> = layers.iter().map(of).collect();
        let expected = (!layers.is_empty() && by_layer.iter().all(|rules| !rules.is_empty())).then(|| by_layer.concat());
        let permitted = permitted_by(&layers, None, (&host, port), &request);
        prop_assert_eq!(permitted.map(|permitted| permitted.rules().to_vec()), expected);
    }

    #[test]
    fn further_layer_never_permits_more(
        layers in any_layers_with_requests(), further in any_layers_with_requests(), at in any::<prop::sample::Index>(),
        host in any_host(), port in any_port(), request in any_request(),
    ) {
        prop_assume!(!layers.is_empty());
        let mut more = layers.clone();
        for layer in further {
            more.insert(at.index(more.len() + 1), layer);
        }
        if permitted_by(&more, None, (&host, port), &request).is_some() {
            prop_assert!(permitted_by(&layers, None, (&host, port), &request).is_some());
        }
    }

    #[test]
    fn ask_permits_no_more(
        layers in any_layers_with_requests(), asked in any_ask(), host in any_host(), port in any_port(), request in any_request(),
    ) {
        let narrowed = permitted_by(&layers, Some(&asked), (&host, port), &request);
        let whole = permitted_by(&layers, None, (&host, port), &request);
        let names_it = asked.asked().iter().any(|rule| rule.names(&host, port));
        prop_assert_eq!(narrowed.is_some(), whole.is_some() && names_it);
        if let (Some(narrowed), Some(whole)) = (narrowed, whole) {
            prop_assert!(narrowed.rules().starts_with(whole.rules()));
            prop_assert!(narrowed.rules().len() > whole.rules().len());
        }
    }

    #[test]
    fn order_of_layers_permits_the_same(
        (layers, shuffled) in any_layers_with_requests().prop_flat_map(|layers| (Just(layers.clone()), Just(layers).prop_shuffle())),
        host in any_host(), port in any_port(), request in any_request(),
    ) {
        let rules = |layers: &[EgressLayer]| {
            let permitted = permitted_by(layers, None, (&host, port), &request)?;
            Some(permitted.rules().iter().cloned().collect::<BTreeSet<String>>())
        };
        prop_assert_eq!(rules(&layers), rules(&shuffled));
    }

    /// Layers that are asked by themselves and put over a route permit what one list of all layers permits.
    #[test]
    fn under_permits_what_both_permit(
        layers in any_layers_with_requests(), over in any_layers_with_requests(), host in any_host(), port in any_port(), request in any_request(),
    ) {
        let all: Vec<EgressLayer> = layers.iter().chain(&over).cloned().collect();
        let (Ok(one), Ok(ceiling)) =
            (route(&layers, Tunnels::Allow, None, &host, port).into_result(), route(&over, Tunnels::Allow, None, &host, port).into_result())
        else { return Ok(()) };
        let together = permitted_by(&all, None, (&host, port), &request).map(|permitted| permitted.rules().to_vec());
        let under = one.under(ceiling).permit(request).into_result().ok().map(|permitted| permitted.rules().to_vec());
        // Layers of both lists have the same names here, and a name is told once.
        let told = |rules: Option<Vec<String>>| rules.map(|rules| rules.into_iter().collect::<BTreeSet<String>>());
        prop_assert_eq!(told(under), told(together));
    }

    /// What `explain` lists for a host is what is permitted there.
    #[test]
    fn common_requests_are_the_permitted_ones(
        layers in any_layers_with_requests(), host in any_host(), port in any_port(), request in any_request(),
    ) {
        let Ok(route) = route(&layers, Tunnels::Allow, None, &host, port).into_result() else { return Ok(()) };
        let common = route.grant.common_requests();
        let listed = common.iter().any(|requests: &Requests| requests.have(&request));
        prop_assert_eq!(listed, route.permit(request).is_allowed());
    }
}

/// The laws are about something: of the generated requests many are permitted and many are not.
#[test]
fn generated_requests_are_often_permitted() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut outcomes = [0, 0];
    for _ in 0..2000 {
        let generated = (any_layers_with_requests(), any_host(), any_port(), any_request());
        let (layers, host, port, request) = generated.new_tree(&mut runner).unwrap().current();
        if route(&layers, Tunnels::Allow, None, &host, port).is_allowed() {
            outcomes[usize::from(permitted_by(&layers, None, (&host, port), &request).is_some())] += 1;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 100), "{outcomes:?}");
}
