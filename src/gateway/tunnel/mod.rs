//! `CONNECT`: a tunnel that opens once its first bytes are a TLS hello for the very host that was asked for. A client
//! that sends a plain request instead is served as if it had asked in absolute form.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::admission::{Admission, Admitted, within_share};
use crate::caller::{Caller, Passing};
use crate::denial::Denial;
use crate::egress::{Decided, Upstream, Upstreams, authority};
use crate::forward;
use crate::transport::Received;
use crate::transport::answer::{self, ESTABLISHED};
use crate::transport::prefixed::Prefixed;
use cofferdam_policy::decision::{Decision, Denied};
use cofferdam_service::http1::{self, Head, HeadError};
use cofferdam_wire::denial::DenialCode;

use self::hello::{HELLO_LIMIT, HelloError};
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
        match decided.route().pass_unread() {
            Decision::Allow(()) => {
                let upstream = self.upstreams.reach(caller, &decided, Passing::Unread).await?;
                Ok(Way::Unread(decided, upstream))
            }
            Decision::Deny(denied) => Ok(Way::Read(decided, denied)),
        }
    }

    async fn tunnel(&self, mut admitted: Admitted, mut way: Way) {
        let authority = admitted.head.target.clone();
        let early = admitted.head.early_body().to_vec();
        let opening = async {
            let client = &mut admitted.stream;
            client.write_all(ESTABLISHED).await.map_err(|_| client_gone())?;
            let first = receive_first(client, early, way.decided().host().as_str()).await?;
            if let First::Hello(hello) = &first {
                way.pass_on(hello).await?;
            }
            Ok(first)
        };
        let opened = tokio::select! {
            opened = within_share(&admitted.unread, opening) => opened,
            cause = admitted.caller.cut() => Err(cause.denial()),
        };
        match (opened, way) {
            (Ok(First::Hello(hello)), Way::Unread(decided, upstream)) => {
                relay_unread(admitted, &decided, upstream, hello.len() as u64).await;
            }
            (Ok(First::Request(head)), way) => {
                admitted.log.set_method(&head.method);
                admitted.head = head;
                let (decided, reached) = way.into_parts();
                forward::serve_inside(admitted, &authority, &self.upstreams, &decided, reached).await;
            }
            // `pass_on` has denied it.
            (Ok(First::Hello(_)), Way::Read(_, denied)) => refuse_first(admitted, &denied.into()).await,
            (Err(denial), _) => refuse_first(admitted, &denial).await,
        }
    }
}

/// The way that was decided about at `CONNECT`.
enum Way {
    /// Bytes pass unread, through this connection.
    Unread(Decided, Upstream),
    /// Requests are judged, and each that is permitted opens a connection; bytes that nobody can read are denied.
    Read(Decided, Denied),
}

impl Way {
    const fn decided(&self) -> &Decided {
        match self {
            Self::Unread(decided, _) | Self::Read(decided, _) => decided,
        }
    }

    /// Passes a hello on, which may be done only where bytes pass unread.
    async fn pass_on(&mut self, hello: &[u8]) -> Result<(), Denial> {
        match self {
            Self::Unread(decided, upstream) => upstream.stream.write_all(hello).await.map_err(|error| {
                let message = format!("{} closed the connection: {error}", decided.host());
                Denial::new(DenialCode::DialFailed, message)
            }),
            Self::Read(_, denied) => Err(denied.clone().into()),
        }
    }

    fn into_parts(self) -> (Decided, Option<Upstream>) {
        match self {
            Self::Unread(decided, upstream) => (decided, Some(upstream)),
            Self::Read(decided, _) => (decided, None),
        }
    }
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
    log.allowed(address, &decided.route().rules());
    let cut = async { caller.cut().await.into() };
    let relayed = relay(client, stream, already_sent, &flow, cut).await;
    flow.closed();
    drop(slot);
    log.closed(relayed.sent, relayed.received, relayed.cause);
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
    /// The head of a plain request.
    Request(Head),
}

/// Reads until the hello, or the head of a plain request, is whole.
async fn receive_first(client: &mut TcpStream, early: Vec<u8>, host: &str) -> Result<First, Denial> {
    let reading = async {
        let mut received = early;
        loop {
            match begins_like_a_request(&received) {
                Some(true) => {
                    let head = http1::read(&mut Prefixed::new(received, client)).await;
                    return head.map(First::Request).map_err(|error| match error {
                        HeadError::Ended => client_gone(),
                        other => Denial::new(DenialCode::BadRequest, other.to_string()),
                    });
                }
                Some(false) => match hello::judge(&received, host) {
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
    const UNRECOGNIZED_NAME: u8 = 112;
    admitted.log.denied(denial);
    let mut client = admitted.stream;
    let description = match denial.code {
        DenialCode::SniMismatch | DenialCode::SniMissing => UNRECOGNIZED_NAME,
        DenialCode::HelloMalformed => DECODE_ERROR,
        DenialCode::EchRefused | DenialCode::DialFailed | DenialCode::TlsNotInspected => ACCESS_DENIED,
        DenialCode::BadRequest => return answer::refuse(client, denial).await,
        _ => return answer::close(client).await,
    };
    if client.write_all(&[21, 3, 3, 0, 2, 2, description]).await.is_ok() {
        answer::close(client).await;
    }
}
