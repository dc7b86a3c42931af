//! The archive's routes: who may call which, and what they answer.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::io::ReaderStream;

use super::store::{Store, StoreError};
use super::upload::{self, UploadError};
use cofferdam_api::names::AUDIENCE_ARCHIVE;
use cofferdam_identity::{self, TokenError, Verifier};
use cofferdam_wire::archive::{BATCH_HEADER, RUN_HEADER};
use cofferdam_wire::control::Refusal;

/// Longest batch of records in bytes.
const BATCH_LIMIT: usize = 8 * 1024 * 1024;
/// Longest time for a batch to come.
const BATCH_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a caller may take to send a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at the same time; only gateways and the controller call.
const CONNECTIONS: usize = 1024;
/// Pause after a failure, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Answer = Response<Body>;

/// Everything that a request needs.
pub struct Archive {
    /// The files.
    pub store: Arc<Store>,
    /// Who calls.
    pub verifier: Verifier,
    /// The operator's namespace, whose service accounts may call.
    pub namespace: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'a> {
    Records { run: &'a str },
    Output { run: &'a str },
    Run { run: &'a str },
    Patch { run: &'a str, repository: &'a str },
}

impl<'a> Route<'a> {
    fn of(method: &Method, path: &'a str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix("/v1/runs/")?.split('/').collect();
        match (method.as_str(), parts.as_slice()) {
            ("POST", [run, "records"]) => Some(Self::Records { run }),
            ("PUT", [run, "output"]) => Some(Self::Output { run }),
            ("GET", [run]) => Some(Self::Run { run }),
            ("GET", [run, "patches", repository]) => Some(Self::Patch { run, repository }),
            _ => None,
        }
    }

    /// The one service account that may call it.
    fn caller(self) -> &'static str {
        match self {
            Self::Records { .. } | Self::Output { .. } => "gateway",
            Self::Run { .. } | Self::Patch { .. } => "controller",
        }
    }
}

/// Serves connections until the future is dropped.
pub async fn serve(archive: Arc<Archive>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let archive = Arc::clone(&archive);
                tokio::spawn(async move {
                    let service = service_fn(|request| {
                        let archive = Arc::clone(&archive);
                        async move { Ok::<_, Infallible>(answer(&archive, request).await) }
                    });
                    let served = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEADER_TIMEOUT)
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                    if let Err(error) = served {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn answer(archive: &Archive, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let Some(route) = Route::of(request.method(), &path) else {
        return refusal(StatusCode::NOT_FOUND, "NotFound", "there is no such route");
    };
    if let Err(refusal) = authorise(archive, request.headers(), route.caller()).await {
        return refusal;
    }
    match route {
        Route::Records { run } => records(archive, run, request).await,
        Route::Output { run } => output(archive, run, request).await,
        Route::Run { run } => match archive.store.run_record(run) {
            Ok(record) => json(StatusCode::OK, &record),
            Err(error) => store_refusal(&error),
        },
        Route::Patch { run, repository } => patch(archive, run, repository).await,
    }
}

async fn authorise(archive: &Archive, headers: &HeaderMap, caller: &str) -> Result<(), Answer> {
    let unauthorised = |message: &str| refusal(StatusCode::UNAUTHORIZED, "TokenInvalid", message);
    let token = text(headers, &AUTHORIZATION)
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(|| unauthorised("a bearer token is needed"))?;
    let verified = archive
        .verifier
        .verify(token, &[AUDIENCE_ARCHIVE], cofferdam_identity::now())
        .await;
    let identity = verified.map_err(|error| match error {
        TokenError::KeysUnavailable(_) => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "KeysUnavailable",
            &error.to_string(),
        ),
        _ => unauthorised(&error.to_string()),
    })?;
    if identity.username == format!("system:serviceaccount:{}:{caller}", archive.namespace) {
        Ok(())
    } else {
        let message = format!("only the {caller} may call this");
        Err(refusal(StatusCode::FORBIDDEN, "Forbidden", &message))
    }
}

async fn records(archive: &Archive, run: &str, request: Request<Incoming>) -> Answer {
    let batch = text(request.headers(), &BATCH_HEADER).map(str::to_owned);
    let reading = Limited::new(request.into_body(), BATCH_LIMIT).collect();
    let lines = match tokio::time::timeout(BATCH_TIMEOUT, reading).await {
        Ok(Ok(body)) => body.to_bytes(),
        // Not 413: that word is for a run whose records are full.
        Ok(Err(error)) => return refusal(StatusCode::BAD_REQUEST, "BatchBroken", &error.to_string()),
        Err(_) => {
            return refusal(
                StatusCode::REQUEST_TIMEOUT,
                "BatchBroken",
                "the batch did not come in 30 s",
            );
        }
    };
    let (store, run) = (Arc::clone(&archive.store), run.to_owned());
    let work = move || store.append(&run, batch.as_deref(), &lines);
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(())) => with_body(StatusCode::NO_CONTENT, "application/json", Bytes::new()),
        Ok(Err(error)) => store_refusal(&error),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal", &error.to_string()),
    }
}

async fn output(archive: &Archive, run: &str, request: Request<Incoming>) -> Answer {
    let Some(name) = text(request.headers(), &RUN_HEADER).map(str::to_owned) else {
        return refusal(
            StatusCode::BAD_REQUEST,
            "RunMissing",
            "the header cofferdam-run is needed",
        );
    };
    let chunks = BodyStream::new(request.into_body()).map(|frame| match frame {
        Ok(frame) => Ok(frame.into_data().unwrap_or_default()),
        Err(error) => Err(error.to_string()),
    });
    match upload::receive(&archive.store, run, &name, Box::pin(chunks)).await {
        Ok(receipt) => {
            tracing::info!(
                run,
                name,
                patches = receipt.manifest.patches.len(),
                "an output was received"
            );
            json(StatusCode::CREATED, &receipt)
        }
        Err(error) => {
            tracing::warn!(run, name, %error, "an output was refused");
            upload_refusal(&error)
        }
    }
}

async fn patch(archive: &Archive, run: &str, repository: &str) -> Answer {
    let path = match archive.store.patch(run, repository) {
        Ok(Some(path)) => path,
        Ok(None) => return refusal(StatusCode::NOT_FOUND, "NotFound", "the run has no such patch"),
        Err(error) => return store_refusal(&error),
    };
    match tokio::fs::File::open(path).await {
        Ok(file) => {
            let frames = ReaderStream::new(file).map_ok(Frame::data);
            typed(
                StatusCode::OK,
                "text/x-diff",
                StreamBody::new(frames).boxed_unsync(),
            )
        }
        Err(error) => store_refusal(&error.into()),
    }
}

fn upload_refusal(error: &UploadError) -> Answer {
    let (status, code) = match error {
        UploadError::Second => (StatusCode::CONFLICT, "OutputExists"),
        UploadError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "OutputBusy"),
        UploadError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "OutputTooLarge"),
        UploadError::Mismatch(_) => (StatusCode::UNPROCESSABLE_ENTITY, "OutputMismatch"),
        UploadError::Broken(_) => (StatusCode::BAD_REQUEST, "OutputBroken"),
        UploadError::Store(error) => return store_refusal(error),
        UploadError::Io(_) => (StatusCode::INSUFFICIENT_STORAGE, "VolumeFailed"),
    };
    refusal(status, code, &error.to_string())
}

fn store_refusal(error: &StoreError) -> Answer {
    let (status, code) = match error {
        StoreError::Name(_) | StoreError::Record { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
        StoreError::Full => (StatusCode::PAYLOAD_TOO_LARGE, "RecordsFull"),
        StoreError::Io(_) => (StatusCode::INSUFFICIENT_STORAGE, "VolumeFailed"),
        StoreError::Corrupt(_) => (StatusCode::INTERNAL_SERVER_ERROR, "Corrupt"),
    };
    tracing::warn!(code, %error, "a call was refused");
    refusal(status, code, &error.to_string())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Answer {
    let refusal = Refusal {
        code: code.to_owned(),
        message: message.to_owned(),
    };
    json(status, &refusal)
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => with_body(status, "application/json", bytes.into()),
        Err(_) => with_body(
            StatusCode::INTERNAL_SERVER_ERROR,
            "application/json",
            Bytes::new(),
        ),
    }
}

fn with_body(status: StatusCode, media_type: &'static str, bytes: Bytes) -> Answer {
    typed(
        status,
        media_type,
        Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
    )
}

fn typed(status: StatusCode, media_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

#[cfg(test)]
#[path = "server/tests.rs"]
mod tests;
