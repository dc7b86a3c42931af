//! Calls to the gateway's control routes.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};

use super::text::escape;
use cofferdam_api::Reason;
use cofferdam_service::client::{Body, Call, Client, HttpError};
use cofferdam_wire::control::{
    ISOLATION, IsolationLost, OUTPUT, Refusal, RunState, STATE, STATE_POLL_SECONDS, TRUST, WHOAMI, WhoAmI,
};
use cofferdam_wire::denial::DenialCode;

/// A call that has to be answered at once.
const SHORT: Duration = Duration::from_secs(5);
/// The long poll, with some time for the way.
const LONG_POLL: Duration = Duration::from_secs(STATE_POLL_SECONDS + 10);

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The token cannot be read.
    #[error("the pod's token cannot be read: {0}")]
    Token(#[source] std::io::Error),
    /// No answer.
    #[error("the gateway does not answer: {0}")]
    Http(#[from] HttpError),
    /// An answer that says no.
    #[error("the gateway refuses ({status} {code}): {message}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// Stable short code; empty where the body was none of ours.
        code: String,
        /// For people.
        message: String,
    },
    /// An answer that makes no sense.
    #[error("the gateway's answer cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl ControlError {
    /// The HTTP status of a refusal.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the same call may do better a moment later. 425 says so; a restarting gateway or a token that is
    /// just being written look like the others.
    pub fn passes(&self) -> bool {
        match self {
            Self::Refused { status, .. } => *status == StatusCode::TOO_EARLY || status.is_server_error(),
            Self::Token(_) | Self::Http(_) => true,
            Self::Malformed(_) => false,
        }
    }

    /// The reason of a run that a refusal names by its code.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused { code, .. } => code.parse::<DenialCode>().ok()?.reason(),
            _ => None,
        }
    }
}

/// The gateway, spoken to with one of the pod's tokens, read anew for each call because the kubelet renews it.
#[derive(Clone, Debug)]
pub struct Control {
    client: Client,
    base: String,
    token: PathBuf,
}

impl Control {
    /// The gateway at `address:port`.
    pub fn new(gateway: &str, token: PathBuf) -> Self {
        Self {
            client: Client::new(),
            base: format!("http://{gateway}"),
            token,
        }
    }

    /// Who the gateway takes us for.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn whoami(&self) -> Result<WhoAmI, ControlError> {
        Ok(serde_json::from_slice(&self.get(WHOAMI, SHORT).await?)?)
    }

    /// The additional trusted certificates, PEM.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn trust(&self) -> Result<Bytes, ControlError> {
        self.get(TRUST, SHORT).await
    }

    /// The state of the run, once it is newer than `after` or the poll's time is over.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn state(&self, after: u64) -> Result<RunState, ControlError> {
        let answer = self.get(&format!("{STATE}?after={after}"), LONG_POLL).await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Reports a hole in the fence; the gateway closes the run's exit.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn isolation_lost(&self, lost: &IsolationLost) -> Result<(), ControlError> {
        let call = self
            .call(Method::POST, ISOLATION)
            .await?
            .body(serde_json::to_vec(lost)?)
            .timeout(SHORT);
        self.send(call).await.map(drop)
    }

    /// Hands the run's output over.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn output(&self, body: Body, timeout: Duration) -> Result<(), ControlError> {
        let call = self.call(Method::POST, OUTPUT).await?.body(body).timeout(timeout);
        self.send(call).await.map(drop)
    }

    async fn get(&self, path: &str, timeout: Duration) -> Result<Bytes, ControlError> {
        let call = self.call(Method::GET, path).await?.timeout(timeout);
        self.send(call).await
    }

    async fn call(&self, method: Method, path: &str) -> Result<Call, ControlError> {
        let token = tokio::fs::read_to_string(&self.token)
            .await
            .map_err(ControlError::Token)?;
        Ok(Call::new(method, &format!("{}{path}", self.base))?.bearer(&token)?)
    }

    async fn send(&self, call: Call) -> Result<Bytes, ControlError> {
        let (head, body) = self.client.send(call).await?.into_parts();
        if head.status.is_success() {
            return Ok(body);
        }
        Err(refused(head.status, &body))
    }
}

fn refused(status: StatusCode, body: &[u8]) -> ControlError {
    let (code, message) = match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => (
            escape(refusal.code.as_bytes()),
            escape(refusal.message.as_bytes()),
        ),
        Err(_) => (String::new(), escape(body)),
    };
    ControlError::Refused {
        status,
        code,
        message,
    }
}
