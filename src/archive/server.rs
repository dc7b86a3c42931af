//! The archive's routes: who may call which, and what they answer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, StatusCode, Uri};
use http_body_util::BodyStream;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use super::credentials::Board;
use super::error::StoreError;
use super::store::Store;
use super::upload::{self, UploadError};
use cofferdam_api::names::AUDIENCE_ARCHIVE;
use cofferdam_identity::{self, TokenError, Verifier};
use cofferdam_service::server::{self, Limits};
use cofferdam_wire::archive::{
    BATCH_LIMIT, CREDENTIALS_PATH, FAULT_HEADER, HEAD_HEADER, Named, RUN_HEADER, STREAM_HEADER,
};
use cofferdam_wire::chain::Class;
use cofferdam_wire::control::Refusal;
use cofferdam_wire::output::Receipt;
use cofferdam_wire::record::{NotAStream, RunRecord, StreamId};
use cofferdam_wire::seal::{SEAL_LIMIT, STATEMENT_LIMIT, Seal, SealRequest, Unsealed};

mod credentials;

/// Bytes of batches that are in memory at the same time; those that come then wait.
const BATCHES_LIMIT: usize = 16 * BATCH_LIMIT;
/// Longest time for a batch to come.
const BATCH_TIMEOUT: Duration = Duration::from_secs(30);
/// Runs that are read at the same time: reading one whose summary is not in memory takes up to a second of a core.
const READS: usize = 2;
/// Only gateways and the controller call.
const LIMITS: Limits = Limits {
    head: Duration::from_secs(10),
    connections: 1024,
    keep_alive: true,
    drain: Duration::from_secs(20),
};

/// A ServiceAccount of the operator's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Gateway,
    Controller,
    Output,
}

impl Caller {
    const fn account(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Controller => "controller",
            Self::Output => "output",
        }
    }
}

/// Who may write what runs leave behind.
const WRITERS: &[Caller] = &[Caller::Gateway];
/// Who may read what it comes to.
const READERS: &[Caller] = &[Caller::Controller, Caller::Output];
/// Who may read it as it is, for users whom the API server knows.
const HANDERS: &[Caller] = &[Caller::Output];
/// Who may write records of a run.
const RECORDERS: &[Caller] = &[Caller::Gateway, Caller::Controller];
/// Who may end a run's chain.
const SEALERS: &[Caller] = &[Caller::Controller];

/// Everything that a request needs.
pub struct Archive {
    store: Arc<Store>,
    verifier: Verifier,
    namespace: String,
    reads: Semaphore,
    batches: Semaphore,
    credentials: Board,
}

