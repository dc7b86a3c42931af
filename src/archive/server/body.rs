//! Bodies as they come: bounded in size, in time, and in how many are in memory.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use tokio::sync::SemaphorePermit;

use super::{Archive, Refused, text};
use cofferdam_wire::archive::BATCH_LIMIT;

/// Bytes of batches that are in memory at the same time; those that come then wait.
pub const BATCHES_LIMIT: usize = 16 * BATCH_LIMIT;
/// Longest time for a body to come.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Archive {
    /// Room in memory for the batch that a request announces.
    pub async fn room_for(&self, headers: &HeaderMap) -> Option<SemaphorePermit<'_>> {
        let announced = text(headers, &CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
        let bytes = announced.unwrap_or(BATCH_LIMIT).min(BATCH_LIMIT);
        // It is never closed.
        self.batches.acquire_many(u32::try_from(bytes).ok()?).await.ok()
    }
}

/// The whole of a body. One that is too large is answered with 400: 413 says that a run's records are full.
pub async fn whole(body: Body, limit: usize) -> Result<Bytes, Refused> {
    let broken = |message: String| Refused::new(StatusCode::BAD_REQUEST, "BodyBroken", message);
    tokio::time::timeout(TIMEOUT, to_bytes(body, limit))
        .await
        .map_err(|_| broken("the body did not come in 30 s".to_owned()))?
        .map_err(|error| broken(error.to_string()))
}
