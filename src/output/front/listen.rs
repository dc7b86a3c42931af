//! Connections of the API server: TLS, and who is on the other side.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Front, Shown, caller};
use crate::serve::Output;
use crate::status::Failure;

/// Connections at a time: API servers keep theirs and send one request after the other.
const CONNECTIONS: usize = 512;
/// Longest time for a handshake, and for the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// Longest time for answers that are under way when the role stops.
const DRAIN: Duration = Duration::from_secs(20);
/// Pause after a failure to accept, which passes.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves connections until `stop`.
pub async fn serve(listener: TcpListener, front: Arc<Front>, output: Arc<Output>, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let open = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = async {
                let slot = Arc::clone(&slots).acquire_owned().await;
                (slot, listener.accept().await)
            } => accepted,
        };
        let (Ok(slot), Ok((stream, _))) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // Without a certificate nobody can be served: the connection closes, and the API server tries again.
        let Some(shown) = front.shown() else { continue };
        let (front, output, stop) = (Arc::clone(&front), Arc::clone(&output), stop.clone());
        open.spawn(async move {
            connection(stream, shown, front, output, stop).await;
            drop(slot);
        });
    }
    drop(listener);
    open.close();
    if tokio::time::timeout(DRAIN, open.wait()).await.is_err() {
        tracing::warn!(connections = open.len(), "connections were cut off at the end");
    }
}

async fn connection(
    stream: TcpStream,
    shown: Arc<Shown>,
    front: Arc<Front>,
    output: Arc<Output>,
    stop: CancellationToken,
) {
    let accepting = TlsAcceptor::from(Arc::clone(&shown.tls)).accept(stream);
    let stream = match tokio::time::timeout(HEAD, accepting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake failed");
            return;
        }
        Err(_) => return,
    };
    let certificates: Option<Vec<CertificateDer<'static>>> =
        stream.get_ref().1.peer_certificates().map(|chain| {
            chain
                .iter()
                .map(|certificate| certificate.clone().into_owned())
                .collect()
        });
    // Once for the connection: the certificate stays the same.
    let proxy = caller::proxy(certificates.as_deref(), &shown.trust);
    let service = service_fn(move |request: Request<Incoming>| {
        let (front, output, shown) = (Arc::clone(&front), Arc::clone(&output), Arc::clone(&shown));
        async move {
            let known = if front.still_believes(&shown.trust) {
                proxy.and_then(|()| caller::user(request.headers(), &shown.trust))
            } else {
                // Whom it was opened with may be believed no more; the API server connects anew.
                Err(caller::Stranger::OtherName)
            };
            let answer: Response<Body> = match known {
                Ok(user) => output.answer(&request.map(drop), &user).await,
                Err(stranger) => {
                    let mut answer = Failure::unauthorized(stranger).into_response();
                    answer
                        .headers_mut()
                        .insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
                    answer
                }
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}
