//! The head of an HTTP/1.1 request, read strictly, before anything interprets it. The forwarder in a sandbox's pod and
//! the gateway read with this one parser and the same limits.
//!
//! Each connection carries one request. Bytes that two parsers could read differently (bare line feeds, folded lines,
//! two lengths) are refused here, so that every HTTP library and server behind it sees one meaning.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest head in bytes.
pub const HEAD_LIMIT: usize = 16 * 1024;
/// Most header lines.
pub const HEADERS_LIMIT: usize = 64;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The peer closed before its head was complete; nobody is left to answer.
    #[error("the connection ended within the head")]
    Ended,
    /// Longer than [`HEAD_LIMIT`], or more than [`HEADERS_LIMIT`] header lines.
    #[error("the request's head is longer than 16 KiB or has more than 64 header lines")]
    TooLong,
    /// Not the strict form.
    #[error("{0}")]
    Malformed(&'static str),
    /// More than one length, a length that is none, or another coding than `chunked`.
    #[error("the length of the request's body is ambiguous")]
    Length,
}

/// How much body follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes; 0 without a `Content-Length`.
    Bytes(u64),
    /// Chunks.
    Chunked,
}

/// One header line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderLine {
    /// The name as it was sent.
    pub name: String,
    /// The value without the white space around it.
    pub value: Vec<u8>,
}

/// A request's head and the bytes that came with it.
#[derive(Debug)]
pub struct Head {
    /// The method.
    pub method: String,
    /// The request target as it was sent.
    pub target: String,
    /// Minor version of HTTP/1: who speaks 1.0 knows no chunks and need not name a host.
    pub minor_version: u8,
    /// The header lines in their order.
    pub headers: Vec<HeaderLine>,
    /// How much body follows.
    pub framing: Framing,
    /// All bytes that were read: the head and, from [`Head::body_start`] on, bytes after it.
    pub received: Vec<u8>,
    /// Length of the head in bytes.
    pub body_start: usize,
}

impl Head {
    /// All values of a header.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        values(&self.headers, name)
    }

    /// Whether the request asks to become another protocol. An offer of h2c is none: it is for the next hop alone
    /// (RFC 9110, section 7.8), and whoever makes it goes on with HTTP/1.1 where nobody takes it.
    pub fn asks_for_upgrade(&self) -> bool {
        self.values("upgrade")
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .any(|protocol| !protocol.is_empty() && !protocol.eq_ignore_ascii_case(b"h2c"))
    }

    /// Whether `Connection` names this header, so that it is for the next hop alone (RFC 9110, section 7.6.1).
    pub fn is_named_by_connection(&self, name: &str) -> bool {
        self.values("connection")
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|named| named.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The bytes that came after the head.
    pub fn early_body(&self) -> &[u8] {
        self.received.get(self.body_start..).unwrap_or_default()
    }

    /// The value of a header that occurs exactly once.
    pub fn single<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut values = self.values(name);
        let first = values.next()?;
        values.next().is_none().then_some(())?;
        std::str::from_utf8(first).ok()
    }
}

fn values<'a>(headers: &'a [HeaderLine], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value.as_slice())
}

/// Reads a head from `stream`. The caller bounds the time.
///
/// # Errors
/// See [`HeadError`].
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Head, HeadError> {
    let mut received = Vec::with_capacity(1024);
    loop {
        if let Some(end) = end_of_head(&received, 0) {
            return parse(received, end);
        }
        if received.len() >= HEAD_LIMIT {
            return Err(HeadError::TooLong);
        }
        let room = HEAD_LIMIT - received.len();
        let read = (&mut *stream)
            .take(room as u64)
            .read_buf(&mut received)
            .await
            .map_err(|_| HeadError::Ended)?;
        if read == 0 {
            return Err(HeadError::Ended);
        }
    }
}

