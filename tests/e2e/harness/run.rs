//! One run, seen from outside as its owner sees it.

use std::future::Future;
use std::time::Duration;

use futures::AsyncReadExt as _;

use cofferdam_api::{AgentRun, Reason, names};
use cofferdam_wire::output_api::{self, RunSummary};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, LogParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::Value;

use super::until;

/// Longest time that a run of these tests may take.
const LIMIT: Duration = Duration::from_mins(3);

/// One run.
pub struct Run {
    pub client: Client,
    pub namespace: String,
    pub name: String,
}

impl Run {
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The object as it is now.
    pub async fn get(&self) -> AgentRun {
        self.api::<AgentRun>()
            .get(&self.name)
            .await
            .expect("the run is there")
    }

    /// Waits for the end and gives the run.
    pub async fn ended(&self) -> AgentRun {
        until(&format!("{} ends", self.name), LIMIT, || async {
            let run = self.get().await;
            if run
                .status
                .as_ref()
                .is_some_and(|status| status.completion_time.is_some())
            {
                Ok(run)
            } else {
                Err(run.status)
            }
        })
        .await
    }

    /// Waits for the end, checks its reason, and gives what the status says of it.
    pub async fn ends_saying(&self, reason: Reason) -> String {
        let status = self.ends(reason).await.status.unwrap_or_default();
        status.message.unwrap_or_default()
    }

    /// Waits for the end and checks its reason.
    pub async fn ends(&self, reason: Reason) -> AgentRun {
        let run = self.ended().await;
        let status = run.status.clone().unwrap_or_default();
        assert_eq!(status.reason.as_deref(), Some(reason.as_str()), "{status:#?}");
        assert_eq!(
            status.failure_class.as_deref(),
            reason.class().map(cofferdam_api::FailureClass::as_str)
        );
        if reason == Reason::Completed {
            assert!(is_true(&run, "Sealed"), "{status:#?}");
        }
        // For tools that know conditions and none of our reasons: nothing but success is an end that nobody has to see.
        assert_eq!(
            is_true(&run, "Stalled"),
            reason != Reason::Completed,
            "{status:#?}"
        );
        run
    }

    /// Waits until the status says this phase.
    pub async fn in_phase(&self, phase: &str) -> AgentRun {
        until(&format!("{} is {phase}", self.name), LIMIT, || async {
            let run = self.get().await;
            if run.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(phase) {
                Ok(run)
            } else {
                Err(run.status)
            }
        })
        .await
    }

    /// The run's pod, if there is one.
    pub async fn pod(&self) -> Option<Pod> {
        let labelled = ListParams::default().labels(&format!("{}={}", names::LABEL_RUN, self.name));
        self.api::<Pod>()
            .list(&labelled)
            .await
            .expect("pods can be listed")
            .items
            .into_iter()
            .next()
    }

    /// The address of the run's pod, which has one.
    pub async fn address(&self) -> String {
        let status = self.pod().await.and_then(|pod| pod.status);
        status
            .and_then(|status| status.pod_ip)
            .expect("the pod has an address")
    }

    /// The run's Jobs.
    pub async fn jobs(&self) -> Vec<Job> {
        let labelled = ListParams::default().labels(&format!("{}={}", names::LABEL_RUN, self.name));
        self.api::<Job>()
            .list(&labelled)
            .await
            .expect("Jobs can be listed")
            .items
    }

