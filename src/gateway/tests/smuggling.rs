//! A corpus of requests that two servers read differently. Whatever comes, the host gets one request, the one that was
//! judged, or none; and no byte behind it that could be read as a second one.

use super::*;
use cofferdam_service::http1::{self, Framing};
use parking_lot::Mutex;
use rstest::rstest;

/// What a connection to the host brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Method and path of the one request; empty: its head was not whole.
    request: String,
    /// Its body; `None`: it was broken off.
    body: Option<String>,
    /// What came behind it.
    rest: String,
}

/// Reads with the strict parser, which refuses every head that could be read in two ways.
async fn observe(mut stream: TcpStream, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut this = Seen::default();
    if let Ok(head) = http1::read(&mut stream).await {
        this.request = format!("{} {}", head.method, head.target);
        assert_eq!(head.single("host"), Some(ALLOWED));
        let mut early = head.early_body().to_vec();
        this.body = match head.framing {
            Framing::Bytes(length) => {
                counted(&mut stream, &mut early, usize::try_from(length).unwrap()).await
            }
            Framing::Chunked => chunked(&mut stream, &mut early).await,
        };
        if this.body.is_some() {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await;
            let _ = stream.read_to_end(&mut early).await;
        }
        this.rest = String::from_utf8_lossy(&early).into_owned();
    }
    seen.lock().push(this);
}

async fn counted(stream: &mut TcpStream, early: &mut Vec<u8>, length: usize) -> Option<String> {
    while early.len() < length {
        if stream.read_buf(early).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    let body: Vec<u8> = early.drain(..length).collect();
    Some(String::from_utf8_lossy(&body).into_owned())
}

/// Chunks without extensions and trailers: anything else breaks the body off.
async fn chunked(stream: &mut TcpStream, early: &mut Vec<u8>) -> Option<String> {
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
    /// One request that ends before its body does.
    Broken,
}
use Gets::{Broken, Nothing, One};

const SECOND: &str = "GET /second HTTP/1.1\r\nHost: allowed.internet.test\r\n\r\n";

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
#[case::body_without_length("", SECOND, One(""))]
#[case::body_behind_its_length(
    "Content-Length: 1\r\n",
    "aGET /second HTTP/1.1\r\nHost: allowed.internet.test\r\n\r\n",
    One("a")
)]
#[case::behind_the_last_chunk(
    "Transfer-Encoding: chunked\r\n",
    "0\r\n\r\nGET /second HTTP/1.1\r\nHost: allowed.internet.test\r\n\r\n",
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
    #[values(false, true)] through_a_tunnel: bool,
) {
    let fixture = Fixture::start().await;
    fixture.net.name(ALLOWED, &["203.0.113.30"]);
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let seeing = Arc::clone(&seen);
    fixture.server("203.0.113.30:80", move |stream| {
        observe(stream, Arc::clone(&seeing))
    });

    let (mut stream, target, proof) = if through_a_tunnel {
        let stream = fixture.tunnel(&format!("{ALLOWED}:80")).await;
        (stream, "/judged".to_owned(), String::new())
    } else {
        let token = fixture.token(AUDIENCE_EGRESS);
        let proof = format!("Proxy-Authorization: Bearer {token}\r\n");
        (fixture.open().await, format!("http://{ALLOWED}/judged"), proof)
    };
    // The header lines of the case come first: one that begins with a space folds the line before it.
    let bytes = format!("POST {target} HTTP/1.1\r\nHost: {ALLOWED}\r\n{headers}{proof}\r\n{body}");
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();

    let status = answer.split(' ').nth(1).unwrap_or_default();
    match gets {
        Nothing => assert!(matches!(status, "400" | "403" | "417"), "{answer}"),
        One(_) => assert_eq!(status, "200", "{answer}"),
        Broken => assert_ne!(status, "200", "{answer}"),
    }
    // A tunnel has its connection before the request comes, and sends nothing through it.
    let expected: Vec<Seen> = match gets {
        Nothing if through_a_tunnel => vec![Seen::default()],
        Nothing => Vec::new(),
        One(body) => vec![Seen {
            request: "POST /judged".to_owned(),
            body: Some(body.to_owned()),
            rest: String::new(),
        }],
        Broken => vec![Seen::default()],
    };
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
        assert!(one.request.is_empty() || one.request == "POST /judged", "{one:?}");
        assert_eq!(one.body, None);
        *one = Seen::default();
    }
    assert_eq!(seen, expected);
}
