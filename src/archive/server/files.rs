//! Takes outputs, and hands out what is known of runs and their patches.

use std::path;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode, Uri};
use http_body_util::BodyStream;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::body::whole;
use super::{Archive, Refused, blocking, text};
use crate::error::StoreError;
use crate::upload;
use cofferdam_wire::archive::{Named, RUN_HEADER};
use cofferdam_wire::hold::{HOLDS_LIMIT, Holds};
use cofferdam_wire::output::Receipt;
use cofferdam_wire::record::RunRecord;
use cofferdam_wire::space::Space;

pub async fn output(
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

pub async fn run_record(
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
pub fn start(uri: &Uri) -> Result<u64, Refused> {
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

/// The bytes of a file from `from` on, up to `end` or its own.
pub async fn part(path: &path::Path, from: u64, end: Option<u64>) -> Result<Body, StoreError> {
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

pub async fn named(
    State(archive): State<Arc<Archive>>,
    names: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<Named>, Refused> {
    let Path((namespace, name)) = names?;
    let store = Arc::clone(&archive.store);
    let runs = blocking(move || store.named(&namespace, &name)).await?;
    Ok(Json(Named { runs }))
}

pub async fn patch(
    State(archive): State<Arc<Archive>>,
    names: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
) -> Result<Response, Refused> {
    let (Path((run, repository)), from) = (names?, start(&uri)?);
    let store = Arc::clone(&archive.store);
    let path = blocking(move || store.patch(&run, &repository))
        .await?
        .ok_or_else(|| {
            let message = "the run has no such patch, or its days are over";
            Refused::new(StatusCode::NOT_FOUND, "NotFound", message)
        })?;
    let bytes = part(&path, from, None).await?;
    Ok(([(CONTENT_TYPE, "text/x-diff")], bytes).into_response())
}

pub async fn space(State(archive): State<Arc<Archive>>) -> Result<Json<Space>, Refused> {
    let store = Arc::clone(&archive.store);
    Ok(Json(blocking(move || Ok(store.space()?)).await?))
}

/// Keeps what the controller tells of what must not be removed.
pub async fn hold(State(archive): State<Arc<Archive>>, body: Body) -> Result<StatusCode, Refused> {
    let body = whole(body, HOLDS_LIMIT).await?;
    let holds: Holds = serde_json::from_slice(&body)
        .map_err(|error| Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", error.to_string()))?;
    archive.store.holds().put(holds, Instant::now());
    Ok(StatusCode::NO_CONTENT)
}
