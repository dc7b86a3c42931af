//! One hostile run beside an honest one: what the first can hold, and what is left for the second.

use std::sync::atomic::{AtomicU64, Ordering};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::net::TcpSocket;

use super::*;
use crate::transport::sockets::BLOCKED_BYTES;
use cofferdam_api::names::{LABEL_RUN, LABEL_RUN_UID};

/// Asked of kernel buffers outside of the gateway; Linux takes twice that.
const OWN_BUFFER: u32 = 64 * 1024;
const HONEST_UID: &str = "0b7c9f3e-2222-4222-8333-444455556666";

/// A fixture whose host sends without end; the bytes that it could send are counted.
async fn endless(capacity: Capacity) -> (Fixture, Arc<AtomicU64>) {
    let fixture = Fixture::start_with(capacity).await;
    fixture.net.name(ALLOWED, &["203.0.113.30"]);
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    fixture.server("203.0.113.30:443", move |mut stream| {
        let sent = Arc::clone(&counted);
        async move {
            let block = vec![0; 16 * 1024];
            while let Ok(length) = stream.write(&block).await {
                sent.fetch_add(length as u64, Ordering::Relaxed);
            }
        }
    });
    (fixture, sent)
}

/// Shows the gateway the pod of an honest run in another namespace, at 127.0.0.2.
pub(super) fn add_honest_run(fixture: &Fixture) -> RunIdentity {
    let run = RunIdentity {
        namespace: "team-b".to_owned(),
        name: "fix".to_owned(),
        uid: HONEST_UID.to_owned(),
    };
    let mut pod: Pod = live_pod("pod-2", "127.0.0.2");
    pod.metadata.namespace = Some(run.namespace.clone());
    pod.labels_mut().insert(LABEL_RUN.to_owned(), run.name.clone());
    pod.labels_mut().insert(LABEL_RUN_UID.to_owned(), run.uid.clone());
    fixture.put(pod);
    fixture.rooms.view.set_run(run.clone(), true);
    fixture.rooms.view.put_namespace("team-b", Labels::new());
    run
}

/// A tunnel from `address` whose client has small buffers.
async fn tunnel_from(fixture: &Fixture, address: &str, token: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(OWN_BUFFER).unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(fixture.address).await.unwrap();
    let request = format!("CONNECT {ALLOWED}:443 HTTP/1.1\r\nProxy-Authorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    stream.write_all(&real_hello(ALLOWED, true)).await.unwrap();
    stream
}

/// Reads so many bytes, fast, as a client does that lets the kernel's windows grow.
async fn read_bytes(stream: &mut TcpStream, mut bytes: usize) {
    let mut part = vec![0; 256 * 1024];
    while bytes > 0 {
        let read = stream.read(&mut part).await.unwrap();
        assert!(read > 0, "the tunnel ended");
        bytes = bytes.saturating_sub(read);
    }
}

/// The number, once it does not change any more.
async fn settled(number: &AtomicU64) -> u64 {
    let (mut before, mut same) = (0, 0);
    while same < 10 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = number.load(Ordering::Relaxed);
        same = if now == before { same + 1 } else { 0 };
        before = now;
    }
    before
}

#[tokio::test]
async fn slow_reader_holds_no_more_than_its_buffers() {
    const READ: usize = 32 << 20;
    let (fixture, sent) = endless(Capacity::of(20_000, 512 << 20)).await;
    let token = fixture.token(AUDIENCE_EGRESS);
    let mut stream = tunnel_from(&fixture, "127.0.0.1", &token).await;
    read_bytes(&mut stream, READ).await;
    let held = settled(&sent).await - READ as u64;
    // The gateway's share, the buffers of both ends, and what was read above the number.
    let outside = 2 * 2 * u64::from(OWN_BUFFER) + 256 * 1024;
    assert!(held <= BLOCKED_BYTES + outside, "{held} bytes are held");
    // The control: the host does send until somebody stops it.
    assert!(held >= u64::from(OWN_BUFFER), "{held} bytes are held");
}

