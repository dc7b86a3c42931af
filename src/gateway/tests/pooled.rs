//! Connections to hosts that wait for the next request of their run, and of no other.

use super::inspected::{ClientTls, answer, certificate, fixture, get, head_of, mirror, trusting};
use super::starving::add_honest_run;
use super::*;
use crate::caller::view::ceilings::testing::{cluster_policy, deny_all};
use crate::forward::pool::PER_POD;
use parking_lot::Mutex as Locked;
use rstest::rstest;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::net::TcpSocket;
use tokio::sync::Notify;

const AT: &str = "203.0.113.40:443";

/// Who asks: a pod's address and its token.
struct Who(&'static str, String);

impl Fixture {
    fn agent(&self) -> Who {
        Who("127.0.0.1", self.token(AUDIENCE_EGRESS))
    }

    /// A run beside the fixture's own.
    fn neighbour(&self) -> Who {
        let run = add_honest_run(self);
        let pod = (POD, "pod-2");
        let token = self
            .issuer
            .pod_token(AUDIENCE_EGRESS, &run.namespace, SANDBOX_SERVICE_ACCOUNT, pod);
        Who("127.0.0.2", token)
    }

    /// A new tunnel, inside TLS.
    async fn inside(&self, Who(address, token): &Who) -> ClientTls {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        let request = format!("CONNECT {READ}:443 HTTP/1.1\r\nProxy-Authorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let name = ServerName::try_from(READ).unwrap();
        trusting(&self.inspection, &[])
            .connect(name, stream)
            .await
            .unwrap()
    }

    /// One request in a tunnel of its own, and the answer.
    async fn once(&self, who: &Who, request: &str) -> String {
        let mut stream = self.inside(who).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = answer(&mut stream).await;
        let _ = stream.shutdown().await;
        answer
    }

    /// Waits until so many connections to hosts wait.
    async fn waiting(&self, count: usize) {
        let pool = &self.rooms.services.requests.pool;
        for _ in 0..500 {
            if pool.waiting() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} wait", pool.waiting());
    }
}

fn path(name: &str) -> String {
    get(&format!("/repos/org/{name}"), "")
}

#[tokio::test]
async fn the_next_tunnel_of_a_run_goes_on_with_its_connection_and_no_other_run_does() {
    let (fixture, connections) = fixture().await;
    let (agent, neighbour) = (fixture.agent(), fixture.neighbour());
    for (who, name, opened, waiting) in [
        (&agent, "a", 1, 1),
        (&agent, "b", 1, 1),
        (&neighbour, "c", 2, 2),
        (&neighbour, "d", 2, 2),
        (&agent, "e", 2, 2),
    ] {
        let answer = fixture.once(who, &path(name)).await;
        assert!(
            answer.contains(&format!("GET /repos/org/{name} HTTP/1.1")),
            "{answer}"
        );
        fixture.waiting(waiting).await;
        assert_eq!(*connections.lock(), opened, "{name}");
    }
    let events = fixture.events().await;
    let addresses = events.iter().filter_map(|event| match event {
        RecordEvent::Allowed { address, .. } => Some(address.as_str()),
        _ => None,
    });
    // Those of the fixture's own run.
    assert_eq!(addresses.collect::<Vec<_>>(), [AT; 3]);
}

/// A host that tells when a connection to it has ended.
fn watched(fixture: &Fixture) -> Arc<Notify> {
    let ended = Arc::new(Notify::new());
    let serving = Arc::clone(&ended);
    let config = certificate(&fixture.internet, READ, (-1, 1));
    fixture.tls_server(AT, config, move |stream| {
        let ended = Arc::clone(&serving);
        async move {
            mirror(stream).await;
            ended.notify_one();
        }
    });
    ended
}

#[rstest]
#[case::the_run_ends(|fixture: &Fixture| fixture.rooms.view.set_run(run(), false))]
#[case::the_host_is_denied(|fixture: &Fixture| {
    fixture.rooms.view.put_cluster_policy(cluster_policy("incident", &json!({}), &deny_all()));
})]
#[case::the_gateway_ends(|fixture: &Fixture| fixture.ending.cancel())]
#[tokio::test]
async fn what_waits_is_cut_with_the_right_of_its_run(#[case] change: fn(&Fixture)) {
    let fixture = Fixture::start().await;
    fixture.net.name(READ, &["203.0.113.40"]);
    let ended = watched(&fixture);
    fixture.once(&fixture.agent(), &path("a")).await;
    fixture.waiting(1).await;
    // The control: a policy that denies what passed last, and not the host, cuts nothing.
    let rule = json!({"mode": "AllowList", "rules": [{"name": "only", "hosts": [READ], "ports": [443],
        "addresses": ["203.0.113.0/24"], "paths": ["/elsewhere"]}]});
    fixture
        .rooms
        .view
        .put_cluster_policy(cluster_policy("narrow", &json!({}), &rule));
    let still = tokio::time::timeout(Duration::from_millis(100), ended.notified()).await;
    assert!(still.is_err());
    fixture.waiting(1).await;
    change(&fixture);
    tokio::time::timeout(Duration::from_secs(5), ended.notified())
        .await
        .unwrap();
    fixture.waiting(0).await;
}

