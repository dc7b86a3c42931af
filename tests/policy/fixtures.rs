//! A run and two policies that admit it; tests change them in one place.

use std::collections::BTreeMap;

use cofferdam_api::{AgentRun, ClusterSandboxPolicy, SandboxCredential, SandboxPolicy};
use cofferdam_policy::decide::{Admitted, Evaluation, Refusal, Request, evaluate};
use cofferdam_policy::dimension::runtime::{RuntimeClassFact, UserNamespaceSupport};
use cofferdam_policy::dimension::vulnerabilities::Reports;
use serde_json::{Value, json};

/// Everything that a decision rests on, as manifests.
#[derive(Clone, Debug)]
pub struct World {
    pub labels: BTreeMap<String, String>,
    pub run: Value,
    pub policy: Option<Value>,
    pub cluster: Vec<Value>,
    pub classes: Vec<String>,
    pub user_namespaces: UserNamespaceSupport,
    pub reports: Reports,
    pub credentials: Vec<SandboxCredential>,
}

impl World {
    /// A run that both layers grant.
    pub fn admitting() -> Self {
        Self {
            labels: BTreeMap::from([
                ("cofferdam.dev/sandbox".into(), "enabled".into()),
                ("tier".into(), "gold".into()),
            ]),
            run: run(),
            policy: Some(policy()),
            cluster: vec![cluster_policy("baseline", &cluster_limits())],
            classes: vec!["runc".into(), "gvisor".into(), "kata".into()],
            user_namespaces: UserNamespaceSupport::Everywhere,
            reports: Reports::new(),
            credentials: vec![credential("one", &["a.example.com"])],
        }
    }

    pub fn decide(&self) -> Result<Admitted, Refusal> {
        self.evaluate().and_then(Evaluation::admit)
    }

    pub fn evaluate(&self) -> Result<Evaluation, Refusal> {
        let run: AgentRun = serde_json::from_value(self.run.clone()).unwrap();
        let policy: Option<SandboxPolicy> = self
            .policy
            .clone()
            .map(|policy| serde_json::from_value(policy).unwrap());
        let cluster: Vec<ClusterSandboxPolicy> = self
            .cluster
            .iter()
            .map(|policy| serde_json::from_value(policy.clone()).unwrap())
            .collect();
        evaluate(&Request {
            namespace_labels: &self.labels,
            run: &run,
            policy: policy.as_ref(),
            cluster_policies: &cluster,
            runtime_classes: &self.class_facts(),
            reports: &self.reports,
            credentials: &self.credentials,
        })
    }

    /// The classes that exist, as the engine takes them.
    pub fn class_facts(&self) -> Vec<RuntimeClassFact> {
        let fact = |name: &String| RuntimeClassFact {
            name: name.clone(),
            user_namespaces: self.user_namespaces,
        };
        self.classes.iter().map(fact).collect()
    }

    /// Sets a field of the run's spec; null takes it away.
    pub fn run(mut self, field: &str, value: Value) -> Self {
        set(&mut self.run["spec"], field, value);
        self
    }

    /// Sets a field of the `SandboxPolicy`'s limits.
    pub fn policy(mut self, field: &str, value: Value) -> Self {
        set(&mut self.policy.as_mut().unwrap()["spec"]["limits"], field, value);
        self
    }

    /// Sets a field of the `SandboxPolicy`'s defaults.
    pub fn defaults(mut self, field: &str, value: Value) -> Self {
        set(
            &mut self.policy.as_mut().unwrap()["spec"]["defaults"],
            field,
            value,
        );
        self
    }

    /// Sets a field of the first cluster policy's limits.
    pub fn cluster(mut self, field: &str, value: Value) -> Self {
        set(&mut self.cluster[0]["spec"]["limits"], field, value);
        self
    }
}

/// A credential for these hosts that every namespace may use.
pub fn credential(name: &str, hosts: &[&str]) -> SandboxCredential {
    let spec = json!({
        "type": "Secret", "secretName": format!("of-{name}"), "hosts": hosts,
        "inject": {"header": "x-api-key"}, "namespaceSelector": {},
    });
    SandboxCredential::new(name, serde_json::from_value(spec).unwrap())
}

fn set(object: &mut Value, field: &str, value: Value) {
    if value.is_null() {
        object.as_object_mut().unwrap().remove(field);
    } else {
        object[field] = value;
    }
}

fn run() -> Value {
    json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun",
        "metadata": {"name": "fix-login", "namespace": "team-a"},
        "spec": {
            "task": {"prompt": "Fix it."},
            "agent": {"image": "ghcr.io/team-a/agent:1"},
            "repositories": [{"name": "app", "url": "https://github.com/team-a/app", "ref": "main", "access": "ReadWrite"}],
        },
    })
}

fn policy() -> Value {
    json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxPolicy",
        "metadata": {"name": "default", "namespace": "team-a", "uid": "uid-of-default", "generation": 7},
        "spec": {
            "limits": {
                "runtime": {"runtimeClassNames": ["kata", "gvisor"]},
                "images": {"mode": "AllowList", "allowed": ["ghcr.io/team-a/*"]},
                "repositories": {"mode": "AllowList", "clone": [{"name": "team", "url": "https://github.com/team-a/*"}]},
                "egress": {"mode": "AllowList", "rules": [
                    {"name": "model", "hosts": ["model.example.org"]},
                    {"name": "inside", "hosts": ["git.corp.example.com"], "addresses": ["10.1.0.0/16"], "ports": [8443]},
                ]},
            },
            "defaults": {},
        },
    })
}

/// A cluster policy for namespaces of tier gold.
pub fn cluster_policy(name: &str, limits: &Value) -> Value {
    json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "ClusterSandboxPolicy",
        "metadata": {"name": name, "uid": format!("uid-of-{name}"), "generation": 3},
        "spec": {"namespaceSelector": {"matchLabels": {"tier": "gold"}}, "limits": limits},
    })
}

fn cluster_limits() -> Value {
    json!({
        "runtime": {"runtimeClassNames": ["gvisor"], "nodeAccess": "Allow"},
        "images": {"mode": "AllowList", "allowed": ["ghcr.io/**"]},
        "repositories": {"mode": "AllowList", "clone": [{"name": "github", "url": "https://github.com/**"}]},
        "egress": {"mode": "AllowList", "rules": [
            {"name": "models", "hosts": ["model.example.org", "other.example.org"], "tls": "Tunnel"},
            {"name": "corp", "hosts": ["*.corp.example.com"], "addresses": ["10.0.0.0/8"], "ports": [443, 8443], "tls": "Tunnel"},
        ]},
        "tunnels": "Allow",
        "maxResources": {"cpu": "4", "memory": "8Gi"},
        "maxActiveDeadlineSeconds": 7200,
    })
}
