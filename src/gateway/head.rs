//! The head of a request, read strictly, before anything interprets it.
//!
//! Each connection carries one request. What two parsers could read differently (bare line feeds, folded lines,
//! two lengths) is refused here, so that the HTTP library behind it and the servers behind that see one meaning.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest head in bytes.
pub const HEAD_LIMIT: usize = 16 * 1024;
const HEADERS_LIMIT: usize = 64;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The peer went away before its request was whole; nobody is left to answer.
    #[error("the connection ended within the head")]
    Ended,
    /// Longer than [`HEAD_LIMIT`], or more than 64 header lines.
    #[error("the head is too long")]
    TooLong,
    /// Not the strict form.
    #[error("{0}")]
    Malformed(&'static str),
}

/// A request's head and the bytes that came with it.
#[derive(Debug)]
pub struct Head {
    /// The method.
    pub method: String,
    /// The request target as it stands.
    pub target: String,
    headers: Vec<(String, Vec<u8>)>,
    /// Everything that was read: the head and, from [`Head::body_start`] on, what followed.
    pub received: Vec<u8>,
    /// Where the head ends.
    pub body_start: usize,
}

impl Head {
    /// All values of a header; `name` in lower case.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_slice())
    }

    /// The value of a header that stands there exactly once.
    pub fn single<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut values = self.values(name);
        let first = values.next()?;
        values.next().is_none().then_some(())?;
        std::str::from_utf8(first).ok()
    }
}

/// Reads a head from `stream`. The caller bounds the time.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Head, HeadError> {
    let mut received = Vec::with_capacity(1024);
    loop {
        if let Some(end) = end_of_head(&received) {
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

fn end_of_head(received: &[u8]) -> Option<usize> {
    received
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|position| position + 4)
}

fn parse(received: Vec<u8>, end: usize) -> Result<Head, HeadError> {
    let bytes = received.get(..end).unwrap_or_default();
    refuse_odd_bytes(bytes)?;
    let mut space = [httparse::EMPTY_HEADER; HEADERS_LIMIT];
    let mut request = httparse::Request::new(&mut space);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length == end => {}
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLong),
        _ => return Err(HeadError::Malformed("the head is not HTTP/1.1")),
    }
    let headers: Vec<(String, Vec<u8>)> = request
        .headers
        .iter()
        .map(|header| (header.name.to_ascii_lowercase(), header.value.to_vec()))
        .collect();
    let head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        headers,
        body_start: end,
        received,
    };
    refuse_ambiguous_framing(&head)?;
    Ok(head)
}

/// Every line ends in CRLF, none is folded, no control character but the tab stands anywhere.
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
fn refuse_ambiguous_framing(head: &Head) -> Result<(), HeadError> {
    let lengths: Vec<&[u8]> = head.values("content-length").collect();
    let codings: Vec<&[u8]> = head.values("transfer-encoding").collect();
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(()),
        ([length], [])
            if !length.is_empty() && length.len() <= 19 && length.iter().all(u8::is_ascii_digit) =>
        {
            Ok(())
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(HeadError::Malformed("the body's length is ambiguous")),
    }
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
        assert_eq!(&head.received[head.body_start..], b"\x16\x03");
    }

    #[tokio::test]
    async fn a_header_that_stands_twice_is_no_single_header() {
        let head = read_bytes(b"GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(head.single("host"), None);
        assert_eq!(head.values("host").count(), 2);
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
        assert!(matches!(read_bytes(bytes).await, Err(HeadError::Malformed(_))));
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
            let end = end_of_head(&bytes).unwrap();
            let _ = parse(bytes, end);
        }
    }
}
