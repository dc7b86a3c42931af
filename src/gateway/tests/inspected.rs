//! TLS that ends at the gateway: what clients, hosts and records see of it.

use super::*;
use crate::caller::view::ceilings::testing::{cluster_policy, no_tunnels};
use parking_lot::Mutex as Locked;
use rcgen::{CertificateParams, Issuer, KeyPair};
use rstest::rstest;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

pub(super) type ServerTls = server::TlsStream<TcpStream>;
pub(super) type ClientTls = client::TlsStream<TcpStream>;

/// A certificate of `signer` for `name`, valid for these days from now.
pub(super) fn certificate(signer: &Ca, name: &str, days: (i64, i64)) -> ServerConfig {
    let issuer = Issuer::from_ca_cert_pem(&signer.pem, KeyPair::from_pem(&signer.key).unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let now = time::OffsetDateTime::now_utc();
    parameters.not_before = now + time::Duration::days(days.0);
    parameters.not_after = now + time::Duration::days(days.1);
    let certificate = parameters.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap()
}

/// A client that trusts this CA alone.
pub(super) fn trusting(ca: &Ca, offered: &[&str]) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(ca.der.clone())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

impl Fixture {
    /// A host at the address that speaks TLS with this certificate.
    pub(super) fn tls_server<F>(
        &self,
        address: &str,
        config: ServerConfig,
        serve: impl Fn(ServerTls) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let serve = Arc::new(serve);
        self.server(address, move |stream| {
            let (acceptor, serve) = (acceptor.clone(), Arc::clone(&serve));
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream).await;
                }
            }
        });
    }

    /// What a client comes to that trusts the installation's CA and offers these protocols.
    pub(super) async fn inside_tls(
        &self,
        host: &str,
        sni: &str,
        offered: &[&str],
    ) -> std::io::Result<ClientTls> {
        self.tls_trusting(&self.inspection, host, sni, offered).await
    }

    async fn tls_trusting(
        &self,
        ca: &Ca,
        host: &str,
        sni: &str,
        offered: &[&str],
    ) -> std::io::Result<ClientTls> {
        let stream = self.tunnel(&format!("{host}:443")).await;
        let name = ServerName::try_from(sni.to_owned()).unwrap();
        trusting(ca, offered).connect(name, stream).await
    }

    /// Sends bytes inside TLS and reads what comes, up to the end.
    async fn ask(&self, bytes: &str) -> String {
        let mut stream = self.inside_tls(READ, READ, &["http/1.1"]).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

pub(super) async fn head_of(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Answers each request with its head and its body, as long as there are some.
pub(super) async fn mirror(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    loop {
        let head = head_of(&mut stream).await;
        if head.is_empty() {
            return;
        }
        let length = head.split_once("content-length: ").map_or(0, |(_, rest)| {
            rest.split("\r\n").next().unwrap().parse::<usize>().unwrap()
        });
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let text = format!("{head}{}", String::from_utf8_lossy(&body));
        let answer = format!(
            "HTTP/1.1 200 Fine\r\nX-End: 2\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

/// A fixture with an honest host, and how many connections it has had.
pub(super) async fn fixture() -> (Fixture, Arc<Locked<usize>>) {
    let fixture = Fixture::start().await;
    fixture.net.name(READ, &["203.0.113.40"]);
    let connections: Arc<Locked<usize>> = Arc::default();
    let counting = Arc::clone(&connections);
    let config = certificate(&fixture.internet, READ, (-1, 1));
    fixture.tls_server("203.0.113.40:443", config, move |stream| {
        *counting.lock() += 1;
        mirror(stream)
    });
    (fixture, connections)
}

pub(super) fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {READ}\r\n{headers}\r\n")
}

const CLOSE: &str = "Connection: close\r\n";

/// One answer with a length.
pub(super) async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let head = head_of(stream).await;
    let lower = head.to_ascii_lowercase();
    let length = lower.split_once("content-length: ").map_or(0, |(_, rest)| {
        rest.split("\r\n").next().unwrap().parse::<usize>().unwrap()
    });
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    format!("{head}{}", String::from_utf8_lossy(&body))
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection_to_the_host() {
    let (fixture, connections) = fixture().await;
    let mut stream = fixture.inside_tls(READ, READ, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    for path in ["/repos/org/a", "/repos/org/b", "/x?service=up"] {
        stream
            .write_all(
                get(
                    path,
                    "Authorization: own\r\nX-Original-URL: /admin\r\nAccept: a/b\r\n",
                )
                .as_bytes(),
            )
            .await
            .unwrap();
        let answer = answer(&mut stream).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 Fine\r\nx-end: 2\r\ncontent-length: "),
            "{answer}"
        );
        let expected = format!("\r\n\r\nGET {path} HTTP/1.1\r\nhost: {READ}\r\naccept: a/b\r\n\r\n");
        assert!(answer.ends_with(&expected), "{answer}");
    }
    let body = format!("POST /repos/org/c HTTP/1.1\r\nHost: {READ}:443\r\nContent-Length: 5\r\n\r\nhello");
    stream.write_all(body.as_bytes()).await.unwrap();
    let answered = answer(&mut stream).await;
    assert!(answered.ends_with("\r\n\r\nhello"), "{answered}");
    drop(stream);
    assert_eq!(*connections.lock(), 1);
    let records = fixture.recorded().await;
    let allowed: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.event {
            RecordEvent::Allowed {
                host,
                method,
                path,
                rules,
                ..
            } => {
                assert_eq!(
                    (host.as_str(), rules.join(" ").as_str()),
                    ("read.internet.test:443", "SandboxPolicy/default/read")
                );
                Some((
                    record.request.clone().unwrap().to_string(),
                    format!("{method} {}", path.clone().unwrap()),
                ))
            }
            _ => None,
        })
        .collect();
    let ids: HashSet<_> = allowed.iter().map(|(id, _)| id).collect();
    assert_eq!((allowed.len(), ids.len()), (4, 4), "{allowed:?}");
    assert_eq!(allowed[1].1, "GET /repos/org/b");
    let closed = records
        .iter()
        .filter(|record| matches!(record.event, RecordEvent::Closed { .. }));
    assert_eq!(closed.count(), 4);
}

#[rstest]
#[case::path("GET /repos/other/app", "", "400 RequestNotAllowed", "SandboxPolicy/default")]
#[case::method("DELETE /repos/org/a", "", "400 RequestNotAllowed", "allows DELETE")]
#[case::dots("GET /repos/org/../x", "", "400 RequestInvalid", "..")]
#[case::encoded_dots("GET /repos/org/%2e%2e/x", "", "400 RequestInvalid", "encoded")]
#[case::trace("TRACE /repos/org/a", "", "400 RequestInvalid", "")]
#[case::connect("CONNECT read.internet.test:443", "", "400 RequestInvalid", "path only")]
#[case::absolute(
    "GET https://read.internet.test/repos/org/a",
    "",
    "400 RequestInvalid",
    "path only"
)]
#[case::absolute_http(
    "GET http://read.internet.test/repos/org/a",
    "",
    "400 RequestInvalid",
    "path only"
)]
#[case::asterisk("OPTIONS *", "", "400 RequestInvalid", "path only")]
#[case::second_host(
    "GET /repos/org/a",
    "Host: other.test\r\n",
    "400 RequestInvalid",
    "exactly one Host"
)]
#[case::websocket(
    "GET /repos/org/a",
    "Connection: upgrade\r\nUpgrade: websocket\r\n",
    "426 UpgradeRefused",
    ""
)]
#[case::expect(
    "POST /repos/org/a",
    "Expect: x\r\nContent-Length: 1\r\n",
    "417 ExpectRefused",
    ""
)]
#[case::trailer(
    "POST /repos/org/a",
    "Transfer-Encoding: chunked\r\nTrailer: X\r\n",
    "400 RequestInvalid",
    ""
)]
#[tokio::test]
async fn what_is_refused_is_answered_inside_the_tls_and_opens_nothing(
    #[case] first: &str,
    #[case] headers: &str,
    #[case] expected: &str,
    #[case] contained: &str,
) {
    let (fixture, connections) = fixture().await;
    let request = format!("{first} HTTP/1.1\r\nHost: {READ}\r\n{CLOSE}{headers}\r\n");
    let answer = fixture.ask(&request).await;
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {expected}\r\n")),
        "{answer}"
    );
    assert!(answer.contains(contained), "{answer}");
    assert_eq!((*connections.lock(), fixture.net.dialled.lock().len()), (0, 0));
    let code = expected.split(' ').nth(1).unwrap();
    assert_eq!(fixture.denied_codes().await, [code]);
}

