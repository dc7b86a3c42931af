//! Absolute-form requests: one meaning, or none.

use super::*;
use rstest::rstest;

/// Answers each request with what it got.
async fn mirror(mut stream: TcpStream) {
    let head = read_head(&mut stream).await;
    let lower = head.to_ascii_lowercase();
    let mut body = Vec::new();
    if lower.contains("transfer-encoding: chunked") {
        while !body.ends_with(b"0\r\n\r\n") {
            body.push(stream.read_u8().await.unwrap());
        }
    } else if let Some((_, rest)) = lower.split_once("content-length: ") {
        let length: usize = rest.split("\r\n").next().unwrap().parse().unwrap();
        body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
    }
    let text = format!("{head}{}", String::from_utf8_lossy(&body));
    let answer = format!(
        "HTTP/1.1 200 Fine\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}

async fn fixture() -> Fixture {
    let fixture = Fixture::start().await;
    fixture.net.name(ALLOWED, &["203.0.113.30"]);
    fixture.server("203.0.113.30:80", mirror);
    fixture
}

fn request(fixture: &Fixture, first: &str, headers: &str, body: &str) -> Vec<u8> {
    let token = fixture.token(AUDIENCE_EGRESS);
    format!("{first} HTTP/1.1\r\nProxy-Authorization: Bearer {token}\r\n{headers}\r\n{body}").into_bytes()
}

const HOST: &str = "Host: allowed.internet.test\r\n";

#[tokio::test]
async fn a_request_arrives_in_origin_form_without_what_was_for_the_proxy() {
    let fixture = fixture().await;
    let headers = format!(
        "{HOST}Proxy-Connection: keep-alive\r\nConnection: x-mine\r\nX-Mine: 1\r\nX-Original-URL: /admin\r\n\
         X-HTTP-Method-Override: DELETE\r\nForwarded: for=1\r\nTE: trailers\r\nAccept: text/plain\r\n"
    );
    let bytes = request(&fixture, "GET http://Allowed.Internet.test/a/b?c=d", &headers, "");
    let answer = fixture.exchange(&bytes).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    let head = head.to_ascii_lowercase();
    assert!(
        head.contains("x-end: 2") && !head.contains("x-hop") && head.contains("connection: close"),
        "{head}"
    );
    assert_eq!(
        body.trim_end(),
        "GET /a/b?c=d HTTP/1.1\r\naccept: text/plain\r\nhost: allowed.internet.test"
    );
    let events = fixture.events().await;
    assert!(
        matches!(&events[0], RecordEvent::Allowed { host, method, .. } if host == "Allowed.Internet.test" && method == "GET"),
        "{events:?}"
    );
    assert!(
        matches!(&events[1], RecordEvent::Closed { received, .. } if *received > 50),
        "{events:?}"
    );
}

#[rstest]
#[case("Content-Length: 5\r\n", "hello", "\r\n\r\nhello")]
#[case(
    "Transfer-Encoding: chunked\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
)]
#[case(
    "Transfer-Encoding: chunked\r\n",
    "5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    "\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
)]
#[tokio::test]
async fn bodies_are_passed_on_with_one_length(
    #[case] framing: &str,
    #[case] body: &str,
    #[case] arrives: &str,
) {
    let fixture = fixture().await;
    let bytes = request(
        &fixture,
        "POST http://allowed.internet.test/",
        &format!("{HOST}{framing}"),
        body,
    );
    let answer = fixture.exchange(&bytes).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(arrives),
        "{answer}"
    );
    let lengths = answer.matches("\r\ncontent-length: 5\r\n").count()
        + answer.matches("\r\ntransfer-encoding: chunked\r\n").count();
    assert_eq!(lengths, 1, "{answer}");
    assert!(
        !answer.contains("X-T") && !answer.to_ascii_lowercase().contains("trailer"),
        "{answer}"
    );
}

