//! What clients of sandboxes really send: plain requests in tunnels, offers of h2c, HTTP/1.0.

use super::*;
use rstest::rstest;

/// Answers each request with its head and body; a request for `/stream` with chunks.
async fn mirror(mut stream: TcpStream) {
    let head = read_head(&mut stream).await;
    let lower = head.to_ascii_lowercase();
    let length = lower
        .split_once("content-length: ")
        .and_then(|(_, rest)| rest.split("\r\n").next()?.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let text = format!("{head}{}", String::from_utf8_lossy(&body));
    let answer = if head.starts_with("GET /stream ") {
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n".to_owned()
    } else {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())
    };
    let _ = stream.write_all(answer.as_bytes()).await;
}

async fn fixture() -> Fixture {
    let fixture = Fixture::start().await;
    fixture.net.name(ALLOWED, &["203.0.113.30"]);
    fixture.server("203.0.113.30:80", mirror);
    fixture.server("203.0.113.30:443", mirror);
    fixture
}

/// What comes back for this request in a tunnel, up to its end.
async fn inside(fixture: &Fixture, authority: &str, request: &str) -> String {
    let mut stream = fixture.tunnel(authority).await;
    let request = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[rstest]
#[case::node(
    "allowed.internet.test:80",
    "GET / HTTP/1.1\r\nhost: allowed.internet.test\r\nconnection: keep-alive\r\n",
    "",
    "200",
    "GET / HTTP/1.1"
)]
#[case::host_with_port(
    "allowed.internet.test:80",
    "GET /a?b HTTP/1.1\r\nHost: allowed.internet.test:80\r\n",
    "",
    "200",
    "GET /a?b HTTP/1.1"
)]
#[case::capitals(
    "ALLOWED.internet.test:80",
    "GET / HTTP/1.1\r\nHost: Allowed.internet.TEST\r\n",
    "",
    "200",
    "host: allowed.internet.test"
)]
#[case::body(
    "allowed.internet.test:80",
    "POST / HTTP/1.1\r\nHost: allowed.internet.test\r\nContent-Length: 5\r\n",
    "hello",
    "200",
    "\r\n\r\nhello"
)]
#[case::other_port(
    "allowed.internet.test:443",
    "GET / HTTP/1.1\r\nHost: allowed.internet.test:443\r\n",
    "",
    "200",
    "host: allowed.internet.test:443"
)]
#[case::version_1_0(
    "allowed.internet.test:80",
    "GET / HTTP/1.0\r\n",
    "",
    "200",
    "host: allowed.internet.test"
)]
#[case::h2c(
    "allowed.internet.test:80",
    "GET / HTTP/1.1\r\nHost: allowed.internet.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n",
    "",
    "200",
    "GET / HTTP/1.1"
)]
#[case::other_host(
    "allowed.internet.test:80",
    "GET / HTTP/1.1\r\nHost: denied.internet.test\r\n",
    "",
    "403",
    "RequestInvalid"
)]
#[case::other_hosts_port(
    "allowed.internet.test:80",
    "GET / HTTP/1.1\r\nHost: allowed.internet.test:8080\r\n",
    "",
    "403",
    "RequestInvalid"
)]
#[case::no_host(
    "allowed.internet.test:80",
    "GET / HTTP/1.1\r\nAccept: a\r\n",
    "",
    "403",
    "RequestInvalid"
)]
#[case::absolute(
    "allowed.internet.test:80",
    "GET http://denied.internet.test/ HTTP/1.1\r\nHost: allowed.internet.test\r\n",
    "",
    "403",
    "RequestInvalid"
)]
#[case::connect(
    "allowed.internet.test:80",
    "CONNECT denied.internet.test:443 HTTP/1.1\r\nHost: allowed.internet.test\r\n",
    "",
    "403",
    "RequestInvalid"
)]
#[case::trace(
    "allowed.internet.test:80",
    "TRACE / HTTP/1.1\r\nHost: allowed.internet.test\r\n",
    "",
    "403",
    "RequestInvalid"
)]
#[case::websocket(
    "allowed.internet.test:80",
    "GET / HTTP/1.1\r\nHost: allowed.internet.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
    "",
    "403",
    "UpgradeRefused"
)]
#[case::two_lengths(
    "allowed.internet.test:80",
    "POST / HTTP/1.1\r\nHost: allowed.internet.test\r\nContent-Length: 0\r\nContent-Length: 0\r\n",
    "",
    "400",
    "BadRequest"
)]
#[case::bare_line_feed(
    "allowed.internet.test:80",
    "GET / HTTP/1.1\r\nHost: allowed.internet.test\nX: y\r\n",
    "",
    "400",
    "BadRequest"
)]
#[tokio::test]
async fn plain_request_inside_a_tunnel(
    #[case] authority: &str,
    #[case] head: &str,
    #[case] body: &str,
    #[case] status: &str,
    #[case] contained: &str,
) {
    let fixture = fixture().await;
    let answer = inside(&fixture, authority, &format!("{head}\r\n{body}")).await;
    let version = if head.contains("HTTP/1.0") { "1.0" } else { "1.1" };
    assert!(
        answer.starts_with(&format!("HTTP/{version} {status} ")),
        "{answer}"
    );
    assert!(answer.contains(contained), "{answer}");
    let events = fixture.events().await;
    let method = head.split(' ').next().unwrap();
    let of = |event: &RecordEvent| match event {
        RecordEvent::Allowed { method, .. } => ("200".to_owned(), method.clone()),
        RecordEvent::Denied { method, code, .. } => (code.to_string(), method.clone()),
        other => panic!("{other:?}"),
    };
    let expected = if status == "200" { "200" } else { contained };
    let (code, recorded) = of(&events[0]);
    assert_eq!(code, expected);
    // A head that cannot be read has no method.
    assert_eq!(recorded, if status == "400" { "CONNECT" } else { method });
}

