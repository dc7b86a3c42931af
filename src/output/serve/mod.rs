//! One request of one user: what is asked for, whether the user may, and the answer.

mod follow;
mod query;

use std::sync::Arc;

use axum::body::Body;
use futures::TryStreamExt as _;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use serde_json::Value;

use crate::access::Access;
use crate::archive::Archive;
use crate::front::caller::User;
use crate::locate::{Found, Runs};
use crate::path::{Asked, Part, read};
use crate::status::Failure;
use crate::{discovery, openapi};
use cofferdam_wire::archive::{FAULT_HEADER, HEAD_HEADER, chain_path, patch_path, statement_path};
use cofferdam_wire::output::PatchManifest;
use cofferdam_wire::output_api::{
    BASE_HEADER, COMPLETE_HEADER, DIGEST_HEADER, LENGTH_HEADER, REPOSITORY_HEADER, RunSummary, UID_HEADER,
};
use cofferdam_wire::record::RunRecord;
use query::Query;

/// Everything that an answer needs.
pub struct Output {
    /// Who may.
    pub access: Access,
    /// Where it is.
    pub archive: Archive,
    /// Which run.
    pub runs: Runs,
}

impl Output {
    /// Answers a request of the front proxy on behalf of `user`.
    pub async fn answer(self: &Arc<Self>, request: &Request<()>, user: &User) -> Response<Body> {
        self.try_answer(request, user)
            .await
            .unwrap_or_else(Failure::into_response)
    }