/// Where the head ends that `received` begins with; `None`: it is not whole. Up to `searched` there is no end.
pub fn end_of_head(received: &[u8], searched: usize) -> Option<usize> {
    let from = searched.saturating_sub(3);
    let end = received
        .get(from..)?
        .windows(4)
        .position(|window| window == b"\r\n\r\n");
    end.map(|position| from + position + 4)
}

/// Reads the head that ends at `end` of what was received.
///
/// # Errors
/// See [`HeadError`].
pub fn parse(received: Vec<u8>, end: usize) -> Result<Head, HeadError> {
    let bytes = received.get(..end).unwrap_or_default();
    refuse_odd_bytes(bytes)?;
    let mut space = [httparse::EMPTY_HEADER; HEADERS_LIMIT];
    let mut request = httparse::Request::new(&mut space);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length == end => {}
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLong),
        _ => return Err(HeadError::Malformed("the head is not HTTP/1.1")),
    }
    let headers: Vec<HeaderLine> = request
        .headers
        .iter()
        .map(|header| HeaderLine {
            name: header.name.to_owned(),
            value: header.value.to_vec(),
        })
        .collect();
    Ok(Head {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        minor_version: request.version.unwrap_or(1),
        framing: framing(&headers)?,
        headers,
        body_start: end,
        received,
    })
}

/// Every line ends in CRLF, none is folded, and the tab is the only control character.
fn refuse_odd_bytes(head: &[u8]) -> Result<(), HeadError> {
    if head.starts_with(b"\r") {
        return Err(HeadError::Malformed("an empty line before the request"));
    }
    let mut previous = b'\n';
    for &byte in head {
        match (previous, byte) {
            (b'\r', b'\n') => {}
            (b'\r', _) | (_, b'\n') => return Err(HeadError::Malformed("a line does not end in CRLF")),
            (b'\n', b' ' | b'\t') => return Err(HeadError::Malformed("a header line is folded")),
            (_, b'\t' | b'\r') => {}
            (_, control) if control.is_ascii_control() => {
                return Err(HeadError::Malformed("a control character in the head"));
            }
            _ => {}
        }
        previous = byte;
    }
    Ok(())
}

/// One length or none.
fn framing(headers: &[HeaderLine]) -> Result<Framing, HeadError> {
    let lengths: Vec<&[u8]> = values(headers, "content-length").collect();
    let codings: Vec<&[u8]> = values(headers, "transfer-encoding").collect();
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Framing::Bytes(0)),
        ([length], []) => plain_number(length).map(Framing::Bytes).ok_or(HeadError::Length),
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        _ => Err(HeadError::Length),
    }
}

