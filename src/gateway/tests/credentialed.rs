//! Credentials on their way: who gets one, who does not, and that nobody else sees it.

use super::inspected::certificate;
use super::*;
use crate::credentials::store::Credentials;
use crate::credentials::store::testing::{secret, store};
use cofferdam_api::Tunnels;
use cofferdam_policy::dimension::credentials::{Credential, Injection, Placeholder, SecretKey};
use parking_lot::Mutex as Locked;
use rstest::rstest;

/// Requests to it get the credential.
const KEYED: &str = "keyed.internet.test";
const VALUE: &str = "sk-real-0123456789abcdef";

fn credential() -> Credential {
    Credential {
        name: "model".to_owned(),
        hosts: vec![KEYED.parse().unwrap()],
        secret: SecretKey {
            name: "of-model".to_owned(),
            key: "token".to_owned(),
        },
        app: None,
        inject: Injection::Header {
            header: "x-api-key".to_owned(),
            scheme: None,
        },
        placeholder: Some(Placeholder {
            env: "API_KEY".to_owned(),
            prefix: "sk-".to_owned(),
            length: 52,
        }),
    }
}

fn keyed_policy() -> FrozenPolicy {
    let rule =
        |name: &str, host: &str, methods: &[&str], paths: &[&str], credential: Option<&str>| EgressRule {
            name: name.to_owned(),
            hosts: vec![host.parse().unwrap()],
            addresses: vec!["203.0.113.0/24".parse().unwrap()],
            ports: vec![80, 443],
            tls: TlsMode::Inspect,
            methods: methods.iter().map(|method| method.parse().unwrap()).collect(),
            paths: paths.iter().map(|path| path.parse().unwrap()).collect(),
            credential: credential.map(str::to_owned),
            service: None,
        };
    let layers = vec![Arc::new(EgressLayer {
        kind: LayerKind::SandboxPolicy,
        name: "default".to_owned(),
        mode: Mode::AllowList,
        rules: vec![
            rule("keyed", KEYED, &["POST"], &["/v1/messages"], Some("model")),
            rule("open", KEYED, &["GET"], &["/health"], None),
            rule("read", READ, &["GET"], &["/**"], None),
        ],
    })];
    FrozenPolicy::new(layers, Tunnels::Deny, None, Vec::new()).with_credentials(vec![credential()])
}

/// Every head that a host was sent.
type Heads = Arc<Locked<Vec<String>>>;

/// A gateway with the credential, and two hosts that answer with `extra` in their heads.
async fn keyed(extra: &'static str) -> (Fixture, Heads) {
    answering("200 OK", extra).await
}

/// The same, with this status.
async fn answering(status: &'static str, extra: &'static str) -> (Fixture, Heads) {
    let values = vec![secret("of-model", &[("token", VALUE)])];
    let credentials: Credentials = store(&[credential()], values);
    let capacity = Capacity::of(20_000, 512 << 20);
    let fixture = Fixture::start_under(&keyed_policy(), credentials, capacity).await;
    let heads = Heads::default();
    for (host, address) in [(KEYED, "203.0.113.70"), (READ, "203.0.113.71")] {
        fixture.net.name(host, &[address]);
        let config = certificate(&fixture.internet, host, (-1, 1));
        let seen = Arc::clone(&heads);
        fixture.tls_server(&format!("{address}:443"), config, move |stream| {
            answer_once(stream, Arc::clone(&seen), (status, extra))
        });
        let seen = Arc::clone(&heads);
        fixture.server(&format!("{address}:80"), move |stream| {
            answer_once(stream, Arc::clone(&seen), (status, extra))
        });
    }
    (fixture, heads)
}

