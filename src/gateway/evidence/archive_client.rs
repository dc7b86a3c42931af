//! The gateway's calls to the archive.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Response};

use super::sink::{Sink, SinkError};
use cofferdam_service::client::{Body, Call, Client, HttpError};
use cofferdam_wire::archive::{CREDENTIALS_PATH, RUN_HEADER, STREAM_HEADER, output_path, records_path};
use cofferdam_wire::credential::CredentialHealth;
use cofferdam_wire::record::StreamId;
use cofferdam_wire::runner::RunIdentity;

/// Longest time for a batch of records.
const RECORDS_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for an upload.
const UPLOAD_TIMEOUT: Duration = Duration::from_mins(2);

/// Speaks to the archive as the gateway's ServiceAccount.
#[derive(Clone, Debug)]
pub struct ArchiveClient {
    client: Client,
    base: String,
    token_file: PathBuf,
}

impl ArchiveClient {
    /// `base` is the archive's URL without a path; the token is read anew for each call, the kubelet renews it.
    pub fn new(base: &str, token_file: PathBuf) -> Self {
        Self {
            client: Client::new(),
            base: base.trim_end_matches('/').to_owned(),
            token_file,
        }
    }

    /// Passes an upload on and gives back the archive's answer.
    pub async fn upload(&self, run: &RunIdentity, body: Body) -> Result<Response<Bytes>, HttpError> {
        let call = self
            .call(Method::PUT, &output_path(&run.uid))
            .await?
            .header(RUN_HEADER, &format!("{}/{}", run.namespace, run.name))?
            .timeout(UPLOAD_TIMEOUT)
            .body(body);
        self.client.send(call).await
    }

    /// Tells which credentials could be sent.
    pub async fn report_credentials(&self, health: &[CredentialHealth]) -> Result<(), HttpError> {
        let body = serde_json::to_vec(health).map_err(|error| HttpError::Transport(error.to_string()))?;
        let call = self
            .call(Method::PUT, CREDENTIALS_PATH)
            .await?
            .timeout(RECORDS_TIMEOUT)
            .body(body);
        let answer = self.client.send(call).await?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(HttpError::Transport(format!(
                "status {}",
                answer.status().as_u16()
            )))
        }
    }

    async fn call(&self, method: Method, path: &str) -> Result<Call, HttpError> {
        let token = tokio::fs::read_to_string(&self.token_file)
            .await
            .map_err(|error| HttpError::Transport(format!("{}: {error}", self.token_file.display())))?;
        Call::new(method, &format!("{}{path}", self.base))?.bearer(&token)
    }

    async fn send_records(
        &self,
        run_uid: &str,
        stream: &StreamId,
        lines: Bytes,
    ) -> Result<Response<Bytes>, HttpError> {
        let call = self
            .call(Method::POST, &records_path(run_uid))
            .await?
            .header(STREAM_HEADER, stream.as_str())?
            .timeout(RECORDS_TIMEOUT)
            .body(lines);
        self.client.send(call).await
    }
}

impl Sink for ArchiveClient {
    fn store<'a>(
        &'a self,
        run_uid: &'a str,
        stream: &'a StreamId,
        lines: Bytes,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let answer = self
                .send_records(run_uid, stream, lines)
                .await
                .map_err(|error| SinkError::Unreachable(error.to_string()))?;
            let text = || String::from_utf8_lossy(answer.body()).into_owned();
            match answer.status().as_u16() {
                204 => Ok(()),
                // Full, or corrupt.
                413 | 409 => Err(SinkError::Refused(text())),
                status => Err(SinkError::Unreachable(format!("status {status}: {}", text()))),
            }
        })
    }
}
