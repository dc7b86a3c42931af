//! One HTTP server for all roles: routes come from the caller, limits and the end of connections from here.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Pause after a failure to accept, such as too many open files: it passes, and is no reason to stop.
const PAUSE: Duration = Duration::from_millis(50);

/// How strict a server is with its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest time for the head of a request, from the moment that the connection waits for one.
    pub head: Duration,
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// Whether a connection carries more than one request.
    pub keep_alive: bool,
    /// Longest time for requests that are under way when the server stops.
    pub drain: Duration,
}

/// Serves `routes` with HTTP/1.1 until `stop`; requests that are under way then have [`Limits::drain`] to end.
pub async fn serve(listener: TcpListener, routes: Router, limits: Limits, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let open = TaskTracker::new();
    while let Some(Ok(slot)) = unless(&stop, Arc::clone(&slots).acquire_owned()).await {
        match unless(&stop, listener.accept()).await {
            None => break,
            Some(Ok((stream, _))) => {
                let (routes, stop) = (routes.clone(), stop.clone());
                open.spawn(async move {
                    connection(stream, routes, limits, &stop).await;
                    drop(slot);
                });
            }
            Some(Err(_)) => tokio::time::sleep(PAUSE).await,
        }
    }
    drop(listener);
    open.close();
    if tokio::time::timeout(limits.drain, open.wait()).await.is_err() {
        tracing::warn!(connections = open.len(), "connections were cut off at the end");
    }
}

async fn connection(stream: TcpStream, routes: Router, limits: Limits, stop: &CancellationToken) {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .keep_alive(limits.keep_alive);
    let mut served =
        std::pin::pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)));
    let result = if let Some(result) = unless(stop, served.as_mut()).await {
        result
    } else {
        served.as_mut().graceful_shutdown();
        served.await
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// What `work` gives, or nothing if `stop` comes first.
async fn unless<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        () = stop.cancelled() => None,
        done = work => Some(done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    const LIMITS: Limits = Limits {
        head: Duration::from_mins(1),
        connections: 8,
        keep_alive: true,
        drain: Duration::from_mins(1),
    };
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

    struct Server {
        address: std::net::SocketAddr,
        stop: CancellationToken,
        task: JoinHandle<()>,
        asked: Arc<Notify>,
        answer: Arc<Notify>,
    }

    /// A server whose one route notes that it was asked and answers when it is told.
    async fn server(limits: Limits) -> Server {
        let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (told, may) = (Arc::clone(&asked), Arc::clone(&answer));
        let routes = Router::new().route(
            "/",
            get(move || async move {
                told.notify_one();
                may.notified().await;
                "done"
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let task = tokio::spawn(serve(listener, routes, limits, stop.clone()));
        Server {
            address,
            stop,
            task,
            asked,
            answer,
        }
    }

    impl Server {
        async fn send(&self, bytes: &[u8]) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream
        }
    }

    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text).await;
        text
    }

    #[tokio::test]
    async fn stop_lets_a_request_end_and_closes_idle_connections() {
        let server = server(LIMITS).await;
        let idle = server.send(b"").await;
        let busy = server.send(REQUEST).await;
        server.asked.notified().await;
        server.stop.cancel();
        assert_eq!(rest(idle).await, "");
        server.answer.notify_one();
        assert!(rest(busy).await.ends_with("done"));
        server.task.await.unwrap();
    }

    #[tokio::test]
    async fn stop_cuts_off_what_outlasts_the_drain() {
        let server = server(Limits {
            drain: Duration::ZERO,
            ..LIMITS
        })
        .await;
        let _busy = server.send(REQUEST).await;
        server.asked.notified().await;
        server.stop.cancel();
        server.task.await.unwrap();
    }

    #[tokio::test]
    async fn half_a_head_is_given_up() {
        let server = server(Limits {
            head: Duration::from_millis(20),
            ..LIMITS
        })
        .await;
        let slow = server.send(b"GET / HTTP/1.1\r\nHost:").await;
        assert!(!rest(slow).await.contains("200"));
    }

    #[tokio::test]
    async fn more_connections_than_slots_wait_their_turn() {
        let server = server(Limits {
            connections: 1,
            keep_alive: false,
            ..LIMITS
        })
        .await;
        let first = server.send(REQUEST).await;
        server.asked.notified().await;
        let second = server.send(REQUEST).await;
        server.answer.notify_one();
        assert!(rest(first).await.ends_with("done"));
        // It was not served beside the first, but is now.
        server.asked.notified().await;
        server.answer.notify_one();
        assert!(rest(second).await.ends_with("done"));
    }
}
