//! `CONNECT`: a tunnel that opens once its first bytes are a TLS hello for the very host that was asked for. Where policy
//! wants requests read, the client's TLS ends here; a client that sends requests in clear text is served like that
//! everywhere.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::admission::{Admission, Admitted, within_share};
use crate::caller::{Caller, Kind, Passing};
use crate::denial::Denial;
use crate::egress::{Decided, Upstream, Upstreams, authority, unless_cut};
use crate::forward::Requests;
use crate::inspect::Inspection;
use crate::transport::Received;
use crate::transport::answer::{self, ESTABLISHED};
use cofferdam_api::TlsMode;
use cofferdam_policy::pattern::host::Host;
use cofferdam_service::http1::Head;
use cofferdam_wire::denial::DenialCode;

use self::hello::{HELLO_LIMIT, HelloError, Hidden};
use self::relay::relay;

pub mod hello;
mod relay;

/// Longest time from the opened tunnel to its whole hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves `CONNECT` requests.
pub struct Tunnels {
    /// Admits the requests.
    pub admission: Arc<Admission>,
    /// Opens the connections to their hosts.
    pub upstreams: Arc<Upstreams>,
    /// Ends the TLS of clients.
    pub inspection: Arc<Inspection>,
    /// Serves what is read.
    pub requests: Arc<Requests>,
}

impl Tunnels {
    /// Serves one request.
    pub async fn serve(&self, received: Received) {
        let Some(admitted) = self.admission.admit(received, whole).await else {
            return;
        };
        let opening = self.open(&admitted.caller, &admitted.head);
        match admitted.within_share(opening).await {
            Ok(way) => self.tunnel(admitted, way).await,
            Err(denial) => admitted.refuse(&denial).await,
        }
    }

    async fn open(&self, caller: &Caller, head: &Head) -> Result<Way, Denial> {
        let (host, port) = authority::parse(&head.target, None)?;
        let decided = self.upstreams.decide(caller, &host, port).await?;
        match decided.route().tls() {
            TlsMode::Tunnel => {
                let route = decided.route();
                let upstream = self.upstreams.reach(caller, route, Passing::Unread).await?;
                Ok(Way::Unread(decided, upstream))
            }
            TlsMode::Inspect => {
                self.has_credentials(caller, &decided).await?;
                Ok(Way::Read(decided))
            }
        }
    }

    /// How the gateway speaks TLS as `host`: with the certificate that there is, or with one for which it is the run's turn.
    async fn certificate(&self, admitted: &Admitted, host: &Host) -> Result<Arc<ServerConfig>, Denial> {
        if let Some(known) = self.inspection.known(host) {
            return Ok(known);
        }
        let turn = within_share(&admitted.unread, self.upstreams.name(&admitted.caller.run));
        unless_cut(&admitted.caller, turn).await?;
        self.inspection.mint(host)
    }

    /// Git shows its user a refused tunnel and not the answer to a request inside one, so that `prepare` learns here that a
    /// repository cannot be cloned for want of its credential.
    async fn has_credentials(&self, caller: &Caller, decided: &Decided) -> Result<(), Denial> {
        match caller.kind {
            Kind::Prepare => {}
            // Of an agent's requests some may need none.
            Kind::Egress | Kind::Collect => return Ok(()),
        }
        for name in decided.route().credentials() {
            let prepared =
                self.upstreams
                    .prepare_credential(decided.policy(), &name, decided.host(), &caller.run);
            prepared.await?;
        }
        Ok(())
    }

    async fn tunnel(&self, mut admitted: Admitted, mut way: Way) {
        let early = admitted.head.early_body().to_vec();
        let opening = async {
            let client = &mut admitted.stream;
            client.write_all(ESTABLISHED).await.map_err(|_| client_gone())?;
            let first = receive_first(client, early, &way).await?;
            if let (First::Hello(hello), Way::Unread(decided, upstream)) = (&first, &mut way) {
                upstream.stream.write_all(hello).await.map_err(|error| {
                    let message = format!("{} closed the connection: {error}", decided.host());
                    Denial::new(DenialCode::DialFailed, message)
                })?;
            }
            Ok(first)
        };
        let opened = unless_cut(&admitted.caller, within_share(&admitted.unread, opening)).await;
        match (opened, way) {
            (Ok(First::Hello(hello)), Way::Unread(decided, upstream)) => {
                relay_unread(admitted, &decided, upstream, hello.len() as u64).await;
            }
            (Ok(First::Hello(hello)), Way::Read(decided)) => {
                match self.certificate(&admitted, decided.named()).await {
                    Ok(config) => Box::pin(self.requests.serve_tls(admitted, (config, hello), decided)).await,
                    Err(denial) => refuse_first(admitted, &denial).await,
                }
            }
            (Ok(First::Clear(received)), Way::Unread(decided, upstream)) => {
                Box::pin(
                    self.requests
                        .serve_clear(admitted, received, decided, Some(upstream)),
                )
                .await;
            }
            (Ok(First::Clear(received)), Way::Read(decided)) => {
                Box::pin(self.requests.serve_clear(admitted, received, decided, None)).await;
            }
            (Err(denial), _) => refuse_first(admitted, &denial).await,
        }
    }
}