/// Who sends, as its token says.
#[derive(Clone, Debug)]
struct Sender {
    caller: Caller,
    pod_uid: String,
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

impl Archive {
    /// Room in memory for the batch that a request announces.
    async fn room_for(&self, headers: &HeaderMap) -> Option<SemaphorePermit<'_>> {
        let announced = text(headers, &CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
        let bytes = announced.unwrap_or(BATCH_LIMIT).min(BATCH_LIMIT);
        // It is never closed.
        self.batches.acquire_many(u32::try_from(bytes).ok()?).await.ok()
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
        .route("/v2/runs/{run}/records", only(RECORDERS, post(records)))
        .route("/v1/runs/{run}/records", only(HANDERS, get(chain)))
        .route("/v1/runs/{run}/output", only(WRITERS, put(output)))
        .route("/v1/runs/{run}", only(READERS, get(run_record)))
        .route("/v1/runs/{run}/patches/{repository}", only(HANDERS, get(patch)))
        .route("/v1/names/{namespace}/{name}", only(HANDERS, get(named)))
        .route("/v1/runs/{run}/seal", only(SEALERS, post(seal)))
        .route(
            "/v1/runs/{run}/statement",
            only(SEALERS, put(put_statement)).merge(only(READERS, get(statement))),
        )
        .route("/v1/unsealed", only(SEALERS, get(unsealed)))
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

/// Lets a request pass if its token is one of `callers`.
async fn authorise(
    State((archive, callers)): State<(Arc<Archive>, &'static [Caller])>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refused> {
    let invalid = |message: &str| Refused::new(StatusCode::UNAUTHORIZED, "TokenInvalid", message);
    let token = text(request.headers(), &AUTHORIZATION)
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(|| invalid("a bearer token is needed"))?;
    let verified = archive
        .verifier
        .verify(token, &[AUDIENCE_ARCHIVE], cofferdam_identity::now())
        .await;
    let identity = verified.map_err(|error| match error {
        TokenError::KeysUnavailable(_) => Refused::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "KeysUnavailable",
            error.to_string(),
        ),
        _ => invalid(&error.to_string()),
    })?;
    let is = |caller: &&Caller| {
        let account = caller.account();
        identity.username == format!("system:serviceaccount:{}:{account}", archive.namespace)
    };
    if let Some(caller) = callers.iter().find(is) {
        let pod = identity
            .pod
            .ok_or_else(|| invalid("the token is not bound to a pod"))?;
        request.extensions_mut().insert(Sender {
            caller: *caller,
            pod_uid: pod.uid,
        });
        return Ok(next.run(request).await);
    }
    let names: Vec<&str> = callers.iter().map(|caller| caller.account()).collect();
    Err(Refused::new(
        StatusCode::FORBIDDEN,
        "Forbidden",
        format!("only the {} may call this", names.join(" and the ")),
    ))
}

async fn records(
    State(archive): State<Arc<Archive>>,
    run: Result<Path<String>, PathRejection>,
    Extension(sender): Extension<Sender>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refused> {
    let Path(run) = run?;
    let stream: StreamId = text(&headers, &STREAM_HEADER)
        .unwrap_or_default()
        .parse()
        .map_err(|error: NotAStream| {
            Refused::new(StatusCode::BAD_REQUEST, "StreamInvalid", error.to_string())
        })?;
    let source = format!(
        "{}/{}/{}",
        sender.caller.account(),
        sender.pod_uid,
        stream.as_str()
    );
    let _room = archive.room_for(&headers).await;
    let lines = tokio::time::timeout(BATCH_TIMEOUT, to_bytes(body, BATCH_LIMIT))
        .await
        .map_err(|_| {
            let message = "the batch did not come in 30 s";
            Refused::new(StatusCode::REQUEST_TIMEOUT, "BatchBroken", message)
        })?
        // Not 413: that word is for a run whose records are full.
        .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, "BatchBroken", error.to_string()))?;
    let store = Arc::clone(&archive.store);
    let prepared = blocking(move || store.prepare(&run, source, Class::Observed, &lines)).await?;
    archive.store.commit(prepared).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn output(
    State(archive): State<Arc<Archive>>,
    run: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Receipt>), Refused> {
    let Path(run) = run?;
    let name = text(&headers, &RUN_HEADER).ok_or_else(|| {
        let message = "the header cofferdam-run is needed";
        Refused::new(StatusCode::BAD_REQUEST, "RunMissing", message)
    })?;
    let chunks = BodyStream::new(body).map(|frame| match frame {
        Ok(frame) => Ok(frame.into_data().unwrap_or_default()),
        Err(error) => Err(error.to_string()),
    });
    match upload::receive(&archive.store, &run, name, Box::pin(chunks)).await {
        Ok(receipt) => {
            let patches = receipt.manifest.patches.len();
            tracing::info!(run, name, patches, "an output was received");
            Ok((StatusCode::CREATED, Json(receipt)))
        }
        Err(error) => {
            tracing::warn!(run, name, %error, "an output was refused");
            Err(error.into())
        }
    }
}

async fn run_record(
    State(archive): State<Arc<Archive>>,
    run: Result<Path<String>, PathRejection>,
) -> Result<Json<RunRecord>, Refused> {
    let Path(run) = run?;
    // It is never closed.
    let _turn = archive.reads.acquire().await.ok();
    let store = Arc::clone(&archive.store);
    Ok(Json(blocking(move || store.run_record(&run)).await?))
}

/// Where to begin: `from=BYTES` of a query, else at the start.
fn start(uri: &Uri) -> Result<u64, Refused> {
    let given = uri
        .query()
        .map(|query| query.strip_prefix("from=").and_then(|from| from.parse().ok()));
    given.unwrap_or(Some(0)).ok_or_else(|| {
        Refused::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Invalid",
            "the query is not from=BYTES",
        )
    })
}

async fn chain(
    State(archive): State<Arc<Archive>>,
    run: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, Refused> {
    let (Path(run), from) = (run?, start(&uri)?);
    let (path, state) = {
        // It is never closed.
        let _turn = archive.reads.acquire().await.ok();
        let store = Arc::clone(&archive.store);
        blocking(move || store.chain(&run)).await?
    };
    // What is not acknowledged is not handed out.
    let bytes = part(&path, from, Some(state.bytes)).await?;
    let mut answer = ([(CONTENT_TYPE, "application/jsonl")], bytes).into_response();
    let (name, text) = match (&state.head, &state.fault) {
        (Some(head), _) => (
            HEAD_HEADER,
            serde_json::to_string(head).map_err(StoreError::from)?,
        ),
        (None, fault) => (FAULT_HEADER, fault.clone().unwrap_or_default()),
    };
    // A fault may quote what stands in the file.
    let text: String = text
        .chars()
        .map(|letter| {
            if (' '..='~').contains(&letter) {
                letter
            } else {
                '?'
            }
        })
        .collect();
    if let Ok(value) = text.parse() {
        answer.headers_mut().insert(name, value);
    }
    Ok(answer)
}

/// The bytes of a file from `from` on, up to `end` or its own.
async fn part(path: &std::path::Path, from: u64, end: Option<u64>) -> Result<Body, StoreError> {
    let mut file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        // A run without a record has no file.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && end == Some(0) => {
            return Ok(Body::empty());
        }
        Err(error) => return Err(error.into()),
    };
    let end = match end {
        Some(end) => end,
        None => file.metadata().await?.len(),
    };
    file.seek(std::io::SeekFrom::Start(from)).await?;
    let rest = file.take(end.saturating_sub(from));
    Ok(Body::from_stream(
        ReaderStream::new(rest).map_err(std::io::Error::other),
    ))
}

async fn named(
    State(archive): State<Arc<Archive>>,
    names: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<Named>, Refused> {
    let Path((namespace, name)) = names?;
    let store = Arc::clone(&archive.store);
    let runs = blocking(move || store.named(&namespace, &name)).await?;
    Ok(Json(Named { runs }))
}

async fn seal(
    State(archive): State<Arc<Archive>>,
    run: Result<Path<String>, PathRejection>,
    Extension(sender): Extension<Sender>,
    body: Body,
) -> Result<Json<Seal>, Refused> {
    let Path(run) = run?;
    let invalid = |message: String| Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
    let body = whole(body, SEAL_LIMIT).await?;
    let request: SealRequest = serde_json::from_slice(&body).map_err(|error| invalid(error.to_string()))?;
    if request.stream.parse::<StreamId>().is_err() {
        return Err(invalid(NotAStream.to_string()));
    }
    let caller = format!("{}/{}", sender.caller.account(), sender.pod_uid);
    let (store, uid) = (Arc::clone(&archive.store), run.clone());
    let prepared = blocking(move || store.prepare_seal(&uid, request, &caller)).await?;
    let seal = archive.store.seal(prepared).await?;
    tracing::info!(run, cause = ?seal.data.cause, complete = seal.data.complete, "sealed");
    Ok(Json(seal))
}

async fn put_statement(
    State(archive): State<Arc<Archive>>,
    run: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<StatusCode, Refused> {
    let Path(run) = run?;
    let body = whole(body, STATEMENT_LIMIT).await?;
    let store = Arc::clone(&archive.store);
    blocking(move || store.keep_statement(&run, &body)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn statement(
    State(archive): State<Arc<Archive>>,
    run: Result<Path<String>, PathRejection>,
) -> Result<Response, Refused> {
    let Path(run) = run?;
    let store = Arc::clone(&archive.store);
    let statement = blocking(move || store.statement(&run)).await?;
    let statement = statement
        .ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "NotFound", "the run has no statement"))?;
    Ok(([(CONTENT_TYPE, "application/json")], statement).into_response())
}

async fn unsealed(State(archive): State<Arc<Archive>>) -> Result<Json<Vec<Unsealed>>, Refused> {
    let store = Arc::clone(&archive.store);
    Ok(Json(blocking(move || Ok(store.unsealed()?)).await?))
}

/// The whole of a small body.
async fn whole(body: Body, limit: usize) -> Result<Bytes, Refused> {
    let broken = |message: String| Refused::new(StatusCode::BAD_REQUEST, "BodyBroken", message);
    tokio::time::timeout(BATCH_TIMEOUT, to_bytes(body, limit))
        .await
        .map_err(|_| broken("the body did not come in 30 s".to_owned()))?
        .map_err(|error| broken(error.to_string()))
}

async fn patch(
    State(archive): State<Arc<Archive>>,
    names: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
) -> Result<Response, Refused> {
    let (Path((run, repository)), from) = (names?, start(&uri)?);
    let store = Arc::clone(&archive.store);
    let path = blocking(move || store.patch(&run, &repository))
        .await?
        .ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "NotFound", "the run has no such patch"))?;
    let bytes = part(&path, from, None).await?;
    Ok(([(CONTENT_TYPE, "text/x-diff")], bytes).into_response())
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

/// Why a call is not done, as the caller reads it.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refused {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self {
            status,
            code,
            message,
        } = self;
        let refusal = Refusal {
            code: code.to_owned(),
            message,
        };
        (status, Json(refusal)).into_response()
    }
}