async fn answer_once(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    heads: Heads,
    (status, extra): (&'static str, &'static str),
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    heads.lock().push(String::from_utf8(head).unwrap());
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n{extra}\r\nok");
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

impl Fixture {
    /// Sends a request inside TLS and reads to the end.
    async fn ask_inside(&self, host: &str, request: &str) -> String {
        let mut stream = self.inside_tls(host, host, &["http/1.1"]).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn request(line: &str, host: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n")
}

/// Nothing that leaves the gateway but the request to its host has the value.
async fn assert_secret(fixture: &Fixture, answer: &str) {
    assert!(!answer.contains(VALUE), "{answer}");
    let records = serde_json::to_string(&fixture.recorded().await).unwrap();
    assert!(!records.contains(VALUE), "{records}");
}

#[tokio::test]
async fn the_credential_takes_the_place_of_what_the_agent_sent() {
    let (fixture, heads) = keyed("").await;
    let own = "X-Api-Key: agents-own\r\nX-API-KEY: another\r\nAuthorization: Bearer agents-own\r\nOpenAI-Organization: attackers\r\nX-Kept: 1\r\n";
    let answer = fixture
        .ask_inside(KEYED, &request("POST /v1/messages", KEYED, own))
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let head = heads.lock()[0].clone();
    assert_eq!(head.matches(VALUE).count(), 1, "{head}");
    assert!(head.contains(&format!("x-api-key: {VALUE}\r\n")), "{head}");
    assert!(head.contains("x-kept: 1"), "{head}");
    for gone in ["agents-own", "another", "attackers"] {
        assert!(!head.contains(gone), "{head}");
    }
    assert_secret(&fixture, &answer).await;
    let events = fixture.events().await;
    let used = events.iter().any(|event| {
        matches!(event, RecordEvent::Allowed { credential: Some(name), rules, .. }
            if name == "model" && rules.join(" ") == "SandboxPolicy/default/keyed")
    });
    assert!(used, "{events:?}");
}

#[rstest]
#[case::another_rule("GET /health", KEYED)]
#[case::another_host("GET /v1/messages", READ)]
#[tokio::test]
async fn requests_that_no_rule_gives_it_go_without(#[case] line: &str, #[case] host: &str) {
    let (fixture, heads) = keyed("").await;
    let answer = fixture.ask_inside(host, &request(line, host, "")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!heads.lock()[0].contains(VALUE));
    let events = fixture.events().await;
    let named = |event: &RecordEvent| {
        matches!(
            event,
            RecordEvent::Allowed {
                credential: Some(_),
                ..
            }
        )
    };
    assert!(!events.iter().any(named), "{events:?}");
}

#[rstest]
#[case::another_method("GET /v1/messages")]
#[case::another_path("POST /v1/files")]
#[case::a_longer_path("POST /v1/messages/batches")]
#[tokio::test]
async fn requests_that_are_denied_reach_nobody(#[case] line: &str) {
    let (fixture, heads) = keyed("").await;
    let answer = fixture.ask_inside(KEYED, &request(line, KEYED, "")).await;
    assert!(answer.starts_with("HTTP/1.1 400 RequestNotAllowed"), "{answer}");
    assert!(heads.lock().is_empty());
}

/// In clear text the same request is refused, by absolute form and inside a tunnel.
#[tokio::test]
async fn nothing_goes_out_in_clear_text() {
    let (fixture, heads) = keyed("").await;
    let token = fixture.token(AUDIENCE_EGRESS);
    let absolute = format!(
        "POST http://{KEYED}/v1/messages HTTP/1.1\r\nHost: {KEYED}\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
    );
    let answer = fixture.exchange(absolute.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 403 CredentialNeedsTls"), "{answer}");
    let mut tunnel = fixture.tunnel(&format!("{KEYED}:80")).await;
    tunnel
        .write_all(request("POST /v1/messages", KEYED, "").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    let _ = tunnel.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 403 CredentialNeedsTls"), "{answer}");
    assert!(heads.lock().is_empty());
    // What gets no credential passes.
    let open = format!(
        "GET http://{KEYED}/health HTTP/1.1\r\nHost: {KEYED}\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
    );
    let answer = fixture.exchange(open.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_missing_value_is_told_and_a_new_one_is_used_at_once() {
    let (fixture, heads) = keyed("").await;
    fixture.credentials.remove_secret("of-model");
    let ask = async || {
        let request = request("POST /v1/messages", KEYED, "");
        fixture.ask_inside(KEYED, &request).await
    };
    let answer = ask().await;
    assert!(
        answer.starts_with("HTTP/1.1 503 CredentialUnavailable"),
        "{answer}"
    );
    assert!(answer.contains("no Secret of-model"), "{answer}");
    assert!(heads.lock().is_empty() && fixture.net.dialled.lock().is_empty());
    assert_eq!(fixture.denied_codes().await, ["CredentialUnavailable"]);
    fixture
        .credentials
        .put_secret(secret("of-model", &[("token", "rotated-value")]));
    let answer = ask().await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(heads.lock()[0].contains("x-api-key: rotated-value"));
}

/// What a host makes of the value is told, and the answer is the agent's all the same.
#[rstest]
#[case("401 Unauthorized", "Rejected")]
#[case("403 Forbidden", "Ready")]
#[case("200 OK", "Ready")]
#[tokio::test]
async fn a_host_that_does_not_take_the_value_is_told_of(#[case] status: &'static str, #[case] health: &str) {
    let (fixture, _) = answering(status, "").await;
    let told = || {
        let all = fixture.credentials.health(Instant::now()).unwrap();
        (all[0].reason.to_string(), all[0].refused_in.clone())
    };
    let answer = fixture
        .ask_inside(KEYED, &request("POST /v1/messages", KEYED, ""))
        .await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    assert_eq!(told(), ("Ready".to_owned(), vec![]), "one run is not enough");
    let another = RunIdentity {
        namespace: run().namespace,
        name: "another".to_owned(),
        uid: "another-run".to_owned(),
    };
    let code = status[..3].parse().unwrap();
    let value = crate::credentials::value::Value::read(VALUE.as_bytes().to_vec())
        .ok()
        .unwrap();
    let answers = &fixture.credentials.answers;
    answers.note("model", &value, &another, code, Instant::now());
    let in_namespaces = if health == "Rejected" {
        vec![run().namespace]
    } else {
        vec![]
    };
    assert_eq!(told(), (health.to_owned(), in_namespaces));
}

#[rstest]
#[case("X-Debug: sk-real-0123456789abcdef\r\n")]
#[case("Location: https://elsewhere/?key=sk-real-0123456789abcdef\r\n")]
#[tokio::test]
async fn an_answer_with_the_credential_in_a_header_is_not_passed_on(#[case] extra: &'static str) {
    let (fixture, heads) = keyed(extra).await;
    let answer = fixture
        .ask_inside(KEYED, &request("POST /v1/messages", KEYED, ""))
        .await;
    assert!(answer.starts_with("HTTP/1.1 502 CredentialEchoed"), "{answer}");
    assert_eq!(heads.lock().len(), 1);
    assert_secret(&fixture, &answer).await;
    assert_eq!(fixture.denied_codes().await, ["CredentialEchoed"]);
}

#[tokio::test]
async fn a_beta_by_which_the_provider_acts_is_not_asked_for_with_our_key() {
    let (fixture, heads) = keyed("").await;
    let with = |beta: &str| format!("anthropic-beta: {beta}\r\n");
    let refused = request("POST /v1/messages", KEYED, &with("mcp-client-2025-11-20"));
    let answer = fixture.ask_inside(KEYED, &refused).await;
    assert!(answer.starts_with("HTTP/1.1 400 BetaNotAllowed"), "{answer}");
    assert!(heads.lock().is_empty());
    let passes = request("POST /v1/messages", KEYED, &with("claude-code-20250219"));
    let answer = fixture.ask_inside(KEYED, &passes).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(heads.lock()[0].contains("anthropic-beta: claude-code-20250219"));
}

/// A session that the host opens for the credential stays at the gateway; one of a request without a credential passes.
#[tokio::test]
async fn cookies_of_a_credential_are_not_the_agents() {
    let (fixture, _) = keyed("Set-Cookie: session=1\r\n").await;
    let with = fixture
        .ask_inside(KEYED, &request("POST /v1/messages", KEYED, ""))
        .await;
    assert!(
        with.starts_with("HTTP/1.1 200 ") && !with.contains("session=1"),
        "{with}"
    );
    let without = fixture
        .ask_inside(KEYED, &request("GET /health", KEYED, ""))
        .await;
    assert!(without.contains("session=1"), "{without}");
}

#[tokio::test]
async fn a_placeholder_passes_to_its_host_alone() {
    let (fixture, heads) = keyed("").await;
    let credential = credential();
    let (_, placeholder) = credential.placeholder(RUN_UID).unwrap();
    let header = format!("X-Api-Key: {placeholder}\r\n");
    let own = fixture
        .ask_inside(KEYED, &request("POST /v1/messages", KEYED, &header))
        .await;
    assert!(own.starts_with("HTTP/1.1 200 "), "{own}");
    assert!(!heads.lock()[0].contains(&placeholder));
    for elsewhere in [
        request("GET /collect", READ, &header),
        request(&format!("GET /collect?k={placeholder}"), READ, ""),
    ] {
        let answer = fixture.ask_inside(READ, &elsewhere).await;
        assert!(answer.starts_with("HTTP/1.1 400 PlaceholderLeaked"), "{answer}");
    }
    assert_eq!(heads.lock().len(), 1);
    assert_eq!(
        fixture.denied_codes().await.last().map(String::as_str),
        Some("PlaceholderLeaked")
    );
}
