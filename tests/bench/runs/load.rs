//! Puts a load on the cluster and waits for its end: runs or bare Jobs, from several creators at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cofferdam_api::AgentRun;
use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Result;
use super::gateway::{Gateway, REPOSITORY};
use super::place::Place;

/// What is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bare Job of one container.
    Job,
    /// A Job without a run whose pod is that of one.
    Shaped(Arc<Value>),
    /// An `AgentRun`.
    Run,
}

/// A load.
#[derive(Clone, Debug)]
pub struct Load {
    /// Of what.
    pub kind: Kind,
    /// Where; there is one namespace for each load.
    pub namespace: String,
    /// How many.
    pub count: usize,
    /// Created by so many at once.
    pub creators: usize,
    /// How long each container runs, as a Go duration.
    pub runs_for: &'static str,
    /// Whether each run asks for something else, so that its policy is frozen for it alone.
    pub own_policy: bool,
    /// One object is created each time that this has passed; zero: as fast as it goes.
    pub pace: Duration,
    /// Longest time until all have ended.
    pub limit: Duration,
}

/// What became of a load.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// How many have ended well.
    pub ended: usize,
    /// From the first creation to the last end.
    pub elapsed: Duration,
}

impl Load {
    /// Creates everything and waits until all of it has ended well.
    pub async fn run(&self, place: &Place, gateway: &Gateway) -> Result<Outcome> {
        let (ended, mut endings) = mpsc::unbounded_channel();
        let watched = tokio::spawn(self.clone().watch(place.clone(), ended));
        let began = Instant::now();
        let created = self.create(place, gateway).await;
        let mut names = HashSet::new();
        let mut last = Instant::now();
        let waited = tokio::time::timeout(self.limit.saturating_sub(began.elapsed()), async {
            while names.len() < self.count {
                match endings.recv().await {
                    Some(name) => {
                        last = Instant::now();
                        names.insert(name);
                    }
                    None => return,
                }
            }
        });
        let outcome = tokio::select! {
            waited = waited => waited.map_err(|_| "time is up".to_owned()),
            failed = self.failed(place) => Err(failed),
        };
        watched.abort();
        created?;
        if let Err(why) = outcome {
            let (ended, count) = (names.len(), self.count);
            return Err(format!("{ended} of {count} in {} ended well: {why}", self.namespace).into());
        }
        Ok(Outcome {
            ended: names.len(),
            elapsed: last.duration_since(began),
        })
    }

