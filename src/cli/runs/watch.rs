//! Runs as they change: a list, and a watch that is taken up again where it ends, breaks, or goes too far back.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::Client;
use kube::api::{Request as Ask, WatchEvent, WatchParams};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Listed, Run, Scope, list};
use crate::failure::Failure;
use cofferdam_api::AgentRun;

/// Pause before a watch is opened anew.
const PAUSE: Duration = Duration::from_secs(1);
/// How often in a row that fails before it is said.
const TRIES: u32 = 10;
/// A watch that stood this long before it broke is no failure: proxies end what is quiet.
const STOOD: Duration = Duration::from_secs(30);

/// Which runs are watched.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Where.
    pub scope: Scope,
    /// Of these labels.
    pub labels: Option<String>,
    /// Of these fields.
    pub fields: Option<String>,
}

impl Selection {
    /// What there is of it now.
    ///
    /// # Errors
    /// The API server says no, or nothing.
    pub async fn list(&self, client: &Client) -> Result<Listed, Failure> {
        list(
            client,
            &self.scope,
            self.labels.as_deref(),
            self.fields.as_deref(),
        )
        .await
    }
}

/// What is seen of a run.
#[derive(Debug)]
pub enum Change {
    /// It came, or is another than it was.
    Is(Box<Run>),
    /// It was deleted, or is of the selection no more. What is known of it then may be no more than its names.
    Gone(Box<Run>),
}

/// Names of a run, and the version that was seen last.
struct Known {
    namespace: String,
    name: String,
    /// None: it was not looked at yet.
    version: Option<String>,
}

impl Known {
    fn of(run: &Run) -> Self {
        let text = |field| run.metadata(field).to_owned();
        Self {
            namespace: text("namespace"),
            name: text("name"),
            version: Some(text("resourceVersion")),
        }
    }

    fn gone(self, uid: &str) -> Run {
        let Self { namespace, name, .. } = self;
        Run::from(serde_json::json!({"metadata": {"namespace": namespace, "name": name, "uid": uid}}))
    }
}

/// The changes of a selection. None is lost while no watch stands, but several of one run may be seen as one.
pub struct Changes {
    client: Client,
    selection: Selection,
    known: HashMap<String, Known>,
    /// From where to watch on; none: only a list can tell.
    version: Option<String>,
    events: Option<(Instant, Events)>,
    due: VecDeque<Change>,
    failures: u32,
}

impl Changes {
    /// Those that come after a list of the selection.
    pub fn after(client: Client, selection: Selection, listed: &Listed) -> Self {
        let known = |run: &Run| (run.metadata("uid").to_owned(), Known::of(run));
        Self {
            known: listed.runs.iter().map(known).collect(),
            version: Some(listed.resource_version.clone()),
            ..Self::new(client, selection)
        }
    }

    /// How one run stands now, and then its changes.
    pub fn of(client: Client, namespace: String, run: &AgentRun) -> Self {
        let name = run.metadata.name.clone().unwrap_or_default();
        let known = Known {
            namespace: namespace.clone(),
            name: name.clone(),
            version: None,
        };
        let selection = Selection {
            scope: Scope::Namespace(namespace),
            labels: None,
            fields: Some(format!("metadata.name={name}")),
        };
        Self {
            known: HashMap::from([(run.metadata.uid.clone().unwrap_or_default(), known)]),
            ..Self::new(client, selection)
        }
    }

    fn new(client: Client, selection: Selection) -> Self {
        Self {
            client,
            selection,
            known: HashMap::new(),
            version: None,
            events: None,
            due: VecDeque::new(),
            failures: 0,
        }
    }

    /// The next one, when it comes.
    ///
    /// # Errors
    /// The API server refuses, or does not answer again and again.
    pub async fn next(&mut self) -> Result<Change, Failure> {
        loop {
            if let Some(change) = self.due.pop_front() {
                return Ok(change);
            }
            if let Err(failure) = self.step().await {
                self.failures += 1;
                if !may_pass(&failure) || self.failures >= TRIES {
                    return Err(failure);
                }
                self.events = None;
                sleep(PAUSE).await;
            }
        }
    }

