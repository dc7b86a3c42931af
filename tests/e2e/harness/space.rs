//! A namespace of a test's own, opted in, under restricted pod security, with a policy.

use std::time::Duration;

use cofferdam_api::{AgentRun, names};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{Run, client, eventually, until};

/// A namespace of a test's own. Removed by [`Space::close`]; what a failed test leaves, for people to look at, the next
/// run of that test removes.
pub struct Space {
    pub client: Client,
    pub name: String,
}

impl Space {
    /// Opens `e2e-<name>` with the policy that most tests use and waits for its fence.
    pub async fn open(name: &str) -> Self {
        let space = Self::open_bare(name).await;
        space.policy("default", default_limits()).await;
        space
    }

    /// Opens `e2e-<name>` without any policy and waits for its fence.
    pub async fn open_bare(name: &str) -> Self {
        let mut labels = restricted();
        labels[names::LABEL_SANDBOX] = json!(names::SANDBOX_ENABLED);
        let space = Self::open_with(name, &labels).await;
        space.fenced().await;
        space
    }

    /// Opens `e2e-<name>` with these labels, and with nothing in it.
    pub async fn open_with(name: &str, labels: &Value) -> Self {
        let client = client().await;
        let space = Self {
            client,
            name: format!("e2e-{name}"),
        };
        remove_namespace(&space.client, &space.name).await;
        let namespace = json!({"metadata": {"name": space.name, "labels": labels}});
        Api::<Namespace>::all(space.client.clone())
            .create(
                &PostParams::default(),
                &serde_json::from_value(namespace).unwrap(),
            )
            .await
            .expect("a fresh namespace");
        space
    }

    /// Waits until the controller has fenced the namespace.
    pub async fn fenced(&self) {
        let fences: Api<NetworkPolicy> = self.api();
        let accounts: Api<ServiceAccount> = self.api();
        eventually(
            "fence and ServiceAccount of an opted-in namespace",
            Duration::from_secs(30),
            || async {
                fences.get_opt(names::FENCE).await.unwrap().is_some()
                    && accounts
                        .get_opt(names::SANDBOX_SERVICE_ACCOUNT)
                        .await
                        .unwrap()
                        .is_some()
            },
        )
        .await;
    }

    /// Sets or, with `None`, removes a label of the namespace.
    pub async fn label(&self, key: &str, value: Option<&str>) {
        let patch = json!({"metadata": {"labels": {key: value}}});
        Api::<Namespace>::all(self.client.clone())
            .patch(&self.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("an admin may label a namespace");
    }

    /// A typed API of this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Makes a ConfigMap whose key `prompt` holds `text`; gives the task of a run that takes its prompt from there.
    pub async fn prompt(&self, name: &str, text: &str) -> Value {
        let map = json!({"metadata": {"name": name}, "data": {"prompt": text}});
        self.api::<ConfigMap>()
            .create(&PostParams::default(), &serde_json::from_value(map).unwrap())
            .await
            .expect("a prompt's ConfigMap");
        prompt_from(name, "prompt", text)
    }

    /// Creates a run with this spec.
    pub async fn run(&self, name: &str, spec: Value) -> Run {
        self.try_run(name, spec)
            .await
            .expect("the API server takes the run")
    }

    /// Creates a run with this spec; gives the API server's refusal.
    pub async fn try_run(&self, name: &str, spec: Value) -> kube::Result<Run> {
        let run = json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun",
            "metadata": {"name": name, "namespace": self.name}, "spec": spec,
        });
        let run: AgentRun = serde_json::from_value(run).expect("a run's shape");
        self.api::<AgentRun>()
            .create(&PostParams::default(), &run)
            .await?;
        Ok(Run {
            client: self.client.clone(),
            namespace: self.name.clone(),
            name: name.to_owned(),
        })
    }

    /// A run whose agent is `interpreter /cofferdam/prompt`: the script travels as the prompt. It asks for little, for the
    /// scheduler counts requests and not what is used: by the default request three runs would fill the node.
    pub async fn script(&self, name: &str, image: &str, interpreter: &str, script: &str, more: Value) -> Run {
        let mut spec = json!({
            "task": self.prompt(name, script).await,
            "agent": {"image": image, "command": [interpreter, "/cofferdam/prompt"]},
            "repositories": [repository("work", "two-first", "ReadWrite")],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi", "ephemeral-storage": "64Mi"}},
        });
        merge(&mut spec, &more);
        self.run(name, spec).await
    }

    /// Asks for the removal of the namespace.
    pub async fn begin_to_close(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let asked = namespaces.delete(&self.name, &DeleteParams::default()).await;
        asked.map(drop).expect("an admin may delete a namespace");
    }

    /// Removes the namespace and waits until it is gone: a guard that hangs namespace deletion fails here.
    pub async fn close(self) {
        remove_namespace(&self.client, &self.name).await;
    }
}

/// Labels of a namespace under restricted pod security.
pub fn restricted() -> Value {
    json!({
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": "latest",
    })
}

/// Removes a namespace, if it is there, and waits until it is gone.
pub async fn remove_namespace(client: &Client, name: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    match namespaces.delete(name, &DeleteParams::default()).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => return,
        // It is on its way out already.
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => panic!("namespace {name} cannot be removed: {error}"),
    }
    until(
        &format!("namespace {name} is gone"),
        Duration::from_mins(2),
        || async {
            match namespaces.get_opt(name).await.unwrap() {
                None => Ok(()),
                Some(left) => Err(left.status),
            }
        },
    )
    .await;
}

/// What most tests may have: gVisor, the test images, the test forge, and one host.
pub fn default_limits() -> Value {
    json!({
        "runtime": {"runtimeClassNames": ["gvisor"]},
        "images": {"mode": "AllowList", "allowed": ["cofferdam.test/**"]},
        "repositories": {"mode": "AllowList", "clone": [
            {"name": "forge", "url": "https://git.internet.test/**", "addresses": ["203.0.113.10/32"]}]},
        "egress": {"mode": "AllowList", "rules": [
            {"name": "allowed", "hosts": ["allowed.internet.test"], "addresses": ["203.0.113.30/32"],
             "ports": [80, 443], "tls": "Tunnel"}]},
    })
}

/// A repository of the test forge.
pub fn repository(name: &str, forge: &str, access: &str) -> Value {
    json!({"name": name, "url": format!("https://git.internet.test/{forge}.git"), "access": access})
}

/// Sets the top-level keys of `more` in `spec`; `null` removes one.
pub fn merge(spec: &mut Value, more: &Value) {
    json_patch::merge(spec, more);
}

/// The task of a run whose prompt is `text` in this key of a ConfigMap.
pub fn prompt_from(map: &str, key: &str, text: &str) -> Value {
    let digest = names::digest(text.as_bytes());
    json!({"promptFrom": {"configMapKeyRef": {"name": map, "key": key, "digest": digest}}})
}
