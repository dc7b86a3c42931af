//! Why a call is not done, as its caller reads it.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::error::StoreError;
use crate::upload::UploadError;
use cofferdam_wire::control::Refusal;

/// Why a call is not done, as the caller reads it.
#[derive(Debug)]
pub struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refused {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
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
        StoreError::Reserved { .. } => (StatusCode::INSUFFICIENT_STORAGE, "VolumeReserved"),
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