#[rstest]
#[case("other.internet.test")]
#[case("read.internet.test.evil.test")]
#[tokio::test]
async fn the_host_of_a_request_is_that_of_its_tunnel(#[case] host: &str) {
    let (fixture, connections) = fixture().await;
    let request = get("/repos/org/a", CLOSE).replace(&format!("Host: {READ}"), &format!("Host: {host}"));
    let answer = fixture.ask(&request).await;
    assert!(answer.starts_with("HTTP/1.1 400 RequestInvalid"), "{answer}");
    assert_eq!(*connections.lock(), 0);
    // The control.
    assert!(
        fixture
            .ask(&get("/repos/org/a", CLOSE))
            .await
            .starts_with("HTTP/1.1 200 ")
    );
}

#[tokio::test]
async fn a_denial_leaves_the_connection_for_what_is_allowed() {
    let (fixture, connections) = fixture().await;
    let mut stream = fixture.inside_tls(READ, READ, &[]).await.unwrap();
    for (path, expected) in [
        ("/repos/org/a", "200"),
        ("/other", "400"),
        ("/repos/org/b", "200"),
    ] {
        stream.write_all(get(path, "").as_bytes()).await.unwrap();
        let answer = answer(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{answer}");
    }
    assert_eq!(*connections.lock(), 1);
}

#[tokio::test]
async fn the_name_in_the_hello_is_that_of_the_tunnel() {
    let (fixture, connections) = fixture().await;
    assert!(fixture.inside_tls(READ, ALLOWED, &[]).await.is_err());
    assert_eq!(fixture.denied_codes().await, ["SniMismatch"]);
    assert_eq!(*connections.lock(), 0);
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_installation_is_told_apart() {
    let (fixture, _) = fixture().await;
    let stranger = ca(CaOptions::default());
    assert!(fixture.tls_trusting(&stranger, READ, READ, &[]).await.is_err());
    assert!(fixture.inside_tls(READ, READ, &["h2"]).await.is_err());
    let mut garbage = fixture.tunnel(&format!("{READ}:443")).await;
    let mut hello = real_hello(READ, true);
    hello.extend_from_slice(b"\x17\x03\x03\x00\x04abcd");
    garbage.write_all(&hello[..hello.len() - 9]).await.unwrap();
    garbage.write_all(b"\x16\x03\x03\x00\x04abcd").await.unwrap();
    let _ = garbage.read_to_end(&mut Vec::new()).await;
    assert_eq!(fixture.denied_codes().await, ["CaNotTrusted", "ClientTlsFailed"]);
}

#[rstest]
#[case::expired((-9, -1), READ, true, "UpstreamCertificateExpired")]
#[case::not_yet((1, 9), READ, true, "UpstreamCertificateExpired")]
#[case::another_name((-1, 1), "other.internet.test", true, "UpstreamCertificateMismatch")]
#[case::foreign((-1, 1), READ, false, "UpstreamCertificateUntrusted")]
#[tokio::test]
async fn a_host_whose_certificate_is_not_to_be_believed_gets_no_byte(
    #[case] days: (i64, i64),
    #[case] name: &str,
    #[case] known: bool,
    #[case] code: &str,
) {
    let (fixture, _) = fixture().await;
    let reached: Arc<Locked<usize>> = Arc::default();
    let counting = Arc::clone(&reached);
    let stranger = ca(CaOptions::default());
    let signer = if known { &fixture.internet } else { &stranger };
    fixture.tls_server("203.0.113.40:443", certificate(signer, name, days), move |_| {
        *counting.lock() += 1;
        async {}
    });
    let answer = fixture.ask(&get("/repos/org/a", CLOSE)).await;
    assert!(
        answer.starts_with(&format!("HTTP/1.1 502 {code}\r\n")),
        "{answer}"
    );
    assert_eq!(*reached.lock(), 0);
    assert_eq!(fixture.denied_codes().await, [code]);
}

#[tokio::test]
async fn a_host_that_answers_tls_with_garbage_has_a_code_of_its_own() {
    let (fixture, _) = fixture().await;
    fixture.server("203.0.113.40:443", |mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 speak clearly\r\n\r\n").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let answer = fixture.ask(&get("/repos/org/a", CLOSE)).await;
    assert!(
        answer.starts_with("HTTP/1.1 502 UpstreamTlsFailed\r\n"),
        "{answer}"
    );
}

/// Sends a chunk, and the next one when it is told to.
async fn in_two_chunks(mut stream: ServerTls, go_on: Arc<Notify>) {
    head_of(&mut stream).await;
    let first = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n";
    stream.write_all(first).await.unwrap();
    go_on.notified().await;
    let _ = stream.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await;
    go_on.notify_one();
}

#[rstest]
#[case::the_run_ends(true, CloseCause::RunEnded)]
#[case::a_policy_denies(false, CloseCause::DeniedSinceAdmission)]
#[tokio::test]
async fn a_cut_in_the_middle_of_a_body_leaves_no_byte_on_either_side(
    #[case] ends: bool,
    #[case] expected: CloseCause,
) {
    let (fixture, _) = fixture().await;
    let go_on = Arc::new(Notify::new());
    let serving = Arc::clone(&go_on);
    let config = certificate(&fixture.internet, READ, (-1, 1));
    fixture.tls_server("203.0.113.40:443", config, move |stream| {
        in_two_chunks(stream, Arc::clone(&serving))
    });
    let mut stream = fixture.inside_tls(READ, READ, &[]).await.unwrap();
    stream
        .write_all(get("/repos/org/a", "").as_bytes())
        .await
        .unwrap();
    assert!(head_of(&mut stream).await.starts_with("HTTP/1.1 200 "));
    let mut chunk = [0; 8];
    stream.read_exact(&mut chunk).await.unwrap();
    if ends {
        fixture.rooms.view.set_run(run(), false);
    } else {
        let rule = json!({"mode": "AllowList", "rules": [{"name": "only", "hosts": [READ], "ports": [443],
            "addresses": ["203.0.113.0/24"], "paths": ["/other"], "tls": "Inspect"}]});
        fixture
            .rooms
            .view
            .put_cluster_policy(cluster_policy("incident", &json!({}), &rule));
    }
    // Nothing but the end, which comes without TLS's own.
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_u8())
        .await
        .unwrap();
    assert!(ended.is_err());
    go_on.notify_one();
    let events = fixture.events().await;
    let closed = events.iter().find_map(|event| match event {
        RecordEvent::Closed { cause, received, .. } => Some((*cause.known().unwrap(), *received)),
        _ => None,
    });
    assert_eq!(closed, Some((expected, 3)), "{events:?}");
}

#[tokio::test]
async fn the_next_request_is_judged_by_the_policies_of_then() {
    let (fixture, _) = fixture().await;
    let mut stream = fixture.inside_tls(READ, READ, &[]).await.unwrap();
    stream
        .write_all(get("/repos/org/a", "").as_bytes())
        .await
        .unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200 "));
    let rule = json!({"mode": "AllowList", "rules": [{"name": "only", "hosts": [READ], "ports": [443],
        "addresses": ["203.0.113.0/24"], "paths": ["/repos/org/a"], "tls": "Inspect"}]});
    fixture
        .rooms
        .view
        .put_cluster_policy(cluster_policy("incident", &json!({}), &rule));
    for (path, expected) in [
        ("/repos/org/b", "400 DeniedSinceAdmission"),
        ("/repos/org/a", "200 Fine"),
    ] {
        stream.write_all(get(path, "").as_bytes()).await.unwrap();
        let answer = answer(&mut stream).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected}")),
            "{path}: {answer}"
        );
    }
}

