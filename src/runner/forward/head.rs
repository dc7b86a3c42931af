//! What the gateway gets of a client's request. The head itself is read by [`cofferdam_service::http1`].

use cofferdam_service::http1::{Framing, HEAD_LIMIT, HEADERS_LIMIT, Head, HeaderLine};

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
pub enum RewriteError {
    /// Origin-form, `https://…`, `*`: this proxy has no pages of its own, and no control route can be asked for
    /// through it.
    #[error("only CONNECT host:port and http://host/path are forwarded")]
    Form,
    /// With the run's identity the head is longer than the gateway takes.
    #[error("with the run's identity the request's head is longer than the gateway takes")]
    TooLong,
}

/// What follows the head.
#[derive(Debug, PartialEq, Eq)]
pub enum Follows {
    /// A tunnel, once the gateway has agreed.
    Tunnel,
    /// A body. The gateway finds the end of chunks.
    Body(Framing),
}

/// A head as the gateway gets it.
#[derive(Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Bytes of the head.
    pub bytes: Vec<u8>,
    /// What follows.
    pub follows: Follows,
}

/// Most headers of an answer of the gateway.
const ANSWER_HEADERS: usize = 100;

/// The gateway's answer is not HTTP/1.
#[derive(Debug)]
pub struct AnswerError;

/// The status code in the answer's head at the start of `buffer` and the head's length.
pub fn answer(buffer: &[u8]) -> Result<Option<(u16, usize)>, AnswerError> {
    let mut headers = [httparse::EMPTY_HEADER; ANSWER_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => Ok(Some((response.code.ok_or(AnswerError)?, length))),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(AnswerError),
    }
}

/// The head that the gateway gets for `head`, with `token` as the run's identity.
pub fn rewrite(head: &Head, token: &str) -> Result<Rewritten, RewriteError> {
    if head.method == "CONNECT" {
        return connect(&head.target, token);
    }
    let is_plain = head
        .target
        .get(..7)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
    if !is_plain {
        return Err(RewriteError::Form);
    }
    plain(head, token)
}

/// Of a CONNECT nothing but its target counts; nothing else is passed on.
fn connect(target: &str, token: &str) -> Result<Rewritten, RewriteError> {
    if target.is_empty() || target.contains(['/', '@', '?', '#']) || !target.contains(':') {
        return Err(RewriteError::Form);
    }
    let head =
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Bearer {token}\r\n\r\n");
    Ok(Rewritten {
        bytes: head.into_bytes(),
        follows: Follows::Tunnel,
    })
}

fn plain(head: &Head, token: &str) -> Result<Rewritten, RewriteError> {
    let mut bytes = format!("{} {} HTTP/1.1\r\n", head.method, head.target).into_bytes();
    let passed: Vec<&HeaderLine> = head
        .headers
        .iter()
        .filter(|header| !is_hop(&header.name))
        .collect();
    for header in &passed {
        bytes.extend_from_slice(header.name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(&header.value);
        bytes.extend_from_slice(b"\r\n");
    }
    // One request a connection: bytes after its body are nobody's request.
    bytes.extend_from_slice(b"Connection: close\r\n");
    bytes.extend_from_slice(format!("Proxy-Authorization: Bearer {token}\r\n\r\n").as_bytes());
    if bytes.len() > HEAD_LIMIT || passed.len() + 2 > HEADERS_LIMIT {
        return Err(RewriteError::TooLong);
    }
    let follows = Follows::Body(head.framing);
    Ok(Rewritten { bytes, follows })
}

fn is_hop(name: &str) -> bool {
    HOP.iter().any(|hop| hop.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_service::http1::{self, HeadError};

    async fn read(head: &str) -> Result<Head, HeadError> {
        http1::read(&mut head.as_bytes()).await
    }

    async fn text(head: &str) -> Result<(String, Follows), RewriteError> {
        let rewritten = rewrite(&read(head).await.unwrap(), "T")?;
        Ok((String::from_utf8(rewritten.bytes).unwrap(), rewritten.follows))
    }

    #[tokio::test]
    async fn of_a_connect_only_the_target_passes() {
        let (head, follows) = text(
            "CONNECT one.test:443 HTTP/1.1\r\nHost: two.test\r\nProxy-Authorization: Basic eA==\r\n\
             proxy-authorization: Bearer forged\r\nContent-Length: 5\r\nX: y\r\n\r\n",
        )
        .await
        .unwrap();
        assert_eq!(
            head,
            "CONNECT one.test:443 HTTP/1.1\r\nHost: one.test:443\r\nProxy-Authorization: Bearer T\r\n\r\n"
        );
        assert_eq!(follows, Follows::Tunnel);
    }

    #[tokio::test]
    async fn a_plain_request_keeps_its_headers_but_not_those_of_the_hop() {
        let (head, follows) = text(
            "POST HTTP://one.test/a HTTP/1.1\r\nHost: one.test\r\nProxy-Authorization: Bearer forged\r\n\
             Connection: keep-alive\r\nUpgrade: h2c\r\nContent-Length: 3\r\nAccept: */*\r\n\r\n",
        )
        .await
        .unwrap();
        assert_eq!(
            head,
            "POST HTTP://one.test/a HTTP/1.1\r\nHost: one.test\r\nContent-Length: 3\r\nAccept: */*\r\n\
             Connection: close\r\nProxy-Authorization: Bearer T\r\n\r\n"
        );
        assert_eq!(follows, Follows::Body(Framing::Bytes(3)));
    }

    #[tokio::test]
    async fn other_forms_are_refused() {
        for head in [
            "GET /v1/whoami HTTP/1.1\r\nHost: gateway\r\n\r\n",
            "POST /v1/output HTTP/1.1\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\n\r\n",
            "GET https://one.test/ HTTP/1.1\r\n\r\n",
            "GET ftp://one.test/ HTTP/1.1\r\n\r\n",
            "CONNECT http://one.test:443 HTTP/1.1\r\n\r\n",
            "CONNECT /v1/state HTTP/1.1\r\n\r\n",
            "CONNECT one.test HTTP/1.1\r\n\r\n",
            "CONNECT a@one.test:1 HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(text(head).await.unwrap_err(), RewriteError::Form, "{head}");
        }
    }

    #[tokio::test]
    async fn ambiguous_lengths_and_other_protocols_are_refused() {
        for head in [
            "GET http://a/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
        ] {
            assert_eq!(read(head).await.unwrap_err(), HeadError::Length, "{head}");
        }
        for head in [
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "GET http://a/ HTTP/1.1\nHost: a\r\n\r\n",
        ] {
            assert!(matches!(read(head).await, Err(HeadError::Malformed(_))), "{head}");
        }
    }

    /// What the forwarder adds must not make the gateway refuse what it was handed.
    #[tokio::test]
    async fn head_that_outgrows_the_gateways_limit_is_refused_here() {
        let long = format!(
            "GET http://a/ HTTP/1.1\r\nX: {}\r\n\r\n",
            "y".repeat(HEAD_LIMIT - 40)
        );
        assert_eq!(text(&long).await.unwrap_err(), RewriteError::TooLong);
        let lines = |count: usize| format!("GET http://a/ HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(count));
        assert_eq!(
            text(&lines(HEADERS_LIMIT - 1)).await.unwrap_err(),
            RewriteError::TooLong
        );
        let (head, _) = text(&lines(HEADERS_LIMIT - 2)).await.unwrap();
        assert!(read(&head).await.is_ok());
    }
}
