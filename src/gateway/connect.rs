//! `CONNECT`: a tunnel that opens once its first bytes are a TLS hello for the very host that was asked for.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Gateway;
use super::answer::{self, ESTABLISHED};
use super::authority;
use super::denial::Denial;
use super::exit::{self, Asked, Exit};
use super::head::Head;
use super::hello::{self, HELLO_LIMIT, HelloError};
use super::identity;
use super::limits::Silent;
use super::relay::relay;
use super::view::Admission;
use cofferdam_wire::denial::DenialCode;

/// Longest time from the opened tunnel to its whole hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves one `CONNECT` request.
pub async fn serve(gateway: Arc<Gateway>, stream: TcpStream, head: Head, peer: IpAddr, silent: Silent) {
    let admission = match identity::admit(&gateway, &head, peer).await {
        Ok(admission) => admission,
        Err(denial) => {
            tracing::info!(%peer, code = %denial.code, request = super::denial::printable(&head.target), "caller refused");
            return answer::refuse(stream, &denial).await;
        }
    };
    let id = gateway.recorder.request_id(silent.number());
    drop(silent);
    let asked = Asked::new(id, &head.target, "CONNECT");
    match open(&gateway, &admission, &head).await {
        Ok((host, exit)) => {
            let early = head.received.get(head.body_start..).unwrap_or_default().to_vec();
            tunnel(&gateway, &admission, &asked, stream, early, &host, exit).await;
        }
        Err(denial) => {
            asked.denied(&gateway, &admission, &denial);
            answer::refuse(stream, &denial).await;
        }
    }
}

async fn open(gateway: &Gateway, admission: &Admission, head: &Head) -> Result<(String, Exit), Denial> {
    let place = exit::enter(gateway, admission)?;
    let (host, port) = authority::parse(&head.target, None)?;
    let exit = exit::open(gateway, admission, place, &host, port).await?;
    Ok((host.as_str().to_owned(), exit))
}

async fn tunnel(
    gateway: &Gateway,
    admission: &Admission,
    asked: &Asked,
    mut client: TcpStream,
    early: Vec<u8>,
    host: &str,
    mut exit: Exit,
) {
    let opening = async {
        client.write_all(ESTABLISHED).await.map_err(|_| gone())?;
        let hello = receive_hello(&mut client, early, host).await?;
        exit.stream.write_all(&hello).await.map_err(|error| {
            Denial::new(
                DenialCode::DialFailed,
                format!("{host} closed the connection: {error}"),
            )
        })?;
        Ok(hello.len() as u64)
    };
    let opened = tokio::select! {
        opened = opening => opened,
        cause = admission.cut() => Err(cause.denial()),
    };
    let already_sent = match opened {
        Ok(length) => length,
        Err(denial) => {
            asked.denied(gateway, admission, &denial);
            return refuse_hello(client, &denial).await;
        }
    };
    asked.allowed(gateway, admission, &exit);
    let Exit { stream, place, .. } = exit;
    let cut = async { admission.cut().await.into() };
    let relayed = relay(client, stream, already_sent, cut).await;
    drop(place);
    asked.closed(gateway, admission, relayed.sent, relayed.received, relayed.cause);
}

fn gone() -> Denial {
    Denial::new(
        DenialCode::HelloMissing,
        "the client left before its TLS hello was whole",
    )
}

/// Reads until the hello is whole; what came with it belongs to the tunnel.
async fn receive_hello(client: &mut TcpStream, early: Vec<u8>, host: &str) -> Result<Vec<u8>, Denial> {
    let mut received = early;
    let reading = async {
        loop {
            match hello::judge(&received, host) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => return Err(refused(error)),
            }
            let room = (HELLO_LIMIT + 1).saturating_sub(received.len()).max(1) as u64;
            let read = (&mut *client).take(room).read_buf(&mut received).await;
            if !matches!(read, Ok(length) if length > 0) {
                return Err(gone());
            }
        }
    };
    let outcome = tokio::time::timeout(HELLO_TIMEOUT, reading).await;
    outcome.unwrap_or_else(|_| Err(Denial::new(DenialCode::HelloMissing, "no TLS hello came in 10 s")))?;
    Ok(received)
}

fn refused(error: HelloError) -> Denial {
    Denial::new(error.code(), error.to_string())
}

/// A fatal alert (RFC 8446, section 6), which clients show at once instead of waiting; nothing to what is not TLS.
async fn refuse_hello(mut client: TcpStream, denial: &Denial) {
    const ACCESS_DENIED: u8 = 49;
    const DECODE_ERROR: u8 = 50;
    const UNRECOGNIZED_NAME: u8 = 112;
    let description = match denial.code {
        DenialCode::SniMismatch | DenialCode::SniMissing => UNRECOGNIZED_NAME,
        DenialCode::HelloMalformed => DECODE_ERROR,
        DenialCode::EchRefused | DenialCode::DialFailed => ACCESS_DENIED,
        _ => return answer::close(client).await,
    };
    if client.write_all(&[21, 3, 3, 0, 2, 2, description]).await.is_ok() {
        answer::close(client).await;
    }
}
