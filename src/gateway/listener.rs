//! Accepting connections and telling their three kinds of request apart.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::answer;
use super::head::{self, Head, HeadError};
use super::limits::{Silent, SilentPeers};
use super::{Gateway, connect, control, forward};

/// Longest time until a request's head and its caller's identity are known.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections of all runs together; each costs two file descriptors.
const CONNECTIONS: usize = 20_000;
/// Pause after a failure, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until `stop`, then waits for ever; those that are open go on.
pub async fn serve(gateway: Arc<Gateway>, listener: TcpListener, stop: &CancellationToken) {
    tokio::select! {
        () = accept(gateway, listener) => {}
        () = stop.cancelled() => std::future::pending().await,
    }
}

async fn accept(gateway: Arc<Gateway>, listener: TcpListener) {
    let silent = Arc::new(SilentPeers::default());
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut number = 0;
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        number += 1;
        let peer: IpAddr = SocketAddr::ip(&peer).to_canonical();
        let silent = silent.enter(peer, number);
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move {
            // Small messages of interactive protocols must not wait for each other.
            let _ = stream.set_nodelay(true);
            connection(gateway, stream, peer, silent).await;
            drop(place);
        });
    }
}

async fn connection(gateway: Arc<Gateway>, mut stream: TcpStream, peer: IpAddr, silent: Silent) {
    let evicted = silent.evicted.clone();
    let read = tokio::select! {
        read = tokio::time::timeout(SILENCE_TIMEOUT, head::read(&mut stream)) => read,
        () = evicted.cancelled() => return,
    };
    match read {
        Ok(Ok(head)) => dispatch(gateway, stream, head, peer, silent).await,
        Ok(Err(HeadError::Ended)) | Err(_) => {}
        Ok(Err(error)) => {
            tracing::info!(%peer, %error, "a malformed request");
            answer::malformed(stream, &error.to_string()).await;
        }
    }
}

async fn dispatch(gateway: Arc<Gateway>, stream: TcpStream, head: Head, peer: IpAddr, silent: Silent) {
    if head.method == "CONNECT" {
        connect::serve(gateway, stream, head, peer, silent).await;
    } else if forward::is_absolute(&head.target) {
        forward::serve(gateway, stream, head, peer, silent).await;
    } else if head.target.starts_with('/') {
        control::serve(gateway, stream, head, peer, silent).await;
    } else {
        answer::malformed(stream, "only CONNECT, http:// and control routes are served").await;
    }
}