/// At most 19 digits, which always fit.
fn plain_number(digits: &[u8]) -> Option<u64> {
    let is_plain = (1..=19).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    is_plain.then_some(digits)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    async fn read_bytes(bytes: &[u8]) -> Result<Head, HeadError> {
        read(&mut &*bytes).await
    }

    #[tokio::test]
    async fn a_head_and_what_follows_it() {
        let head =
            read_bytes(b"CONNECT a.test:443 HTTP/1.0\r\nProxy-Authorization: Bearer x\r\n\r\n\x16\x03")
                .await
                .unwrap();
        assert_eq!(
            (head.method.as_str(), head.target.as_str()),
            ("CONNECT", "a.test:443")
        );
        assert_eq!(head.single("proxy-authorization"), Some("Bearer x"));
        assert_eq!(head.early_body(), b"\x16\x03");
    }

    #[tokio::test]
    async fn header_twice_is_no_single_header() {
        let head = read_bytes(b"GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(head.single("host"), None);
        assert_eq!(head.values("host").count(), 2);
    }

    #[rstest]
    #[case("", false)]
    #[case("Upgrade: h2c\r\n", false)]
    #[case("upgrade: H2C , h2c\r\nUpgrade:\r\n", false)]
    #[case("Upgrade: websocket\r\n", true)]
    #[case("Upgrade: h2c, websocket\r\n", true)]
    #[case("Upgrade: h2c\r\nUpgrade: TLS/1.2\r\n", true)]
    #[tokio::test]
    async fn offer_of_h2c_is_no_upgrade(#[case] lines: &str, #[case] expected: bool) {
        let head = read_bytes(format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes())
            .await
            .unwrap();
        assert_eq!(head.asks_for_upgrade(), expected);
    }

    #[tokio::test]
    async fn connection_names_headers() {
        let head = read_bytes(b"GET / HTTP/1.1\r\nConnection: close , X-One\r\nconnection: x-TWO,\r\n\r\n")
            .await
            .unwrap();
        for (name, named) in [("x-one", true), ("X-Two", true), ("x-three", false), ("", true)] {
            assert_eq!(head.is_named_by_connection(name), named, "{name}");
        }
    }

    #[tokio::test]
    async fn version_is_kept() {
        for (line, minor) in [("GET / HTTP/1.0", 0), ("GET / HTTP/1.1", 1)] {
            let head = read_bytes(format!("{line}\r\n\r\n").as_bytes()).await.unwrap();
            assert_eq!(head.minor_version, minor);
        }
    }

    #[rstest]
    #[case::bare_lf(b"GET / HTTP/1.1\nHost: a\r\n\r\n")]
    #[case::bare_cr(b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n")]
    #[case::folded(b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n")]
    #[case::space_before_colon(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")]
    #[case::space_in_the_first_header(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n")]
    #[case::leading_line(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")]
    #[case::nul(b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n")]
    #[case::escape(b"GET / HTTP/1.1\r\nHost: \x1b[1m\r\n\r\n")]
    #[case::two_lengths(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n")]
    #[case::list_of_lengths(b"POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n")]
    #[case::signed_length(b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n")]
    #[case::empty_length(b"POST / HTTP/1.1\r\nContent-Length:\r\n\r\n")]
    #[case::length_and_coding(b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n")]
    #[case::coding_and_length(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n")]
    #[case::two_codings(
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"
    )]
    #[case::other_coding(b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")]
    #[case::odd_coding(b"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n")]
    #[case::http2(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")]
    #[case::http09(b"GET /\r\n\r\n")]
    #[tokio::test]
    async fn smuggling(#[case] bytes: &[u8]) {
        assert!(matches!(
            read_bytes(bytes).await,
            Err(HeadError::Malformed(_) | HeadError::Length)
        ));
    }

    #[rstest]
    #[case(b"GET / HTTP/1.1\r\n\r\n", Framing::Bytes(0))]
    #[case(b"POST / HTTP/1.1\r\nCONTENT-LENGTH: 12\r\n\r\n", Framing::Bytes(12))]
    #[case(
        b"POST / HTTP/1.1\r\nContent-Length: 9999999999999999999\r\n\r\n",
        Framing::Bytes(9_999_999_999_999_999_999)
    )]
    #[case(b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked)]
    #[tokio::test]
    async fn framing_of_a_body(#[case] bytes: &[u8], #[case] expected: Framing) {
        assert_eq!(read_bytes(bytes).await.unwrap().framing, expected);
    }

    #[tokio::test]
    async fn heads_end_somewhere() {
        let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(HEAD_LIMIT));
        assert_eq!(read_bytes(long.as_bytes()).await.err(), Some(HeadError::TooLong));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(65));
        assert_eq!(read_bytes(many.as_bytes()).await.err(), Some(HeadError::TooLong));
        let fits = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(64));
        assert!(read_bytes(fits.as_bytes()).await.is_ok());
        assert_eq!(
            read_bytes(b"GET / HTTP/1.1\r\n").await.err(),
            Some(HeadError::Ended)
        );
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = bytes;
            bytes.extend_from_slice(b"\r\n\r\n");
            let end = end_of_head(&bytes, 0).unwrap();
            let _ = parse(bytes, end);
        }
    }
}
