//! Following one kind of object: list, then watch from there, for ever.
//!
//! Written out rather than taken from a library, because "the watch is open" decides whether traffic may flow.

use std::fmt::Debug;
use std::time::Duration;

use futures::TryStreamExt;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

/// Objects of one page of a list.
const PAGE: u32 = 500;
/// Longest time for one page, and for a watch to open.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A closed watch that does not open again in this time is an outage.
const REOPEN_TIMEOUT: Duration = Duration::from_secs(2);
/// The API server sends a bookmark about every minute: a watch that is silent for longer is dead.
const SILENCE_LIMIT: Duration = Duration::from_secs(90);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// The server ends a watch after this many seconds, so that a resumed one is the ordinary case.
const WATCH_SECONDS: u32 = 290;

/// What happens to the objects.
pub trait Follower<K>: Send + Sync {
    /// These are all objects.
    fn replace(&self, all: Vec<K>);
    /// One was made or changed.
    fn put(&self, object: K);
    /// One is gone from the selection.
    fn remove(&self, object: K);
    /// Whether the watch is open.
    fn open(&self, open: bool);
}

/// Which objects.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection {
    /// Label selector.
    pub labels: Option<&'static str>,
    /// Field selector.
    pub fields: Option<&'static str>,
}

#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error("{0}")]
    Kube(#[from] kube::Error),
    #[error("the API server refuses the watch: {0}")]
    Status(String),
    #[error("no answer in time")]
    TimedOut,
}

impl Selection {
    /// List parameters of one page.
    pub fn list(self, limit: u32) -> ListParams {
        ListParams {
            label_selector: self.labels.map(str::to_owned),
            field_selector: self.fields.map(str::to_owned),
            limit: Some(limit),
            ..ListParams::default()
        }
    }

    fn watch(self) -> WatchParams {
        WatchParams {
            label_selector: self.labels.map(str::to_owned),
            field_selector: self.fields.map(str::to_owned),
            ..WatchParams::default().timeout(WATCH_SECONDS)
        }
    }
}

/// Follows the objects until the task is dropped.
pub async fn follow<K>(api: Api<K>, selection: Selection, follower: impl Follower<K>)
where
    K: Clone + Debug + DeserializeOwned + Resource,
{
    loop {
        let version = match list(&api, selection).await {
            Ok((objects, version)) => {
                follower.replace(objects);
                version
            }
            Err(error) => {
                tracing::warn!(kind = std::any::type_name::<K>(), %error, "a list failed");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let error = watch_from(&api, selection, version, &follower).await;
        follower.open(false);
        tracing::warn!(kind = std::any::type_name::<K>(), %error, "a watch failed; listing anew");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn list<K>(api: &Api<K>, selection: Selection) -> Result<(Vec<K>, String), FollowError>
where
    K: Clone + Debug + DeserializeOwned,
{
    let mut parameters = selection.list(PAGE);
    let mut objects = Vec::new();
    loop {
        let page = tokio::time::timeout(CALL_TIMEOUT, api.list(&parameters))
            .await
            .map_err(|_| FollowError::TimedOut)??;
        objects.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok((objects, page.metadata.resource_version.unwrap_or_default())),
        }
    }
}

/// Watches, and watches again from where the last one ended, until that is not possible any more.
async fn watch_from<K>(
    api: &Api<K>,
    selection: Selection,
    mut version: String,
    follower: &impl Follower<K>,
) -> FollowError
where
    K: Clone + Debug + DeserializeOwned + Resource,
{
    let parameters = selection.watch();
    let mut limit = CALL_TIMEOUT;
    loop {
        let opened = match tokio::time::timeout(limit, api.watch(&parameters, &version)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return error.into(),
            Err(_) => return FollowError::TimedOut,
        };
        limit = REOPEN_TIMEOUT;
        follower.open(true);
        let mut stream = std::pin::pin!(opened);
        loop {
            match tokio::time::timeout(SILENCE_LIMIT, stream.try_next()).await {
                Err(_) => return FollowError::TimedOut,
                Ok(Err(error)) => return error.into(),
                // The server's own end: nothing was missed, the next watch goes on from here.
                Ok(Ok(None)) => break,
                Ok(Ok(Some(event))) => {
                    if let Err(error) = apply(event, &mut version, follower) {
                        return error;
                    }
                }
            }
        }
    }
}

fn apply<K: Resource>(
    event: WatchEvent<K>,
    version: &mut String,
    follower: &impl Follower<K>,
) -> Result<(), FollowError> {
    match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
            *version = object.resource_version().unwrap_or_default();
            follower.put(object);
        }
        WatchEvent::Deleted(object) => {
            *version = object.resource_version().unwrap_or_default();
            follower.remove(object);
        }
        WatchEvent::Bookmark(bookmark) => *version = bookmark.metadata.resource_version,
        WatchEvent::Error(status) => return Err(FollowError::Status(status.message)),
    }
    Ok(())
}
