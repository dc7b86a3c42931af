//! The head of a request: what the forwarder takes from a client and what the gateway gets of it.

/// Longest head in bytes.
pub const HEAD_LIMIT: usize = 32 * 1024;
/// Most headers.
const HEADERS: usize = 100;
/// Headers that concern one hop only; this hop speaks for itself.
const HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "upgrade",
];

/// Why a head is not passed on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not HTTP/1.
    #[error("the request is not HTTP/1")]
    Malformed,
    /// Origin-form, `https://…`, `*`: this proxy has no pages of its own, and no control route can be asked for
    /// through it.
    #[error("only CONNECT host:port and http://host/path are forwarded")]
    Form,
    /// More than one length.
    #[error("the request has more than one length")]
    Length,
}

/// How much body follows.
#[derive(Debug, PartialEq, Eq)]
pub enum Follows {
    /// A tunnel, once the gateway has agreed.
    Tunnel,
    /// So many bytes.
    Body(u64),
    /// Chunks; their end is the gateway's to find.
    Chunks,
}

/// A head as the gateway gets it.
#[derive(Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Bytes of the head.
    pub bytes: Vec<u8>,
    /// What follows.
    pub follows: Follows,
}

/// Length of the head at the start of `buffer`, or `None` while it is not complete.
pub fn complete(buffer: &[u8]) -> Result<Option<usize>, HeadError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    match httparse::Request::new(&mut headers).parse(buffer) {
        Ok(httparse::Status::Complete(length)) => Ok(Some(length)),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(HeadError::Malformed),
    }
}

/// The status code in the answer's head at the start of `buffer` and the head's length.
pub fn answer(buffer: &[u8]) -> Result<Option<(u16, usize)>, HeadError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => {
            Ok(Some((response.code.ok_or(HeadError::Malformed)?, length)))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(HeadError::Malformed),
    }
}

/// The head that the gateway gets for `head`, with `token` as the run's identity.
pub fn rewrite(head: &[u8], token: &str) -> Result<Rewritten, HeadError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        _ => return Err(HeadError::Malformed),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(HeadError::Malformed);
    };
    if method == "CONNECT" {
        return connect(target, token);
    }
    if !target
        .get(..7)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"))
    {
        return Err(HeadError::Form);
    }
    plain(method, target, request.headers, token)
}

/// Of a CONNECT nothing but its target counts; nothing else is passed on.
fn connect(target: &str, token: &str) -> Result<Rewritten, HeadError> {
    if target.is_empty() || target.contains(['/', '@', '?', '#']) || !target.contains(':') {
        return Err(HeadError::Form);
    }
    let head =
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Bearer {token}\r\n\r\n");
    Ok(Rewritten {
        bytes: head.into_bytes(),
        follows: Follows::Tunnel,
    })
}

fn plain(
    method: &str,
    target: &str,
    headers: &[httparse::Header<'_>],
    token: &str,
) -> Result<Rewritten, HeadError> {
    let follows = follows(headers)?;
    let mut bytes = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    for header in headers {
        if HOP.iter().any(|name| name.eq_ignore_ascii_case(header.name)) {
            continue;
        }
        bytes.extend_from_slice(header.name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(header.value);
        bytes.extend_from_slice(b"\r\n");
    }
    // One request a connection: what follows its body is nobody's request.
    bytes.extend_from_slice(b"Connection: close\r\n");
    bytes.extend_from_slice(format!("Proxy-Authorization: Bearer {token}\r\n\r\n").as_bytes());
    Ok(Rewritten { bytes, follows })
}

fn follows(headers: &[httparse::Header<'_>]) -> Result<Follows, HeadError> {
    let named = |name: &'static str| {
        headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
    };
    let mut lengths = named("content-length");
    let length = lengths.next();
    let mut codings = named("transfer-encoding");
    let coding = codings.next();
    match (length, coding) {
        _ if lengths.next().is_some() || codings.next().is_some() => Err(HeadError::Length),
        (None, None) => Ok(Follows::Body(0)),
        (Some(length), None) => std::str::from_utf8(length.value)
            .ok()
            .filter(|value| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|value| value.parse().ok())
            .map(Follows::Body)
            .ok_or(HeadError::Length),
        (None, Some(coding)) if coding.value.eq_ignore_ascii_case(b"chunked") => Ok(Follows::Chunks),
        _ => Err(HeadError::Length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(head: &str) -> Result<(String, Follows), HeadError> {
        rewrite(head.as_bytes(), "T").map(|head| (String::from_utf8(head.bytes).unwrap(), head.follows))
    }

    #[test]
    fn of_a_connect_only_the_target_passes() {
        let (head, follows) = text(
            "CONNECT one.test:443 HTTP/1.1\r\nHost: two.test\r\nProxy-Authorization: Basic eA==\r\n\
             proxy-authorization: Bearer forged\r\nContent-Length: 5\r\nX: y\r\n\r\n",
        )
        .unwrap();
        assert_eq!(
            head,
            "CONNECT one.test:443 HTTP/1.1\r\nHost: one.test:443\r\nProxy-Authorization: Bearer T\r\n\r\n"
        );
        assert_eq!(follows, Follows::Tunnel);
    }

    #[test]
    fn a_plain_request_keeps_its_headers_but_not_those_of_the_hop() {
        let (head, follows) = text(
            "POST HTTP://one.test/a HTTP/1.1\nHost: one.test\nProxy-Authorization: Bearer forged\n\
             Connection: keep-alive\nUpgrade: h2c\nContent-Length: 3\nAccept: */*\n\n",
        )
        .unwrap();
        assert_eq!(
            head,
            "POST HTTP://one.test/a HTTP/1.1\r\nHost: one.test\r\nContent-Length: 3\r\nAccept: */*\r\n\
             Connection: close\r\nProxy-Authorization: Bearer T\r\n\r\n"
        );
        assert_eq!(follows, Follows::Body(3));
    }

    #[test]
    fn other_forms_and_lengths_are_refused() {
        for (head, error) in [
            (
                "GET /v1/whoami HTTP/1.1\r\nHost: gateway\r\n\r\n",
                HeadError::Form,
            ),
            ("POST /v1/output HTTP/1.1\r\n\r\n", HeadError::Form),
            ("OPTIONS * HTTP/1.1\r\n\r\n", HeadError::Form),
            ("GET https://one.test/ HTTP/1.1\r\n\r\n", HeadError::Form),
            ("GET ftp://one.test/ HTTP/1.1\r\n\r\n", HeadError::Form),
            ("CONNECT http://one.test:443 HTTP/1.1\r\n\r\n", HeadError::Form),
            ("CONNECT /v1/state HTTP/1.1\r\n\r\n", HeadError::Form),
            ("CONNECT one.test HTTP/1.1\r\n\r\n", HeadError::Form),
            ("CONNECT a@one.test:1 HTTP/1.1\r\n\r\n", HeadError::Form),
            (
                "GET http://a/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                HeadError::Length,
            ),
            (
                "GET http://a/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                HeadError::Length,
            ),
            (
                "GET http://a/ HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                HeadError::Length,
            ),
            (
                "GET http://a/ HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
                HeadError::Length,
            ),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HeadError::Malformed),
            (
                "GET http://a/ HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
                HeadError::Malformed,
            ),
        ] {
            assert_eq!(text(head).unwrap_err(), error, "{head}");
        }
    }
}
