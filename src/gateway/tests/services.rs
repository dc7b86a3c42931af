//! Services of the cluster: what policy grants is dialled by the address of the Service itself, and nothing beside it.

use super::inspected::{answer, certificate, head_of, mirror};
use super::*;
use crate::caller::view::ceilings::testing::cluster_policy;
use crate::credentials::store::testing::{secret, store};
use crate::egress::services::testing::spec;
use cofferdam_api::names::{LABEL_SERVICES, SERVICES_REACHABLE};
use cofferdam_policy::dimension::credentials::{Credential, Injection, SecretKey};
use cofferdam_policy::dimension::egress::ServiceUse;
use rstest::rstest;
use serde_json::{Value, json};

const SERVICE: &str = "litellm.models.svc";
const LONG: &str = "litellm.models.svc.cluster.local";
const VALUE: &str = "sk-real-0123456789abcdef";
/// In a range that is never dialled for a name.
const ADDRESS: &str = "10.244.9.9";

fn rule(credential: Option<&str>, clear_text: bool) -> EgressRule {
    EgressRule {
        name: "models".to_owned(),
        hosts: vec![SERVICE.parse().unwrap()],
        addresses: Vec::new(),
        ports: vec![4000],
        tls: TlsMode::Inspect,
        methods: vec!["GET".parse().unwrap(), "POST".parse().unwrap()],
        paths: vec!["/v1/**".parse().unwrap()],
        credential: credential.map(str::to_owned),
        service: Some(ServiceUse { clear_text }),
    }
}

fn layer(kind: LayerKind, rules: Vec<EgressRule>) -> Arc<EgressLayer> {
    Arc::new(EgressLayer {
        kind,
        name: "base".to_owned(),
        mode: Mode::AllowList,
        rules,
    })
}

fn granted() -> Vec<Arc<EgressLayer>> {
    vec![layer(LayerKind::ClusterSandboxPolicy, vec![rule(None, false)])]
}

fn frozen(layers: Vec<Arc<EgressLayer>>) -> FrozenPolicy {
    FrozenPolicy::new(layers, Tunnels::Deny, None, Vec::new())
}

/// A gateway with the Service in its cluster, and a pod behind it.
async fn fixture(policy: FrozenPolicy, credentials: Credentials) -> Fixture {
    let fixture = Fixture::start_under(&policy, credentials, Capacity::of(20_000, 512 << 20)).await;
    fixture.services.put("models/litellm", &spec(ADDRESS, 4000));
    fixture.services.put("models/other", &spec("10.244.9.10", 4000));
    label(&fixture, Some(SERVICES_REACHABLE));
    for address in [ADDRESS, "10.244.9.10"] {
        fixture.server(&format!("{address}:4000"), mirror);
    }
    fixture
}

async fn plain() -> Fixture {
    fixture(frozen(granted()), Credentials::default()).await
}

fn label(fixture: &Fixture, value: Option<&str>) {
    let labels = value.map(|value| (LABEL_SERVICES.to_owned(), value.to_owned()));
    fixture
        .rooms
        .view
        .put_namespace("models", labels.into_iter().collect());
}

impl Fixture {
    /// The answer to a request in absolute form.
    async fn ask_service(&self, first: &str, authority: &str) -> String {
        let token = self.token(AUDIENCE_EGRESS);
        let request =
            format!("{first} HTTP/1.1\r\nHost: {authority}\r\nProxy-Authorization: Bearer {token}\r\n\r\n");
        self.exchange(request.as_bytes()).await
    }

    async fn get(&self, authority: &str, path: &str) -> String {
        self.ask_service(&format!("GET http://{authority}{path}"), authority)
            .await
    }
}

fn first_line(answer: &str) -> &str {
    answer.lines().next().unwrap_or_default()
}

/// Sends a request on a connection that stays open, and reads the answer's head and body.
async fn next_on(stream: &mut TcpStream) -> String {
    let request = format!("GET /v1/models HTTP/1.1\r\nHost: {SERVICE}:4000\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    answer(stream).await
}

#[rstest]
#[case::short("litellm.models.svc:4000")]
#[case::with_the_clusters_domain("litellm.models.svc.cluster.local:4000")]
#[case::in_capitals("LiteLLM.Models.SVC:4000")]
#[tokio::test]
async fn a_granted_service_is_reached_by_its_own_address_whatever_its_name_resolves_to(
    #[case] authority: &str,
) {
    let fixture = plain().await;
    // Whoever answers for DNS says otherwise.
    for name in [SERVICE, LONG] {
        fixture.net.name(name, &["203.0.113.30"]);
    }
    let answer = fixture.get(authority, "/v1/models").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("GET /v1/models HTTP/1.1"), "{answer}");
    let expected: SocketAddr = format!("{ADDRESS}:4000").parse().unwrap();
    assert_eq!(*fixture.net.dialled.lock(), [expected]);
    let events = fixture.events().await;
    let RecordEvent::Allowed {
        host, address, rules, ..
    } = &events[0]
    else {
        panic!("{events:?}");
    };
    assert_eq!((host.as_str(), address.as_str()), (authority, "10.244.9.9:4000"));
    assert_eq!(*rules, ["ClusterSandboxPolicy/base/models"]);
}

