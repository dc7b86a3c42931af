//! `CONNECT`: a tunnel that opens once its first bytes are a TLS hello for the very host that was asked for. A client
//! that sends a plain request instead is served as if it had asked in absolute form.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::admission::{Admission, Admitted, within_share};
use crate::caller::Caller;
use crate::denial::Denial;
use crate::egress::{Upstream, Upstreams, authority};
use crate::forward;
use crate::transport::Received;
use crate::transport::answer::{self, ESTABLISHED};
use crate::transport::prefixed::Prefixed;
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
            Ok((host, upstream)) => tunnel(admitted, &host, upstream).await,
            Err(denial) => admitted.refuse(&denial).await,
        }
    }

    async fn open(&self, caller: &Caller, head: &Head) -> Result<(String, Upstream), Denial> {
        let (host, port) = authority::parse(&head.target, None)?;
        let upstream = self.upstreams.open(caller, &host, port).await?;
        Ok((host.as_str().to_owned(), upstream))
    }
}

/// The target of `CONNECT` is an authority and nothing else.
fn whole(target: &str) -> &str {
    target
}

async fn tunnel(mut admitted: Admitted, host: &str, mut upstream: Upstream) {
    let authority = admitted.head.target.clone();
    let early = admitted.head.early_body().to_vec();
    let opening = async {
        let client = &mut admitted.stream;
        client.write_all(ESTABLISHED).await.map_err(|_| client_gone())?;
        let first = receive_first(client, early, host).await?;
        if let First::Hello(hello) = &first {
            upstream.stream.write_all(hello).await.map_err(|error| {
                let message = format!("{host} closed the connection: {error}");
                Denial::new(DenialCode::DialFailed, message)
            })?;
        }
        Ok(first)
    };
    let opened = tokio::select! {
        opened = within_share(&admitted.unread, opening) => opened,
        cause = admitted.caller.cut() => Err(cause.denial()),
    };
    let already_sent = match opened {
        Ok(First::Hello(hello)) => hello.len() as u64,
        Ok(First::Request(head)) => {
            admitted.log.set_method(&head.method);
            admitted.head = head;
            return forward::serve_inside(admitted, &authority, upstream).await;
        }
        Err(denial) => {
            admitted.log.denied(&denial);
            return refuse_first(admitted.stream, &denial).await;
        }
    };
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
    let Upstream {
        stream,
        address,
        rules,
    } = upstream;
    log.allowed(address, &rules);
    let cut = async { caller.cut().await.into() };
    let relayed = relay(client, stream, already_sent, &flow, cut).await;
    flow.closed();
    drop(slot);
    log.closed(relayed.sent, relayed.received, relayed.cause);
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
async fn refuse_first(mut client: TcpStream, denial: &Denial) {
    const ACCESS_DENIED: u8 = 49;
    const DECODE_ERROR: u8 = 50;
    const UNRECOGNIZED_NAME: u8 = 112;
    let description = match denial.code {
        DenialCode::SniMismatch | DenialCode::SniMissing => UNRECOGNIZED_NAME,
        DenialCode::HelloMalformed => DECODE_ERROR,
        DenialCode::EchRefused | DenialCode::DialFailed => ACCESS_DENIED,
        DenialCode::BadRequest => return answer::refuse(client, denial).await,
        _ => return answer::close(client).await,
    };
    if client.write_all(&[21, 3, 3, 0, 2, 2, description]).await.is_ok() {
        answer::close(client).await;
    }
}
