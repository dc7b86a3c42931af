//! Which credential a request gets: what every layer that names one agrees on, and none that came later.

use super::*;
use crate::dimension::requests::Request;
use crate::pattern::path::Target;
use crate::route::permit::Permitted;
use proptest::sample::{select, subsequence};
use rstest::rstest;

const NAMES: [&str; 2] = ["one", "two"];

fn ask(request: &str) -> Request {
    let (method, target) = request.split_once(' ').unwrap();
    Request {
        method: method.parse().unwrap(),
        target: Target::parse(target).unwrap(),
    }
}

fn with(name: &str, credential: Option<&str>, methods: &[&str], paths: &[&str]) -> EgressRule {
    EgressRule {
        tls: TlsMode::Inspect,
        methods: methods.iter().map(|method| method.parse().unwrap()).collect(),
        paths: paths.iter().map(|path| path.parse().unwrap()).collect(),
        credential: credential.map(str::to_owned),
        ..rule(name, &["api.example.com"], &[443], &[])
    }
}

fn of(kind: LayerKind, rules: Vec<EgressRule>) -> EgressLayer {
    layer(kind, "default", Mode::AllowList, rules)
}

fn permit(route: &Route, request: &str) -> Result<Permitted, Denied> {
    route.permit(ask(request)).into_result()
}

fn credential_of(permitted: Result<Permitted, Denied>) -> Result<Option<String>, DenyReason> {
    permitted
        .map(|permitted| permitted.credential().map(str::to_owned))
        .map_err(|denied| denied.reason)
}

#[rstest]
#[case::silent(None, None, Ok(None))]
#[case::own_names(None, Some("one"), Ok(Some("one")))]
#[case::cluster_names(Some("one"), None, Ok(Some("one")))]
#[case::both(Some("one"), Some("one"), Ok(Some("one")))]
#[case::different(Some("two"), Some("one"), Err(DenyReason::CredentialConflict))]
fn layers_that_name_a_credential_agree(
    #[case] cluster: Option<&str>,
    #[case] own: Option<&str>,
    #[case] expected: Result<Option<&str>, DenyReason>,
) {
    let layers = [
        of(
            LayerKind::ClusterSandboxPolicy,
            vec![with("a", cluster, &["GET"], &["/v1/**"])],
        ),
        of(
            LayerKind::SandboxPolicy,
            vec![with("b", own, &["GET"], &["/v1/models"])],
        ),
    ];
    let route = decide(&layers, "api.example.com", 443).unwrap();
    let got = credential_of(permit(&route, "GET /v1/models"));
    assert_eq!(
        got.as_ref().map(Option::as_deref),
        expected.as_ref().map(|name| *name)
    );
}

/// The credential belongs to requests, not to hosts.
#[test]
fn requests_of_other_rules_go_without() {
    let rules = vec![
        with("keyed", Some("one"), &["POST"], &["/v1/messages"]),
        with("open", None, &["GET"], &["/health"]),
        with("other", Some("two"), &["POST"], &["/v2/messages"]),
    ];
    let layers = [of(LayerKind::SandboxPolicy, rules)];
    let route = decide(&layers, "api.example.com", 443).unwrap();
    let got = |request| credential_of(permit(&route, request)).map_err(|_| ());
    assert_eq!(got("POST /v1/messages"), Ok(Some("one".to_owned())));
    assert_eq!(got("GET /health"), Ok(None));
    assert_eq!(got("POST /v2/messages"), Ok(Some("two".to_owned())));
    assert_eq!(got("GET /v1/messages"), Err(()));
    let listed = route.grant.credentials();
    let listed: Vec<String> = listed
        .iter()
        .map(|(name, requests)| format!("{name} {}", requests[0]))
        .collect();
    assert_eq!(listed, ["one POST /v1/messages", "two POST /v2/messages"]);
}

#[test]
fn in_clear_text_nothing_goes_out_with_a_credential() {
    let rules = vec![
        with("keyed", Some("one"), &["GET"], &["/a"]),
        with("open", None, &["GET"], &["/b"]),
    ];
    let layers = [of(LayerKind::SandboxPolicy, rules)];
    let route = decide(&layers, "api.example.com", 443).unwrap();
    let clear = |request| permit(&route, request).unwrap().in_clear_text().into_result();
    let denied = clear("GET /a").unwrap_err();
    assert_eq!(denied.reason, DenyReason::CredentialNeedsTls);
    insta::assert_snapshot!(denied, @"GET /a of api.example.com:443 is denied in clear text: rules of policy add credential one to it, which goes over TLS alone");
    assert!(clear("GET /b").is_ok());
}

