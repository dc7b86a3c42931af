//! The archive, as the controller asks it: one question, what do you hold of this run.

use std::path::PathBuf;

use cofferdam_service::client::{Call, Client, HttpError};
use cofferdam_wire::record::RunRecord;

/// Bytes of a record that are read; it is a manifest, ten denials and counters.
const RECORD_LIMIT: usize = 512 * 1024;

/// Client of the archive.
#[derive(Clone, Debug)]
pub struct Archive {
    client: Client,
    url: String,
    token_file: PathBuf,
}

/// The archive gave no record.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The token that shows who asks cannot be read.
    #[error("failed to read the token: {0}")]
    Token(#[from] std::io::Error),
    /// No answer.
    #[error("failed to reach the archive: {0}")]
    Http(#[from] HttpError),
    /// Another answer than a record.
    #[error("the archive answered {0}")]
    Status(u16),
    /// A record that cannot be read.
    #[error("the archive's record cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
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
        let token = tokio::fs::read_to_string(&self.token_file).await?;
        let call = Call::get(&format!("{}/v1/runs/{run_uid}", self.url))?
            .bearer(&token)?
            .limit(RECORD_LIMIT);
        let answer = self.client.send(call).await?;
        match answer.status().as_u16() {
            200 => Ok(serde_json::from_slice(answer.body())?),
            404 => Ok(RunRecord::default()),
            status => Err(ArchiveError::Status(status)),
        }
    }
}
