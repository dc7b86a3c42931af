//! Accepts connections and gives each request to the room that serves its kind.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::control::ControlRoutes;
use crate::forward::{self, PlainRequests};
use crate::transport::pending::{PendingHandshake, PendingHandshakes};
use crate::transport::{Received, answer};
use crate::tunnel::Tunnels;
use cofferdam_service::http1::{self, HeadError};

/// Longest time until a request's head was read.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections of all runs together; each costs two file descriptors.
const CONNECTIONS: usize = 20_000;
/// Pause after a failure, such as too many open files.
const RETRY: Duration = Duration::from_millis(50);

/// One server for each kind of request.
pub struct Services {
    /// `CONNECT`.
    pub tunnels: Tunnels,
    /// Absolute form.
    pub plain: PlainRequests,
    /// Origin form.
    pub control: ControlRoutes,
}

/// Accepts connections until `stop`, then waits for ever; open connections go on.
pub async fn serve(services: Arc<Services>, listener: TcpListener, stop: &CancellationToken) {
    tokio::select! {
        () = accept(services, listener) => {}
        () = stop.cancelled() => std::future::pending().await,
    }
}

async fn accept(services: Arc<Services>, listener: TcpListener) {
    let handshakes = Arc::new(PendingHandshakes::default());
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut number = 0;
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        number += 1;
        let peer: IpAddr = SocketAddr::ip(&peer).to_canonical();
        let pending = handshakes.enter(peer, number);
        let services = Arc::clone(&services);
        tokio::spawn(async move {
            // Small messages of interactive protocols must not wait for each other.
            let _ = stream.set_nodelay(true);
            connection(&services, stream, peer, number, pending).await;
            drop(slot);
        });
    }
}

async fn connection(
    services: &Services,
    mut stream: TcpStream,
    peer: IpAddr,
    number: u64,
    pending: PendingHandshake,
) {
    let read = tokio::select! {
        read = tokio::time::timeout(HEAD_TIMEOUT, http1::read(&mut stream)) => read,
        () = pending.evicted.cancelled() => return,
    };
    match read {
        Ok(Ok(head)) => {
            let received = Received {
                stream,
                head,
                peer,
                number,
                pending,
            };
            dispatch(services, received).await;
        }
        Ok(Err(HeadError::Ended)) | Err(_) => {}
        Ok(Err(error)) => {
            tracing::info!(%peer, %error, "a malformed request");
            answer::malformed(stream, &error.to_string()).await;
        }
    }
}

async fn dispatch(services: &Services, received: Received) {
    let target = &received.head.target;
    if received.head.method == "CONNECT" {
        services.tunnels.serve(received).await;
    } else if forward::is_absolute(target) {
        services.plain.serve(received).await;
    } else if target.starts_with('/') {
        services.control.serve(received).await;
    } else {
        answer::malformed(
            received.stream,
            "only CONNECT, http:// and control routes are served",
        )
        .await;
    }
}
