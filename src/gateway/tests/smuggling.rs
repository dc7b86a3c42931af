//! A corpus of requests that two servers read differently. Whatever comes, the host gets the requests that were judged, or
//! none; and no byte behind them that could be read as another one.

use super::inspected::certificate;
use super::*;
use crate::transport::prefixed::prefixed;
use cofferdam_service::http1::{self, Framing, HeadError};
use futures::StreamExt;
use parking_lot::Mutex;
use rstest::rstest;
use tokio::io::{AsyncRead, AsyncWrite};

mod corpus;

use self::corpus::{CORPUS, Case, Gets};
use Gets::{Broken, Nothing, One, Two};

/// A request that the host saw, or a connection without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Method and path; empty: no head was whole.
    request: String,
    /// Its body; `None`: it was broken off.
    body: Option<String>,
    /// What came instead of another request behind it.
    rest: String,
}

/// How the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Through {
    /// Absolute form: one request a connection.
    Proxy,
    /// In clear text inside a tunnel.
    Tunnel,
    /// Inside TLS that ends at the gateway.
    Tls,
}
use Through::{Proxy, Tls, Tunnel};

/// Reads with the strict parser, which refuses every head that could be read in two ways.
async fn observe(mut stream: impl AsyncRead + AsyncWrite + Unpin, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut early = Vec::new();
    let mut any = false;
    loop {
        let mut this = Seen::default();
        let read = http1::read(&mut prefixed(std::mem::take(&mut early), &mut stream)).await;
        let Ok(head) = read else {
            // What is no request was not judged either.
            let bytes = matches!(read, Err(error) if error != HeadError::Ended);
            this.rest = if bytes { format!("{read:?}") } else { String::new() };
            if !any || bytes {
                seen.lock().push(this);
            }
            return;
        };
        any = true;
        this.request = format!("{} {}", head.method, head.target);
        assert!(matches!(head.single("host"), Some(ALLOWED | READ)));
        early = head.early_body().to_vec();
        this.body = match head.framing {
            Framing::Bytes(length) => {
                counted(&mut stream, &mut early, usize::try_from(length).unwrap()).await
            }
            Framing::Chunked => chunked(&mut stream, &mut early).await,
        };
        let is_whole = this.body.is_some();
        seen.lock().push(this);
        if !is_whole {
            return;
        }
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await;
    }
}

