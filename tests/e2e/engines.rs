//! A policy engine that refuses what Cofferdam makes. From the API server an engine's webhook and a
//! ValidatingAdmissionPolicy come back alike, so the latter stands in for one: `deploy/` has policies for real engines,
//! and `make e2e-policy-engines` shows them our Job and pod.

use std::time::Duration;

use cofferdam_api::Reason;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::harness::{BUSYBOX, Space, until};

/// What the engine says, signs and marks included.
const WORDS: &str = "rule 7 (\"no strangers\"): images are signed by <platform@example>, or stay out";

/// By when a policy counts that was just set up or removed.
const LIMIT: Duration = Duration::from_secs(30);

/// An engine that refuses every object of one resource in the namespace of a test.
struct Engine {
    client: Client,
    name: String,
}

impl Engine {
    async fn over(space: &Space, group: &str, resource: &str) -> Self {
        let name = format!("{}-engine", space.name);
        let engine = Self {
            client: space.client.clone(),
            name: name.clone(),
        };
        let refuses = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource], "operations": ["CREATE"]}]},
                "validations": [{"expression": "false", "message": WORDS}],
            },
        });
        let here = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {
                "policyName": name,
                "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": {
                    "matchLabels": {"kubernetes.io/metadata.name": space.name}}},
            },
        });
        engine.apply::<ValidatingAdmissionPolicy>(refuses).await;
        engine.apply::<ValidatingAdmissionPolicyBinding>(here).await;
        engine
    }

    async fn apply<K>(&self, object: Value)
    where
        K: kube::Resource<Scope = k8s_openapi::ClusterResourceScope, DynamicType = ()>
            + serde::de::DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        Api::<K>::all(self.client.clone())
            .patch(
                &self.name,
                &PatchParams::apply("e2e").force(),
                &Patch::Apply(object),
            )
            .await
            .expect("an admin may set up an engine");
    }

    async fn remove(self) {
        let now = DeleteParams::default();
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(self.client.clone());
        bindings
            .delete(&self.name, &now)
            .await
            .expect("the binding is ours");
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(self.client.clone());
        policies
            .delete(&self.name, &now)
            .await
            .expect("the policy is ours");
    }
}

/// A pod that anybody may make.
fn stranger() -> Value {
    json!({
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "restartPolicy": "Never",
        "containers": [{"name": "one", "image": BUSYBOX,
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
    })
}

/// Waits until the API server refuses an object of this kind in the engine's words, or takes it.
async fn engine_is<K>(space: &Space, refusing: bool, object: Value)
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + serde::de::DeserializeOwned
        + serde::Serialize
        + Clone
        + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object).unwrap();
    let (api, object): (Api<K>, &K) = (space.api(), &object);
    let api = &api;
    let tried = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let tried = &tried;
    until("the engine's word counts", LIMIT, move || async move {
        let refused = match api.create(tried, object).await {
            Ok(_) => Ok(false),
            Err(kube::Error::Api(status)) if status.message.contains(WORDS) => Ok(true),
            Err(error) => Err(error.to_string()),
        };
        if refused == Ok(refusing) {
            Ok(())
        } else {
            Err(refused)
        }
    })
    .await;
}

async fn is_refused(space: &Space, run: &str) {
    let run = space.script(run, BUSYBOX, "sh", "true\n", json!({})).await;
    let message = run.ends_saying(Reason::AdmissionRefused).await;
    assert!(message.contains(WORDS), "the engine's own words in: {message}");
    assert!(
        message.contains(&format!("{}-engine", space.name)),
        "who said so, in: {message}"
    );
    assert!(run.pod().await.is_none(), "no pod was made");
}

#[tokio::test]
async fn an_engine_that_refuses_the_pod_ends_the_run_in_its_own_words() {
    let space = Space::open("engine-pods").await;
    let pod = || json!({"metadata": {"name": "stranger"}, "spec": stranger()});
    let engine = Engine::over(&space, "", "pods").await;
    engine_is::<Pod>(&space, true, pod()).await;
    // The Job is taken and has no pod: the controller finds out why.
    is_refused(&space, "unwelcome").await;
    engine.remove().await;
    engine_is::<Pod>(&space, false, pod()).await;
    let welcome = space.script("welcome", BUSYBOX, "sh", "true\n", json!({})).await;
    welcome.ends(Reason::Completed).await;
    space.close().await;
}

#[tokio::test]
async fn an_engine_that_refuses_the_job_ends_the_run_in_its_own_words() {
    let space = Space::open("engine-jobs").await;
    let job = || json!({"metadata": {"name": "stranger"}, "spec": {"template": {"spec": stranger()}}});
    let engine = Engine::over(&space, "batch", "jobs").await;
    engine_is::<Job>(&space, true, job()).await;
    is_refused(&space, "unwelcome").await;
    engine.remove().await;
    engine_is::<Job>(&space, false, job()).await;
    let welcome = space.script("welcome", BUSYBOX, "sh", "true\n", json!({})).await;
    welcome.ends(Reason::Completed).await;
    space.close().await;
}
