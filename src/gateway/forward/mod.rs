//! Plain HTTP to hosts whose rules list the port: requests in absolute form, and requests inside a tunnel.

use std::sync::Arc;

use http::{HeaderValue, Uri};

use crate::admission::{Admission, Admitted};
use crate::caller::Caller;
use crate::denial::Denial;
use crate::egress::{Upstream, Upstreams, authority};
use crate::transport::Received;
use crate::transport::paced::Paced;
use crate::transport::prefixed::Prefixed;
use crate::transport::serve_one::serve_one;
use cofferdam_service::http1::Head;
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::record::CloseCause;

use self::exchange::{Counters, bad_gateway, exchange};

mod exchange;
mod headers;

/// Whether `target` is in absolute form with the one scheme that is served.
pub fn is_absolute(target: &str) -> bool {
    target
        .get(..7)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"))
}

/// Serves absolute-form requests.
pub struct PlainRequests {
    /// Admits the requests.
    pub admission: Arc<Admission>,
    /// Opens the connections to their hosts.
    pub upstreams: Arc<Upstreams>,
}

/// What the upstream server is asked for.
struct Origin {
    /// The path with its query.
    path: Uri,
    /// The value of `Host`.
    host: HeaderValue,
}

impl PlainRequests {
    /// Serves one request.
    pub async fn serve(&self, received: Received) {
        let Some(admitted) = self.admission.admit(received, authority_of).await else {
            return;
        };
        let opening = self.open(&admitted.caller, &admitted.head);
        match admitted.within_share(opening).await {
            Ok((origin, upstream)) => pass(admitted, origin, upstream).await,
            Err(denial) => admitted.refuse(&denial).await,
        }
    }

    async fn open(&self, caller: &Caller, head: &Head) -> Result<(Origin, Upstream), Denial> {
        let authority = authority_of(&head.target);
        let (host, port) = authority::parse(authority, Some(80))?;
        let path = head.target.get(7 + authority.len()..).unwrap_or_default();
        let origin = origin(head, authority, path)?;
        let upstream = self.upstreams.open(caller, &host, port).await?;
        Ok((origin, upstream))
    }
}

/// Serves the plain request that a client sent through the tunnel that it had opened to `authority`: Node's `fetch` and
/// others ask so for `http://` URLs. `admitted` holds its head.
pub async fn serve_inside(admitted: Admitted, authority: &str, upstream: Upstream) {
    let head = &admitted.head;
    let asked = if head.target.starts_with('/') {
        origin(head, authority, &head.target)
    } else {
        let message = "a request inside a tunnel names its path only";
        Err(Denial::new(DenialCode::RequestInvalid, message))
    };
    match asked {
        Ok(origin) => pass(admitted, origin, upstream).await,
        Err(denial) => admitted.refuse(&denial).await,
    }
}

/// What the server of `authority` is asked for.
fn origin(head: &Head, authority: &str, path: &str) -> Result<Origin, Denial> {
    refuse_other_meanings(head, authority)?;
    Ok(Origin {
        path: path_of(path)?,
        host: HeaderValue::from_str(&authority.to_ascii_lowercase())
            .map_err(|_| Denial::new(DenialCode::HostInvalid, "the host is not a header's value"))?,
    })
}

fn authority_of(target: &str) -> &str {
    let rest = target.get(7..).unwrap_or_default();
    rest.split(['/', '?', '#', '\\']).next().unwrap_or_default()
}

fn path_of(path: &str) -> Result<Uri, Denial> {
    let invalid = || Denial::new(DenialCode::RequestInvalid, "the path is not one");
    // A fragment is never sent, and a backslash is a slash to some servers and not to others.
    if path.contains(['#', '\\']) || !path.is_ascii() {
        return Err(invalid());
    }
    let path = match path {
        "" => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        path => path.to_owned(),
    };
    path.parse().map_err(|_| invalid())
}

/// One meaning only: the `Host` header repeats the authority, nothing is upgraded, the method is an ordinary one.
fn refuse_other_meanings(head: &Head, authority: &str) -> Result<(), Denial> {
    let invalid = |message: &'static str| Err(Denial::new(DenialCode::RequestInvalid, message));
    let same_host = |value: &str| {
        let bare = |text: &str| text.strip_suffix(":80").unwrap_or(text).to_ascii_lowercase();
        bare(value.trim()) == bare(authority)
    };
    // Clients of HTTP/1.0 need not send one.
    let is_absent = head.minor_version == 0 && head.values("host").next().is_none();
    if !is_absent && !head.single("host").is_some_and(same_host) {
        return invalid("exactly one Host header must repeat the host of the request's URL");
    }
    if head.asks_for_upgrade() {
        return Err(Denial::new(
            DenialCode::UpgradeRefused,
            "a plain request cannot become another protocol",
        ));
    }
    if matches!(head.method.as_str(), "TRACE" | "TRACK" | "CONNECT" | "PRI") {
        return invalid("the method is not served");
    }
    Ok(())
}

async fn pass(admitted: Admitted, origin: Origin, upstream: Upstream) {
    let Admitted {
        stream: client,
        head,
        caller,
        log,
        slot,
        flow,
        unread,
    } = admitted;
    let Upstream {
        stream,
        address,
        rules,
    } = upstream;
    log.allowed(address, &rules);
    let client = Prefixed::new(head.received, Paced::new(client, &flow));
    let stream = Paced::new(stream, &flow);
    let counters = Arc::new(Counters::default());
    let answering = Arc::clone(&counters);
    let served = serve_one(client, |request| async move {
        let answer = exchange(stream, origin, request, answering).await;
        answer.unwrap_or_else(|error| bad_gateway(&error))
    });
    let cause = tokio::select! {
        () = served => flow.ended().unwrap_or(CloseCause::Ended),
        cause = caller.cut() => cause.into(),
        // Held to the end: what a client sends after its request is not read.
        () = unread.evicted() => CloseCause::LimitExceeded,
    };
    flow.closed();
    drop(slot);
    log.closed(counters.sent(), counters.received(), cause);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert!(is_absolute("http://a.test/") && is_absolute("HTTP://a.test"));
        assert!(!is_absolute("https://a.test/") && !is_absolute("/x") && !is_absolute("http:/a"));
        assert_eq!(authority_of("http://a.test:80/x?y"), "a.test:80");
        assert_eq!(authority_of("http://a.test?x=/"), "a.test");
        assert_eq!(authority_of("http://a.test\\@evil.test/"), "a.test");
        assert_eq!(path_of("").unwrap(), "/");
        assert_eq!(path_of("?a=b").unwrap(), "/?a=b");
        for path in ["/a#b", "\\@evil.test/", "/\u{e4}", "/a b"] {
            assert!(path_of(path).is_err(), "{path}");
        }
    }
}
