//! Reading at the archive, as this role's ServiceAccount.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http::{Response, StatusCode};
use serde::de::DeserializeOwned;

use crate::status::Failure;
use cofferdam_service::client::{Call, Client, HttpError};
use cofferdam_wire::archive::{Named, NamedRun, named_path, run_path};
use cofferdam_wire::control::Refusal;
use cofferdam_wire::record::RunRecord;

/// Longest silence of the archive. Longer, and a user waits for what may never come.
const SILENCE: Duration = Duration::from_secs(10);

/// The archive.
pub struct Archive {
    client: Client,
    url: String,
    token_file: PathBuf,
}

impl Archive {
    /// The archive at `url`, which knows this role by the token in `token_file`.
    pub fn new(url: String, token_file: PathBuf) -> Self {
        Self {
            client: Client::new(),
            url,
            token_file,
        }
    }

    /// What it knows of a run; of a run that it does not know that is nothing.
    ///
    /// # Errors
    /// It does not answer, or holds something that is corrupt.
    pub async fn record(&self, run_uid: &str) -> Result<RunRecord, Failure> {
        self.document(&run_path(run_uid)).await
    }

    /// The runs of a name that left an output, the newest first.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn named(&self, namespace: &str, name: &str) -> Result<Vec<NamedRun>, Failure> {
        let named: Named = self.document(&named_path(namespace, name)).await?;
        Ok(named.runs)
    }

    async fn document<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answer = self
            .client
            .send(self.call(path).await?)
            .await
            .map_err(|error| silent(&error))?;
        let body = judged(answer.status(), answer.body()).map(|()| answer.body())?;
        serde_json::from_slice(body).map_err(|error| {
            tracing::error!(path, %error, "the archive's answer cannot be read");
            Failure::corrupt("the archive's answer cannot be read")
        })
    }

    /// The bytes of a path as they come.
    ///
    /// # Errors
    /// The archive does not answer, or refuses.
    pub async fn open(
        &self,
        path: &str,
    ) -> Result<Response<impl Stream<Item = Result<Bytes, HttpError>> + Send + use<>>, Failure> {
        let answer = self
            .client
            .open(self.call(path).await?)
            .await
            .map_err(|error| silent(&error))?;
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let status = answer.status();
        // Its words are worth a second call: the first one's are a stream.
        let again = self
            .client
            .send(self.call(path).await?)
            .await
            .map_err(|error| silent(&error))?;
        judged(again.status(), again.body())?;
        tracing::warn!(path, %status, "the archive changed its mind");
        Err(Failure::unavailable(
            "the archive gave two different answers; try again",
        ))
    }

    async fn call(&self, path: &str) -> Result<Call, Failure> {
        let unusable = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "the archive cannot be called");
            Failure::unavailable("the archive cannot be called")
        };
        let token = tokio::fs::read_to_string(&self.token_file)
            .await
            .map_err(|error| unusable(&error))?;
        let call = Call::get(&format!("{}{path}", self.url)).and_then(|call| call.bearer(&token));
        Ok(call.map_err(|error| unusable(&error))?.timeout(SILENCE))
    }
}

fn silent(error: &HttpError) -> Failure {
    tracing::warn!(%error, "the archive does not answer");
    Failure::unavailable("the archive does not answer; what it holds is safe, try again")
}

/// What the archive says in place of what was asked for.
fn judged(status: StatusCode, body: &[u8]) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    let said = serde_json::from_slice(body).unwrap_or_else(|_| Refusal {
        code: status.to_string(),
        message: "without a word".to_owned(),
    });
    tracing::warn!(code = said.code, message = said.message, "the archive refuses");
    Err(match status {
        StatusCode::NOT_FOUND => Failure::not_found(said.message),
        StatusCode::UNPROCESSABLE_ENTITY => Failure::bad_request(said.message),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::SERVICE_UNAVAILABLE => {
            Failure::unavailable(format!("the archive does not serve now: {}", said.message))
        }
        _ => Failure::corrupt(format!("the archive cannot read what it holds: {}", said.message)),
    })
}
