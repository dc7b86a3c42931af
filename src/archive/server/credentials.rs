//! Which credentials gateways could send.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::{Extension, Json};
use http::StatusCode;

use super::{Archive, Refused, Sender};
use cofferdam_wire::credential::{CredentialHealth, HEALTH_LIMIT};

/// Longest time for a list to come.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Keeps what a gateway tells.
pub async fn put(
    State(archive): State<Arc<Archive>>,
    Extension(sender): Extension<Sender>,
    body: Body,
) -> Result<StatusCode, Refused> {
    let broken = |message: String| Refused::new(StatusCode::BAD_REQUEST, "Invalid", message);
    let body = tokio::time::timeout(TIMEOUT, to_bytes(body, HEALTH_LIMIT))
        .await
        .map_err(|_| broken("the list did not come in 10 s".to_owned()))?
        .map_err(|error| broken(error.to_string()))?;
    let told: Vec<CredentialHealth> =
        serde_json::from_slice(&body).map_err(|error| broken(error.to_string()))?;
    archive.credentials.put(sender.pod_uid, told, Instant::now());
    Ok(StatusCode::NO_CONTENT)
}

/// What all gateways come to.
pub async fn get(State(archive): State<Arc<Archive>>) -> Json<Vec<CredentialHealth>> {
    Json(archive.credentials.all(Instant::now()))
}
