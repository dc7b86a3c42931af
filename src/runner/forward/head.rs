//! What the gateway gets of a client's request. The head itself is read by [`cofferdam_service::http1`].

use std::net::IpAddr;

use cofferdam_service::http1::{Framing, HEAD_LIMIT, HEADERS_LIMIT, Head, HeaderLine};

/// Headers that concern one hop only; this hop speaks for itself.
const HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "http2-settings",
];
/// Headers that pass whatever `Connection` names: without them the request would mean something else.
const KEPT: &[&str] = &["host", "content-length", "transfer-encoding"];

/// Why a head is not passed on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// Origin-form, `https://…`, `*`: this proxy has no pages of its own, and no control route can be asked for
    /// through it.
    #[error("only CONNECT host:port and http://host/path are forwarded")]
    Form,
    /// The sandbox's own addresses are reached without a proxy.
    #[error(
        "{0} is the sandbox's own address: ask for it directly, without the proxy (it belongs into NO_PROXY)"
    )]
    Own(String),
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

/// Refuses what names the sandbox itself: outside of it the address would be somebody else's.
fn refuse_own(authority: &str) -> Result<(), RewriteError> {
    let bare = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match bare.strip_prefix('[') {
        Some(literal) => literal.split(']').next().unwrap_or_default(),
        None => bare.split(':').next().unwrap_or_default(),
    };
    let is_name = |name: &str| {
        name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
    };
    let is_own = is_name(host.trim_end_matches('.'))
        || host.parse::<IpAddr>().is_ok_and(|address| {
            let address = address.to_canonical();
            address.is_loopback() || address.is_unspecified()
        });
    if is_own {
        return Err(RewriteError::Own(host.to_owned()));
    }
    Ok(())
}

/// Of a CONNECT nothing but its target counts; nothing else is passed on.
fn connect(target: &str, token: &str) -> Result<Rewritten, RewriteError> {
    if target.is_empty() || target.contains(['/', '@', '?', '#']) || !target.contains(':') {
        return Err(RewriteError::Form);
    }
    refuse_own(target)?;
    let head =
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Bearer {token}\r\n\r\n");
    Ok(Rewritten {
        bytes: head.into_bytes(),
        follows: Follows::Tunnel,
    })
}

fn plain(head: &Head, token: &str) -> Result<Rewritten, RewriteError> {
    let rest = head.target.get(7..).unwrap_or_default();
    refuse_own(rest.split(['/', '?', '#', '\\']).next().unwrap_or_default())?;
    // The version is the client's, because a server chooses by it how to mark the end of its answer.
    let first = format!(
        "{} {} HTTP/1.{}\r\n",
        head.method, head.target, head.minor_version
    );
    let mut bytes = first.into_bytes();
    let passed: Vec<&HeaderLine> = head
        .headers
        .iter()
        .filter(|header| !is_for_this_hop(head, &header.name))
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

/// `Upgrade` passes where it is more than an offer, so that the gateway can say why it is refused.
fn is_for_this_hop(head: &Head, name: &str) -> bool {
    let is = |list: &[&str]| list.iter().any(|one| one.eq_ignore_ascii_case(name));
    if name.eq_ignore_ascii_case("upgrade") {
        return !head.asks_for_upgrade();
    }
    is(HOP) || (head.is_named_by_connection(name) && !is(KEPT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_service::http1::{self, HeadError};
    use rstest::rstest;

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

    /// What the gateway gets of a plain request with these lines, without the request line and the run's identity.
    async fn passed(lines: &str) -> Vec<String> {
        let request = format!("GET http://one.test/ HTTP/1.1\r\nHost: one.test\r\n{lines}\r\n");
        let (head, _) = text(&request).await.unwrap();
        let lines: Vec<String> = head.lines().map(str::to_owned).collect();
        lines
            .into_iter()
            .filter(|line| !line.is_empty() && !line.starts_with("GET ") && !line.contains("Bearer T"))
            .filter(|line| line != "Connection: close" && line != "Host: one.test")
            .collect()
    }

    #[rstest]
    #[case::java("Connection: Upgrade, HTTP2-Settings\r\nContent-Length: 0\r\nHTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c\r\n", &["Content-Length: 0"])]
    #[case::curl("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nAccept: */*\r\n", &["Accept: */*"])]
    #[case::lower_case("connection: upgrade,http2-settings\r\nupgrade: H2C\r\nhttp2-settings: AA\r\n", &[])]
    #[case::two_lines("Connection: Upgrade\r\nConnection: HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n", &[])]
    #[case::settings_that_nothing_names("HTTP2-Settings: AA\r\nAccept: a\r\n", &["Accept: a"])]
    #[case::offer_that_nothing_names("Upgrade: h2c\r\nAccept: a\r\n", &["Accept: a"])]
    #[case::named("Connection: close, X-Private\r\nX-Private: 1\r\nX-Public: 2\r\n", &["X-Public: 2"])]
    #[case::named_twice("Connection: x-a\r\nconnection: X-B\r\nx-A: 1\r\nX-b: 2\r\n", &[])]
    #[case::keep_alive("Connection: keep-alive, Keep-Alive\r\nKeep-Alive: timeout=5\r\n", &[])]
    #[case::framing_stays("Connection: Content-Length, Host\r\nContent-Length: 0\r\n", &["Content-Length: 0"])]
    #[case::chunks_stay("Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n", &["Transfer-Encoding: chunked"])]
    #[case::websocket_is_refused_by_the_gateway("Connection: Upgrade\r\nUpgrade: websocket\r\n", &["Upgrade: websocket"])]
    #[tokio::test]
    async fn headers_of_this_hop_stay_here(#[case] lines: &str, #[case] expected: &[&str]) {
        assert_eq!(passed(lines).await, expected);
    }

    #[tokio::test]
    async fn version_of_the_client_is_passed_on() {
        let (head, _) = text("GET http://one.test/ HTTP/1.0\r\n\r\n").await.unwrap();
        assert!(
            head.starts_with("GET http://one.test/ HTTP/1.0\r\nConnection: close\r\n"),
            "{head}"
        );
        let (head, _) = text("CONNECT one.test:443 HTTP/1.0\r\n\r\n").await.unwrap();
        assert!(head.starts_with("CONNECT one.test:443 HTTP/1.1\r\n"), "{head}");
    }

    #[rstest]
    #[case("CONNECT localhost:8080", "localhost")]
    #[case("CONNECT 127.0.0.2:8080", "127.0.0.2")]
    #[case("CONNECT [::1]:8080", "::1")]
    #[case("CONNECT 0.0.0.0:80", "0.0.0.0")]
    #[case("GET http://LOCALHOST./a", "LOCALHOST.")]
    #[case("GET http://app.localhost:3000/", "app.localhost")]
    #[case("GET http://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1")]
    #[case("GET http://u:p@127.0.0.1/", "127.0.0.1")]
    #[tokio::test]
    async fn own_addresses_are_named(#[case] first: &str, #[case] own: &str) {
        let error = text(&format!("{first} HTTP/1.1\r\n\r\n")).await.unwrap_err();
        assert_eq!(error, RewriteError::Own(own.to_owned()));
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
