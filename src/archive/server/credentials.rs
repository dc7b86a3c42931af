//! Which credentials gateways could send.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::{Extension, Json};
use http::StatusCode;

use super::body::whole;
use super::caller::Sender;
use super::{Archive, Refused};
use cofferdam_wire::credential::{CredentialHealth, HEALTH_LIMIT};

/// Keeps what a gateway tells.
pub async fn put(
    State(archive): State<Arc<Archive>>,
    Extension(sender): Extension<Sender>,
    body: Body,
) -> Result<StatusCode, Refused> {
    let body = whole(body, HEALTH_LIMIT).await?;
    let told: Vec<CredentialHealth> = serde_json::from_slice(&body)
        .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, "Invalid", error.to_string()))?;
    archive.credentials.put(sender.pod_uid, told, Instant::now());
    Ok(StatusCode::NO_CONTENT)
}

/// What all gateways come to.
pub async fn get(State(archive): State<Arc<Archive>>) -> Json<Vec<CredentialHealth>> {
    Json(archive.credentials.all(Instant::now()))
}
