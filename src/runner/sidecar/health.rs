//! What the kubelet asks: whether the agent may start, and whether it may live. Failing the second is how the
//! agent is stopped: no container may signal another, but the kubelet ends one whose probe fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::any;
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use cofferdam_service::server::{Limits, serve};

/// The agent can use all connections up; then its own probe fails.
const LIMITS: Limits = Limits {
    head: Duration::from_secs(5),
    connections: 64,
    keep_alive: false,
    drain: Duration::ZERO,
};

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
        // The process ends with the pod; nobody waits for the last probe.
        serve(listener, self.routes(), LIMITS, CancellationToken::new()).await;
    }

    fn routes(self) -> Router {
        Router::new()
            .route("/ready", any(async || "ready\n"))
            .route("/agent", any(async move || self.agent()))
    }

    /// Whether the agent may live.
    fn agent(&self) -> (StatusCode, &'static str) {
        self.probed
            .send_if_modified(|probed| !std::mem::replace(probed, true));
        if self.stopping.load(Ordering::Relaxed) {
            (StatusCode::SERVICE_UNAVAILABLE, "the agent is to stop\n")
        } else {
            (StatusCode::OK, "the agent may live\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn the_agent_lives_until_it_is_to_stop_and_the_first_question_is_noted() {
        let health = Health::default();
        let probed = health.probed();
        let routes = health.clone().routes();
        let status = async |path: &str| {
            let request = http::Request::get(path).body(Body::empty()).unwrap();
            routes.clone().oneshot(request).await.unwrap().status().as_u16()
        };
        assert_eq!(status("/ready").await, 200);
        assert_eq!(status("/other").await, 404);
        assert!(!*probed.borrow());
        assert_eq!(status("/agent").await, 200);
        assert!(*probed.borrow());
        health.stop_agent();
        assert_eq!(status("/agent").await, 503);
        assert_eq!(status("/ready").await, 200);
    }
}
