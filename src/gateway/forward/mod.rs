//! Plain HTTP to hosts whose rules list the port: requests in absolute form, and requests inside a tunnel.

use std::sync::Arc;

use crate::admission::{Admission, Admitted, within_share};
use crate::caller::{Caller, Passing};
use crate::denial::Denial;
use crate::egress::{Decided, Upstream, Upstreams, authority};
use crate::transport;
use crate::transport::paced::Paced;
use crate::transport::prefixed::Prefixed;
use crate::transport::serve_one::serve_one;
use cofferdam_policy::pattern::host::Host;
use cofferdam_service::http1::Head;
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::record::CloseCause;

use self::exchange::{Counters, bad_gateway, exchange};
use self::stage::{Permitted, Received};

mod exchange;
mod headers;
mod stage;

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

impl PlainRequests {
    /// Serves one request.
    pub async fn serve(&self, received: transport::Received) {
        let Some(mut admitted) = self.admission.admit(received, authority_of).await else {
            return;
        };
        let opened = match asked(&admitted.head) {
            Ok(asked) => {
                admitted.log.set_request(asked.received.request());
                let opening = self.open(&admitted.caller, asked);
                admitted.within_share(opening).await
            }
            Err(denial) => Err(denial),
        };
        match opened {
            Ok((permitted, upstream)) => pass(admitted, permitted, upstream).await,
            Err(denial) => admitted.refuse(&denial).await,
        }
    }

    async fn open(&self, caller: &Caller, asked: Asked) -> Result<(Permitted, Upstream), Denial> {
        let decided = self.upstreams.decide(caller, &asked.host, asked.port).await?;
        let permitted = asked.received.permit(&decided)?;
        let passing = Passing::Request(permitted.request().clone());
        let upstream = self.upstreams.reach(caller, &decided, passing).await?;
        Ok((permitted, upstream))
    }
}

/// What a request in absolute form asks for.
struct Asked {
    host: Host,
    port: u16,
    received: Received,
}

fn asked(head: &Head) -> Result<Asked, Denial> {
    let authority = authority_of(&head.target);
    let (host, port) = authority::parse(authority, Some(80))?;
    let path = head.target.get(7 + authority.len()..).unwrap_or_default();
    // A URL may leave the root's slash out (RFC 9112, section 3.2.1).
    let path = match path {
        "" => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        path => path.to_owned(),
    };
    let received = Received::read(head, authority, &path)?;
    Ok(Asked { host, port, received })
}

/// Serves the plain request that a client sent through the tunnel that it had opened to `authority`: Node's `fetch` and
/// others ask so for `http://` URLs. `admitted` holds its head; `reached` is the connection to the host, where the tunnel
/// has one already.
pub async fn serve_inside(
    mut admitted: Admitted,
    authority: &str,
    upstreams: &Upstreams,
    decided: &Decided,
    reached: Option<Upstream>,
) {
    let opening = async {
        let target = &admitted.head.target;
        if !target.starts_with('/') {
            let message = "a request inside a tunnel names its path only";
            return Err(Denial::new(DenialCode::RequestInvalid, message));
        }
        let received = Received::read(&admitted.head, authority, target)?;
        admitted.log.set_request(received.request());
        let permitted = received.permit(decided)?;
        let passing = Passing::Request(permitted.request().clone());
        let upstream = match reached {
            Some(upstream) => {
                upstream.note(&admitted.caller, decided.host(), passing)?;
                upstream
            }
            None => upstreams.reach(&admitted.caller, decided, passing).await?,
        };
        Ok((permitted, upstream))
    };
    match within_share(&admitted.unread, opening).await {
        Ok((permitted, upstream)) => pass(admitted, permitted, upstream).await,
        Err(denial) => admitted.refuse(&denial).await,
    }
}

fn authority_of(target: &str) -> &str {
    let rest = target.get(7..).unwrap_or_default();
    rest.split(['/', '?', '#', '\\']).next().unwrap_or_default()
}

async fn pass(admitted: Admitted, permitted: Permitted, upstream: Upstream) {
    let Admitted {
        stream: client,
        head,
        caller,
        log,
        slot,
        flow,
        unread,
    } = admitted;
    let Upstream { stream, address } = upstream;
    let recorded = permitted.record(&log, address);
    let client = Prefixed::new(head.received, Paced::new(client, &flow));
    let stream = Paced::new(stream, &flow);
    let counters = Arc::new(Counters::default());
    let answering = Arc::clone(&counters);
    let served = serve_one(client, |request| async move {
        let answer = exchange(stream, recorded, request, answering).await;
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
    }
}
