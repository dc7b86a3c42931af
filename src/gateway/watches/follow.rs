//! Following one kind of object: list, then watch from there, for ever.
//!
//! Written out rather than taken from a library, because "the watch is open" decides whether traffic may flow.

use std::fmt::Debug;
use std::time::Duration;

use futures::TryStreamExt;
use kube::api::{ListParams, ObjectList, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

/// Objects of one page of a list. A page is in memory as a whole until it is mapped to what is kept, and tenants decide how
/// large an object is.
const PAGE: u32 = 100;
/// Longest time for one page, and for a watch to open. A page that takes longer is asked for again at half its size, down
/// to one object.
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
    /// What is kept of an object of a list.
    type Kept: Send;
    /// What is kept of an object of a list; `None`: it does not count.
    fn keep(&self, object: K) -> Option<Self::Kept>;
    /// These are all objects.
    fn replace(&self, all: Vec<Self::Kept>);
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
        let ask = async |parameters: &ListParams| api.list(parameters).await;
        let keep = |object| follower.keep(object);
        let version = match list(ask, selection.list(PAGE), keep).await {
            Ok((kept, version)) => {
                follower.replace(kept);
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

/// All objects, each page mapped before the next is asked for; and the version from which to watch.
async fn list<K: Clone, T>(
    ask: impl AsyncFn(&ListParams) -> kube::Result<ObjectList<K>>,
    mut parameters: ListParams,
    keep: impl Fn(K) -> Option<T>,
) -> Result<(Vec<T>, String), FollowError> {
    let mut kept = Vec::new();
    loop {
        let Ok(page) = tokio::time::timeout(CALL_TIMEOUT, ask(&parameters)).await else {
            let size = parameters.limit.unwrap_or(PAGE);
            if size <= 1 {
                return Err(FollowError::TimedOut);
            }
            tracing::warn!(size, "a page of a list took too long and is asked for in halves");
            parameters.limit = Some(size / 2);
            continue;
        };
        let page = page?;
        kept.extend(page.items.into_iter().filter_map(&keep));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok((kept, page.metadata.resource_version.unwrap_or_default())),
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

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Namespace;
    use parking_lot::Mutex;
    use serde_json::json;

    use super::*;

    /// A server of `all` objects that answers no page of more than `readable` of them in time. Pages are asked for by the
    /// number of the first object.
    struct Server {
        all: u32,
        readable: u32,
        log: Mutex<Vec<String>>,
    }

    impl Server {
        async fn page(&self, parameters: &ListParams) -> kube::Result<ObjectList<Namespace>> {
            let token = parameters.continue_token.as_ref();
            let first: u32 = token.map_or(0, |token| token.parse().unwrap());
            let size = parameters.limit.unwrap();
            self.log.lock().push(format!("{size} from {first}"));
            if size > self.readable {
                std::future::pending::<()>().await;
            }
            let end = self.all.min(first + size);
            let items: Vec<_> = (first..end)
                .map(|number| json!({"metadata": {"name": format!("n{number}")}}))
                .collect();
            let next = (end < self.all).then(|| end.to_string());
            let list = json!({
                "apiVersion": "v1", "kind": "NamespaceList", "items": items,
                "metadata": {"resourceVersion": "9", "continue": next},
            });
            Ok(serde_json::from_value(list).unwrap())
        }

        /// What is kept of a list, and in which order objects were asked for and kept.
        async fn listed(
            all: u32,
            readable: u32,
        ) -> (Result<(Vec<String>, String), FollowError>, Vec<String>) {
            let server = Self {
                all,
                readable,
                log: Mutex::default(),
            };
            let keep = |namespace: Namespace| {
                let name = namespace.name_any();
                server.log.lock().push(name.clone());
                (name != "n1").then_some(name)
            };
            let ask = async |parameters: &ListParams| server.page(parameters).await;
            let kept = list(ask, Selection::default().list(4), keep).await;
            (kept, server.log.into_inner())
        }
    }

    #[tokio::test]
    async fn each_page_is_mapped_before_the_next_is_asked_for() {
        let (kept, log) = Server::listed(5, 4).await;
        assert_eq!(
            kept.unwrap(),
            (
                ["n0", "n2", "n3", "n4"].map(str::to_owned).to_vec(),
                "9".to_owned()
            )
        );
        assert_eq!(log, ["4 from 0", "n0", "n1", "n2", "n3", "4 from 4", "n4"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_takes_too_long_is_asked_for_in_halves() {
        let (kept, log) = Server::listed(3, 1).await;
        assert_eq!(kept.unwrap().0, ["n0", "n2"]);
        assert_eq!(
            log,
            [
                "4 from 0", "2 from 0", "1 from 0", "n0", "1 from 1", "n1", "1 from 2", "n2"
            ]
        );
        let (kept, log) = Server::listed(3, 0).await;
        assert!(matches!(kept, Err(FollowError::TimedOut)), "not even one object");
        assert_eq!(log, ["4 from 0", "2 from 0", "1 from 0"]);
    }

    /// Says whether the watch is open.
    #[derive(Default)]
    struct Opened(Mutex<Vec<bool>>);

    impl Follower<Namespace> for Opened {
        type Kept = ();

        fn keep(&self, _object: Namespace) -> Option<()> {
            None
        }

        fn replace(&self, _all: Vec<()>) {}

        fn put(&self, _object: Namespace) {}

        fn remove(&self, _object: Namespace) {}

        fn open(&self, open: bool) {
            self.0.lock().push(open);
        }
    }

    /// A watch that hangs without closing is not believed for ever, whatever lists say meanwhile: at least a bookmark is due.
    #[tokio::test(start_paused = true)]
    async fn a_watch_that_says_nothing_any_more_is_given_up() {
        use futures::{StreamExt, stream};
        use http_body_util::StreamBody;
        use hyper::body::Frame;
        let bookmark = json!({"type": "BOOKMARK", "object": {"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"resourceVersion": "7", "creationTimestamp": null}}});
        let service = tower::service_fn(move |_: http::Request<kube::client::Body>| {
            let line = bytes::Bytes::from(format!("{bookmark}\n"));
            async move {
                let said = stream::iter([Ok::<_, std::io::Error>(Frame::data(line))]);
                Ok::<_, std::convert::Infallible>(http::Response::new(StreamBody::new(
                    said.chain(stream::pending()),
                )))
            }
        });
        let api: Api<Namespace> = Api::all(kube::Client::new(service, "unused"));
        let (opened, begun) = (Opened::default(), tokio::time::Instant::now());
        let error = watch_from(&api, Selection::default(), "1".to_owned(), &opened).await;
        assert!(matches!(error, FollowError::TimedOut), "{error}");
        assert_eq!(begun.elapsed(), SILENCE_LIMIT);
        assert_eq!(*opened.0.lock(), [true]);
    }
}
