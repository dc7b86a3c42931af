//! `CONNECT`, from the token to the last byte.

use super::*;
use rstest::rstest;

/// Says hello back to whatever comes first, then echoes.
async fn echo(mut stream: TcpStream) {
    let (mut read, mut write) = stream.split();
    let _ = tokio::io::copy(&mut read, &mut write).await;
}

async fn fixture() -> Fixture {
    let fixture = Fixture::start().await;
    fixture.net.name(ALLOWED, &["203.0.113.30"]);
    fixture.net.name(GIT, &["203.0.113.10"]);
    fixture.server("203.0.113.30:443", echo);
    fixture.server("203.0.113.10:443", echo);
    fixture
}

fn reason(head: &str) -> &str {
    head.split("\r\n")
        .next()
        .unwrap()
        .strip_prefix("HTTP/1.1 ")
        .unwrap()
}

#[tokio::test]
async fn a_real_tls_session_goes_through_and_is_recorded() {
    let fixture = fixture().await;
    let certified = rcgen::generate_simple_self_signed(vec![ALLOWED.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server_config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let server_config = Arc::new(server_config);
    fixture.server("203.0.113.30:443", move |stream| {
        let config = Arc::clone(&server_config);
        async move {
            // Blocking on purpose: rustls alone speaks to std streams.
            let stream = stream.into_std().unwrap();
            stream.set_nonblocking(false).unwrap();
            let work = move || {
                use std::io::{Read, Write};
                let mut connection = rustls::ServerConnection::new(config).unwrap();
                let mut stream = stream;
                let mut tls = rustls::Stream::new(&mut connection, &mut stream);
                let mut question = [0; 4];
                tls.read_exact(&mut question).unwrap();
                tls.write_all(b"pong").unwrap();
            };
            tokio::task::spawn_blocking(work).await.unwrap();
        }
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let client_config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = fixture
        .tunnel("allowed.internet.test:443")
        .await
        .into_std()
        .unwrap();
    stream.set_nonblocking(false).unwrap();
    let answer = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let name = ALLOWED.try_into().unwrap();
        let mut connection = rustls::ClientConnection::new(Arc::new(client_config), name).unwrap();
        let mut stream = stream;
        let mut tls = rustls::Stream::new(&mut connection, &mut stream);
        tls.write_all(b"ping").unwrap();
        let mut answer = [0; 4];
        tls.read_exact(&mut answer).unwrap();
        answer
    })
    .await
    .unwrap();
    assert_eq!(&answer, b"pong");
    let events = fixture.events().await;
    assert!(
        matches!(&events[0], RecordEvent::Allowed { host, address, rules, by, .. }
            if host == "allowed.internet.test:443" && address == "203.0.113.30:443"
                && rules == &["SandboxPolicy/default/allowed"] && by == "agent"),
        "{events:?}"
    );
    assert!(
        matches!(&events[1], RecordEvent::Closed { sent, received, cause, .. }
            if *sent > 100 && *received > 100 && cause.known() == Some(&CloseCause::Ended)),
        "{events:?}"
    );
}

#[rstest]
#[case("allowed.internet.test:443", "200 Connection established")]
#[case("ALLOWED.internet.test:443", "200 Connection established")]
#[case("denied.internet.test:443", "403 HostNotAllowed")]
#[case("allowed.internet.test:22", "403 PortNotAllowed")]
#[case("git.internet.test:443", "403 HostNotAllowed")]
#[case("203.0.113.30:443", "403 HostInvalid")]
#[case("[::1]:443", "403 HostInvalid")]
#[case("3405803806:443", "403 HostInvalid")]
#[case("allowed.internet.test", "403 HostInvalid")]
#[case("allowed.internet.test.:443", "403 HostInvalid")]
#[tokio::test]
async fn what_policy_says_of_a_host(#[case] authority: &str, #[case] expected: &str) {
    let fixture = fixture().await;
    let head = fixture.connect_as(AUDIENCE_EGRESS, authority).await;
    assert_eq!(reason(&head), expected);
    if !expected.starts_with("200") {
        assert_eq!(
            fixture.denied_codes().await,
            [expected.split_once(' ').unwrap().1]
        );
        assert!(fixture.net.dialled.lock().is_empty());
    }
}

#[rstest]
#[case(&["203.0.113.30"], "200 Connection established")]
#[case(&["203.0.113.30", "127.0.0.1"], "403 AddressDenied")]
#[case(&["203.0.113.200"], "403 AddressDenied")]
#[case(&["10.244.0.9"], "403 AddressDenied")]
#[case(&["192.168.1.1"], "403 AddressDenied")]
#[case(&["203.0.113.31"], "403 DialFailed")]
#[case(&[], "403 ResolveFailed")]
#[tokio::test]
async fn what_a_name_resolves_to(#[case] addresses: &[&str], #[case] expected: &str) {
    let fixture = fixture().await;
    fixture.net.name(ALLOWED, addresses);
    let head = fixture
        .connect_as(AUDIENCE_EGRESS, "allowed.internet.test:443")
        .await;
    assert_eq!(reason(&head), expected);
}

#[rstest]
#[case::right(real_hello(ALLOWED, true), None)]
#[case::wrong_name(real_hello("denied.internet.test", true), Some("SniMismatch"))]
#[case::no_name(real_hello(ALLOWED, false), Some("SniMissing"))]
#[case::greased(hello(&[(0, names(&[(0, ALLOWED)])), (0xfe0d, vec![0; 20])]), Some("EchRefused"))]
#[case::plain_http2(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), Some("NotTls"))]
#[case::unknown_method(b"PROPFIND / HTTP/1.1\r\nHost: allowed.internet.test\r\n\r\n".to_vec(), Some("NotTls"))]
#[case::database(vec![0, 0, 0, 8, 4, 210, 22, 47], Some("NotTls"))]
#[case::ssh(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), Some("NotTls"))]
#[case::malformed(vec![22, 3, 1, 0, 0], Some("HelloMalformed"))]
#[tokio::test]
async fn the_first_bytes_of_a_tunnel(#[case] bytes: Vec<u8>, #[case] code: Option<&str>) {
    let fixture = fixture().await;
    // Byte by byte as well as at once: how it arrives is the client's choice.
    for size in [bytes.len(), 1] {
        let mut stream = fixture.tunnel("allowed.internet.test:443").await;
        for part in bytes.chunks(size) {
            if stream.write_all(part).await.is_err() {
                break;
            }
            if size == 1 {
                tokio::task::yield_now().await;
            }
        }
        let mut answer = vec![0; bytes.len()];
        let echoed = stream.read_exact(&mut answer).await.is_ok() && answer == bytes;
        assert_eq!(echoed, code.is_none(), "{code:?} in pieces of {size}");
    }
    let codes: HashSet<String> = fixture.denied_codes().await.into_iter().collect();
    assert_eq!(codes, code.map(str::to_owned).into_iter().collect());
}

#[tokio::test]
async fn a_hello_that_comes_with_the_request_is_not_lost() {
    let fixture = fixture().await;
    let token = fixture.token(AUDIENCE_EGRESS);
    let mut bytes =
        format!("CONNECT {ALLOWED}:443 HTTP/1.0\r\nproxy-authorization: bearer {token}\r\n\r\n").into_bytes();
    let hello = real_hello(ALLOWED, true);
    bytes.extend_from_slice(&hello);
    let mut stream = fixture.open().await;
    stream.write_all(&bytes).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    let mut answer = vec![0; hello.len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, hello);
}

#[tokio::test]
async fn prepare_reaches_the_repositories_and_only_while_it_runs() {
    let fixture = fixture().await;
    let connect = async |authority: &str| {
        let head = fixture.connect_as(AUDIENCE_PREPARE, authority).await;
        reason(&head).to_owned()
    };
    assert_eq!(connect("git.internet.test:443").await, "403 RunEnded");
    fixture.rooms.view.remove_pod("pod-1");
    fixture.put(preparing(live_pod("pod-1", "127.0.0.1")));
    assert_eq!(
        connect("git.internet.test:443").await,
        "200 Connection established"
    );
    assert_eq!(
        connect("allowed.internet.test:443").await,
        "403 NotARepositoryHost"
    );
    assert_eq!(connect("git.internet.test:80").await, "403 NotARepositoryHost");
}

#[tokio::test]
async fn who_is_not_proven_gets_407_and_leaves_no_record() {
    let fixture = fixture().await;
    let authority = "allowed.internet.test:443";
    let with = |token: String| {
        format!("CONNECT {authority} HTTP/1.1\r\nProxy-Authorization: Bearer {token}\r\n\r\n")
    };
    let good = with(fixture.token(AUDIENCE_EGRESS));
    let stranger =
        Issuer::new("key-1").pod_token(AUDIENCE_EGRESS, "team-a", SANDBOX_SERVICE_ACCOUNT, (POD, "pod-1"));
    let neighbour =
        fixture
            .issuer
            .pod_token(AUDIENCE_EGRESS, "team-a", SANDBOX_SERVICE_ACCOUNT, (POD, "pod-2"));
    fixture.put(live_pod("pod-2", "127.0.0.2"));
    let twice = good.replace(
        "\r\n\r\n",
        &format!("\r\nProxy-Authorization: Bearer {stranger}\r\n\r\n"),
    );
    for (name, request, code) in [
        (
            "none",
            format!("CONNECT {authority} HTTP/1.1\r\n\r\n"),
            "TokenMissing",
        ),
        ("two", twice, "TokenMissing"),
        ("forged", with(stranger), "TokenInvalid"),
        (
            "the sidecar's",
            with(fixture.token(AUDIENCE_COLLECT)),
            "AudienceRefused",
        ),
        ("a neighbour's", with(neighbour), "PeerMismatch"),
    ] {
        let answer = fixture.exchange(request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 407 {code}\r\nContent")),
            "{name}: {answer}"
        );
    }
    assert!(fixture.events().await.is_empty());
    let mut stream = fixture.open().await;
    stream.write_all(good.as_bytes()).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn what_is_open_is_cut_when_the_run_ends() {
    for (name, expected) in [
        ("deleted", CloseCause::RunEnded),
        ("stale", CloseCause::Stale),
        ("hole", CloseCause::IsolationLost),
    ] {
        let fixture = fixture().await;
        let mut silent = fixture.tunnel("allowed.internet.test:443").await;
        let mut open = fixture.tunnel("allowed.internet.test:443").await;
        let hello = real_hello(ALLOWED, true);
        open.write_all(&hello).await.unwrap();
        let mut answer = vec![0; hello.len()];
        open.read_exact(&mut answer).await.unwrap();
        let view = &fixture.rooms.view;
        match name {
            "deleted" => view.set_run(run(), false),
            "stale" => view.cut_if_stale(Instant::now() + Duration::from_secs(31)),
            _ => view.lose_isolation("pod-1"),
        }
        for stream in [&mut open, &mut silent] {
            let ended = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut [0])).await;
            assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{name}");
        }
        let events = fixture.events().await;
        let closed = |event: &RecordEvent| matches!(event, RecordEvent::Closed { cause, .. } if cause.known() == Some(&expected));
        assert!(events.iter().any(closed), "{name}: {events:?}");
        let head = fixture
            .connect_as(AUDIENCE_EGRESS, "allowed.internet.test:443")
            .await;
        assert_eq!(
            reason(&head).starts_with("200"),
            name == "stale",
            "{name}: {head}"
        );
    }
}

#[tokio::test]
async fn a_run_has_its_limit_and_the_sidecar_is_not_kept_out() {
    let fixture = fixture().await;
    let token = fixture.token(AUDIENCE_EGRESS);
    let request = format!("CONNECT {ALLOWED}:443 HTTP/1.1\r\nProxy-Authorization: Bearer {token}\r\n\r\n");
    let (mut open, mut refused) = (Vec::new(), 0);
    for _ in 0..=egress::limits::CONNECTIONS_PER_RUN {
        let mut stream = fixture.open().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        match reason(&read_head(&mut stream).await) {
            "200 Connection established" => open.push(stream),
            "403 LimitExceeded" => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert!(open.len() >= 200 && refused > 0, "{} {refused}", open.len());
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(fixture.open().await);
    }
    let token = fixture.token(AUDIENCE_COLLECT);
    let request = format!("GET /v1/whoami HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n");
    let answer = fixture.exchange(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn no_evidence_no_traffic() {
    let fixture = fixture().await;
    let denied = || fixture.connect_as(AUDIENCE_EGRESS, "denied.internet.test:443");
    *fixture.records.answer.lock() = Some("away");
    assert_eq!(reason(&denied().await), "403 EvidenceUnavailable");
    *fixture.records.answer.lock() = None;
    assert_eq!(reason(&denied().await), "403 HostNotAllowed");
    *fixture.records.answer.lock() = Some("refused");
    fixture.rooms.recorder.flush(RUN_UID).await;
    let head = fixture
        .connect_as(AUDIENCE_EGRESS, "allowed.internet.test:443")
        .await;
    assert_eq!(reason(&head), "403 EvidenceUnavailable");
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_denies() {
    let fixture = fixture().await;
    fixture.rooms.view.remove_pod("pod-1");
    let mut pod = SandboxPod::project(&live_pod("pod-1", "127.0.0.1")).unwrap();
    pod.policy_hash = "another".to_owned();
    fixture.rooms.view.put_pod(pod);
    let head = fixture
        .connect_as(AUDIENCE_EGRESS, "allowed.internet.test:443")
        .await;
    assert_eq!(reason(&head), "403 PolicyUnreadable");
}

/// Not a check, a measurement: `cargo test --release -- --ignored --nocapture tunnel_throughput`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn tunnel_throughput() {
    const BYTES: usize = 1 << 30;
    let fixture = fixture().await;
    let source = |mut stream: TcpStream| async move {
        let mut hello = vec![0; real_hello(ALLOWED, true).len()];
        stream.read_exact(&mut hello).await.unwrap();
        let chunk = vec![7; 1 << 16];
        for _ in 0..BYTES / chunk.len() {
            if stream.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    fixture.server("203.0.113.30:443", source);
    let direct = fixture.net.routes.lock()[&"203.0.113.30:443".parse().unwrap()];
    let mut rates = Vec::new();
    for through in [false, true, false, true] {
        let mut stream = if through {
            fixture.tunnel("allowed.internet.test:443").await
        } else {
            TcpStream::connect(direct).await.unwrap()
        };
        stream.write_all(&real_hello(ALLOWED, true)).await.unwrap();
        let start = Instant::now();
        let (mut read, mut buffer) = (0, vec![0; 1 << 16]);
        while read < BYTES {
            read += stream.read(&mut buffer).await.unwrap();
        }
        #[expect(clippy::cast_precision_loss, reason = "a measurement")]
        let rate = BYTES as f64 / start.elapsed().as_secs_f64() / 1e9;
        rates.push((through, rate));
    }
    println!("GB/s, through the gateway or not: {rates:?}");
}

#[tokio::test]
async fn every_end_is_joined_to_its_beginning() {
    let fixture = fixture().await;
    for _ in 0..3 {
        let mut stream = fixture.tunnel("allowed.internet.test:443").await;
        let hello = real_hello(ALLOWED, true);
        stream.write_all(&hello).await.unwrap();
        stream.read_exact(&mut vec![0; hello.len()]).await.unwrap();
    }
    fixture
        .connect_as(AUDIENCE_EGRESS, "denied.internet.test:443")
        .await;
    let records = fixture.recorded().await;
    let ids = |is_meant: fn(&RecordEvent) -> bool| -> Vec<String> {
        let meant = records.iter().filter(|record| is_meant(&record.event));
        let mut ids: Vec<String> = meant
            .map(|record| record.request.clone().unwrap().to_string())
            .collect();
        ids.sort();
        ids
    };
    let allowed = ids(|event| matches!(event, RecordEvent::Allowed { .. }));
    let closed = ids(|event| matches!(event, RecordEvent::Closed { .. }));
    let denied = ids(|event| matches!(event, RecordEvent::Denied { .. }));
    let mut distinct = allowed.clone();
    distinct.dedup();
    assert_eq!(
        (allowed.len(), distinct.len(), denied.len()),
        (3, 3, 1),
        "{records:?}"
    );
    assert_eq!(closed, allowed, "{records:?}");
    assert!(!allowed.contains(&denied[0]), "{records:?}");
}