#[rstest]
#[case::plain("GET http://allowed.internet.test/", HOST, "200")]
#[case::port(
    "GET http://allowed.internet.test:80/",
    "Host: allowed.internet.test:80\r\n",
    "200"
)]
#[case::port_implied("GET http://allowed.internet.test:80/", HOST, "200")]
#[case::denied(
    "GET http://denied.internet.test/",
    "Host: denied.internet.test\r\n",
    "403 HostNotAllowed"
)]
#[case::other_host(
    "GET http://allowed.internet.test/",
    "Host: denied.internet.test\r\n",
    "403 RequestInvalid"
)]
#[case::two_hosts(
    "GET http://allowed.internet.test/",
    "Host: allowed.internet.test\r\nHost: denied.internet.test\r\n",
    "403 RequestInvalid"
)]
#[case::no_host("GET http://allowed.internet.test/", "", "403 RequestInvalid")]
#[case::user("GET http://evil@allowed.internet.test/", HOST, "403 HostInvalid")]
#[case::literal("GET http://203.0.113.30/", "Host: 203.0.113.30\r\n", "403 HostInvalid")]
#[case::https("GET https://allowed.internet.test/", HOST, "400")]
#[case::ftp("GET ftp://allowed.internet.test/", HOST, "400")]
#[case::trace("TRACE http://allowed.internet.test/", HOST, "403 RequestInvalid")]
#[case::small_method("get http://allowed.internet.test/", HOST, "403 RequestInvalid")]
#[case::small_trace("trace http://allowed.internet.test/", HOST, "403 RequestInvalid")]
#[case::expect(
    "POST http://allowed.internet.test/",
    "Host: allowed.internet.test\r\nExpect: 100-continue, x\r\nContent-Length: 1\r\n",
    "417 ExpectRefused"
)]
#[case::trailer(
    "POST http://allowed.internet.test/",
    "Host: allowed.internet.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n",
    "403 RequestInvalid"
)]
#[case::two_slashes("GET http://allowed.internet.test/a//b", HOST, "403 RequestInvalid")]
#[case::slash_at_the_end("GET http://allowed.internet.test/a/", HOST, "200")]
#[case::dots("GET http://allowed.internet.test/a/../b", HOST, "403 RequestInvalid")]
#[case::encoded_dots("GET http://allowed.internet.test/a/%2e%2E/b", HOST, "403 RequestInvalid")]
#[case::parameter("GET http://allowed.internet.test/a;b/c", HOST, "403 RequestInvalid")]
#[case::encoded_backslash("GET http://allowed.internet.test/a%5c..", HOST, "403 RequestInvalid")]
#[case::encoded_line_feed("GET http://allowed.internet.test/a%0aX", HOST, "403 RequestInvalid")]
#[case::encoded_slash("GET http://allowed.internet.test/@a%2fb", HOST, "200")]
#[case::odd_query("GET http://allowed.internet.test/a?b=/../;%2e%", HOST, "200")]
#[case::fragment("GET http://allowed.internet.test/#x", HOST, "403 RequestInvalid")]
#[case::backslash("GET http://allowed.internet.test\\@evil.test/", HOST, "403 ")]
#[case::websocket(
    "GET http://allowed.internet.test/",
    "Host: allowed.internet.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
    "403 UpgradeRefused"
)]
#[case::h2c(
    "GET http://allowed.internet.test/",
    "Host: allowed.internet.test\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n",
    "200"
)]
#[case::te_cl(
    "POST http://allowed.internet.test/",
    "Host: allowed.internet.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    "400"
)]
#[case::cl_te(
    "POST http://allowed.internet.test/",
    "Host: allowed.internet.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    "400"
)]
#[case::two_lengths(
    "POST http://allowed.internet.test/",
    "Host: allowed.internet.test\r\nContent-Length: 4\r\nContent-Length: 5\r\n",
    "400"
)]
#[case::folded(
    "GET http://allowed.internet.test/",
    "Host: allowed.internet.test\r\nX: a\r\n b\r\n",
    "400"
)]
#[case::bare_lf(
    "GET http://allowed.internet.test/",
    "Host: allowed.internet.test\r\nX: a\nY: b\r\n",
    "400"
)]
#[case::port_not_allowed(
    "GET http://allowed.internet.test:8080/",
    "Host: allowed.internet.test:8080\r\n",
    "403 PortNotAllowed"
)]
#[tokio::test]
async fn meanings(#[case] first: &str, #[case] headers: &str, #[case] expected: &str) {
    let fixture = fixture().await;
    let answer = fixture.exchange(&request(&fixture, first, headers, "")).await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{answer}");
    let dialled = fixture.net.dialled.lock().len();
    assert_eq!(dialled, usize::from(expected == "200"));
}

#[tokio::test]
async fn what_follows_a_request_is_nobodys_request() {
    let fixture = fixture().await;
    let first = request(&fixture, "GET http://allowed.internet.test/one", HOST, "");
    let second = request(&fixture, "GET http://allowed.internet.test/two", HOST, "");
    let answer = fixture.exchange(&[first, second].concat()).await;
    assert!(
        answer.contains("GET /one") && !answer.contains("GET /two"),
        "{answer}"
    );
    assert_eq!(fixture.net.dialled.lock().len(), 1);
}

#[tokio::test]
async fn a_server_that_switches_protocols_unasked_is_refused() {
    let fixture = fixture().await;
    fixture.server("203.0.113.30:80", |mut stream| async move {
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw";
        let _ = stream.write_all(answer).await;
    });
    let answer = fixture
        .exchange(&request(&fixture, "GET http://allowed.internet.test/", HOST, ""))
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 502 ") && !answer.contains("raw"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_stream_is_passed_on_as_it_comes_and_cut_when_the_run_ends() {
    let fixture = fixture().await;
    fixture.server("203.0.113.30:80", |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
            .await;
        std::future::pending::<()>().await;
    });
    let mut stream = fixture.open().await;
    let bytes = request(&fixture, "GET http://allowed.internet.test/", HOST, "");
    stream.write_all(&bytes).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    let mut chunk = [0; 8];
    stream.read_exact(&mut chunk).await.unwrap();
    assert_eq!(&chunk, b"3\r\none\r\n");
    fixture.rooms.view.set_run(run(), false);
    let ended = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut chunk)).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))));
    let events = fixture.events().await;
    assert!(
        matches!(&events[1], RecordEvent::Closed { cause, received: 3, .. } if cause.known() == Some(&CloseCause::RunEnded)),
        "{events:?}"
    );
}
