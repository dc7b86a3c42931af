//! Requests to a host whose requests are inspected: judged by method and path before anything is dialled.

use super::*;
use crate::caller::view::ceilings::testing::cluster_policy;
use rstest::rstest;
use serde_json::json;
use tokio::sync::Notify;

async fn mirror(mut stream: TcpStream) {
    let head = read_head(&mut stream).await;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len());
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// Sends a chunk, and the next one when it is told to.
async fn in_two_chunks(mut stream: TcpStream, go_on: Arc<Notify>) {
    read_head(&mut stream).await;
    let _ = stream
        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        .await;
    go_on.notified().await;
    let _ = stream.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await;
}

/// What comes next: nothing ever where the connection was cut, else what the server is now told to send.
async fn comes_next(stream: &mut TcpStream, cut: bool, go_on: &Notify) -> Option<u8> {
    if !cut {
        go_on.notify_one();
    }
    let next = tokio::time::timeout(Duration::from_secs(10), stream.read_u8());
    next.await.expect("it is cut, or goes on").ok()
}

async fn fixture() -> Fixture {
    let fixture = Fixture::start().await;
    for (host, address) in [(READ, "203.0.113.40"), (ALLOWED, "203.0.113.30")] {
        fixture.net.name(host, &[address]);
        fixture.server(&format!("{address}:80"), mirror);
    }
    fixture
}

fn absolute(fixture: &Fixture, host: &str, request: &str, headers: &str) -> Vec<u8> {
    let token = fixture.token(AUDIENCE_EGRESS);
    let (method, path) = request.split_once(' ').unwrap();
    format!("{method} http://{host}{path} HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: Bearer {token}\r\n{headers}\r\n")
        .into_bytes()
}

/// The same request through a tunnel.
async fn inside(fixture: &Fixture, host: &str, request: &str) -> String {
    let mut stream = fixture.tunnel(&format!("{host}:80")).await;
    let bytes = format!("{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[rstest]
#[case("GET /repos/org/app", "200 OK", "/repos/org/app")]
#[case("POST /repos/org/app/issues", "200 OK", "/repos/org/app/issues")]
#[case("GET /@scope%2fname", "200 OK", "/@scope%2fname")]
#[case("GET /x?service=up", "200 OK", "/x?sha256:1b9ef4")]
#[case("DELETE /repos/org/app", "403 RequestNotAllowed", "/repos/org/app")]
#[case("HEAD /repos/org/app", "403 RequestNotAllowed", "/repos/org/app")]
#[case("GET /repos/other/app", "403 RequestNotAllowed", "/repos/other/app")]
#[case("GET /repos/org/a%2f..%2fb", "403 RequestNotAllowed", "/repos/org/a%2f..%2fb")]
#[case("GET /@scope/name", "403 RequestNotAllowed", "/@scope/name")]
#[case("GET /x", "403 RequestNotAllowed", "/x")]
#[case("GET /x?service=up&service=receive", "403 RequestNotAllowed", "/x?sha256:")]
#[case("GET /repos/org/../other", "403 RequestInvalid", "")]
#[case("GET /repos/org/%2e%2e/other", "403 RequestInvalid", "")]
#[case("GET /repos/org//other", "403 RequestInvalid", "")]
#[tokio::test]
async fn a_request_is_judged_by_its_method_and_path(
    #[case] request: &str,
    #[case] expected: &str,
    #[case] path: &str,
) {
    let fixture = fixture().await;
    let answers = [
        fixture.exchange(&absolute(&fixture, READ, request, "")).await,
        inside(&fixture, READ, request).await,
    ];
    let is_allowed = expected.starts_with("200");
    for answer in &answers {
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected}\r\n")),
            "{answer}"
        );
        assert_eq!(
            answer.contains(&format!("\r\n\r\n{request} HTTP/1.1\r\n")),
            is_allowed,
            "{answer}"
        );
    }
    // What is denied opens no connection, not even at CONNECT.
    assert_eq!(fixture.net.dialled.lock().len(), if is_allowed { 2 } else { 0 });
    for event in fixture.events().await {
        let (recorded, said) = match event {
            RecordEvent::Allowed {
                method, path, rules, ..
            } => ((method, path), rules.join(" ")),
            RecordEvent::Denied {
                method,
                path,
                code,
                layer,
                ..
            } => ((method, path), format!("{code} {}", layer.unwrap_or_default())),
            _ => continue,
        };
        let by = match expected {
            "200 OK" => "SandboxPolicy/default/read",
            "403 RequestNotAllowed" => "RequestNotAllowed SandboxPolicy/default",
            _ => "RequestInvalid ",
        };
        assert_eq!(said, by);
        assert_eq!(recorded.0, request.split(' ').next().unwrap());
        let recorded = recorded.1.unwrap_or_default();
        assert!(
            recorded.starts_with(path) && !recorded.contains("service"),
            "{recorded}"
        );
    }
}