async fn counted(
    stream: &mut (impl AsyncRead + Unpin),
    early: &mut Vec<u8>,
    length: usize,
) -> Option<String> {
    while early.len() < length {
        if stream.read_buf(early).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    let body: Vec<u8> = early.drain(..length).collect();
    Some(String::from_utf8_lossy(&body).into_owned())
}

/// Chunks without extensions and trailers: anything else breaks the body off.
async fn chunked(stream: &mut (impl AsyncRead + Unpin), early: &mut Vec<u8>) -> Option<String> {
    let mut body = String::new();
    loop {
        let mut line = String::new();
        while !line.ends_with("\r\n") {
            line += &counted(stream, early, 1).await?;
        }
        let length = usize::from_str_radix(line.trim_end(), 16).ok()?;
        body += &counted(stream, early, length).await?;
        (counted(stream, early, 2).await? == "\r\n").then_some(())?;
        if length == 0 {
            return Some(body);
        }
    }
}

/// A fixture with two hosts that observe, one in clear text and one inside TLS.
async fn fixture() -> (Fixture, Arc<Mutex<Vec<Seen>>>) {
    let fixture = Fixture::start().await;
    fixture.net.name(ALLOWED, &["203.0.113.30"]);
    fixture.net.name(READ, &["203.0.113.40"]);
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let seeing = Arc::clone(&seen);
    fixture.server("203.0.113.30:80", move |stream| {
        observe(stream, Arc::clone(&seeing))
    });
    let seeing = Arc::clone(&seen);
    let config = certificate(&fixture.internet, READ, (-1, 1));
    fixture.tls_server("203.0.113.40:443", config, move |stream| {
        observe(stream, Arc::clone(&seeing))
    });
    (fixture, seen)
}

/// Sends the case through a gateway; gives what the client gets. Paths begin with `prefix`.
async fn send(fixture: &Fixture, (_, headers, body, _): Case, through: Through, prefix: &str) -> String {
    let host = if through == Tls { READ } else { ALLOWED };
    let body = body.replace(ALLOWED, host).replace("/repos/org/", prefix);
    let mut answer = Vec::new();
    match through {
        Proxy => {
            let proof = format!(
                "Proxy-Authorization: Bearer {}\r\n",
                fixture.token(AUDIENCE_EGRESS)
            );
            // The header lines of the case come first: one that begins with a space folds the line before it.
            let head =
                format!("POST http://{host}{prefix}judged HTTP/1.1\r\nHost: {host}\r\n{headers}{proof}\r\n");
            let mut stream = fixture.open().await;
            stream
                .write_all(format!("{head}{body}").as_bytes())
                .await
                .unwrap();
            let _ = stream.read_to_end(&mut answer).await;
        }
        Tunnel | Tls => {
            let first = format!("POST {prefix}judged HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n{body}");
            // Ends the connection where the case has not done so.
            let last = format!("POST {prefix}last HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let bytes = format!("{first}{last}");
            if through == Tunnel {
                let mut stream = fixture.tunnel(&format!("{host}:80")).await;
                stream.write_all(bytes.as_bytes()).await.unwrap();
                let _ = stream.read_to_end(&mut answer).await;
            } else {
                let mut stream = fixture.inside_tls(host, host, &[]).await.unwrap();
                stream.write_all(bytes.as_bytes()).await.unwrap();
                let _ = stream.read_to_end(&mut answer).await;
            }
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The host gets what was judged and nothing behind it.
async fn check(case: Case, through: Through) {
    let (name, headers, _, gets) = case;
    let name = format!("{name}, {through:?}");
    let (fixture, seen) = fixture().await;
    let answer = send(&fixture, case, through, "/repos/org/").await;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    match gets {
        Nothing => assert!(
            matches!(status, "400" | "403" | "417" | "426"),
            "{name}: {answer}"
        ),
        One(_) | Two(_) => assert_eq!(status, "200", "{name}: {answer}"),
        Broken => assert_ne!(status, "200", "{name}: {answer}"),
    }
    let one = |path: &str, body: &str| Seen {
        request: format!(
            "{} /repos/org/{path}",
            if path == "second" { "GET" } else { "POST" }
        ),
        body: Some(body.to_owned()),
        rest: String::new(),
    };
    // A chunked request is the last one on its connection, and so is one that the gateway cannot read to its end.
    let goes_on = through != Proxy && !headers.to_ascii_lowercase().contains("transfer-encoding:");
    let mut expected = match gets {
        // A tunnel has its connection before the request comes, and sends nothing through it.
        Nothing if through == Tunnel => vec![Seen::default()],
        Nothing => Vec::new(),
        Two(body) if goes_on => vec![one("judged", body), one("second", "")],
        One(body) | Two(body) => vec![one("judged", body)],
        Broken => vec![Seen::default()],
    };
    if matches!(gets, One(_) | Two(_)) && goes_on {
        expected.push(one("last", ""));
    }
    let ended = async {
        while seen.lock().len() < expected.len() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .unwrap_or_else(|_| panic!("{name}: the host does not see its connection end"));
    let mut seen = seen.lock().clone();
    if let (Broken, Some(one)) = (gets, seen.first_mut()) {
        // How much of it arrives is left open, from nothing to all before the break; its body never ends.
        assert!(
            one.request.is_empty() || one.request == "POST /repos/org/judged",
            "{name}: {one:?}"
        );
        assert_eq!(one.body, None, "{name}");
        *one = Seen::default();
    }
    if matches!(gets, Nothing) {
        // A refused request whose end is certain leaves the connection for the next one.
        seen.retain(|seen| *seen != one("last", "") && *seen != Seen::default());
        expected.clear();
    }
    assert_eq!(seen, expected, "{name}");
}

#[rstest]
#[tokio::test]
async fn host_gets_what_was_judged_and_nothing_behind_it(#[values(Proxy, Tunnel, Tls)] through: Through) {
    let checks = CORPUS.iter().map(|case| check(*case, through));
    futures::stream::iter(checks)
        .buffer_unordered(8)
        .collect::<()>()
        .await;
}

/// The same through a real server, which `tests/origins.sh` has started at `COFFERDAM_ORIGIN`: what was judged is written to
/// the file `COFFERDAM_JUDGED`, to be held against what the server says that it has seen.
#[tokio::test]
#[ignore = "tests/origins.sh runs it"]
async fn a_real_server_gets_what_was_judged() {
    let origin = std::env::var("COFFERDAM_ORIGIN").unwrap().parse().unwrap();
    let fixture = Fixture::start().await;
    fixture.net.name(ALLOWED, &["203.0.113.30"]);
    fixture.net.route("203.0.113.30:80", origin);
    let mut lines = Vec::new();
    for (number, case) in CORPUS.iter().enumerate() {
        for through in [Proxy, Tunnel] {
            // Each case has paths of its own, so that each line says where it comes from.
            let prefix = format!("/{number}-{}-{through:?}/", case.0);
            let answer = send(&fixture, *case, through, &prefix).await;
            assert!(answer.starts_with("HTTP/1.1 "), "{prefix}: {answer}");
            if matches!(case.3, Broken) {
                lines.push(format!("may {prefix}"));
            }
        }
    }
    for event in fixture.events().await {
        if let RecordEvent::Allowed { method, path, .. } = event {
            lines.push(format!("judged {method} {}", path.unwrap_or_default()));
        }
    }
    assert!(lines.iter().filter(|line| line.starts_with("judged ")).count() > CORPUS.len() / 2);
    std::fs::write(
        std::env::var("COFFERDAM_JUDGED").unwrap(),
        lines.join("\n") + "\n",
    )
    .unwrap();
}
