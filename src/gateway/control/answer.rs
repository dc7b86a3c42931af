//! Answers of control routes.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::denial::Denial;
use cofferdam_wire::control::Refusal;

/// What a control route answers.
pub type Answer = Response<Full<Bytes>>;

/// A JSON answer.
pub fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => with_type(status, "application/json", bytes.into()),
        Err(_) => empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// A refusal; its code decides the status.
pub fn refusal(denial: &Denial) -> Answer {
    let refusal = Refusal {
        code: denial.code.as_str().to_owned(),
        message: denial.message.clone().into_owned(),
    };
    json(denial.code.class().control_status(), &refusal)
}

/// Bytes with their media type.
pub fn with_type(status: StatusCode, media_type: &'static str, bytes: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(bytes));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}
