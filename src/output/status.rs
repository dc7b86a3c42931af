//! Errors as the API server's clients read them: `Status` objects.

use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::front::caller::Stranger;

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    code: StatusCode,
    reason: &'static str,
    message: String,
}

impl Failure {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
        }
    }

    /// Nobody is known to ask.
    pub fn unauthorized(stranger: Stranger) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", stranger.to_string())
    }

    /// Who asks may not.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// Everything here is read-only.
    pub fn method() -> Self {
        let message = "what a run left behind can only be read: the method is GET";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// The request is not one.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// Someone whom this role asks does not answer.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    /// What the archive holds is not what it once held.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// The answer.
    pub fn into_response(self) -> Response<Body> {
        let document = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code.as_u16(),
        });
        let mut answer = Response::new(Body::from(document.to_string()));
        *answer.status_mut() = self.code;
        // No Retry-After: kubectl and client-go would ask ten times before they say what is wrong.
        let json = HeaderValue::from_static("application/json");
        answer.headers_mut().insert(CONTENT_TYPE, json);
        answer
    }
}