#[tokio::test]
async fn plain_requests_may_come_in_pieces_and_follow_each_other() {
    let fixture = fixture().await;
    let request = format!("GET /one HTTP/1.1\r\nHost: {ALLOWED}\r\n\r\n");
    let mut stream = fixture.tunnel("allowed.internet.test:80").await;
    for byte in request.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let last = request
        .replace("one", "two")
        .replacen("\r\n", "\r\nConnection: close\r\n", 1);
    stream.write_all(last.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (one, two) = (answer.find("GET /one"), answer.find("GET /two"));
    assert!(one.is_some() && one < two, "{answer}");
    let requests = fixture.recorded().await;
    let ids: HashSet<_> = requests
        .iter()
        .map(|record| record.request.clone().unwrap().to_string())
        .collect();
    assert_eq!((requests.len(), ids.len()), (4, 2), "{requests:?}");
}

/// Absolute form, as clients write it.
#[rstest]
#[case::version_1_0_without_host("GET http://allowed.internet.test/ HTTP/1.0\r\n", "HTTP/1.0 200 ")]
#[case::version_1_0_with_host(
    "GET http://allowed.internet.test/ HTTP/1.0\r\nHost: allowed.internet.test\r\n",
    "HTTP/1.0 200 "
)]
#[case::version_1_0_with_another_host(
    "GET http://allowed.internet.test/ HTTP/1.0\r\nHost: denied.internet.test\r\n",
    "HTTP/1.1 403 "
)]
#[case::version_1_1_without_host("GET http://allowed.internet.test/ HTTP/1.1\r\n", "HTTP/1.1 403 ")]
#[case::java(
    "GET http://allowed.internet.test/ HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: 0\r\nHost: allowed.internet.test\r\nHTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c\r\n",
    "HTTP/1.1 200 "
)]
#[case::settings_alone(
    "GET http://allowed.internet.test/ HTTP/1.1\r\nHost: allowed.internet.test\r\nHTTP2-Settings: AAEAAEAA\r\n",
    "HTTP/1.1 200 "
)]
#[case::websocket_and_h2c(
    "GET http://allowed.internet.test/ HTTP/1.1\r\nHost: allowed.internet.test\r\nConnection: Upgrade\r\nUpgrade: h2c, websocket\r\n",
    "HTTP/1.1 403 "
)]
#[tokio::test]
async fn absolute_form(#[case] head: &str, #[case] expected: &str) {
    let fixture = fixture().await;
    let token = fixture.token(AUDIENCE_EGRESS);
    let request = format!("{head}Proxy-Authorization: Bearer {token}\r\n\r\n");
    let answer = fixture.exchange(request.as_bytes()).await;
    assert!(answer.starts_with(expected), "{answer}");
    if expected.contains("200") {
        let lower = answer.to_ascii_lowercase();
        assert!(lower.contains("host: allowed.internet.test"), "{answer}");
        assert!(
            !lower.contains("h2c") && !lower.contains("http2-settings"),
            "{answer}"
        );
    }
}

/// Who speaks HTTP/1.0 knows no chunks: the end of the connection is the end of the answer.
#[tokio::test]
async fn answer_to_http_1_0_has_no_chunks() {
    let fixture = fixture().await;
    let token = fixture.token(AUDIENCE_EGRESS);
    for (version, body) in [("1.0", "\r\n\r\nfour"), ("1.1", "\r\n\r\n4\r\nfour\r\n0\r\n\r\n")] {
        let request = format!(
            "GET http://{ALLOWED}/stream HTTP/{version}\r\nHost: {ALLOWED}\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
        );
        let answer = fixture.exchange(request.as_bytes()).await;
        assert!(answer.ends_with(body), "{answer}");
    }
}

/// curl asks so before it sends more than 1 MiB, and gives up where it is refused.
#[tokio::test]
async fn expectation_is_met_by_the_gateway_once_the_request_is_permitted() {
    let fixture = fixture().await;
    let token = fixture.token(AUDIENCE_EGRESS);
    for (host, interim) in [
        (ALLOWED, "HTTP/1.1 100 Continue\r\n\r\n"),
        ("denied.internet.test", "HTTP/1.1 403 "),
    ] {
        let mut stream = fixture.open().await;
        let head = format!(
            "POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 4\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_head(&mut stream).await;
        assert!(answer.starts_with(interim), "{answer}");
        if host == ALLOWED {
            stream.write_all(b"body").await.unwrap();
            let mut rest = String::new();
            let _ = stream.read_to_string(&mut rest).await;
            assert!(
                rest.starts_with("HTTP/1.1 200 ") && rest.ends_with("body"),
                "{rest}"
            );
            assert!(!rest.to_ascii_lowercase().contains("expect"), "{rest}");
        }
    }
}
