//! The embedded cluster as the bench uses it: clients, and namespaces that go when it ends.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cofferdam_api::{SandboxPolicy, names};
use http::HeaderValue;
use http::header::USER_AGENT;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams, LogParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use super::Result;
use super::audit::{Counts, Log};
use super::metrics;

/// Where the operator runs.
pub const OPERATOR_NAMESPACE: &str = "cofferdam-system";
/// Label of every namespace of the bench.
const LABEL: &str = "cofferdam.test/bench";
/// Longest time for a namespace to be ready, or to go.
const PATIENCE: Duration = Duration::from_mins(5);

/// The cluster.
#[derive(Clone)]
pub struct Place {
    /// As the administrator.
    pub client: Client,
    /// As the controller, for the status of runs that are made up.
    pub controller: Client,
    /// The cluster's state directory.
    pub state: PathBuf,
    /// Who wrote what.
    pub audit: Log,
}

/// What a namespace of the bench is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Bare Jobs.
    Jobs,
    /// Runs, of which so many may be live at a time.
    Runs {
        /// `limits.maxRunning` of its policy.
        max_running: u32,
    },
    /// Runs that are made up: the namespace does not admit any.
    Stock,
}

impl Place {
    /// The cluster at `state`, from inside its node's network.
    pub async fn new(state: &Path) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(state.join("config/admin.kubeconfig"))?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config
            .headers
            .push((USER_AGENT, HeaderValue::from_static("bench")));
        let mut as_controller = config.clone();
        as_controller.auth_info.impersonate =
            Some(format!("system:serviceaccount:{OPERATOR_NAMESPACE}:controller"));
        let place = Self {
            client: Client::try_from(config)?,
            controller: Client::try_from(as_controller)?,
            state: state.to_owned(),
            audit: Log::new(&state.join("logs/audit.jsonl")),
        };
        place.remove_namespaces().await?;
        Ok(place)
    }

    /// Makes a namespace and waits until runs can start in it.
    pub async fn namespace(&self, name: &str, purpose: Purpose) -> Result<()> {
        let mut labels = json!({LABEL: ""});
        if matches!(purpose, Purpose::Runs { .. }) {
            labels[names::LABEL_SANDBOX] = json!(names::SANDBOX_ENABLED);
            labels["pod-security.kubernetes.io/enforce"] = json!("restricted");
        }
        let namespace = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))?;
        Api::<Namespace>::all(self.client.clone())
            .create(&PostParams::default(), &namespace)
            .await?;
        let Purpose::Runs { max_running } = purpose else {
            return Ok(());
        };
        let policy: SandboxPolicy = serde_json::from_value(policy(max_running))?;
        Api::namespaced(self.client.clone(), name)
            .create(&PostParams::default(), &policy)
            .await?;
        let fences: Api<NetworkPolicy> = Api::namespaced(self.client.clone(), name);
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), name);
        let since = Instant::now();
        while fences.get_opt(names::FENCE).await?.is_none()
            || accounts.get_opt(names::SANDBOX_SERVICE_ACCOUNT).await?.is_none()
        {
            if since.elapsed() > PATIENCE {
                return Err(format!("the controller does not fence namespace {name}").into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Removes all namespaces of the bench and waits until they are gone.
    pub async fn remove_namespaces(&self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let since = Instant::now();
        loop {
            let left = namespaces.list(&ListParams::default().labels(LABEL)).await?.items;
            if left.is_empty() {
                return Ok(());
            }
            for namespace in left
                .iter()
                .filter(|found| found.metadata.deletion_timestamp.is_none())
            {
                let name = namespace.metadata.name.clone().unwrap_or_default();
                namespaces.delete(&name, &DeleteParams::default()).await?;
            }
            if since.elapsed() > PATIENCE {
                return Err(format!("{} namespaces of the bench do not go", left.len()).into());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// The API server's counters of changes.
    pub async fn counters(&self) -> Result<Counts> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        Ok(metrics::stored(&self.client.request_text(request).await?))
    }

    /// The lines that the controller has logged in the last `seconds`.
    pub async fn controller_log(&self, seconds: i64) -> Result<String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), OPERATOR_NAMESPACE);
        let selector = ListParams::default().labels("app.kubernetes.io/component=controller");
        let pod = pods
            .list_metadata(&selector)
            .await?
            .items
            .into_iter()
            .find(|pod| pod.metadata.deletion_timestamp.is_none())
            .and_then(|pod| pod.metadata.name)
            .ok_or("the controller has no pod")?;
        let since = LogParams {
            since_seconds: Some(seconds),
            ..LogParams::default()
        };
        Ok(pods.logs(&pod, &since).await?)
    }
}

fn policy(max_running: u32) -> Value {
    json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxPolicy", "metadata": {"name": names::DEFAULT_POLICY},
        "spec": {
            "schedulingProfiles": [{
                "name": "default", "nodeSelector": {"cofferdam.test/node": "fake"},
                "tolerations": [{"key": "cofferdam.test/fake", "operator": "Exists"}],
            }],
            "limits": {
                "runtime": {"runtimeClassNames": ["gvisor"]},
                "images": {"mode": "AllowList", "allowed": ["cofferdam.test/*"]},
                "repositories": {"mode": "AllowList", "clone": [
                    {"name": "all", "url": "https://git.internet.test/*", "addresses": ["203.0.113.10/32"]}]},
                "egress": {"mode": "AllowList", "rules": [{
                    "name": "internet", "hosts": ["*.internet.test"], "addresses": ["203.0.113.0/24"], "ports": [443],
                    "tls": "Tunnel",
                }]},
                "maxResources": {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "4Gi"},
                "maxStartDeadlineSeconds": 300, "maxActiveDeadlineSeconds": 7200, "maxRunning": max_running,
            },
        },
    })
}
