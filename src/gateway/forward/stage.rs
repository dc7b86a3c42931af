//! One request on its way: received, permitted, credentialed, recorded; then it can be sent.
//!
//! Each stage is made from the one before it, and only the last one can be sent. So a request that was not judged, or of
//! which there is no record, cannot be sent: it does not type-check.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::headers::{end_to_end, without, without_accounts, without_credentials};
use crate::caller::Caller;
use crate::credentials::sent::Sent;
use crate::denial::Denial;
use crate::egress::{Decided, Upstreams};
use crate::evidence::RequestLog;
use cofferdam_api::TlsMode;
use cofferdam_policy::dimension::requests::Request;
use cofferdam_policy::frozen::FrozenPolicy;
use cofferdam_policy::pattern::{method, path};
use cofferdam_policy::route::permit;
use cofferdam_service::http1::{Framing, Head};
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::runner::RunIdentity;

/// How a host is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In clear text.
    Http,
    /// Over TLS, which the gateway ends and begins anew.
    Https,
}

impl Scheme {
    /// The port that is meant where none is named.
    const fn port(self) -> &'static str {
        match self {
            Self::Http => ":80",
            Self::Https => ":443",
        }
    }

    /// The one spelling of an authority: in small letters, without the port that is meant anyway.
    fn bare(self, authority: &str) -> String {
        authority
            .strip_suffix(self.port())
            .unwrap_or(authority)
            .to_ascii_lowercase()
    }
}

/// The server that the requests of a connection go to.
#[derive(Clone, Debug)]
pub struct Server {
    /// `host:port` or `host`, as the client named it.
    pub authority: String,
    /// How it is spoken to.
    pub scheme: Scheme,
    /// How requests name what they want of it.
    pub form: Form,
}

/// The form of a request's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A URL.
    Absolute,
    /// A path, of the server that the tunnel leads to.
    Origin,
}

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

/// A permitted request with the credential that policy has the gateway add to it, if it does.
pub struct Credentialed {
    permitted: Permitted,
    credential: Option<Arc<Sent>>,
}

/// A permitted request of which the records say that it goes out.
pub struct Recorded(Credentialed);

/// What was judged, as it is written to the server.
#[derive(Debug)]
struct Wire {
    method: Method,
    uri: Uri,
    host: HeaderValue,
}

