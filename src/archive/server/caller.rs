//! Who calls: a ServiceAccount of the operator's namespace, by a token that is bound to a pod.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;
use http::header::AUTHORIZATION;

use super::{Archive, Refused, text};
use cofferdam_api::names::AUDIENCE_ARCHIVE;
use cofferdam_identity::{self, TokenError};

/// A ServiceAccount of the operator's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Gateway,
    Controller,
    Output,
}

impl Caller {
    pub const fn account(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Controller => "controller",
            Self::Output => "output",
        }
    }
}

/// Who may write what runs leave behind.
pub const WRITERS: &[Caller] = &[Caller::Gateway];
/// Who may read what it comes to.
pub const READERS: &[Caller] = &[Caller::Controller, Caller::Output];
/// Who may read it as it is, for users whom the API server knows.
pub const HANDERS: &[Caller] = &[Caller::Output];
/// Who may write records of a run.
pub const RECORDERS: &[Caller] = &[Caller::Gateway, Caller::Controller];
/// Who may end a run's chain.
pub const SEALERS: &[Caller] = &[Caller::Controller];

/// Who sends, as its token says.
#[derive(Clone, Debug)]
pub struct Sender {
    pub caller: Caller,
    pub pod_uid: String,
}

/// Lets a request pass if its token is one of `callers`.
pub async fn authorise(
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