impl From<PathRejection> for Refused {
    fn from(error: PathRejection) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", error.body_text())
    }
}

impl From<UploadError> for Refused {
    fn from(error: UploadError) -> Self {
        let (status, code) = match &error {
            UploadError::Second => (StatusCode::CONFLICT, "OutputExists"),
            UploadError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "OutputBusy"),
            UploadError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "OutputTooLarge"),
            UploadError::Mismatch(_) => (StatusCode::UNPROCESSABLE_ENTITY, "OutputMismatch"),
            UploadError::Broken(_) => (StatusCode::BAD_REQUEST, "OutputBroken"),
            UploadError::Store(error) => status_of(error),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        let (status, code) = status_of(&error);
        if matches!(error, StoreError::StreamsOpen(_)) {
            // The usual first answer: the gateways close a run's records a moment after its pod has ended.
            tracing::debug!(code, %error, "a run is not sealed yet");
        } else {
            tracing::warn!(code, %error, "a call was refused");
        }
        Self::new(status, code, error.to_string())
    }
}

const fn status_of(error: &StoreError) -> (StatusCode, &'static str) {
    match error {
        StoreError::Name(_) | StoreError::Record { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
        StoreError::Full => (StatusCode::PAYLOAD_TOO_LARGE, "RecordsFull"),
        StoreError::Io(_) => (StatusCode::INSUFFICIENT_STORAGE, "VolumeFailed"),
        StoreError::Unsynced => (StatusCode::SERVICE_UNAVAILABLE, "VolumeLost"),
        StoreError::Corrupt(_) => (StatusCode::CONFLICT, "RecordsCorrupt"),
        StoreError::Sealed => (StatusCode::CONFLICT, "RunSealed"),
        StoreError::StreamsOpen(_) => (StatusCode::CONFLICT, "StreamsOpen"),
        StoreError::Statement(_) => (StatusCode::CONFLICT, "StatementRefused"),
        StoreError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "OutputBusy"),
        StoreError::Document(_) => (StatusCode::INTERNAL_SERVER_ERROR, "Corrupt"),
    }
}

#[cfg(test)]
#[path = "server/tests.rs"]
mod tests;
