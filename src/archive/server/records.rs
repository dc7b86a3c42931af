//! Takes records and seals, and hands a chain out.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode, Uri};

use super::body::whole;
use super::caller::{Caller, Sender};
use super::files::{part, start};
use super::{Archive, Refused, blocking, text};
use crate::error::StoreError;
use cofferdam_wire::archive::{BATCH_LIMIT, FAULT_HEADER, HEAD_HEADER, STREAM_HEADER};
use cofferdam_wire::chain::Class;
use cofferdam_wire::record::{NotAStream, StreamId};
use cofferdam_wire::seal::{SEAL_LIMIT, STATEMENT_LIMIT, Seal, SealRequest, Unsealed};
use cofferdam_wire::witness::Witness;

pub async fn records(
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
    let lines = whole(body, BATCH_LIMIT).await?;
    let (store, uid) = (Arc::clone(&archive.store), run.clone());
    let prepared = blocking(move || store.prepare(&uid, source, Class::Observed, &lines)).await?;
    archive.store.commit(prepared).await?;
    if sender.caller == Caller::Controller {
        note_origin(&archive, run).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Brings the index up to what the chain tells. The records are on the disk: that it fails is no answer to their sender, and
/// whoever asks for the name reads the chain then.
async fn note_origin(archive: &Archive, run: String) {
    let store = Arc::clone(&archive.store);
    if let Err(refused) = blocking(move || store.note_origin(&run)).await {
        tracing::warn!(?refused, "the index does not tell of a run yet");
    }
}

pub async fn chain(
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

pub async fn seal(
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
    note_origin(&archive, run.clone()).await;
    tracing::info!(run, cause = ?seal.data.cause, complete = seal.data.complete, "sealed");
    Ok(Json(seal))
}

pub async fn witness(State(archive): State<Arc<Archive>>) -> Result<Json<Option<Witness>>, Refused> {
    let store = Arc::clone(&archive.store);
    Ok(Json(blocking(move || Ok(store.witness())).await?))
}

pub async fn put_statement(
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

pub async fn statement(
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

pub async fn unsealed(State(archive): State<Arc<Archive>>) -> Result<Json<Vec<Unsealed>>, Refused> {
    let store = Arc::clone(&archive.store);
    Ok(Json(blocking(move || Ok(store.unsealed()?)).await?))
}
