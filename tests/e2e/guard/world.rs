//! A namespace with a sandbox Job that never finds a node.

use std::time::Duration;

use cofferdam_api::names;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::call::{Call, Case, Meets, Who, wrong};
use super::objects;
use crate::harness::{client, remove_namespace, until};

/// A namespace with a fence, the sandbox account, an ordinary pod, and a sandbox Job and pod without a node.
pub struct World {
    pub namespace: String,
    pub job: String,
    pub pod: String,
}

/// Path of the role bindings of a namespace.
pub fn bindings_of(namespace: &str) -> String {
    format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings")
}

impl World {
    /// Opens `e2e-guard-<name>`; with the opt-in label and a sandbox where `opted_in`.
    pub async fn open(name: &str, opted_in: bool) -> Self {
        let namespace = format!("e2e-guard-{name}");
        let mut labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        if opted_in {
            labels[names::LABEL_SANDBOX] = json!(names::SANDBOX_ENABLED);
        }
        let world = Self {
            job: format!("agr-{name}-0b7c9f3e"),
            pod: String::new(),
            namespace,
        };
        remove_namespace(&client().await, &world.namespace).await;
        let namespaces = "/api/v1/namespaces";
        world
            .make(
                Who::Admin,
                namespaces,
                json!({"metadata": {"name": world.namespace, "labels": labels}}),
            )
            .await;
        world
            .make(Who::Admin, &world.bindings(), objects::edit_binding())
            .await;
        world
            .make(Who::Admin, &world.core("pods"), objects::ordinary_pod("ordinary"))
            .await;
        if opted_in {
            world.with_sandbox().await
        } else {
            world
        }
    }

    /// The controller makes account and fence too, where it runs: what is there already is as good.
    async fn with_sandbox(self) -> Self {
        let accounts = self.core("serviceaccounts");
        self.make(Who::Controller, &accounts, objects::sandbox_account())
            .await;
        self.make(Who::Controller, &self.policies(), objects::fence())
            .await;
        self.make(Who::Controller, &self.jobs(), objects::sandbox_job(&self.job))
            .await;
        let pod = self.sandbox_pod().await;
        Self { pod, ..self }
    }

    /// The pod that the real job-controller makes, once it is counted: that both are possible is the control of
    /// "nobody else makes one, and nobody else writes a Job's status".
    async fn sandbox_pod(&self) -> String {
        let pods: Api<Pod> = Api::namespaced(client().await, &self.namespace);
        let jobs: Api<Job> = Api::namespaced(client().await, &self.namespace);
        until("the Job counts its pod", Duration::from_secs(30), || async {
            let status = jobs.get(&self.job).await.expect("the Job is there").status;
            match status.as_ref().and_then(|status| status.active) {
                Some(1) => Ok(()),
                _ => Err(status),
            }
        })
        .await;
        let ours = ListParams::default().labels(names::LABEL_RUN);
        let found = pods.list(&ours).await.expect("pods can be listed").items;
        let name = found.into_iter().next().and_then(|pod| pod.metadata.name);
        name.expect("the Job has counted it")
    }

    /// Makes an object; one that is there already is as good.
    async fn make(&self, who: Who, path: &str, body: Value) {
        match Call::post(path, body).send(&who.client().await).await {
            Ok(()) => {}
            Err(message) if message.contains("already exists") => {}
            Err(message) => panic!("{who:?} cannot make an object at {path}: {message}"),
        }
    }

    /// Path of a core resource of the namespace.
    pub fn core(&self, resource: &str) -> String {
        format!("/api/v1/namespaces/{}/{resource}", self.namespace)
    }

    /// Path of the namespace's Jobs.
    pub fn jobs(&self) -> String {
        format!("/apis/batch/v1/namespaces/{}/jobs", self.namespace)
    }

    /// Path of the namespace's `AgentRuns`.
    pub fn runs(&self) -> String {
        format!(
            "/apis/cofferdam.dev/v1alpha1/namespaces/{}/agentruns",
            self.namespace
        )
    }

    /// Path of the namespace's role bindings.
    pub fn bindings(&self) -> String {
        bindings_of(&self.namespace)
    }

    /// The admin lets the user of these tests run agents under the namespace's policies.
    pub fn use_is_given(&self) -> Case {
        Case(
            "the use of policies",
            Who::Admin,
            Call::post(&self.bindings(), objects::use_binding()),
            Meets::Nothing,
        )
    }

    /// Path of the namespace's network policies.
    pub fn policies(&self) -> String {
        format!(
            "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
            self.namespace
        )
    }

    /// Like [`check`], and removes the namespace whatever came out.
    pub async fn check(self, cases: Vec<Case>) {
        let wrong = wrong(cases).await;
        self.close().await;
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Removes the namespace, and sees it go: a guard on DELETE can hang that for ever.
    pub async fn close(self) {
        remove_namespace(&client().await, &self.namespace).await;
    }
}
