//! What the kubelet asks: whether the agent may start, and whether it may live. Failing the second is how the
//! agent is stopped: no container may signal another, but the kubelet ends one whose probe fails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::any;
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use cofferdam_service::client::{Call, Client};
use cofferdam_service::server::{Limits, serve};

/// The agent can use all connections up; then its own probe fails.
const LIMITS: Limits = Limits {
    head: Duration::from_secs(5),
    connections: 64,
    keep_alive: false,
    drain: Duration::ZERO,
};

/// How long the sidecar may take to serve.
const START: Duration = Duration::from_secs(30);
/// Between two looks whether it does.
const LOOK: Duration = Duration::from_millis(20);
/// An agent that is to stop and that nobody asks about for so long is dead: the kubelet asks every second while it lives.
const SILENCE: Duration = Duration::from_secs(20);

/// Waits until a sidecar serves at `address`.
///
/// # Errors
/// It does not in 30 s; the text says what was seen last.
pub async fn wait_until_ready(address: SocketAddr) -> Result<(), String> {
    let client = Client::new();
    let end = Instant::now() + START;
    loop {
        let call = Call::get(&format!("http://{address}/ready")).map_err(|error| error.to_string())?;
        let seen = match timeout_at(end, client.send(call)).await {
            Ok(Ok(answer)) if answer.status().is_success() => return Ok(()),
            Ok(Ok(answer)) => answer.status().to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() + LOOK >= end {
            return Err(format!("the sidecar does not serve: {seen}"));
        }
        sleep(LOOK).await;
    }
}

/// The answers.
#[derive(Clone, Debug)]
pub struct Health {
    stopping: Arc<AtomicBool>,
    probed: Arc<watch::Sender<bool>>,
    asked: Arc<watch::Sender<()>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            stopping: Arc::default(),
            probed: Arc::new(watch::Sender::new(false)),
            asked: Arc::new(watch::Sender::new(())),
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

    /// Returns when nobody has asked whether the agent may live for 20 s.
    pub async fn unasked(&self) {
        let mut asked = self.asked.subscribe();
        while matches!(
            timeout_at(Instant::now() + SILENCE, asked.changed()).await,
            Ok(Ok(()))
        ) {}
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
        self.asked.send_replace(());
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

    #[tokio::test(start_paused = true)]
    async fn agent_that_nobody_asks_about_is_dead() {
        let health = Health::default();
        let asking = health.clone();
        let from = Instant::now();
        let kubelet = async {
            for _ in 0..30 {
                sleep(Duration::from_secs(1)).await;
                asking.agent();
            }
        };
        tokio::join!(health.unasked(), kubelet);
        assert_eq!(from.elapsed().as_secs(), 30 + SILENCE.as_secs());
    }

    #[tokio::test]
    async fn hook_waits_for_the_sidecar() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let waiting = tokio::spawn(wait_until_ready(address));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let listener = TcpListener::bind(address).await.unwrap();
        tokio::spawn(Health::default().serve(listener));
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }

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
