//! One run as it changes.

use std::pin::pin;
use std::time::Duration;

use futures::TryStreamExt as _;
use kube::Client;
use kube::api::{Request as Ask, WatchEvent, WatchParams};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::runs::{Run, Scope, get};
use cofferdam_api::AgentRun;

/// Pause before a watch that broke off is opened anew.
const PAUSE: Duration = Duration::from_secs(1);
/// How often one that breaks is opened anew before that is said.
const TRIES: u32 = 10;

/// What is seen of a run.
pub enum Seen {
    /// It changed.
    Changed(Box<AgentRun>),
    /// It was deleted.
    Deleted,
    /// Nobody can tell any more.
    Lost(Failure),
}

/// Sees a run from the state `run` on, until nobody listens.
pub fn follow(client: Client, namespace: String, run: AgentRun) -> mpsc::Receiver<Seen> {
    let (seen, listening) = mpsc::channel(8);
    tokio::spawn(async move {
        let mut failures = 0;
        while let Err(failure) = once(&client, &namespace, &run, &seen).await {
            failures += 1;
            if failures >= TRIES {
                // Who does not listen any more does not mind.
                let _ = seen.send(Seen::Lost(failure)).await;
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    listening
}

/// One watch, after a look at how the run stands. Ends well when nobody listens, or the run is gone.
async fn once(
    client: &Client,
    namespace: &str,
    run: &AgentRun,
    seen: &mpsc::Sender<Seen>,
) -> Result<(), Failure> {
    let name = run.metadata.name.as_deref().unwrap_or_default();
    let uid = run.metadata.uid.as_deref().unwrap_or_default();
    let mut version = match get(client, namespace, name).await {
        Ok(now) if now.metadata("uid") == uid => {
            let version = now.metadata("resourceVersion").to_owned();
            if seen.send(Seen::Changed(Box::new(now.readable()?))).await.is_err() {
                return Ok(());
            }
            version
        }
        Ok(_) | Err(Failure::Absent(_)) => {
            let _ = seen.send(Seen::Deleted).await;
            return Ok(());
        }
        Err(failure) => return Err(failure),
    };
    let failed = |error: &kube::Error| Failure::api(format!("AgentRun {namespace}/{name}"), error);
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    loop {
        let request = Ask::new(Scope::Namespace(namespace.to_owned()).path())
            .watch(&params, &version)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let events = client
            .request_events::<Value>(request)
            .await
            .map_err(|error| failed(&error))?;
        let mut events = pin!(events);
        while let Some(event) = events.try_next().await.map_err(|error| failed(&error))? {
            let told = match event {
                WatchEvent::Added(value) | WatchEvent::Modified(value) => {
                    let now = Run::from(value);
                    now.metadata("resourceVersion").clone_into(&mut version);
                    if now.metadata("uid") == uid {
                        Seen::Changed(Box::new(now.readable()?))
                    } else {
                        Seen::Deleted
                    }
                }
                WatchEvent::Deleted(_) => Seen::Deleted,
                WatchEvent::Bookmark(mark) => {
                    version = mark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => return Err(failed(&kube::Error::Api(status))),
            };
            let gone = matches!(told, Seen::Deleted);
            if seen.send(told).await.is_err() || gone {
                return Ok(());
            }
        }
    }
}
