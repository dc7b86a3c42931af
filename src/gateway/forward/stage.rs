//! One plain request on its way: received, permitted, recorded; then it can be sent.
//!
//! Each stage is made from the one before it, and only the last one can be sent. So a request that was not judged, or of
//! which there is no record, cannot be sent: it does not type-check.

use std::net::SocketAddr;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Uri};

use super::headers::{end_to_end, without_credentials};
use crate::denial::Denial;
use crate::egress::Decided;
use crate::evidence::RequestLog;
use cofferdam_api::TlsMode;
use cofferdam_policy::dimension::requests::Request;
use cofferdam_policy::pattern::{method, path};
use cofferdam_policy::route::permit;
use cofferdam_service::http1::Head;
use cofferdam_wire::denial::DenialCode;

/// A request with one meaning that nobody has judged yet.
#[derive(Debug)]
pub struct Received {
    request: Request,
    wire: Wire,
}

/// A request that every layer of policy allows.
#[derive(Debug)]
pub struct Permitted {
    decision: permit::Permitted,
    wire: Wire,
    /// Whether the caller's own credentials go no further.
    inspected: bool,
}

/// A permitted request of which the records say that it goes out.
#[derive(Debug)]
pub struct Recorded(Permitted);

/// What was judged, as it is written to the server.
#[derive(Debug)]
struct Wire {
    method: Method,
    uri: Uri,
    host: HeaderValue,
}

impl Received {
    /// Reads the request of `head` for `path` of the server at `authority`.
    ///
    /// # Errors
    /// It could be read in two ways, or is of a kind that is not served.
    pub fn read(head: &Head, authority: &str, path: &str) -> Result<Self, Denial> {
        refuse_other_meanings(head, authority)?;
        let method = method::Method::parse(&head.method).map_err(invalid)?;
        let target = path::Target::parse(path).map_err(invalid)?;
        let none = |what: &'static str| Denial::new(DenialCode::RequestInvalid, what);
        let wire = Wire {
            method: method.as_str().parse().map_err(|_| none("the method is none"))?,
            uri: target.as_str().parse().map_err(|_| none("the path is none"))?,
            host: HeaderValue::from_str(&bare(authority))
                .map_err(|_| Denial::new(DenialCode::HostInvalid, "the host is not a header's value"))?,
        };
        Ok(Self {
            request: Request { method, target },
            wire,
        })
    }

    /// What is asked for.
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// Has the policies judge the request.
    ///
    /// # Errors
    /// One of them denies it.
    pub fn permit(self, decided: &Decided) -> Result<Permitted, Denial> {
        Ok(Permitted {
            decision: decided.permit(self.request)?,
            wire: self.wire,
            inspected: match decided.route().tls() {
                TlsMode::Inspect => true,
                TlsMode::Tunnel => false,
            },
        })
    }
}

impl Permitted {
    /// What is asked for.
    pub const fn request(&self) -> &Request {
        self.decision.request()
    }

    /// Records that the request goes out to `address`.
    pub fn record(self, log: &RequestLog, address: SocketAddr) -> Recorded {
        log.allowed(address, self.decision.rules());
        Recorded(self)
    }
}

impl Recorded {
    /// The request as it is sent: the method, the path and the host that were judged, the headers that are for the server,
    /// and `body`.
    pub fn outgoing<B>(self, headers: HeaderMap, body: B) -> http::Request<B> {
        let Permitted {
            decision: _,
            wire,
            inspected,
        } = self.0;
        let headers = end_to_end(headers);
        let mut headers = if inspected {
            without_credentials(headers)
        } else {
            headers
        };
        headers.insert(HOST, wire.host);
        let mut outgoing = http::Request::new(body);
        *outgoing.method_mut() = wire.method;
        *outgoing.uri_mut() = wire.uri;
        *outgoing.headers_mut() = headers;
        outgoing
    }
}

fn invalid(error: impl std::fmt::Display) -> Denial {
    Denial::new(DenialCode::RequestInvalid, error.to_string())
}

/// The one spelling of an authority of `http`: in small letters, without the port that is meant anyway.
fn bare(authority: &str) -> String {
    authority
        .strip_suffix(":80")
        .unwrap_or(authority)
        .to_ascii_lowercase()
}

/// One meaning only: the `Host` header repeats the authority, nothing is upgraded, and nothing is promised for later.
fn refuse_other_meanings(head: &Head, authority: &str) -> Result<(), Denial> {
    let denied = |code: DenialCode, message: &'static str| Err(Denial::new(code, message));
    let same_host = |value: &str| bare(value.trim()) == bare(authority);
    // Clients of HTTP/1.0 need not send one.
    let is_absent = head.minor_version == 0 && head.values("host").next().is_none();
    if !is_absent && !head.single("host").is_some_and(same_host) {
        let message = "exactly one Host header must repeat the host of the request's URL";
        return denied(DenialCode::RequestInvalid, message);
    }
    if head.asks_for_upgrade() {
        return denied(
            DenialCode::UpgradeRefused,
            "a plain request cannot become another protocol",
        );
    }
    // The gateway answers 100 itself once the request is permitted, and the server never sees the header.
    let is_met = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
    if !head.values("expect").all(is_met) {
        return denied(
            DenialCode::ExpectRefused,
            "the request expects something else than 100-continue",
        );
    }
    if head.values("trailer").next().is_some() {
        return denied(
            DenialCode::RequestInvalid,
            "headers behind the body (Trailer) are not served",
        );
    }
    Ok(())
}
