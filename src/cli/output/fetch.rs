//! Requests to the aggregated API. One that breaks off is taken up again where it broke.

use std::pin::pin;

use futures::StreamExt as _;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;

use super::spool::Spool;
use crate::failure::Failure;
use cofferdam_wire::output::PatchManifest;
use cofferdam_wire::output_api::{COMPLETE_HEADER, DIGEST_HEADER, GROUP, RunSummary, path};

/// How often an answer that broke off is taken up again without a byte more.
const TRIES: u32 = 3;
/// Longest document.
const DOCUMENT_LIMIT: usize = 4 << 20;

/// The output of one run.
pub struct Output {
    client: Client,
    namespace: String,
    name: String,
    uid: Option<String>,
}

/// What came of a request that may be taken up again.
pub struct Fetched {
    /// The bytes.
    pub spool: Spool,
    /// Headers of the last answer.
    pub headers: HeaderMap,
}

impl Output {
    /// Of the run of this name; `uid` says which where there were several.
    pub fn new(client: Client, namespace: &str, name: &str, uid: Option<String>) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid,
        }
    }

    /// As people read it.
    pub fn describe(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn url(&self, part: &str, parameters: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(uid) = &self.uid {
            query.append_pair("uid", uid);
        }
        for (name, value) in parameters {
            query.append_pair(name, value);
        }
        let (path, query) = (path(&self.namespace, &self.name, part), query.finish());
        if query.is_empty() {
            path
        } else {
            format!("{path}?{query}")
        }
    }

    async fn open(&self, part: &str, parameters: &[(&str, &str)]) -> Result<Response<Body>, Failure> {
        let what = || format!("the {part} of AgentRun {}", self.describe());
        let request = Request::get(self.url(part, parameters))
            .body(Body::empty())
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let answer = self
            .client
            .send(request)
            .await
            .map_err(|error| Failure::api(what(), &error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = bounded(answer).await.unwrap_or_default();
        Err(refused(what(), status, &body))
    }

    /// What the archive knows of the run.
    ///
    /// # Errors
    /// There is no such run, or it may not be read.
    pub async fn summary(&self) -> Result<RunSummary, Failure> {
        let body = bounded(self.open("summary", &[]).await?).await?;
        serde_json::from_slice(&body).map_err(|error| {
            Failure::Broken(format!(
                "the summary of AgentRun {} cannot be read: {error}",
                self.describe()
            ))
        })
    }

    /// A document that may not be there.
    ///
    /// # Errors
    /// It cannot be told whether it is.
    pub async fn statement(&self) -> Result<Option<Vec<u8>>, Failure> {
        match self.open("statement", &[]).await {
            Ok(answer) => bounded(answer).await.map(Some),
            Err(Failure::Api { code: Some(404), .. }) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// A patch, whole and of the digest that the archive gave it at receipt.
    ///
    /// # Errors
    /// It is not.
    pub async fn patch(&self, patch: &PatchManifest) -> Result<Spool, Failure> {
        let name = patch.name();
        let Fetched { spool, headers } = self
            .whole("patch", &[("repository", name.as_str())], Some(patch.bytes))
            .await?;
        let announced = headers.get(DIGEST_HEADER).and_then(|digest| digest.to_str().ok());
        if spool.digest() != patch.digest || announced.is_some_and(|digest| digest != patch.digest) {
            return Err(Failure::Broken(format!(
                "the patch of {} is not the one that the archive received: {} came, {} was received",
                patch.path(),
                spool.digest(),
                patch.digest
            )));
        }
        Ok(spool)
    }

    /// All records that there are now.
    ///
    /// # Errors
    /// They do not come, or not all of them.
    pub async fn records(&self, bytes: Option<u64>) -> Result<Fetched, Failure> {
        self.whole("records", &[], bytes).await
    }

    /// All bytes of a part, at least `bytes` of them where that is known.
    async fn whole(
        &self,
        part: &str,
        parameters: &[(&str, &str)],
        bytes: Option<u64>,
    ) -> Result<Fetched, Failure> {
        let mut spool = Spool::new()?;
        let mut idle = 0;
        loop {
            let before = spool.bytes();
            let from = before.to_string();
            let answer = self
                .open(part, &[parameters, &[("from", &from)]].concat())
                .await?;
            let headers = answer.headers().clone();
            let mut pieces = pin!(answer.into_body().into_data_stream());
            let mut broken = None;
            while let Some(piece) = pieces.next().await {
                match piece {
                    Ok(piece) => spool.take(&piece)?,
                    Err(error) => {
                        broken = Some(error.to_string());
                        break;
                    }
                }
            }
            let is_short = bytes.is_some_and(|bytes| spool.bytes() < bytes);
            if broken.is_none() && !is_short {
                return Ok(Fetched { spool, headers });
            }
            idle = if spool.bytes() > before { 0 } else { idle + 1 };
            if idle >= TRIES {
                return Err(Failure::Broken(format!(
                    "the {part} of AgentRun {} broke off after {} bytes: {}",
                    self.describe(),
                    spool.bytes(),
                    broken.unwrap_or_else(|| "its end is missing".to_owned())
                )));
            }
        }
    }

    /// Records from byte `from` on as they come, by `take`, until no more will come.
    ///
    /// # Errors
    /// They do not come any more.
    pub async fn follow(&self, mut take: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
        let (mut from, mut idle) = (0_u64, 0);
        loop {
            let text = from.to_string();
            let answer = self
                .open("records", &[("follow", "true"), ("from", &text)])
                .await?;
            let complete = answer.headers().contains_key(COMPLETE_HEADER);
            let mut pieces = pin!(answer.into_body().into_data_stream());
            let (mut broken, before) = (None, from);
            while let Some(piece) = pieces.next().await {
                match piece {
                    Ok(piece) => {
                        from += piece.len() as u64;
                        take(&piece)?;
                    }
                    Err(error) => {
                        broken = Some(error.to_string());
                        break;
                    }
                }
            }
            match broken {
                None if complete => return Ok(()),
                None => idle = 0,
                Some(error) => {
                    idle = if from > before { 0 } else { idle + 1 };
                    if idle >= TRIES {
                        return Err(Failure::Broken(format!("the records broke off: {error}")));
                    }
                }
            }
        }
    }
}

async fn bounded(answer: Response<Body>) -> Result<Vec<u8>, Failure> {
    let body = http_body_util::Limited::new(answer.into_body(), DOCUMENT_LIMIT);
    let bytes = body
        .collect()
        .await
        .map_err(|error| Failure::Broken(format!("the answer broke off: {error}")))?;
    Ok(bytes.to_bytes().to_vec())
}

/// Why the API server, or the role behind it, does not answer with what was asked for.
fn refused(what: String, status: StatusCode, body: &[u8]) -> Failure {
    #[derive(Deserialize)]
    struct Status {
        message: String,
        #[serde(default)]
        reason: String,
    }
    let said: Option<Status> = serde_json::from_slice(body).ok();
    let why = match (status, said) {
        // The API server itself has no such path: nobody registered the group.
        (StatusCode::NOT_FOUND, None) => {
            return Failure::Api {
                what,
                why: format!("the cluster serves no {GROUP}: it comes with the chart's value output.enabled"),
                code: None,
            };
        }
        (_, Some(said)) if said.message.is_empty() => said.reason,
        (_, Some(said)) => said.message,
        (status, None) => match std::str::from_utf8(body) {
            Ok(text) if !text.trim().is_empty() => text.trim().chars().take(300).collect(),
            _ => format!("the API server answers {status}"),
        },
    };
    Failure::Api {
        what,
        why,
        code: Some(status.as_u16()),
    }
}