#[test]
fn what_names_a_credential_is_inspected() {
    let tunnel = rule("tunnel", &["api.example.com"], &[443], &[]);
    let named = EgressRule {
        credential: Some("one".to_owned()),
        ..tunnel.clone()
    };
    assert_eq!((tunnel.mode(), named.mode()), (TlsMode::Tunnel, TlsMode::Inspect));
}

fn any_layers_with_credentials() -> impl Strategy<Value = Vec<EgressLayer>> {
    let name = prop_oneof![2 => Just(None), 1 => select(&NAMES[..]).prop_map(Some)];
    let paths = subsequence(&["/a", "/**", "/b/*"][..], 1..=3);
    let rules = vec((name, paths), 1..3).prop_map(|rules| {
        let named = rules
            .iter()
            .enumerate()
            .map(|(index, (credential, paths))| with(&format!("r{index}"), *credential, &["GET"], paths));
        named.collect::<Vec<_>>()
    });
    vec(rules, 1..4).prop_map(|layers| {
        let named = layers.into_iter().enumerate().map(|(index, rules)| {
            layer(
                LayerKind::ClusterSandboxPolicy,
                &format!("l{index}"),
                Mode::AllowList,
                rules,
            )
        });
        named.collect()
    })
}

fn any_target() -> impl Strategy<Value = Request> {
    select(&["GET /a", "GET /b/c", "GET /c"][..]).prop_map(ask)
}

fn got(layers: &[EgressLayer], request: &Request) -> Result<Option<String>, ()> {
    let route = decide(layers, "api.example.com", 443).map_err(drop)?;
    credential_of(route.permit(request.clone()).into_result()).map_err(drop)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Judged here by other code: all names of the rules that allow the request, of which there is at most one.
    #[test]
    fn credential_is_the_one_that_allowing_rules_name(layers in any_layers_with_credentials(), request in any_target()) {
        let allowing = |layer: &EgressLayer| -> Vec<EgressRule> {
            let rules = layer.rules.iter().filter(|rule| rule.paths.iter().any(|path| path.matches(&request.target)));
            rules.cloned().collect()
        };
        let by_layer: Vec<Vec<EgressRule>> = layers.iter().map(allowing).collect();
        let names: BTreeSet<String> = by_layer.iter().flatten().filter_map(|rule| rule.credential.clone()).collect();
        let is_permitted = by_layer.iter().all(|rules| !rules.is_empty()) && names.len() <= 1;
        prop_assert_eq!(got(&layers, &request), is_permitted.then(|| names.into_iter().next()).ok_or(()));
    }

    #[test]
    fn order_of_layers_gives_the_same(
        (layers, shuffled) in any_layers_with_credentials().prop_flat_map(|layers| (Just(layers.clone()), Just(layers).prop_shuffle())),
        request in any_target(),
    ) {
        prop_assert_eq!(got(&layers, &request), got(&shuffled, &request));
    }

    /// Policies that came later take requests away and never give or change a credential.
    #[test]
    fn later_layers_grant_no_credential(
        layers in any_layers_with_credentials(), later in any_layers_with_credentials(), request in any_target(),
    ) {
        let route = |layers: &[EgressLayer]| decide(layers, "api.example.com", 443).unwrap();
        let under = route(&layers).under(route(&later)).permit(request.clone()).into_result();
        if let Ok(permitted) = under {
            prop_assert_eq!(got(&layers, &request), Ok(permitted.credential().map(str::to_owned)));
        }
    }

    /// What `explain` lists is what gets the credential.
    #[test]
    fn listed_requests_are_those_that_get_it(layers in any_layers_with_credentials(), request in any_target()) {
        let route = decide(&layers, "api.example.com", 443).unwrap();
        let listed = |name: &str| route.grant.credentials().into_iter()
            .any(|(known, requests)| known == name && requests.iter().any(|meant| meant.have(&request)));
        if let Ok(got) = got(&layers, &request) {
            for name in NAMES {
                prop_assert_eq!(listed(name), got.as_deref() == Some(name));
            }
        }
    }
}
