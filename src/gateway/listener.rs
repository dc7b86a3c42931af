//! Accepts connections and gives each request to the room that serves its kind.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::control::ControlRoutes;
use crate::forward::{self, Requests};
use crate::transport::failures::Failures;
use crate::transport::pending::{PendingHandshake, PendingHandshakes};
use crate::transport::{Received, answer};
use crate::tunnel::Tunnels;
use cofferdam_service::http1::{self, HeadError};

/// Longest time until a request's head was read.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failure, such as too many open files.
const RETRY: Duration = Duration::from_millis(50);

/// One server for each kind of request.
pub struct Services {
    /// `CONNECT`.
    pub tunnels: Tunnels,
    /// Absolute form.
    pub requests: Arc<Requests>,
    /// Origin form.
    pub control: ControlRoutes,
    /// Bounds the connections whose callers are not known yet.
    pub pending: Arc<PendingHandshakes>,
    /// Bounds the answers to callers who are not proven.
    pub failures: Arc<Failures>,
    /// Connections that are accepted at the same time.
    pub accepted: usize,
}

/// Accepts connections until `stop`, then waits for ever; open connections go on.
pub async fn serve(services: Arc<Services>, listener: TcpListener, stop: &CancellationToken) {
    tokio::select! {
        () = accept(services, listener) => {}
        () = stop.cancelled() => std::future::pending().await,
    }
}

async fn accept(services: Arc<Services>, listener: TcpListener) {
    let slots = Arc::new(Semaphore::new(services.accepted));
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
        let pending = services.pending.enter(peer, number);
        let services = Arc::clone(&services);
        tokio::spawn(async move {
            // Small messages of interactive protocols must not wait for each other.
            let _ = stream.set_nodelay(true);
            let evicted = pending.evicted.clone();
            tokio::select! {
                () = connection(&services, stream, peer, number, pending) => {}
                () = evicted.cancelled() => {}
            }
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
    match tokio::time::timeout(HEAD_TIMEOUT, http1::read(&mut stream)).await {
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
            let log = |unlogged| tracing::info!(%peer, %error, unlogged, "a malformed request");
            if services.failures.failed(peer, log) {
                answer::malformed(stream, &error.to_string()).await;
            }
        }
    }
}

async fn dispatch(services: &Services, received: Received) {
    let target = &received.head.target;
    if received.head.method == "CONNECT" {
        services.tunnels.serve(received).await;
    } else if forward::is_absolute(target) {
        services.requests.serve_absolute(received).await;
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