    /// One answer of the API server, or one event.
    async fn step(&mut self) -> Result<(), Failure> {
        let Some(version) = &self.version else {
            return self.list_anew().await;
        };
        let Some((opened, events)) = &mut self.events else {
            return match open(&self.client, &self.selection, version).await {
                Err(error) if is_forgotten(&error) => {
                    self.forget();
                    Ok(())
                }
                Err(error) => Err(self.failed(&error)),
                Ok(events) => {
                    self.events = Some((Instant::now(), events));
                    Ok(())
                }
            };
        };
        let opened = *opened;
        let event = events.try_next().await;
        if opened.elapsed() >= STOOD {
            self.failures = 0;
        }
        match event {
            Ok(Some(WatchEvent::Error(status))) => {
                let error = kube::Error::Api(status);
                if is_forgotten(&error) {
                    self.forget();
                    return Ok(());
                }
                Err(self.failed(&error))
            }
            Ok(Some(event)) => {
                self.failures = 0;
                self.take(event);
                Ok(())
            }
            // Every watch ends some time; one that ends at once would else be opened as fast as the network allows.
            Ok(None) => {
                self.events = None;
                sleep(PAUSE).await;
                Ok(())
            }
            Err(error) if is_forgotten(&error) => {
                self.forget();
                Ok(())
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &kube::Error) -> Failure {
        Failure::api(self.selection.scope.describe(), error)
    }

    /// The API server has forgotten what happened since: a list tells.
    fn forget(&mut self) {
        self.events = None;
        self.version = None;
    }

    async fn list_anew(&mut self) -> Result<(), Failure> {
        let listed = self.selection.list(&self.client).await?;
        let mut before = std::mem::take(&mut self.known);
        for run in listed.runs {
            let uid = run.metadata("uid").to_owned();
            let now = Known::of(&run);
            if before
                .remove(&uid)
                .is_none_or(|known| known.version != now.version)
            {
                self.due.push_back(Change::Is(Box::new(run)));
            }
            self.known.insert(uid, now);
        }
        // Before what is there now: another run of a name comes after the one that had it.
        for (uid, known) in before {
            self.due.push_front(Change::Gone(Box::new(known.gone(&uid))));
        }
        self.version = Some(listed.resource_version);
        Ok(())
    }

    fn take(&mut self, event: WatchEvent<Value>) {
        let (value, gone) = match event {
            WatchEvent::Added(value) | WatchEvent::Modified(value) => (value, false),
            WatchEvent::Deleted(value) => (value, true),
            WatchEvent::Bookmark(mark) => {
                self.version = Some(mark.metadata.resource_version);
                return;
            }
            WatchEvent::Error(_) => return,
        };
        let run = Run::from(value);
        let uid = run.metadata("uid").to_owned();
        self.version = Some(run.metadata("resourceVersion").to_owned());
        self.due.push_back(if gone {
            self.known.remove(&uid);
            Change::Gone(Box::new(run))
        } else {
            self.known.insert(uid, Known::of(&run));
            Change::Is(Box::new(run))
        });
    }
}

type Events = BoxStream<'static, kube::Result<WatchEvent<Value>>>;

async fn open(client: &Client, selection: &Selection, version: &str) -> kube::Result<Events> {
    let params = WatchParams {
        label_selector: selection.labels.clone(),
        field_selector: selection.fields.clone(),
        ..WatchParams::default()
    };
    let request = Ask::new(selection.scope.path())
        .watch(&params, version)
        .map_err(kube::Error::BuildRequest)?;
    Ok(client.request_events::<Value>(request).await?.boxed())
}

/// 410: what happened since the version that the watch was to go on from is not kept any more.
fn is_forgotten(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}

/// Whether it may be over when it is tried again. What the API server refuses it refuses the next time too.
fn may_pass(failure: &Failure) -> bool {
    match failure {
        Failure::Api { code, .. } => code.is_none_or(|code| code == 429 || code >= 500),
        _ => false,
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