#[tokio::test]
async fn where_tunnels_come_to_be_denied_the_host_of_one_is_read() {
    let fixture = Fixture::start().await;
    fixture.net.name(ALLOWED, &["203.0.113.30"]);
    let config = certificate(&fixture.internet, ALLOWED, (-1, 1));
    fixture.tls_server("203.0.113.30:443", config, mirror);
    let by_the_gateway = async || fixture.inside_tls(ALLOWED, ALLOWED, &["http/1.1"]).await.is_ok();
    // The control: the tunnel leads to the host itself, whose certificate is not the installation's.
    assert!(!by_the_gateway().await);
    fixture.rooms.view.put_cluster_policy(no_tunnels("incident"));
    assert!(by_the_gateway().await);
    let mut stream = fixture.inside_tls(ALLOWED, ALLOWED, &["http/1.1"]).await.unwrap();
    let request = format!("GET /any HTTP/1.1\r\nHost: {ALLOWED}\r\nAuthorization: Bearer mine\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = answer(&mut stream).await;
    assert!(
        answer.contains("GET /any HTTP/1.1\r\n") && !answer.contains("mine"),
        "{answer}"
    );
    fixture.rooms.view.remove_cluster_policy("incident");
    assert!(!by_the_gateway().await);
}

#[tokio::test]
async fn a_gateway_that_ends_finishes_what_is_under_way() {
    let (fixture, _) = fixture().await;
    let go_on = Arc::new(Notify::new());
    let serving = Arc::clone(&go_on);
    let config = certificate(&fixture.internet, READ, (-1, 1));
    fixture.tls_server("203.0.113.40:443", config, move |stream| {
        in_two_chunks(stream, Arc::clone(&serving))
    });
    let mut idle = fixture.inside_tls(READ, READ, &[]).await.unwrap();
    let mut stream = fixture.inside_tls(READ, READ, &[]).await.unwrap();
    stream
        .write_all(get("/repos/org/a", "").as_bytes())
        .await
        .unwrap();
    head_of(&mut stream).await;
    fixture.ending.cancel();
    assert_eq!(idle.read(&mut [0; 8]).await.unwrap(), 0);
    go_on.notify_one();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n");
}

#[tokio::test]
async fn bodies_stream_both_ways_at_the_same_time() {
    let (fixture, _) = fixture().await;
    let config = certificate(&fixture.internet, READ, (-1, 1));
    fixture.tls_server("203.0.113.40:443", config, |mut stream| async move {
        head_of(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        for _ in 0..6 {
            let byte = stream.read_u8().await.unwrap();
            stream.write_all(&[byte]).await.unwrap();
        }
    });
    let mut stream = fixture.inside_tls(READ, READ, &[]).await.unwrap();
    let head = format!("POST /repos/org/a HTTP/1.1\r\nHost: {READ}\r\nContent-Length: 6\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(head_of(&mut stream).await.starts_with("HTTP/1.1 200 "));
    for byte in b"abcdef" {
        stream.write_all(&[*byte]).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), *byte);
    }
}

/// A real client says so when it is asked whether it may send, and its body comes once it may.
#[tokio::test]
async fn an_expectation_is_met_once_the_request_is_permitted() {
    let (fixture, _) = fixture().await;
    let mut stream = fixture.inside_tls(READ, READ, &[]).await.unwrap();
    let head = |path| {
        format!("POST {path} HTTP/1.1\r\nHost: {READ}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    };
    stream.write_all(head("/repos/org/a").as_bytes()).await.unwrap();
    assert_eq!(head_of(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.unwrap();
    let answered = answer(&mut stream).await;
    assert!(
        answered.ends_with("\r\n\r\nbody") && !answered.contains("expect"),
        "{answered}"
    );
    stream.write_all(head("/other").as_bytes()).await.unwrap();
    let refused = head_of(&mut stream).await;
    assert!(
        refused.starts_with("HTTP/1.1 400 RequestNotAllowed\r\n"),
        "{refused}"
    );
    assert!(
        refused.to_ascii_lowercase().contains("connection: close"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_run_cannot_have_certificates_minted_without_end() {
    let (fixture, _) = fixture().await;
    let before = fixture.rooms.limits.name(&run(), Instant::now());
    assert!(before.is_ok());
    while fixture.rooms.limits.name(&run(), Instant::now()).is_ok() {}
    // Who comes then is served in its turn.
    assert!(fixture.inside_tls(READ, READ, &[]).await.is_ok());
    // A certificate that there is costs nothing.
    assert!(fixture.inside_tls(READ, READ, &[]).await.is_ok());
    assert_eq!(fixture.denied_codes().await, Vec::<String>::new());
}