/// What a host has seen: each head, with the number of its connection.
type Seen = Arc<Locked<Vec<(usize, String)>>>;

/// A host that answers the first request of a connection, and closes at the second: before it comes, or once it is there.
fn forgetful(fixture: &Fixture, reads_the_second: bool) -> Seen {
    let seen = Seen::default();
    let (serving, connections) = (Arc::clone(&seen), Arc::new(Locked::new(0)));
    let config = certificate(&fixture.internet, READ, (-1, 1));
    fixture.tls_server(AT, config, move |mut stream| {
        let seen = Arc::clone(&serving);
        *connections.lock() += 1;
        let number = *connections.lock();
        async move {
            let head = head_of(&mut stream).await;
            seen.lock().push((number, head));
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
                .await;
            if reads_the_second {
                let head = head_of(&mut stream).await;
                if !head.is_empty() {
                    seen.lock().push((number, head));
                }
            }
        }
    });
    seen
}

fn heads(seen: &Seen) -> Vec<(usize, String)> {
    let first = |head: &str| head.split(" HTTP").next().unwrap_or_default().to_owned();
    seen.lock()
        .iter()
        .map(|(number, head)| (*number, first(head)))
        .collect()
}

#[tokio::test]
async fn a_host_that_closes_what_waits_costs_no_request() {
    let fixture = Fixture::start().await;
    fixture.net.name(READ, &["203.0.113.40"]);
    let seen = forgetful(&fixture, false);
    let post = format!("POST /repos/org/c HTTP/1.1\r\nHost: {READ}\r\nContent-Length: 2\r\n\r\nok");
    for request in [path("a"), path("b"), post] {
        let answer = fixture.once(&fixture.agent(), &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        fixture.waiting(0).await;
    }
    let told = [
        (1, "GET /repos/org/a"),
        (2, "GET /repos/org/b"),
        (3, "POST /repos/org/c"),
    ];
    assert_eq!(heads(&seen), told.map(|(number, head)| (number, head.to_owned())));
}

#[tokio::test]
async fn what_a_host_may_have_got_is_sent_again_only_where_twice_is_as_good_as_once() {
    let fixture = Fixture::start().await;
    fixture.net.name(READ, &["203.0.113.40"]);
    let seen = forgetful(&fixture, true);
    let agent = fixture.agent();
    assert!(fixture.once(&agent, &path("a")).await.contains("fine"));
    fixture.waiting(1).await;
    // The second request of the first connection is lost, and asked for again on another one.
    assert!(fixture.once(&agent, &path("b")).await.contains("fine"));
    fixture.waiting(1).await;
    let post = format!("POST /repos/org/c HTTP/1.1\r\nHost: {READ}\r\nContent-Length: 2\r\n\r\nok");
    let answer = fixture.once(&agent, &post).await;
    assert!(answer.starts_with("HTTP/1.1 502 UpstreamFailed"), "{answer}");
    let told = [
        (1, "GET /repos/org/a"),
        (1, "GET /repos/org/b"),
        (2, "GET /repos/org/b"),
        (2, "POST /repos/org/c"),
    ];
    assert_eq!(heads(&seen), told.map(|(number, head)| (number, head.to_owned())));
}

#[tokio::test]
async fn a_pod_has_so_many_connections_wait() {
    let (fixture, connections) = fixture().await;
    let agent = fixture.agent();
    let mut open = Vec::new();
    for _ in 0..PER_POD + 3 {
        let mut stream = fixture.inside(&agent).await;
        stream.write_all(path("a").as_bytes()).await.unwrap();
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200 "));
        open.push(stream);
    }
    assert_eq!(*connections.lock(), PER_POD + 3);
    for mut stream in open {
        let _ = stream.shutdown().await;
    }
    fixture.waiting(PER_POD).await;
}