#[tokio::test]
async fn slow_readers_lose_their_oldest_and_the_honest_run_nothing() {
    const SLOW: usize = 30;
    let capacity = Capacity {
        in_flight: 21 * BLOCKED_BYTES,
        ..Capacity::of(20_000, 512 << 20)
    };
    let (fixture, sent) = endless(capacity).await;
    let honest = add_honest_run(&fixture);
    let token = fixture.token(AUDIENCE_EGRESS);
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        slow.push(tunnel_from(&fixture, "127.0.0.1", &token).await);
    }
    settled(&sent).await;
    let honest_token = fixture.issuer.pod_token(
        AUDIENCE_EGRESS,
        &honest.namespace,
        SANDBOX_SERVICE_ACCOUNT,
        (POD, "pod-2"),
    );
    for _ in 0..20 {
        let mut stream = tunnel_from(&fixture, "127.0.0.2", &honest_token).await;
        read_bytes(&mut stream, 1 << 20).await;
    }
    fixture.rooms.recorder.flush(&honest.uid).await;
    let ended = |events: &[RecordEvent]| {
        let limit = Some(&CloseCause::LimitExceeded);
        let is_meant = |event: &&RecordEvent| matches!(event, RecordEvent::Closed { cause, .. } if cause.known() == limit);
        events.iter().filter(is_meant).count()
    };
    // Of 21 the hostile run holds 10 and leaves 11; none of the honest run's was ended.
    assert_eq!(ended(&fixture.events().await), SLOW - 10);
    let of_honest: Vec<RecordEvent> = fixture
        .records
        .batches
        .lock()
        .iter()
        .filter(|(run, _, _)| *run == honest.uid)
        .flat_map(|(_, _, lines)| lines.lines().map(str::to_owned).collect::<Vec<_>>())
        .map(|line| serde_json::from_str::<Record>(&line).unwrap().event)
        .collect();
    assert_eq!((of_honest.is_empty(), ended(&of_honest)), (false, 0));
}

#[tokio::test]
async fn connections_of_one_namespace_leave_another_its_share() {
    let capacity = Capacity {
        exits: 100,
        ..Capacity::of(20_000, 512 << 20)
    };
    let (fixture, _) = endless(capacity).await;
    let honest = add_honest_run(&fixture);
    let token = fixture.token(AUDIENCE_EGRESS);
    let request = format!("CONNECT {ALLOWED}:443 HTTP/1.1\r\nProxy-Authorization: Bearer {token}\r\n\r\n");
    let (mut open, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        let mut stream = fixture.open().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        if head.starts_with("HTTP/1.1 200 ") {
            open.push(stream);
        } else {
            refused.push(head);
        }
    }
    assert_eq!((open.len(), refused.len()), (50, 10));
    assert!(
        refused
            .iter()
            .all(|head| head.starts_with("HTTP/1.1 403 LimitExceeded")),
        "{refused:?}"
    );
    let token = fixture.issuer.pod_token(
        AUDIENCE_EGRESS,
        &honest.namespace,
        SANDBOX_SERVICE_ACCOUNT,
        (POD, "pod-2"),
    );
    tunnel_from(&fixture, "127.0.0.2", &token).await;
}

#[tokio::test]
async fn flood_of_unknown_callers_gets_few_answers_and_keeps_nobody_out() {
    let fixture = Fixture::start().await;
    let mut answered = 0;
    for _ in 0..400 {
        let answer = fixture.exchange(b"CONNECT a.test:1 HTTP/1.1\r\n\r\n").await;
        answered += usize::from(!answer.is_empty());
    }
    assert!((100..400).contains(&answered), "{answered}");
    let token = fixture.token(AUDIENCE_COLLECT);
    let request = format!("GET /v1/whoami HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n");
    let answer = fixture.exchange(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}