    /// Creates everything, and stores what a gateway would have of each run.
    pub async fn create(&self, place: &Place, gateway: &Gateway) -> Result<()> {
        let next = Arc::new(AtomicUsize::new(0));
        let began = Instant::now();
        let creators = (0..self.creators).map(|_| {
            let (load, place, gateway, next) =
                (self.clone(), place.clone(), gateway.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= load.count {
                        return Ok(());
                    }
                    let due = began + load.pace * u32::try_from(index)?;
                    tokio::time::sleep_until(due.into()).await;
                    load.create_one(index, &place, &gateway).await?;
                }
            })
        });
        for creator in creators.collect::<Vec<_>>() {
            let done: Result<()> = creator.await?;
            done?;
        }
        Ok(())
    }

    async fn create_one(&self, index: usize, place: &Place, gateway: &Gateway) -> Result<()> {
        let name = format!("r-{index}");
        match &self.kind {
            Kind::Job | Kind::Shaped(_) => {
                let jobs: Api<Job> = Api::namespaced(place.client.clone(), &self.namespace);
                let job = match &self.kind {
                    Kind::Shaped(spec) => json!({"metadata": {"name": name}, "spec": **spec}),
                    _ => job(&name, self.runs_for),
                };
                let job = serde_json::from_value(job)?;
                jobs.create(&PostParams::default(), &job).await?;
                Ok(())
            }
            Kind::Run => {
                let runs: Api<AgentRun> = Api::namespaced(place.client.clone(), &self.namespace);
                let mut run = run(&name, self.runs_for);
                if self.own_policy {
                    let rule = json!({"name": format!("own-{index}"), "hosts": ["allowed.internet.test"]});
                    run["spec"]["egress"] = json!({"mode": "AllowList", "rules": [rule]});
                }
                let run = serde_json::from_value(run)?;
                let run = runs.create(&PostParams::default(), &run).await?;
                let uid = run.uid().unwrap_or_default();
                gateway.store(&self.namespace, &name, &uid).await
            }
        }
    }

    /// Tells the name of each that ends well.
    async fn watch(self, place: Place, ended: mpsc::UnboundedSender<String>) -> Result<()> {
        match self.kind {
            Kind::Job | Kind::Shaped(_) => {
                let api: Api<Job> = Api::namespaced(place.client, &self.namespace);
                watch(&api, "status.successful=1", ended).await
            }
            Kind::Run => {
                let api: Api<AgentRun> = Api::namespaced(place.client, &self.namespace);
                watch(&api, "status.phase=Succeeded", ended).await
            }
        }
    }

    /// Waits until a run has failed, and says why. Bare Jobs of the fake node do not fail.
    async fn failed(&self, place: &Place) -> String {
        let runs: Api<AgentRun> = Api::namespaced(place.client.clone(), &self.namespace);
        let failed = ListParams::default().fields("status.phase=Failed").limit(1);
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let found = runs
                .list(&failed)
                .await
                .ok()
                .and_then(|list| list.items.into_iter().next());
            if let Some(run) = found {
                let status = run.status.clone().unwrap_or_default();
                return format!(
                    "run {} failed with {}: {}",
                    run.name_any(),
                    status.reason.unwrap_or_default(),
                    status.message.unwrap_or_default()
                );
            }
        }
    }
}

/// Tells the name of each object that comes to match `fields`. Metadata alone: the API server is what is measured.
async fn watch<K>(api: &Api<K>, fields: &str, ended: mpsc::UnboundedSender<String>) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug,
{
    loop {
        let list = api.list_metadata(&ListParams::default().fields(fields)).await?;
        for object in list.items {
            ended.send(object.metadata.name.unwrap_or_default())?;
        }
        let version = list.metadata.resource_version.unwrap_or_default();
        let params = WatchParams::default().fields(fields).timeout(290);
        let mut events = api.watch_metadata(&params, &version).await?.boxed();
        while let Some(Ok(event)) = events.next().await {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    ended.send(object.metadata.name.unwrap_or_default())?;
                }
                WatchEvent::Error(_) => break,
                WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
            }
        }
    }
}

fn job(name: &str, runs_for: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never",
            "nodeSelector": {"cofferdam.test/node": "fake"},
            "tolerations": [{"key": "cofferdam.test/fake", "operator": "Exists"}],
            "containers": [{"name": "a", "image": "cofferdam.test/busybox:dev", "args": ["sleep", runs_for]}],
        }}},
    })
}

/// What a run's Job says of its pod, for Jobs that belong to no run: the default account is theirs.
pub fn shape(job: &Value) -> Value {
    let mut pod = job["spec"]["template"]["spec"].clone();
    for field in ["serviceAccount", "serviceAccountName"] {
        pod.as_object_mut().map(|pod| pod.remove(field));
    }
    json!({"backoffLimit": 0, "template": {"spec": pod}})
}

/// A run of one repository, as people write them.
pub fn run(name: &str, runs_for: &str) -> Value {
    json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun", "metadata": {"name": name},
        "spec": {
            "task": {"prompt": "Fix the login form."},
            "agent": {"image": "cofferdam.test/busybox:dev", "command": ["/bin/agent"], "args": ["sleep", runs_for]},
            "repositories": [{
                "name": REPOSITORY, "url": "https://git.internet.test/demo.git", "ref": "main", "access": "ReadWrite",
            }],
            "resources": {"limits": {"cpu": "100m", "memory": "128Mi", "ephemeral-storage": "128Mi"}},
            "activeDeadlineSeconds": 7200,
        },
    })
}