    /// What a container of the run's pod printed.
    pub async fn log(&self, container: &str) -> String {
        let pod = self
            .pod()
            .await
            .expect("the pod is still there")
            .metadata
            .name
            .expect("pods have names");
        let params = LogParams {
            container: Some(container.to_owned()),
            ..LogParams::default()
        };
        let mut stream = self
            .api::<Pod>()
            .log_stream(&pod, &params)
            .await
            .expect("logs can be read");
        let mut bytes = Vec::new();
        stream
            .read_to_end(&mut bytes)
            .await
            .expect("logs can be read to their end");
        // A patch carries the bytes of its files, which need not be text.
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Everything that a container prints from now on, once it has ended. The pod must be there.
    pub fn follow(&self, container: &str) -> impl Future<Output = String> + use<> {
        let run = Self {
            client: self.client.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        };
        let params = LogParams {
            container: Some(container.to_owned()),
            follow: true,
            ..LogParams::default()
        };
        async move {
            let pod = run
                .pod()
                .await
                .and_then(|pod| pod.metadata.name)
                .expect("the pod is there");
            let stream = run.api::<Pod>().log_stream(&pod, &params).await;
            let mut stream = stream.expect("logs can be read");
            let mut bytes = Vec::new();
            // A pod that is taken away may cut its log; what came until then counts.
            let _ = stream.read_to_end(&mut bytes).await;
            String::from_utf8_lossy(&bytes).into_owned()
        }
    }

    /// Its patches, one after the other, as its owner gets them: by the output API.
    pub async fn patch(&self) -> String {
        let summary: RunSummary =
            serde_json::from_slice(&self.output("summary", None).await).expect("a summary");
        let receipt = summary.record.receipt.iter();
        let mut patches = Vec::new();
        for patch in receipt.flat_map(|receipt| &receipt.manifest.patches) {
            patches.extend(self.patch_of(&patch.path()).await);
        }
        // A patch carries the bytes of its files, which need not be text.
        String::from_utf8_lossy(&patches).into_owned()
    }

    /// The patch of a repository, or of REPOSITORY/PATH for a submodule, by the output API.
    pub async fn patch_of(&self, name: &str) -> Vec<u8> {
        self.output("patch", Some(name)).await
    }

    async fn output(&self, part: &str, repository: Option<&str>) -> Vec<u8> {
        let mut path = output_api::path(&self.namespace, &self.name, part);
        path.extend(repository.into_iter().flat_map(|name| ["?repository=", name]));
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let stream = self.client.request_stream(request).await;
        let mut stream = std::pin::pin!(stream.expect("the output API answers"));
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.expect("all of it comes");
        bytes
    }

    /// Lines that the patch adds to `file`, without their `+`.
    pub async fn added(&self, file: &str) -> Vec<String> {
        let patch = self.patch().await;
        let section = patch
            .split("diff --git ")
            .find(|section| section.starts_with(&format!("a/{file} b/{file}")));
        let section = section.unwrap_or_else(|| panic!("no {file} in this patch:\n{patch}"));
        section
            .lines()
            .filter(|line| line.starts_with('+') && !line.starts_with("+++"))
            .map(|line| line.trim_start_matches('+').to_owned())
            .collect()
    }

    /// Merges `spec` into the run's spec.
    pub async fn change(&self, spec: Value) -> kube::Result<AgentRun> {
        let patch = serde_json::json!({"spec": spec});
        self.api::<AgentRun>()
            .patch(&self.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
    }

    /// Reasons of the events on the run.
    pub async fn event_reasons(&self) -> Vec<String> {
        let events = self.events().await.into_iter();
        events.filter_map(|event| event.reason).collect()
    }

    /// Notes of the events on the run that have this reason.
    pub async fn event_notes(&self, reason: &str) -> Vec<String> {
        let events = self.events().await.into_iter();
        events
            .filter(|event| event.reason.as_deref() == Some(reason))
            .filter_map(|event| event.note)
            .collect()
    }

    /// Events on the run, in the order in which they were made.
    pub async fn events(&self) -> Vec<Event> {
        let about = ListParams::default().fields(&format!("regarding.name={}", self.name));
        let events = self.api::<Event>().list(&about).await;
        let mut events = events.expect("events can be listed").items;
        // Those of one pass of the controller have one time; the API server's own count tells them apart.
        events.sort_by_key(|event| {
            let version = event.metadata.resource_version.as_deref();
            version.and_then(|version| version.parse::<u64>().ok())
        });
        events
    }
}

/// Whether the condition `kind` of this run is True.
pub fn is_true(run: &AgentRun, kind: &str) -> bool {
    run.status.as_ref().is_some_and(|status| {
        status
            .conditions
            .iter()
            .any(|c| c.type_ == kind && c.status == "True")
    })
}
