//! The loopback forwarder: takes proxy requests without credentials and hands them to the gateway with the pod's
//! token. It adds the one token it was made with and no other, reads nothing inside tunnels, and decides nothing.

pub mod head;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::head::{Follows, RewriteError};
use super::text::last_line;
use cofferdam_service::http1::{self, Framing, HEAD_LIMIT, HeadError};

/// Connections at a time; the next wait for their turn at `accept`.
const CONNECTIONS: usize = 256;
/// How long a client may take for its head.
const CLIENT_HEAD: Duration = Duration::from_secs(30);
/// How long the gateway may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the gateway may take to answer: it resolves and dials in the meantime.
const ANSWER: Duration = Duration::from_mins(1);
/// How long the rest of a refusal may take.
const REFUSAL: Duration = Duration::from_secs(5);
/// Bytes of a refusal that are passed on.
const REFUSAL_LIMIT: u64 = 64 * 1024;
/// Buffer for each direction of a tunnel.
const BUFFER: usize = 16 * 1024;

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    #[error("the request's head took longer than 30 s")]
    Slow,
    #[error("the pod's token cannot be read: {0}")]
    Token(#[source] io::Error),
    #[error("the gateway cannot be reached: {0}")]
    Gateway(#[source] io::Error),
}

impl ForwardError {
    /// Status line of the answer; `None` where the client is gone.
    fn status(&self) -> Option<&'static str> {
        match self {
            Self::Io(_) | Self::Head(HeadError::Ended) => None,
            Self::Head(HeadError::Malformed(_) | HeadError::Length) | Self::Rewrite(RewriteError::Form) => {
                Some("400 NotForwarded")
            }
            Self::Rewrite(RewriteError::Own(_)) => Some("403 OwnAddress"),
            Self::Head(HeadError::TooLong) | Self::Rewrite(RewriteError::TooLong) | Self::Slow => {
                Some("431 RequestHeadTooLarge")
            }
            Self::Token(_) => Some("502 TokenMissing"),
            Self::Gateway(_) => Some("502 GatewayUnreachable"),
        }
    }
}

/// One forwarder.
#[derive(Clone, Debug)]
pub struct Forwarder {
    gateway: Arc<str>,
    token: Arc<PathBuf>,
    refused: Arc<Mutex<Option<String>>>,
}

impl Forwarder {
    /// Forwards to `gateway` (`address:port`) with the token in a file.
    pub fn new(gateway: &str, token: PathBuf) -> Self {
        Self {
            gateway: gateway.into(),
            token: Arc::new(token),
            refused: Arc::default(),
        }
    }

    /// The gateway's last refusal of a tunnel, escaped, once.
    pub fn take_refusal(&self) -> Option<String> {
        self.refused.lock().take()
    }

    /// Serves connections until `stop`; then cuts them.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let Ok((client, _)) = accepted else {
                // Out of file descriptors or an aborted connection; both pass.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (forwarder, stop) = (self.clone(), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = forwarder.connection(client) => {}
                    () = stop.cancelled() => {}
                }
                drop(slot);
            });
        }
    }

    async fn connection(&self, mut client: TcpStream) {
        let Err(error) = self.forward(&mut client).await else {
            return;
        };
        let Some(status) = error.status() else { return };
        let body = format!("cofferdam: {error}\n");
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        // The client may be gone; there is nobody else to tell.
        if client.write_all(answer.as_bytes()).await.is_ok() {
            let _ = client.shutdown().await;
        }
    }

    async fn forward(&self, client: &mut TcpStream) -> Result<(), ForwardError> {
        let read = timeout(CLIENT_HEAD, http1::read(client)).await;
        let head = read.map_err(|_| ForwardError::Slow)??;
        let token = tokio::fs::read_to_string(self.token.as_path())
            .await
            .map_err(ForwardError::Token)?;
        let request = head::rewrite(&head, token.trim())?;
        let mut gateway = self.dial().await?;
        gateway
            .write_all(&request.bytes)
            .await
            .map_err(ForwardError::Gateway)?;
        match request.follows {
            Follows::Tunnel => self.tunnel(client, gateway, head.early_body()).await,
            Follows::Body(framing) => exchange(client, gateway, head.early_body(), framing).await,
        }
    }

    async fn dial(&self) -> Result<TcpStream, ForwardError> {
        let dialled = timeout(CONNECT, TcpStream::connect(self.gateway.as_ref()))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(ForwardError::Gateway)?;
        dialled.set_nodelay(true).map_err(ForwardError::Gateway)?;
        Ok(dialled)
    }

    /// Passes the gateway's answer on; bytes of the client follow only if it is a yes.
    async fn tunnel(
        &self,
        client: &mut TcpStream,
        mut gateway: TcpStream,
        early: &[u8],
    ) -> Result<(), ForwardError> {
        let mut answer = Vec::new();
        let (status, length) = timeout(ANSWER, read_answer(&mut gateway, &mut answer))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(ForwardError::Gateway)?;
        client.set_nodelay(true)?;
        client.write_all(&answer).await?;
        if (200..300).contains(&status) {
            gateway.write_all(early).await?;
            copy_bidirectional_with_sizes(client, &mut gateway, BUFFER, BUFFER).await?;
            return Ok(());
        }
        let line = answer
            .get(..length)
            .unwrap_or_default()
            .split(|byte| *byte == b'\n')
            .next()
            .map(last_line);
        *self.refused.lock() = line;
        // The gateway keeps a refused connection open for another request; this one ends with its answer, which
        // is at its end when nothing more comes.
        let mut rest = gateway.take(REFUSAL_LIMIT);
        let _ = timeout(REFUSAL, async {
            let body = content_length(&answer);
            let seen = answer.len().saturating_sub(length);
            match body {
                Some(body) => copy_exactly(&mut rest, client, body.saturating_sub(seen as u64)).await,
                None => tokio::io::copy(&mut rest, client).await,
            }
        })
        .await;
        client.shutdown().await?;
        Ok(())
    }
}

async fn copy_exactly(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut TcpStream,
    bytes: u64,
) -> io::Result<u64> {
    tokio::io::copy(&mut from.take(bytes), to).await
}

/// The length that an answer's head announces.
fn content_length(answer: &[u8]) -> Option<u64> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(answer).ok()?;
    let header = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))?;
    std::str::from_utf8(header.value).ok()?.trim().parse().ok()
}

/// Reads from the gateway until its answer's head is complete; returns status and length of the head.
async fn read_answer(gateway: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<(u16, usize)> {
    loop {
        if gateway.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match head::answer(buffer) {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) if buffer.len() < HEAD_LIMIT => {}
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// One request with its body to the gateway, its answer back, then the end. The gateway finds the last chunk.
async fn exchange(
    client: &mut TcpStream,
    gateway: TcpStream,
    early: &[u8],
    framing: Framing,
) -> Result<(), ForwardError> {
    let (from_client, mut to_client) = client.split();
    let (mut from_gateway, mut to_gateway) = gateway.into_split();
    let up = async {
        let length = match framing {
            Framing::Bytes(length) => length,
            Framing::Chunked => u64::MAX,
        };
        let mut body = early.chain(from_client).take(length);
        let copied = tokio::io::copy(&mut body, &mut to_gateway).await;
        // The answer is waited for even where the client stopped sending.
        if copied.is_err() {
            tracing::debug!("a request's body ended early");
        }
        std::future::pending::<()>().await;
    };
    let down = async {
        tokio::io::copy(&mut from_gateway, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::select! {
        () = up => {}
        done = down => done?,
    }
    Ok(())
}

#[cfg(test)]
mod tests;