#[rstest]
#[case::another_service("other.models.svc:4000", "/v1/models", "HostNotAllowed")]
#[case::of_another_namespace("litellm.default.svc:4000", "/v1/models", "HostNotAllowed")]
#[case::the_api_server("kubernetes.default.svc.cluster.local:443", "/api", "HostNotAllowed")]
#[case::another_port("litellm.models.svc:4001", "/v1/models", "PortNotAllowed")]
#[case::another_path("litellm.models.svc:4000", "/admin", "RequestNotAllowed")]
#[case::without_svc("litellm.models:4000", "/v1/models", "HostNotAllowed")]
#[case::one_label("litellm:4000", "/v1/models", "HostInvalid")]
#[case::with_a_dot("litellm.models.svc.:4000", "/v1/models", "HostInvalid")]
#[case::of_another_domain("litellm.models.svc.example.com:4000", "/v1/models", "HostNotAllowed")]
#[case::half_a_domain("litellm.models.svc.cluster:4000", "/v1/models", "HostNotAllowed")]
#[case::a_pod_of_it("pod-0.litellm.models.svc:4000", "/v1/models", "HostNotAllowed")]
#[case::a_pod_by_its_address("10-244-9-9.models.pod.cluster.local:4000", "/v1/models", "HostNotAllowed")]
#[case::its_address("10.244.9.9:4000", "/v1/models", "HostInvalid")]
#[tokio::test]
async fn nothing_beside_a_granted_service_is_reached(
    #[case] authority: &str,
    #[case] path: &str,
    #[case] code: &str,
) {
    let fixture = plain().await;
    let host = authority.rsplit_once(':').unwrap().0;
    fixture.net.name(host, &[ADDRESS]);
    let answer = fixture.get(authority, path).await;
    assert!(first_line(&answer).ends_with(code), "{answer}");
    assert!(fixture.net.dialled.lock().is_empty());
    // The Service itself is there.
    assert!(
        fixture
            .get("litellm.models.svc:4000", "/v1/models")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
}

#[tokio::test]
async fn a_name_that_resolves_to_a_granted_service_is_no_way_to_it() {
    let mut hosts = rule(None, false);
    hosts.hosts = vec![
        "rebind.internet.test".parse().unwrap(),
        "litellm.models.svc".parse().unwrap(),
    ];
    hosts.addresses = vec!["10.0.0.0/8".parse().unwrap()];
    hosts.service = None;
    for (rules, host, code) in [
        (
            vec![rule(None, false), hosts.clone()],
            "rebind.internet.test",
            "AddressDenied",
        ),
        (vec![hosts], SERVICE, "HostNotAllowed"),
    ] {
        let policy = frozen(vec![layer(LayerKind::ClusterSandboxPolicy, rules)]);
        let fixture = fixture(policy, Credentials::default()).await;
        fixture.net.name(host, &[ADDRESS]);
        let answer = fixture.get(&format!("{host}:4000"), "/v1/models").await;
        assert!(first_line(&answer).ends_with(code), "{answer}");
        assert!(fixture.net.dialled.lock().is_empty());
    }
}

#[tokio::test]
async fn a_namespace_narrows_what_the_cluster_grants_and_grants_nothing() {
    let own = |rules| layer(LayerKind::SandboxPolicy, rules);
    let mut narrow = rule(None, false);
    narrow.paths = vec!["/v1/models".parse().unwrap()];
    let alone = fixture(frozen(vec![own(vec![narrow.clone()])]), Credentials::default()).await;
    let answer = alone.get("litellm.models.svc:4000", "/v1/models").await;
    assert!(first_line(&answer).ends_with("ServiceNotGranted"), "{answer}");
    assert!(alone.net.dialled.lock().is_empty());
    let both = [granted(), vec![own(vec![narrow])]].concat();
    let both = fixture(frozen(both), Credentials::default()).await;
    let answer = both.get("litellm.models.svc:4000", "/v1/models").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = both.get("litellm.models.svc:4000", "/v1/chat/completions").await;
    assert!(first_line(&answer).ends_with("RequestNotAllowed"), "{answer}");
}

#[tokio::test]
async fn a_cluster_policy_that_takes_the_service_away_reaches_live_runs() {
    let fixture = plain().await;
    let narrower = |services: &Value| {
        let egress = json!({"mode": "AllowList", "rules": [{"name": "now", "services": services, "methods": ["GET"], "paths": ["/**"]}]});
        fixture
            .rooms
            .view
            .put_cluster_policy(cluster_policy("now", &json!({}), &egress));
    };
    narrower(&json!([{"namespace": "models", "name": "litellm", "port": 4000}]));
    let answer = fixture.get("litellm.models.svc:4000", "/v1/models").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    narrower(&json!([{"namespace": "models", "name": "other", "port": 4000}]));
    let answer = fixture.get("litellm.models.svc:4000", "/v1/models").await;
    assert!(first_line(&answer).ends_with("DeniedSinceAdmission"), "{answer}");
}

#[tokio::test]
async fn a_service_that_is_deleted_or_not_for_sandboxes_is_not_dialled() {
    let fixture = plain().await;
    label(&fixture, None);
    let answer = fixture.get("litellm.models.svc:4000", "/v1/models").await;
    assert!(
        first_line(&answer).ends_with("ServiceUnusable") && answer.contains("cofferdam.dev/services"),
        "{answer}"
    );
    label(&fixture, Some(SERVICES_REACHABLE));
    let answer = fixture.get("litellm.models.svc:4000", "/v1/models").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    fixture.services.all.lock().clear();
    fixture.rooms.upstreams.services.forget();
    let answer = fixture.get("litellm.models.svc:4000", "/v1/models").await;
    assert!(first_line(&answer).ends_with("ServiceUnusable"), "{answer}");
    assert_eq!(fixture.net.dialled.lock().len(), 1);
}

#[tokio::test]
async fn a_connection_that_is_open_follows_the_service_too() {
    let fixture = plain().await;
    let mut stream = fixture.tunnel("litellm.models.svc:4000").await;
    for _ in 0..2 {
        let answer = next_on(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let anew = "10.244.9.11";
    fixture.server(&format!("{anew}:4000"), mirror);
    fixture.services.put("models/litellm", &spec(anew, 4000));
    fixture.rooms.upstreams.services.forget();
    let answer = next_on(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let dialled: Vec<String> = fixture
        .net
        .dialled
        .lock()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(dialled, ["10.244.9.9:4000", "10.244.9.11:4000"]);
    // One that waits for the next tunnel does not outlive the Service.
    drop(stream);
    while fixture.rooms.services.requests.pool.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    fixture.services.all.lock().clear();
    fixture.rooms.upstreams.services.forget();
    let mut stream = fixture.tunnel("litellm.models.svc:4000").await;
    let answer = next_on(&mut stream).await;
    assert!(first_line(&answer).ends_with("ServiceUnusable"), "{answer}");
}

#[tokio::test]
async fn tls_of_a_service_is_that_of_its_short_name() {
    for (name, sni, expected) in [
        (SERVICE, SERVICE, "200 Fine"),
        (SERVICE, LONG, "200 Fine"),
        (LONG, SERVICE, "UpstreamCertificateMismatch"),
        ("litellm.example.com", SERVICE, "UpstreamCertificateMismatch"),
    ] {
        let mut tls = rule(None, false);
        tls.ports = vec![443];
        let policy = frozen(vec![layer(LayerKind::ClusterSandboxPolicy, vec![tls])]);
        let fixture = fixture(policy, Credentials::default()).await;
        fixture.services.put("models/litellm", &spec(ADDRESS, 443));
        fixture.tls_server(
            "10.244.9.9:443",
            certificate(&fixture.internet, name, (-1, 1)),
            mirror,
        );
        let mut stream = fixture.inside_tls(sni, sni, &["http/1.1"]).await.unwrap();
        let request = format!("GET /v1/models HTTP/1.1\r\nHost: {sni}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = head_of(&mut stream).await;
        assert!(first_line(&head).ends_with(expected), "{name} {sni}: {head}");
    }
}

fn credential() -> Credential {
    Credential {
        name: "litellm".to_owned(),
        hosts: vec![SERVICE.parse().unwrap()],
        secret: SecretKey {
            name: "of-litellm".to_owned(),
            key: "token".to_owned(),
        },
        app: None,
        inject: Injection::Header {
            header: "authorization".to_owned(),
            scheme: Some("Bearer".to_owned()),
        },
        placeholder: None,
    }
}

async fn keyed(layers: Vec<Arc<EgressLayer>>) -> Fixture {
    let policy = frozen(layers).with_credentials(vec![credential()]);
    let values = vec![secret("of-litellm", &[("token", VALUE)])];
    fixture(policy, store(&[credential()], values)).await
}

/// What a rule of a cluster policy that comes later says of the credential.
fn later(fixture: &Fixture, says: &Value) {
    let mut rule = json!({"name": "now", "services": [{"namespace": "models", "name": "litellm", "port": 4000}],
        "methods": ["GET"], "paths": ["/v1/models"]});
    for (field, value) in says.as_object().unwrap() {
        rule[field] = value.clone();
    }
    let egress = json!({"mode": "AllowList", "rules": [rule]});
    fixture
        .rooms
        .view
        .put_cluster_policy(cluster_policy("now", &json!({}), &egress));
}

#[rstest]
#[case::said_by_the_cluster(&[(LayerKind::ClusterSandboxPolicy, true, true)], true)]
#[case::not_said(&[(LayerKind::ClusterSandboxPolicy, true, false)], false)]
#[case::said_by_one_of_two(&[(LayerKind::ClusterSandboxPolicy, true, true), (LayerKind::ClusterSandboxPolicy, true, false)], false)]
#[case::another_has_no_word_on_it(&[(LayerKind::ClusterSandboxPolicy, true, true), (LayerKind::ClusterSandboxPolicy, false, false)], true)]
#[case::the_namespace_names_it_too(&[(LayerKind::ClusterSandboxPolicy, true, true), (LayerKind::SandboxPolicy, true, true)], true)]
#[case::the_namespace_objects(&[(LayerKind::ClusterSandboxPolicy, true, true), (LayerKind::SandboxPolicy, true, false)], false)]
#[case::the_namespace_alone_says_so(&[(LayerKind::ClusterSandboxPolicy, false, false), (LayerKind::SandboxPolicy, true, true)], false)]
#[case::the_namespace_overrules(&[(LayerKind::ClusterSandboxPolicy, true, false), (LayerKind::SandboxPolicy, true, true)], false)]
#[tokio::test]
async fn a_credential_goes_out_in_clear_text_where_a_cluster_policy_says_so_and_no_layer_otherwise(
    #[case] layers: &[(LayerKind, bool, bool)],
    #[case] is_sent: bool,
) {
    let layers = layers.iter().map(|(kind, is_named, clear_text)| {
        layer(*kind, vec![rule(is_named.then_some("litellm"), *clear_text)])
    });
    let fixture = keyed(layers.collect()).await;
    let answer = fixture.get("litellm.models.svc:4000", "/v1/models").await;
    // The mirror shows what it was sent.
    assert_eq!(
        answer.contains(&format!("authorization: Bearer {VALUE}")),
        is_sent,
        "{answer}"
    );
    if !is_sent {
        assert!(first_line(&answer).ends_with("CredentialNeedsTls"), "{answer}");
        assert!(fixture.net.dialled.lock().is_empty());
    }
    let records = serde_json::to_string(&fixture.recorded().await).unwrap();
    assert!(!records.contains(VALUE), "{records}");
}

#[tokio::test]
async fn a_cluster_policy_takes_the_word_on_clear_text_back_and_never_gives_it_later() {
    let clear = layer(LayerKind::ClusterSandboxPolicy, vec![rule(Some("litellm"), true)]);
    let fixture = keyed(vec![clear]).await;
    let allow = json!({"credential": "litellm", "credentialInClearText": "Allow"});
    for (says, is_sent) in [
        (json!({}), true),
        (allow.clone(), true),
        (json!({"credential": "litellm"}), false),
        (
            json!({"credential": "litellm", "credentialInClearText": "Deny"}),
            false,
        ),
    ] {
        later(&fixture, &says);
        let answer = fixture.get("litellm.models.svc:4000", "/v1/models").await;
        assert_eq!(answer.contains(VALUE), is_sent, "{says}: {answer}");
    }
    let silent = layer(
        LayerKind::ClusterSandboxPolicy,
        vec![rule(Some("litellm"), false)],
    );
    let fixture = keyed(vec![silent]).await;
    later(&fixture, &allow);
    let answer = fixture.get("litellm.models.svc:4000", "/v1/models").await;
    assert!(first_line(&answer).ends_with("CredentialNeedsTls"), "{answer}");
}

#[tokio::test]
async fn the_agents_own_key_does_not_reach_a_service() {
    let fixture = plain().await;
    let token = fixture.token(AUDIENCE_EGRESS);
    let request = format!(
        "GET http://{SERVICE}:4000/v1/models HTTP/1.1\r\nHost: {SERVICE}:4000\r\nAuthorization: Bearer own\r\n\
         X-Kept: 1\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
    );
    let answer = fixture.exchange(request.as_bytes()).await.to_ascii_lowercase();
    assert!(
        answer.contains("x-kept: 1") && !answer.contains("bearer own"),
        "{answer}"
    );
}
