//! Two gateways, one of which ends while agents work: no request is lost, and what is under way goes on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::inspected::{ClientTls, ServerTls, answer, certificate, get, head_of, mirror};
use super::*;
use crate::upkeep::{self, Drain};
use cofferdam_service::serve::Readiness;

/// Events of the long stream, and the time between two.
const EVENTS: usize = 40;
const PAUSE: Duration = Duration::from_millis(50);
/// Agents that ask without end.
const AGENTS: usize = 6;

/// Sends an event every now and then, and ends.
async fn events(mut stream: ServerTls) {
    head_of(&mut stream).await;
    let _ = stream
        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for _ in 0..EVENTS {
        tokio::time::sleep(PAUSE).await;
        let _ = stream.write_all(b"2\r\n!\n\r\n").await;
    }
    let _ = stream.write_all(b"0\r\n\r\n").await;
}

async fn replica() -> Fixture {
    let fixture = Fixture::start().await;
    fixture.net.name(READ, &["203.0.113.40"]);
    fixture.net.name(ALLOWED, &["203.0.113.30"]);
    let config = certificate(&fixture.internet, READ, (-1, 1));
    fixture.tls_server("203.0.113.40:443", config, mirror);
    fixture.server("203.0.113.30:443", |mut stream| async move {
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    });
    fixture
}

/// Whether the request is answered on this connection; `None`: the connection was closed instead, as one that is kept may be.
async fn ask(stream: &mut ClientTls) -> Option<bool> {
    stream.write_all(get("/repos/org/a", "").as_bytes()).await.ok()?;
    let mut first = [0];
    if !matches!(stream.read(&mut first).await, Ok(1)) {
        return None;
    }
    let rest = answer(stream).await;
    Some(first == *b"H" && rest.starts_with("TTP/1.1 200 "))
}

#[tokio::test]
async fn a_gateway_that_is_replaced_loses_no_request_and_nothing_that_is_under_way() {
    let replicas = [Arc::new(replica().await), Arc::new(replica().await)];
    // What nodes know of the replicas, a moment later than it is so.
    let known = Arc::new([AtomicBool::new(true), AtomicBool::new(true)]);
    let (asked, lost, late) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
    );
    let over = CancellationToken::new();
    let mut agents = Vec::new();
    for number in 0..AGENTS {
        let (replicas, known, over) = (replicas.clone(), Arc::clone(&known), over.clone());
        let (asked, lost, late) = (Arc::clone(&asked), Arc::clone(&lost), Arc::clone(&late));
        agents.push(tokio::spawn(async move {
            let mut turn = number;
            let mut kept: Option<ClientTls> = None;
            while !over.is_cancelled() {
                let is_kept = kept.is_some();
                let stream = if let Some(stream) = &mut kept {
                    stream
                } else {
                    turn += 1;
                    let at = usize::from(!known[turn % 2].load(Ordering::Relaxed)) ^ (turn % 2);
                    let is_late = at == 1 && !known[0].load(Ordering::Relaxed);
                    late.fetch_add(usize::from(is_late), Ordering::Relaxed);
                    kept.insert(replicas[at].inside_tls(READ, READ, &[]).await.unwrap())
                };
                match ask(stream).await {
                    Some(true) => {
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                    // Closed between two requests: every client asks again on a new connection.
                    None if is_kept => kept = None,
                    None | Some(false) => {
                        lost.fetch_add(1, Ordering::Relaxed);
                        kept = None;
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }));
    }
    let ending = &replicas[0];
    // A tunnel, and a long answer in clear text, both under way when the signal comes.
    let mut tunnel = ending.tunnel(&format!("{ALLOWED}:443")).await;
    let hello = real_hello(ALLOWED, true);
    tunnel.write_all(&hello).await.unwrap();
    tunnel.read_exact(&mut vec![0; hello.len()]).await.unwrap();
    ending.net.name("read.internet.test", &["203.0.113.41"]);
    let config = certificate(&ending.internet, READ, (-1, 1));
    ending.tls_server("203.0.113.41:443", config, events);
    let mut stream = ending.inside_tls(READ, READ, &[]).await.unwrap();
    stream
        .write_all(get("/repos/org/events", "").as_bytes())
        .await
        .unwrap();
    head_of(&mut stream).await;
    ending.net.name("read.internet.test", &["203.0.113.40"]);

    let (stop, ready) = (CancellationToken::new(), Readiness::default());
    ready.set(true);
    let how = Drain {
        handover: Duration::from_millis(600),
        longest: Duration::from_secs(30),
    };
    let draining = {
        let (ending, stop) = (Arc::clone(ending), stop.clone());
        tokio::spawn(async move { upkeep::drain(&ending.rooms.limits, (&stop, &ending.ending), how).await })
    };
    stop.cancel();
    tokio::time::sleep(how.handover / 2).await;
    known[0].store(false, Ordering::Relaxed);
    ending.ending.cancelled().await;
    let at_the_end = asked.load(Ordering::Relaxed);

    // What was under way goes on to its end.
    let mut body = Vec::new();
    while !body.ends_with(b"0\r\n\r\n") {
        body.push(stream.read_u8().await.unwrap());
    }
    assert_eq!(String::from_utf8(body).unwrap().matches('!').count(), EVENTS);
    tunnel.write_all(b"still here").await.unwrap();
    let mut echoed = [0; 10];
    tunnel.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"still here");
    assert!(!draining.is_finished());
    drop((stream, tunnel));
    tokio::time::timeout(Duration::from_secs(10), draining)
        .await
        .unwrap()
        .unwrap();

    over.cancel();
    for agent in agents {
        agent.await.unwrap();
    }
    assert_eq!(lost.load(Ordering::Relaxed), 0);
    // The control: agents asked before and after, and came to the other gateway.
    let all = asked.load(Ordering::Relaxed);
    assert!(
        at_the_end > AGENTS && all > at_the_end + AGENTS,
        "{at_the_end} of {all}"
    );
    assert!(late.load(Ordering::Relaxed) > 0);
}