    async fn try_answer(
        self: &Arc<Self>,
        request: &Request<()>,
        user: &User,
    ) -> Result<Response<Body>, Failure> {
        if request.method() != Method::GET {
            return Err(Failure::method());
        }
        let accept = request
            .headers()
            .get(ACCEPT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        match read(request.uri().path()) {
            Asked::Health => Ok(Response::new(Body::from("ok"))),
            Asked::Groups if discovery::wants_aggregated(accept) => {
                Ok(json(&discovery::aggregated(), discovery::AGGREGATED))
            }
            Asked::Groups => Ok(document(&discovery::groups())),
            Asked::Group => Ok(document(&discovery::group())),
            Asked::Resources => Ok(document(&discovery::resources())),
            Asked::OpenApiV2 => Ok(document(&openapi::v2())),
            Asked::OpenApiIndex => Ok(document(&openapi::index())),
            Asked::OpenApi => Ok(document(&openapi::v3())),
            Asked::Run => Err(Failure::not_found(
                "runs are agentruns.cofferdam.dev; here are their summary, patch, records and statement",
            )),
            Asked::Nothing => Err(Failure::not_found("there is no such resource")),
            Asked::Part { namespace, run, part } => {
                let query = Query::read(request.uri().query().unwrap_or_default(), part)?;
                self.access.check(user, namespace, run, part).await?;
                let everywhere = self.access.is_everywhere(user, run, part);
                let found = self
                    .runs
                    .find(&self.archive, namespace, run, query.uid.as_deref(), everywhere)
                    .await?;
                let uid = found.name.uid.clone();
                let mut answer = self.part(part, found, &query).await?;
                insert(&mut answer, UID_HEADER, &uid);
                Ok(answer)
            }
        }
    }

    async fn part(
        self: &Arc<Self>,
        part: Part,
        found: Found,
        query: &Query,
    ) -> Result<Response<Body>, Failure> {
        match part {
            Part::Summary => {
                let record = self.archive.record(&found.name.uid).await?;
                let summary = RunSummary::new(found.name, record);
                let value =
                    serde_json::to_value(summary).map_err(|error| Failure::corrupt(error.to_string()))?;
                Ok(document(&value))
            }
            Part::Patch => self.patch(&found, query).await,
            Part::Records => self.records(found, query).await,
            Part::Statement => self.statement(&found).await,
        }
    }

    async fn patch(&self, found: &Found, query: &Query) -> Result<Response<Body>, Failure> {
        let record = self.archive.record(&found.name.uid).await?;
        let patch = which_patch(&record, query.repository.as_deref(), found.over)?;
        if record.patches_removed {
            return Err(Failure::not_found(format!(
                "the days for which the archive keeps patches are over; what is left of this one is its digest, {}",
                patch.digest
            )));
        }
        let url = format!(
            "{}?from={}",
            patch_path(&found.name.uid, &patch.name()),
            query.from
        );
        let bytes = self.archive.open(&url).await?.into_body();
        let mut answer = Response::new(Body::from_stream(bytes.map_err(std::io::Error::other)));
        insert(&mut answer, CONTENT_TYPE, "text/x-diff");
        insert(&mut answer, DIGEST_HEADER, &patch.digest);
        insert(&mut answer, LENGTH_HEADER, &patch.bytes.to_string());
        insert(&mut answer, REPOSITORY_HEADER, &patch.path());
        insert(&mut answer, BASE_HEADER, &patch.base_commit);
        Ok(answer)
    }

    async fn statement(&self, found: &Found) -> Result<Response<Body>, Failure> {
        let bytes = self
            .archive
            .open(&statement_path(&found.name.uid))
            .await?
            .into_body();
        let mut answer = Response::new(Body::from_stream(bytes.map_err(std::io::Error::other)));
        insert(&mut answer, CONTENT_TYPE, "application/json");
        Ok(answer)
    }

    async fn records(self: &Arc<Self>, found: Found, query: &Query) -> Result<Response<Body>, Failure> {
        let path = chain_path(&found.name.uid, query.from);
        let first = self.archive.open(&path).await?;
        let (head, fault) = (
            first.headers().get(HEAD_HEADER).cloned(),
            first.headers().get(FAULT_HEADER).cloned(),
        );
        let over = found.over;
        let body = if query.follow && !over {
            follow::body(Arc::clone(self), found.name, first.into_body(), query.from)
        } else {
            Body::from_stream(first.into_body().map_err(std::io::Error::other))
        };
        let mut answer = Response::new(body);
        insert(&mut answer, CONTENT_TYPE, "application/jsonl");
        for (name, value) in [(HEAD_HEADER, head), (FAULT_HEADER, fault)] {
            if let Some(value) = value {
                answer.headers_mut().insert(name, value);
            }
        }
        if over {
            insert(&mut answer, COMPLETE_HEADER, "true");
        }
        Ok(answer)
    }
}

/// The patch that is meant.
fn which_patch<'a>(
    record: &'a RunRecord,
    repository: Option<&str>,
    over: bool,
) -> Result<&'a PatchManifest, Failure> {
    let Some(receipt) = &record.receipt else {
        return Err(Failure::not_found(if over {
            "the run is over and left no output: describe says why"
        } else {
            "the run has left no output yet: it comes when the agent has ended"
        }));
    };
    let patches = &receipt.manifest.patches;
    let names = || {
        patches
            .iter()
            .map(PatchManifest::path)
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (repository, patches.as_slice()) {
        (_, []) => Err(Failure::not_found("the run changed no repository")),
        (None, [one]) => Ok(one),
        (None, _) => Err(Failure::bad_request(format!(
            "the run has several patches; say which with repository=NAME: {}",
            names()
        ))),
        (Some(name), _) => patches.iter().find(|patch| patch.is_called(name)).ok_or_else(|| {
            Failure::not_found(format!(
                "the run has no patch of repository {name:?}; it has: {}",
                names()
            ))
        }),
    }
}

fn document(value: &Value) -> Response<Body> {
    json(value, "application/json")
}

fn json(value: &Value, media: &str) -> Response<Body> {
    let mut answer = Response::new(Body::from(value.to_string()));
    insert(&mut answer, CONTENT_TYPE, media);
    answer
}

/// A value that is no header's is left out: it is the sandbox's, and says nothing then.
fn insert(answer: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests;