impl Received {
    /// Reads the request of `head` to `server`.
    ///
    /// # Errors
    /// It could be read in two ways, or is of a kind that is not served.
    pub fn read(head: &Head, server: &Server) -> Result<Self, Denial> {
        let path = server.path_of(&head.target)?;
        server.refuse_other_meanings(head)?;
        let method = method::Method::parse(&head.method).map_err(invalid)?;
        let target = path::Target::parse(&path).map_err(invalid)?;
        let none = |what: &'static str| Denial::new(DenialCode::RequestInvalid, what);
        let wire = Wire {
            method: method.as_str().parse().map_err(|_| none("the method is none"))?,
            uri: target.as_str().parse().map_err(|_| none("the path is none"))?,
            host: HeaderValue::from_str(&server.bare())
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

    /// Has the policies of now judge the request.
    ///
    /// # Errors
    /// One of them denies it.
    pub fn permit(self, caller: &Caller, decided: &mut Decided) -> Result<Permitted, Denial> {
        Ok(Permitted {
            decision: decided.permit(caller, self.request)?,
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

    /// Finds the credential that the request gets, or has a token made for the run. `scheme`: how it goes out.
    ///
    /// # Errors
    /// There is none that can be sent to the host, or it would go out in clear text.
    pub async fn credentialed(
        mut self,
        upstreams: &Arc<Upstreams>,
        policy: &FrozenPolicy,
        run: &RunIdentity,
        scheme: Scheme,
    ) -> Result<Credentialed, Denial> {
        if scheme == Scheme::Http {
            self.decision = self.decision.in_clear_text().into_result()?;
        }
        let Some(name) = self.decision.credential() else {
            return Ok(Credentialed {
                permitted: self,
                credential: None,
            });
        };
        let (host, request) = (self.decision.host(), self.decision.request());
        let sent = upstreams.sent(policy, name, (host, request), run).await?;
        Ok(Credentialed {
            permitted: self,
            credential: Some(Arc::new(sent)),
        })
    }
}

impl Credentialed {
    /// What is asked for.
    pub const fn request(&self) -> &Request {
        self.permitted.request()
    }

    /// The credential that goes with the request.
    pub fn credential(&self) -> Option<Arc<Sent>> {
        self.credential.clone()
    }

    /// Records that the request goes out to `address`.
    pub fn record(self, log: &RequestLog, address: SocketAddr) -> Recorded {
        let credential = self.credential.as_ref().map(|sent| sent.name());
        log.allowed(address, self.permitted.decision.rules(), credential);
        Recorded(self)
    }
}

impl Recorded {
    /// The request as it is sent: the method, the path and the host that were judged, the headers of `head` that are for
    /// the server, and `body`, framed as it was.
    pub fn outgoing<B>(self, head: &Head, body: B) -> http::Request<B> {
        let Credentialed {
            permitted:
                Permitted {
                    decision: _,
                    wire,
                    inspected,
                },
            credential,
        } = self.0;
        let headers = end_to_end(header_map(head));
        let mut headers = if inspected {
            without_credentials(headers)
        } else {
            headers
        };
        headers.remove(CONTENT_LENGTH);
        if let Framing::Bytes(length) = head.framing
            && head.values("content-length").next().is_some()
        {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        headers.insert(HOST, wire.host);
        // Last, so that nothing which the agent sent stands in its place.
        if let Some(credential) = credential {
            let own = credential.header().as_str().replace('_', "-");
            headers = without(without_accounts(headers), |name| name == own);
            credential.add_to(&mut headers);
        }
        let mut outgoing = http::Request::new(body);
        *outgoing.method_mut() = wire.method;
        *outgoing.uri_mut() = wire.uri;
        *outgoing.headers_mut() = headers;
        outgoing
    }
}

/// The header lines. The parser of the head has taken none that is no header; one that this map does not know is left out.
fn header_map(head: &Head) -> HeaderMap {
    let lines = head.headers.iter().filter_map(|line| {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(&line.value).ok()?))
    });
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for (name, value) in lines {
        headers.append(name, value);
    }
    headers
}

/// Whether `target` is in absolute form with the one scheme that is served.
pub fn is_absolute(target: &str) -> bool {
    target
        .get(..7)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"))
}

/// The two parts of a target in absolute form.
pub fn authority_and_path(target: &str) -> (&str, &str) {
    let rest = target.get(7..).unwrap_or_default();
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    rest.split_at(end)
}

fn invalid(error: impl std::fmt::Display) -> Denial {
    Denial::new(DenialCode::RequestInvalid, error.to_string())
}

impl Server {
    fn bare(&self) -> String {
        self.scheme.bare(&self.authority)
    }

    /// The path that a target names on this server.
    fn path_of<'a>(&self, target: &'a str) -> Result<Cow<'a, str>, Denial> {
        let path = match self.form {
            Form::Origin => Some(target)
                .filter(|target| target.starts_with('/'))
                .map(Cow::Borrowed),
            Form::Absolute => match authority_and_path(target) {
                (named, _) if !is_absolute(target) || named != self.authority => None,
                // A URL may leave the root's slash out (RFC 9112, section 3.2.1).
                (_, "") => Some("/".into()),
                (_, query) if query.starts_with('?') => Some(format!("/{query}").into()),
                (_, path) => Some(path.into()),
            },
        };
        path.ok_or_else(|| {
            let message = "a request inside a tunnel names its path only";
            Denial::new(DenialCode::RequestInvalid, message)
        })
    }

    /// One meaning only: the `Host` header repeats the authority, nothing is upgraded, and nothing is promised for later.
    fn refuse_other_meanings(&self, head: &Head) -> Result<(), Denial> {
        let denied = |code: DenialCode, message: &'static str| Err(Denial::new(code, message));
        let same_host = |value: &str| self.scheme.bare(value.trim()) == self.bare();
        // Clients of HTTP/1.0 need not send one.
        let is_absent = head.minor_version == 0 && head.values("host").next().is_none();
        if !is_absent && !head.single("host").is_some_and(same_host) {
            let message = "exactly one Host header must repeat the host of the request's URL or tunnel";
            return denied(DenialCode::RequestInvalid, message);
        }
        if head.asks_for_upgrade() {
            return denied(
                DenialCode::UpgradeRefused,
                "a request cannot become another protocol on its way",
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert!(is_absolute("http://a.test/") && is_absolute("HTTP://a.test"));
        assert!(!is_absolute("https://a.test/") && !is_absolute("/x") && !is_absolute("http:/a"));
        for (target, parts) in [
            ("http://a.test:80/x?y", ("a.test:80", "/x?y")),
            ("http://a.test?x=/", ("a.test", "?x=/")),
            ("http://a.test\\@evil.test/", ("a.test", "\\@evil.test/")),
        ] {
            assert_eq!(authority_and_path(target), parts);
        }
    }

    #[test]
    fn a_target_names_a_path_of_its_own_server_only() {
        let path_of = |form, target| {
            let server = Server {
                authority: "a.test".to_owned(),
                scheme: Scheme::Http,
                form,
            };
            server.path_of(target).ok().map(Cow::into_owned)
        };
        assert_eq!(path_of(Form::Origin, "/a?b").as_deref(), Some("/a?b"));
        for target in ["http://a.test/c", "a.test:443", "*", ""] {
            assert_eq!(path_of(Form::Origin, target), None, "{target}");
        }
        for (target, path) in [
            ("/a?b", None),
            ("http://a.test", Some("/")),
            ("http://a.test?b", Some("/?b")),
            ("http://a.test/c", Some("/c")),
            ("http://b.test/c", None),
            ("https://a.test/c", None),
            ("a.test:443", None),
            ("*", None),
        ] {
            assert_eq!(path_of(Form::Absolute, target).as_deref(), path, "{target}");
        }
    }

    #[test]
    fn an_authority_has_one_spelling() {
        assert_eq!(Scheme::Http.bare("A.test:80"), "a.test");
        assert_eq!(Scheme::Https.bare("A.test:443"), "a.test");
        assert_eq!(Scheme::Https.bare("A.test:80"), "a.test:80");
    }
}