/// On an inspected host an account of the agent's own is no way out; where nobody looks it passes.
#[tokio::test]
async fn credentials_of_the_caller_end_at_an_inspected_host() {
    let fixture = fixture().await;
    let headers = "Authorization: Bearer own\r\nCookie: own\r\nX-Api-Key: own\r\nAccept: a/b\r\n";
    let read = fixture
        .exchange(&absolute(&fixture, READ, "GET /repos/org/app", headers))
        .await;
    assert!(read.contains("accept: a/b") && !read.contains("own"), "{read}");
    let unread = fixture
        .exchange(&absolute(&fixture, ALLOWED, "GET /repos/org/app", headers))
        .await;
    assert_eq!(unread.matches("own").count(), 3, "{unread}");
}

fn only(rule: &serde_json::Value) -> serde_json::Value {
    let mut whole =
        json!({"name": "only", "addresses": ["203.0.113.0/24"], "ports": [80, 443], "tls": "Inspect"});
    whole
        .as_object_mut()
        .unwrap()
        .extend(rule.as_object().unwrap().clone());
    json!({"mode": "AllowList", "rules": [whole]})
}

#[rstest]
#[case::another_path(json!({"hosts": [READ], "paths": ["/other"]}), true)]
#[case::another_method(json!({"hosts": [READ], "methods": ["POST"]}), true)]
#[case::the_same(json!({"hosts": [READ], "methods": ["GET"], "paths": ["/repos/**"]}), false)]
#[tokio::test]
async fn a_cluster_policy_that_comes_to_deny_a_request_cuts_it(
    #[case] rule: serde_json::Value,
    #[case] cuts: bool,
) {
    let fixture = fixture().await;
    let go_on = Arc::new(Notify::new());
    let serving = Arc::clone(&go_on);
    fixture.server("203.0.113.40:80", move |stream| {
        in_two_chunks(stream, Arc::clone(&serving))
    });
    let mut stream = fixture.open().await;
    let request = absolute(&fixture, READ, "GET /repos/org/app", "");
    stream.write_all(&request).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    let mut chunk = [0; 8];
    stream.read_exact(&mut chunk).await.unwrap();
    let policy = cluster_policy("incident", &json!({}), &only(&rule));
    fixture.rooms.view.put_cluster_policy(policy);
    assert_eq!(
        comes_next(&mut stream, cuts, &go_on).await,
        (!cuts).then_some(b'3')
    );
    if cuts {
        let later = fixture.exchange(&request).await;
        assert!(later.starts_with("HTTP/1.1 403 DeniedSinceAdmission"), "{later}");
        assert!(later.contains("ClusterSandboxPolicy/incident"), "{later}");
    }
}

/// Bytes that nobody reads end when a policy comes to want them read.
#[rstest]
#[case::inspected(json!({"hosts": [ALLOWED]}), true)]
#[case::still_a_tunnel(json!({"hosts": [ALLOWED], "tls": "Tunnel"}), false)]
#[tokio::test]
async fn a_tunnel_ends_when_a_cluster_policy_wants_it_inspected(
    #[case] rule: serde_json::Value,
    #[case] cuts: bool,
) {
    let fixture = fixture().await;
    let go_on = Arc::new(Notify::new());
    let serving = Arc::clone(&go_on);
    fixture.server("203.0.113.30:443", move |mut stream| {
        let go_on = Arc::clone(&serving);
        async move {
            let _ = stream.write_all(b"!").await;
            go_on.notified().await;
            let _ = stream.write_all(b"?").await;
        }
    });
    let mut stream = fixture.tunnel(&format!("{ALLOWED}:443")).await;
    stream.write_all(&real_hello(ALLOWED, true)).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'!');
    let policy = cluster_policy("incident", &json!({}), &only(&rule));
    fixture.rooms.view.put_cluster_policy(policy);
    assert_eq!(
        comes_next(&mut stream, cuts, &go_on).await,
        (!cuts).then_some(b'?')
    );
}
