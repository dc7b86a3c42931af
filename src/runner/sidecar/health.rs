//! What the kubelet asks: whether the agent may start, and whether it may live. Failing the second is how the
//! agent is stopped: no container may signal another, but the kubelet ends one whose probe fails.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Connections at a time. The agent can use them all up; then its own probe fails.
const CONNECTIONS: usize = 64;
/// How long a client may take for a request's head.
const HEAD: Duration = Duration::from_secs(5);

/// The answers.
#[derive(Clone, Debug)]
pub struct Health {
    stopping: Arc<AtomicBool>,
    probed: Arc<watch::Sender<bool>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            stopping: Arc::default(),
            probed: Arc::new(watch::Sender::new(false)),
        }
    }
}

impl Health {
    /// From now on the agent is not to live.
    pub fn stop_agent(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Becomes true when the kubelet first asks for the agent.
    pub fn probed(&self) -> watch::Receiver<bool> {
        self.probed.subscribe()
    }

    /// Answers for as long as it is polled.
    pub async fn serve(self, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let health = self.clone();
                    tokio::spawn(async move {
                        health.connection(stream).await;
                        drop(slot);
                    });
                }
                // Out of file descriptors or an aborted connection; both pass.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn connection(&self, stream: TcpStream) {
        let service = service_fn(|request: Request<Incoming>| {
            let answer = self.answer(request.uri().path());
            async move { Ok::<_, Infallible>(answer) }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "a probe's connection ended early");
        }
    }

    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        let (status, text) = match path {
            "/ready" => (StatusCode::OK, "ready\n"),
            "/agent" => {
                self.probed
                    .send_if_modified(|probed| !std::mem::replace(probed, true));
                if self.stopping.load(Ordering::Relaxed) {
                    (StatusCode::SERVICE_UNAVAILABLE, "the agent is to stop\n")
                } else {
                    (StatusCode::OK, "the agent may live\n")
                }
            }
            _ => (StatusCode::NOT_FOUND, "not found\n"),
        };
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_lives_until_it_is_to_stop_and_the_first_question_is_noted() {
        let health = Health::default();
        let probed = health.probed();
        assert_eq!(health.answer("/ready").status(), 200);
        assert_eq!(health.answer("/other").status(), 404);
        assert!(!*probed.borrow());
        assert_eq!(health.answer("/agent").status(), 200);
        assert!(*probed.borrow());
        health.stop_agent();
        assert_eq!(health.answer("/agent").status(), 503);
        assert_eq!(health.answer("/ready").status(), 200);
    }
}
