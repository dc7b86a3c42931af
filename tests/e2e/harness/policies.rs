//! Policies of a namespace, and those of the cluster over it.

use cofferdam_api::{ClusterSandboxPolicy, SandboxPolicy};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::Space;

impl Space {
    /// Applies a `SandboxPolicy` with these limits.
    pub async fn policy(&self, name: &str, limits: Value) {
        self.policy_of(name, json!({"limits": limits})).await;
    }

    /// Applies a `SandboxPolicy` with this spec.
    pub async fn policy_of(&self, name: &str, spec: Value) {
        let policy = json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxPolicy", "metadata": {"name": name}, "spec": spec,
        });
        self.api::<SandboxPolicy>()
            .patch(name, &PatchParams::apply("e2e").force(), &Patch::Apply(policy))
            .await
            .expect("the policy is valid");
    }

    /// Applies a `ClusterSandboxPolicy` over this namespace alone. [`forget_ceiling`] takes it away again.
    pub async fn ceiling(&self, name: &str, limits: Value) {
        let alone = json!({"matchLabels": {"kubernetes.io/metadata.name": self.name}});
        ceiling(&self.client, name, alone, limits).await;
    }
}

/// Applies a `ClusterSandboxPolicy` over the namespaces that `selector` selects.
pub async fn ceiling(client: &Client, name: &str, selector: Value, limits: Value) {
    let policy = json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "ClusterSandboxPolicy", "metadata": {"name": name},
        "spec": {"namespaceSelector": selector, "limits": limits},
    });
    Api::<ClusterSandboxPolicy>::all(client.clone())
        .patch(name, &PatchParams::apply("e2e").force(), &Patch::Apply(policy))
        .await
        .expect("the cluster policy is valid");
}

/// Deletes a `ClusterSandboxPolicy` of the test's own.
pub async fn forget_ceiling(client: &Client, name: &str) {
    Api::<ClusterSandboxPolicy>::all(client.clone())
        .delete(name, &DeleteParams::default())
        .await
        .expect("the cluster policy is the test's own");
}
