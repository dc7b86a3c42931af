//! Health endpoints and graceful shutdown, the same for every role.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::server::{Limits, serve};

/// Port of every role's health endpoints.
pub const HEALTH_PORT: u16 = 8081;
/// The kubelet asks in one short connection a time.
const LIMITS: Limits = Limits {
    head: Duration::from_secs(5),
    connections: 64,
    keep_alive: false,
    drain: Duration::from_secs(1),
};

/// Whether the role can do its work now. Clones share one answer; it starts as "no".
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Changes the answer.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    /// The answer.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A token that is cancelled by SIGTERM or SIGINT.
///
/// # Errors
/// The process cannot install signal handlers.
pub fn shutdown_on_signal() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(token)
}

/// Answers `/healthz` (200 while the process lives) and `/readyz` (200 or 503) on `listener` until `stop`.
pub async fn health(listener: TcpListener, readiness: Readiness, stop: CancellationToken) {
    serve(listener, routes(readiness), LIMITS, stop).await;
}

fn routes(readiness: Readiness) -> Router {
    let ready = async move || {
        if readiness.get() {
            (StatusCode::OK, "ok\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
        }
    };
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Call, Client};

    #[tokio::test]
    async fn readiness_is_what_the_role_says_and_health_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (readiness, stop) = (Readiness::default(), CancellationToken::new());
        let server = tokio::spawn(health(listener, readiness.clone(), stop.clone()));
        let client = Client::new();
        let status = async |path: &str| {
            let call = Call::get(&format!("{base}{path}")).unwrap();
            client.send(call).await.unwrap().status().as_u16()
        };
        assert_eq!((status("/healthz").await, status("/readyz").await), (200, 503));
        readiness.set(true);
        assert_eq!((status("/readyz").await, status("/else").await), (200, 404));
        stop.cancel();
        server.await.unwrap();
    }
}
