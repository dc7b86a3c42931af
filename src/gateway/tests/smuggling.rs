//! A corpus of requests that two servers read differently. Whatever comes, the host gets the requests that were judged, or
//! none; and no byte behind them that could be read as another one.

use super::inspected::certificate;
use super::*;
use crate::transport::prefixed::Prefixed;
use cofferdam_service::http1::{self, Framing, HeadError};
use parking_lot::Mutex;
use rstest::rstest;
use tokio::io::{AsyncRead, AsyncWrite};

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
        let read = http1::read(&mut Prefixed::new(std::mem::take(&mut early), &mut stream)).await;
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

/// What the host gets.
#[derive(Clone, Copy, Debug)]
enum Gets {
    /// No connection.
    Nothing,
    /// One request with this body.
    One(&'static str),
    /// The same, and where requests follow each other the one behind it, judged as well.
    Two(&'static str),
    /// One request that ends before its body does.
    Broken,
}
use Gets::{Broken, Nothing, One, Two};

const SECOND: &str = "GET /repos/org/second HTTP/1.1\r\nHost: allowed.internet.test\r\n\r\n";

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

#[rstest]
// Two lengths.
#[case::cl_te("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nG", Nothing)]
#[case::te_cl(
    "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    "1\r\na\r\n0\r\n\r\n",
    Nothing
)]
#[case::two_lengths("Content-Length: 1\r\nContent-Length: 2\r\n", "ab", Nothing)]
#[case::same_length_twice("Content-Length: 1\r\nContent-Length: 1\r\n", "a", Nothing)]
#[case::list_of_lengths("Content-Length: 1, 1\r\n", "a", Nothing)]
#[case::signed_length("Content-Length: +1\r\n", "a", Nothing)]
#[case::negative_length("Content-Length: -1\r\n", "a", Nothing)]
#[case::hexadecimal_length("Content-Length: 0x1\r\n", "a", Nothing)]
#[case::length_with_a_space("Content-Length: 1 1\r\n", "a", Nothing)]
#[case::no_length("Content-Length: \r\n", "a", Nothing)]
#[case::long_length("Content-Length: 18446744073709551617\r\n", "a", Nothing)]
#[case::length_with_zeros("Content-Length: 0001\r\n", "a", One("a"))]
// Codings that one side knows and the other does not.
#[case::te_identity("Transfer-Encoding: identity\r\n", "a", Nothing)]
#[case::te_list("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n", Nothing)]
#[case::te_gzip("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n", Nothing)]
#[case::te_twice(
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "0\r\n\r\n",
    Nothing
)]
#[case::te_two_kinds(
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
    "0\r\n\r\n",
    Nothing
)]
#[case::te_misspelt("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n", Nothing)]
#[case::te_quoted("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n", Nothing)]
#[case::te_vertical_tab("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n", Nothing)]
#[case::te_capitals("Transfer-Encoding: CHUNKED\r\n", "1\r\na\r\n0\r\n\r\n", One("a"))]
#[case::te_tab("Transfer-Encoding:\tchunked\r\n", "1\r\na\r\n0\r\n\r\n", One("a"))]
#[case::space_before_the_colon("Transfer-Encoding : chunked\r\n", "0\r\n\r\n", Nothing)]
#[case::underscore("Transfer_Encoding: chunked\r\nContent-Length: 1\r\n", "a", One("a"))]
#[case::named_by_connection("Connection: content-length\r\nContent-Length: 1\r\n", "a", One("a"))]
#[case::coding_named_by_connection(
    "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n",
    "1\r\na\r\n0\r\n\r\n",
    One("a")
)]
#[case::host_named_by_connection("Connection: host\r\n", "", One(""))]
// Lines.
#[case::bare_line_feed("X: y\nContent-Length: 1\r\n", "a", Nothing)]
#[case::bare_carriage_return("X: y\rContent-Length: 1\r\n", "a", Nothing)]
#[case::folded("X: y\r\n Content-Length: 1\r\n", "a", Nothing)]
#[case::folded_length("Content-Length:\r\n 1\r\n", "a", Nothing)]
#[case::null("X: a\0b\r\n", "", Nothing)]
#[case::no_colon("X\r\n", "", Nothing)]
#[case::no_name(": x\r\n", "", Nothing)]
#[case::space_in_a_name("X Y: z\r\n", "", Nothing)]
#[case::space_before_a_name(" X: y\r\n", "", Nothing)]
// Hosts and other ways to mean another request.
#[case::second_host("Host: denied.internet.test\r\n", "", Nothing)]
#[case::upgrade("Connection: upgrade\r\nUpgrade: websocket\r\n", "", Nothing)]
#[case::expect("Expect: 200-ok\r\nContent-Length: 1\r\n", "a", Nothing)]
#[case::expect_obfuscated("Expect: y 100-continue\r\n", "", Nothing)]
#[case::trailer(
    "Transfer-Encoding: chunked\r\nTrailer: Host\r\n",
    "0\r\nHost: x\r\n\r\n",
    Nothing
)]
#[case::override_method("X-HTTP-Method-Override: DELETE\r\n", "", One(""))]
#[case::original_url("X-Original-URL: /admin\r\n", "", One(""))]
// Bodies.
#[case::body_without_length("", SECOND, Two(""))]
#[case::body_behind_its_length(
    "Content-Length: 1\r\n",
    "aGET /repos/org/second HTTP/1.1\r\nHost: allowed.internet.test\r\n\r\n",
    Two("a")
)]
#[case::behind_the_last_chunk(
    "Transfer-Encoding: chunked\r\n",
    "0\r\n\r\nGET /repos/org/second HTTP/1.1\r\nHost: allowed.internet.test\r\n\r\n",
    One("")
)]
#[case::unannounced_trailer("Transfer-Encoding: chunked\r\n", "1\r\na\r\n0\r\nHost: x\r\n\r\n", One("a"))]
#[case::chunk_extension("Transfer-Encoding: chunked\r\n", "1;a=b\r\na\r\n0\r\n\r\n", One("a"))]
#[case::chunk_extension_with_a_line_feed(
    "Transfer-Encoding: chunked\r\n",
    "1;a\nb\r\na\r\n0\r\n\r\n",
    Broken
)]
#[case::chunk_size_overflows(
    "Transfer-Encoding: chunked\r\n",
    "10000000000000001\r\na\r\n0\r\n\r\n",
    Broken
)]
#[case::chunk_size_signed("Transfer-Encoding: chunked\r\n", "+1\r\na\r\n0\r\n\r\n", Broken)]
#[case::chunk_size_hexadecimal("Transfer-Encoding: chunked\r\n", "0x1\r\na\r\n0\r\n\r\n", Broken)]
#[case::chunk_size_missing("Transfer-Encoding: chunked\r\n", "\r\na\r\n0\r\n\r\n", Broken)]
#[case::chunk_without_its_end("Transfer-Encoding: chunked\r\n", "1\r\naX\r\n0\r\n\r\n", Broken)]
#[case::chunk_ended_by_a_line_feed("Transfer-Encoding: chunked\r\n", "1\r\na\n0\r\n\r\n", Broken)]
#[tokio::test]
async fn host_gets_what_was_judged_and_nothing_behind_it(
    #[case] headers: &str,
    #[case] body: &str,
    #[case] gets: Gets,
    #[values(Proxy, Tunnel, Tls)] through: Through,
) {
    let (fixture, seen) = fixture().await;
    let host = if through == Tls { READ } else { ALLOWED };
    let body = body.replace(ALLOWED, host);
    let mut answer = Vec::new();
    match through {
        Proxy => {
            let proof = format!(
                "Proxy-Authorization: Bearer {}\r\n",
                fixture.token(AUDIENCE_EGRESS)
            );
            // The header lines of the case come first: one that begins with a space folds the line before it.
            let head = format!(
                "POST http://{host}/repos/org/judged HTTP/1.1\r\nHost: {host}\r\n{headers}{proof}\r\n"
            );
            let mut stream = fixture.open().await;
            stream
                .write_all(format!("{head}{body}").as_bytes())
                .await
                .unwrap();
            let _ = stream.read_to_end(&mut answer).await;
        }
        Tunnel | Tls => {
            let first = format!("POST /repos/org/judged HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n{body}");
            // Ends the connection where the case has not done so.
            let last = format!("POST /repos/org/last HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
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
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).unwrap_or_default();
    match gets {
        Nothing => assert!(matches!(status, "400" | "403" | "417" | "426"), "{answer}"),
        One(_) | Two(_) => assert_eq!(status, "200", "{answer}"),
        Broken => assert_ne!(status, "200", "{answer}"),
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
        .expect("the host sees its connection end");
    let mut seen = seen.lock().clone();
    if let (Broken, Some(one)) = (gets, seen.first_mut()) {
        // How much of it arrives is left open, from nothing to all before the break; its body never ends.
        assert!(
            one.request.is_empty() || one.request == "POST /repos/org/judged",
            "{one:?}"
        );
        assert_eq!(one.body, None);
        *one = Seen::default();
    }
    if matches!(gets, Nothing) {
        // A refused request whose end is certain leaves the connection for the next one.
        seen.retain(|seen| *seen != one("last", "") && *seen != Seen::default());
        expected.clear();
    }
    assert_eq!(seen, expected);
}
