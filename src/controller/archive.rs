//! The archive, as the controller asks it.

use std::path::PathBuf;

use http::Method;
use serde::de::DeserializeOwned;

use cofferdam_service::client::{Call, Client, HttpError};
use cofferdam_wire::archive::{
    CREDENTIALS_PATH, STREAM_HEADER, UNSEALED_PATH, records_path, run_path, seal_path, statement_path,
};
use cofferdam_wire::control::Refusal;
use cofferdam_wire::credential::CredentialHealth;
use cofferdam_wire::hold::{HOLDS_PATH, Holds};
use cofferdam_wire::record::{RunRecord, StreamId};
use cofferdam_wire::seal::{Seal, SealRequest, Unsealed};
use cofferdam_wire::space::{SPACE_PATH, Space};
use cofferdam_wire::statement::Envelope;
use cofferdam_wire::witness::{WITNESS_PATH, Witness};

/// Bytes of an answer that are read: a manifest, ten denials and counters, or a list of uids.
const ANSWER_LIMIT: usize = 1024 * 1024;

/// Client of the archive.
#[derive(Clone, Debug)]
pub struct Archive {
    client: Client,
    url: String,
    token_file: PathBuf,
}

/// The archive did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The token that shows who asks cannot be read.
    #[error("failed to read the token: {0}")]
    Token(#[from] std::io::Error),
    /// No answer.
    #[error("failed to reach the archive: {0}")]
    Http(#[from] HttpError),
    /// It says no.
    #[error("the archive answered {status} {code}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Why, one word.
        code: String,
        /// For people.
        message: String,
    },
    /// A document that cannot be read, or written.
    #[error("a document of the archive cannot be read or written: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl ArchiveError {
    /// The one word with which it says no.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}

impl Archive {
    /// A client of the archive at `url` that shows the token in `token_file`, read anew each time: the kubelet renews it.
    pub fn new(url: &str, token_file: PathBuf) -> Self {
        Self {
            client: Client::new(),
            url: url.trim_end_matches('/').to_owned(),
            token_file,
        }
    }

    /// What the archive holds of a run; an empty record if it has never heard of it.
    ///
    /// # Errors
    /// It gave no record.
    pub async fn record(&self, run_uid: &str) -> Result<RunRecord, ArchiveError> {
        let call = self.call(Method::GET, &run_path(run_uid)).await?;
        match self.send(call).await {
            Ok(body) => Ok(serde_json::from_slice(&body)?),
            Err(ArchiveError::Refused { status: 404, .. }) => Ok(RunRecord::default()),
            Err(error) => Err(error),
        }
    }

    /// Stores records, as JSON lines.
    ///
    /// # Errors
    /// They are not stored, or that is not known.
    pub async fn append(&self, run_uid: &str, stream: &StreamId, lines: Vec<u8>) -> Result<(), ArchiveError> {
        let call = self.call(Method::POST, &records_path(run_uid)).await?;
        let call = call.header(STREAM_HEADER, stream.as_str())?.body(lines);
        self.send(call).await.map(drop)
    }

    /// Seals the chain of a run. One that is sealed stays as it is.
    ///
    /// # Errors
    /// It is not sealed, or that is not known.
    pub async fn seal(&self, run_uid: &str, request: &SealRequest) -> Result<Seal, ArchiveError> {
        let call = self.call(Method::POST, &seal_path(run_uid)).await?;
        self.read(call.body(serde_json::to_vec(request)?)).await
    }

    /// Keeps the statement of a run whose chain is sealed. One that is there already stays.
    ///
    /// # Errors
    /// It is not kept, or that is not known.
    pub async fn keep_statement(&self, run_uid: &str, statement: &Envelope) -> Result<(), ArchiveError> {
        let call = self.call(Method::PUT, &statement_path(run_uid)).await?;
        self.send(call.body(serde_json::to_vec(statement)?))
            .await
            .map(drop)
    }

    /// Runs that have no statement yet.
    ///
    /// # Errors
    /// It did not say.
    pub async fn unsealed(&self) -> Result<Vec<Unsealed>, ArchiveError> {
        let call = self.call(Method::GET, UNSEALED_PATH).await?;
        self.read(call).await
    }

    /// The root over the heads of all chains that grew since the last call; none: none grew.
    ///
    /// # Errors
    /// It did not say.
    pub async fn witness(&self) -> Result<Option<Witness>, ArchiveError> {
        let call = self.call(Method::POST, WITNESS_PATH).await?;
        self.read(call).await
    }

    /// Tells it what must not be removed.
    ///
    /// # Errors
    /// It does not know.
    pub async fn hold(&self, holds: &Holds) -> Result<(), ArchiveError> {
        let call = self.call(Method::PUT, HOLDS_PATH).await?;
        self.send(call.body(serde_json::to_vec(holds)?)).await.map(drop)
    }

    /// How full its volume is.
    ///
    /// # Errors
    /// It did not say, or is older than the question.
    pub async fn space(&self) -> Result<Space, ArchiveError> {
        let call = self.call(Method::GET, SPACE_PATH).await?;
        self.read(call).await
    }

    /// Which credentials gateways could send.
    ///
    /// # Errors
    /// It did not say.
    pub async fn credentials(&self) -> Result<Vec<CredentialHealth>, ArchiveError> {
        let call = self.call(Method::GET, CREDENTIALS_PATH).await?;
        self.read(call).await
    }

    async fn call(&self, method: Method, path: &str) -> Result<Call, ArchiveError> {
        let token = tokio::fs::read_to_string(&self.token_file).await?;
        let call = Call::new(method, &format!("{}{path}", self.url))?;
        Ok(call.bearer(&token)?.limit(ANSWER_LIMIT))
    }

    async fn read<T: DeserializeOwned>(&self, call: Call) -> Result<T, ArchiveError> {
        Ok(serde_json::from_slice(&self.send(call).await?)?)
    }

    async fn send(&self, call: Call) -> Result<bytes::Bytes, ArchiveError> {
        let answer = self.client.send(call).await?;
        let status = answer.status();
        let body = answer.into_body();
        if status.is_success() {
            return Ok(body);
        }
        // Something else than the archive may answer in its place.
        let refusal = serde_json::from_slice(&body).unwrap_or(Refusal {
            code: "Unknown".to_owned(),
            message: String::new(),
        });
        Err(ArchiveError::Refused {
            status: status.as_u16(),
            code: refusal.code,
            message: refusal.message,
        })
    }
}
