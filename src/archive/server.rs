//! The archive's routes: who may call which, and what they answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post, put};
use http::{HeaderMap, HeaderName, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::credentials::Board;
use super::error::StoreError;
use super::store::Store;
use body::BATCHES_LIMIT;
use caller::{Caller, HANDERS, READERS, RECORDERS, SEALERS, WRITERS, authorise};
use cofferdam_identity::Verifier;
use cofferdam_service::server::{self, Limits};
use cofferdam_wire::archive::CREDENTIALS_PATH;
use cofferdam_wire::hold::HOLDS_PATH;
use cofferdam_wire::space::SPACE_PATH;
use cofferdam_wire::witness::WITNESS_PATH;
use refused::Refused;

mod body;
mod caller;
mod credentials;
mod files;
mod records;
mod refused;

/// Runs that are read at the same time: reading one whose summary is not in memory takes up to a second of a core.
const READS: usize = 2;
/// Only gateways and the controller call.
const LIMITS: Limits = Limits {
    head: Duration::from_secs(10),
    connections: 1024,
    keep_alive: true,
    drain: Duration::from_secs(20),
};

/// Everything that a request needs.
pub struct Archive {
    store: Arc<Store>,
    verifier: Verifier,
    namespace: String,
    reads: Semaphore,
    batches: Semaphore,
    credentials: Board,
}

impl Archive {
    /// An archive of `store` that serves the accounts of `namespace` with tokens that `verifier` believes.
    pub fn new(store: Arc<Store>, verifier: Verifier, namespace: String) -> Self {
        Self {
            store,
            verifier,
            namespace,
            reads: Semaphore::new(READS),
            batches: Semaphore::new(BATCHES_LIMIT),
            credentials: Board::default(),
        }
    }
}

/// Serves connections until `stop`.
pub async fn serve(archive: Arc<Archive>, listener: TcpListener, stop: CancellationToken) {
    server::serve(listener, routes(archive), LIMITS, stop).await;
}

fn routes(archive: Arc<Archive>) -> Router {
    let only = |callers: &'static [Caller], route: MethodRouter<Arc<Archive>>| {
        route.route_layer(from_fn_with_state((Arc::clone(&archive), callers), authorise))
    };
    Router::new()
        .route("/v2/runs/{run}/records", only(RECORDERS, post(records::records)))
        .route("/v1/runs/{run}/records", only(HANDERS, get(records::chain)))
        .route("/v1/runs/{run}/output", only(WRITERS, put(files::output)))
        .route("/v1/runs/{run}", only(READERS, get(files::run_record)))
        .route(
            "/v1/runs/{run}/patches/{repository}",
            only(HANDERS, get(files::patch)),
        )
        .route("/v1/names/{namespace}/{name}", only(HANDERS, get(files::named)))
        .route("/v1/runs/{run}/seal", only(SEALERS, post(records::seal)))
        .route(
            "/v1/runs/{run}/statement",
            only(SEALERS, put(records::put_statement)).merge(only(READERS, get(records::statement))),
        )
        .route("/v1/unsealed", only(SEALERS, get(records::unsealed)))
        .route(HOLDS_PATH, only(SEALERS, put(files::hold)))
        .route(WITNESS_PATH, only(SEALERS, post(records::witness)))
        .route(SPACE_PATH, only(SEALERS, get(files::space)))
        .route(
            CREDENTIALS_PATH,
            only(WRITERS, put(credentials::put)).merge(only(SEALERS, get(credentials::get))),
        )
        .fallback(async || Refused::new(StatusCode::NOT_FOUND, "NotFound", "there is no such route"))
        .method_not_allowed_fallback(async || {
            Refused::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "MethodNotAllowed",
                "the route has no such method",
            )
        })
        .with_state(archive)
}

/// Work on the volume, off the threads that serve connections.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Refused> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(error) => Err(Refused::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Internal",
            error.to_string(),
        )),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
#[path = "server/tests.rs"]
mod tests;