/// The way that was decided about at `CONNECT`.
enum Way {
    /// Bytes pass unread, through this connection.
    Unread(Decided, Upstream),
    /// Requests are judged, and what is permitted opens a connection.
    Read(Decided),
}

/// Relays bytes that nobody reads.
async fn relay_unread(admitted: Admitted, decided: &Decided, upstream: Upstream, already_sent: u64) {
    let Admitted {
        stream: client,
        head: _,
        caller,
        log,
        slot,
        flow,
        unread,
    } = admitted;
    drop(unread);
    let Upstream { stream, address } = upstream;
    log.allowed(address, &decided.route().rules(), None);
    let cut = async { caller.cut().await.into() };
    let relayed = relay(client, stream, already_sent, &flow, cut).await;
    flow.closed();
    log.closed(relayed.sent, relayed.received, relayed.cause);
    // The stream of the run's records stays open as long as somebody holds one.
    drop(slot);
}

/// The target of `CONNECT` is an authority and nothing else.
fn whole(target: &str) -> &str {
    target
}

fn client_gone() -> Denial {
    let message = "the client left before its TLS hello was whole";
    Denial::new(DenialCode::HelloMissing, message)
}

/// What a client sends first through its tunnel.
enum First {
    /// A whole TLS hello, and whatever came after it.
    Hello(Vec<u8>),
    /// The beginning of a request in clear text.
    Clear(Vec<u8>),
}

/// Reads until the hello is whole, or a request in clear text begins.
async fn receive_first(client: &mut TcpStream, early: Vec<u8>, way: &Way) -> Result<First, Denial> {
    let (host, hidden) = match way {
        Way::Unread(decided, _) => (decided.named(), Hidden::Refused),
        // Who ends the TLS sees what is hidden from others.
        Way::Read(decided) => (decided.named(), Hidden::Harmless),
    };
    let reading = async {
        let mut received = early;
        loop {
            match begins_like_a_request(&received) {
                Some(true) => return Ok(First::Clear(received)),
                Some(false) => match hello::judge(&received, host.as_str(), hidden) {
                    Ok(true) => return Ok(First::Hello(received)),
                    Ok(false) => {}
                    Err(error) => return Err(refused(error)),
                },
                None => {}
            }
            let room = (HELLO_LIMIT + 1).saturating_sub(received.len()).max(1) as u64;
            let read = (&mut *client).take(room).read_buf(&mut received).await;
            if !matches!(read, Ok(length) if length > 0) {
                return Err(client_gone());
            }
        }
    };
    let outcome = tokio::time::timeout(HELLO_TIMEOUT, reading).await;
    outcome.unwrap_or_else(|_| Err(Denial::new(DenialCode::HelloMissing, "no TLS hello came in 10 s")))
}

/// Whether the bytes begin with a method of HTTP and a space; `None`: too few to tell.
fn begins_like_a_request(received: &[u8]) -> Option<bool> {
    const METHODS: [&[u8]; 9] = [
        b"GET ",
        b"HEAD ",
        b"POST ",
        b"PUT ",
        b"DELETE ",
        b"OPTIONS ",
        b"PATCH ",
        b"TRACE ",
        b"CONNECT ",
    ];
    if METHODS.iter().any(|method| received.starts_with(method)) {
        return Some(true);
    }
    let may_become = METHODS.iter().any(|method| method.starts_with(received));
    (!may_become).then_some(false)
}

fn refused(error: HelloError) -> Denial {
    Denial::new(error.code(), error.to_string())
}

/// A fatal alert (RFC 8446, section 6), which clients show at once instead of waiting; nothing to what is not TLS.
async fn refuse_first(admitted: Admitted, denial: &Denial) {
    const ACCESS_DENIED: u8 = 49;
    const DECODE_ERROR: u8 = 50;
    const INTERNAL_ERROR: u8 = 80;
    const UNRECOGNIZED_NAME: u8 = 112;
    admitted.log.denied(denial);
    let mut client = admitted.stream;
    let description = match denial.code {
        DenialCode::SniMismatch | DenialCode::SniMissing => UNRECOGNIZED_NAME,
        DenialCode::HelloMalformed => DECODE_ERROR,
        DenialCode::EchRefused | DenialCode::DialFailed | DenialCode::LimitExceeded => ACCESS_DENIED,
        DenialCode::InspectionUnavailable => INTERNAL_ERROR,
        _ => return answer::close(client).await,
    };
    if client.write_all(&[21, 3, 3, 0, 2, 2, description]).await.is_ok() {
        answer::close(client).await;
    }
}
