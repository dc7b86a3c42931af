//! What cluster policies come to deny while a run is under way.

use super::*;
use crate::caller::view::ceilings::testing::{allow, cluster_policy, deny_all};
use rstest::rstest;
use serde_json::{Value, json};

const OTHER: &str = "other.internet.test";

async fn echo(mut stream: TcpStream) {
    let (mut read, mut write) = stream.split();
    let _ = tokio::io::copy(&mut read, &mut write).await;
}

async fn fixture() -> Fixture {
    let fixture = Fixture::start().await;
    for (host, address) in [
        (ALLOWED, "203.0.113.30"),
        (OTHER, "203.0.113.31"),
        (GIT, "203.0.113.10"),
    ] {
        fixture.net.name(host, &[address]);
        fixture.server(&format!("{address}:443"), echo);
    }
    fixture
}

impl Fixture {
    fn rule(&self, egress: &Value) {
        let policy = cluster_policy("incident", &json!({}), egress);
        self.rooms.view.put_cluster_policy(policy);
    }

    async fn reason(&self, audience: &str, host: &str) -> String {
        let head = self.connect_as(audience, &format!("{host}:443")).await;
        let line = head.split("\r\n").next().unwrap();
        line.strip_prefix("HTTP/1.1 ").unwrap().to_owned()
    }
}

const OPEN: &str = "200 Connection established";
const DENIED: &str = "403 DeniedSinceAdmission";

#[rstest]
#[case::nothing_said(None, ALLOWED, OPEN)]
#[case::all_denied(Some(deny_all()), ALLOWED, DENIED)]
#[case::another_host(Some(allow(&[OTHER])), ALLOWED, DENIED)]
#[case::the_same(Some(allow(&[ALLOWED])), ALLOWED, OPEN)]
#[case::more_is_no_grant(Some(allow(&[ALLOWED, OTHER])), OTHER, "403 HostNotAllowed")]
#[case::unreadable(Some(allow(&["127.0.0.1"])), ALLOWED, DENIED)]
#[tokio::test]
async fn the_cluster_policies_of_now_take_and_never_give(
    #[case] egress: Option<Value>,
    #[case] host: &str,
    #[case] expected: &str,
) {
    let fixture = fixture().await;
    if let Some(egress) = &egress {
        fixture.rule(egress);
    }
    assert_eq!(fixture.reason(AUDIENCE_EGRESS, host).await, expected);
    assert_eq!(fixture.net.dialled.lock().is_empty(), expected != OPEN);
    // Taken back, it leaves what the frozen policy grants, and no more.
    fixture.rooms.view.remove_cluster_policy("incident");
    assert_eq!(fixture.reason(AUDIENCE_EGRESS, ALLOWED).await, OPEN);
    assert_eq!(fixture.reason(AUDIENCE_EGRESS, OTHER).await, "403 HostNotAllowed");
}

#[tokio::test]
async fn an_address_must_be_granted_by_the_cluster_policies_of_now_too() {
    let fixture = fixture().await;
    let mut egress = allow(&[ALLOWED]);
    egress["rules"][0]["addresses"] = json!(["203.0.113.0/28"]);
    fixture.rule(&egress);
    assert_eq!(
        fixture.reason(AUDIENCE_EGRESS, ALLOWED).await,
        "403 AddressDenied"
    );
    assert!(fixture.net.dialled.lock().is_empty());
}

#[tokio::test]
async fn an_open_tunnel_is_cut_and_its_record_says_why() {
    let fixture = fixture().await;
    let mut stream = fixture.tunnel(&format!("{ALLOWED}:443")).await;
    let hello = real_hello(ALLOWED, true);
    stream.write_all(&hello).await.unwrap();
    let mut back = vec![0; hello.len()];
    stream.read_exact(&mut back).await.unwrap();
    fixture.rule(&allow(&[ALLOWED]));
    stream.write_all(b"still").await.unwrap();
    stream.read_exact(&mut back[..5]).await.unwrap();
    assert_eq!(&back[..5], b"still");

    fixture.rule(&deny_all());
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut back)).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
    let events = fixture.events().await;
    let closed = |event: &RecordEvent| matches!(event, RecordEvent::Closed { cause, .. } if cause.known() == Some(&CloseCause::DeniedSinceAdmission));
    assert!(events.iter().any(closed), "{events:?}");
}

#[tokio::test]
async fn a_plain_request_that_is_being_answered_is_cut() {
    let fixture = fixture().await;
    let silent = |mut stream: TcpStream| async move {
        let mut head = [0; 64];
        let _ = stream.read(&mut head).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbeginning")
            .await;
        std::future::pending::<()>().await;
    };
    fixture.server("203.0.113.30:80", silent);
    let token = fixture.token(AUDIENCE_EGRESS);
    let request = format!(
        "GET http://{ALLOWED}/ HTTP/1.1\r\nHost: {ALLOWED}\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
    );
    let mut stream = fixture.open().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"beginning") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{answer:?}");
    }
    fixture.rule(&deny_all());
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_buf(&mut answer)).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
}

#[tokio::test]
async fn repositories_were_judged_when_the_run_started() {
    let fixture = fixture().await;
    fixture.rule(&deny_all());
    // `put` keeps an end that was seen, so the pod is made anew.
    fixture.rooms.view.remove_pod("pod-1");
    fixture.put(preparing(live_pod("pod-1", "127.0.0.1")));
    assert_eq!(fixture.reason(AUDIENCE_PREPARE, GIT).await, OPEN);
}

#[tokio::test]
async fn a_namespace_that_is_not_known_is_closed() {
    let fixture = fixture().await;
    fixture.rooms.view.remove_namespace("team-a");
    assert_eq!(
        fixture.reason(AUDIENCE_EGRESS, ALLOWED).await,
        "403 NamespaceUnknown"
    );
    fixture.rooms.view.put_namespace("team-a", Labels::new());
    assert_eq!(fixture.reason(AUDIENCE_EGRESS, ALLOWED).await, OPEN);
}
