//! A namespace under two ceilings; Kim, who may do all that `explain` needs, and Lee, who may not read the ceilings.

use std::time::Duration;

use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::plugin::User;
use crate::access::spec;
use crate::harness::{Run, Space, default_limits, eventually, forget_ceiling, merge};

/// A namespace, and who asks there.
pub struct World {
    pub space: Space,
    pub kim: User,
    pub lee: User,
}

impl World {
    /// Opens `e2e-<name>`.
    pub async fn open(name: &str) -> Self {
        let space = Space::open_bare(name).await;
        let (seeing, blind) = (format!("{name}-seeing"), format!("{name}-blind"));
        let world = Self {
            kim: User::new(&format!("{name}-kim"), &seeing),
            lee: User::new(&format!("{name}-lee"), &blind),
            space,
        };
        world.policy("default", "gvisor").await;
        world.policy("elsewhere", "missing-runtime").await;
        world.ceiling().await;
        for (role, groups) in [("edit", [&seeing, &blind]), ("cofferdam-user", [&seeing, &blind])] {
            let binding: RoleBinding = binding(role, role, &groups);
            let made = world.space.api().create(&PostParams::default(), &binding).await;
            made.map(drop).expect("a RoleBinding");
        }
        let view: ClusterRoleBinding = binding(&world.cluster_wide(), "cofferdam-ceiling-view", &[&seeing]);
        let params = PatchParams::apply("e2e").force();
        Api::<ClusterRoleBinding>::all(world.space.client.clone())
            .patch(&world.cluster_wide(), &params, &Patch::Apply(view))
            .await
            .expect("a ClusterRoleBinding");
        // The API server's authorizer knows new bindings a moment later.
        let good = world.manifest("asked", &json!({}));
        eventually("Kim may ask", Duration::from_secs(30), || async {
            world.kim.explains(&good).await.0 == 0
        })
        .await;
        world
    }

    /// A policy of the namespace whose pods find no node: what is admitted here need not run.
    async fn policy(&self, name: &str, class: &str) {
        let mut limits = default_limits();
        merge(&mut limits, &spec::team());
        let more = json!({
            "runtime": {"runtimeClassNames": [class]},
            "images": {"allowed": ["cofferdam.test/team/*", "ghcr.io/team/*"]},
        });
        merge(&mut limits, &more);
        let nowhere = json!([{"name": "default", "nodeSelector": {"cofferdam.test/nowhere": "true"}}]);
        let spec = json!({"limits": limits, "schedulingProfiles": nowhere});
        self.space.policy_of(name, spec).await;
    }

    /// A cluster policy over this namespace alone.
    async fn ceiling(&self) {
        let limits = json!({
            "images": {"mode": "AllowList", "allowed": ["cofferdam.test/**", "ghcr.io/team/reviewed"]},
            "maxStartDeadlineSeconds": 300,
            "maxActiveDeadlineSeconds": 600,
        });
        self.space.ceiling(&self.cluster_wide(), limits).await;
    }

    /// Name of the objects of this world that belong to no namespace.
    pub fn cluster_wide(&self) -> String {
        format!("{}-ceiling", self.space.name)
    }

    /// A run within the ceilings, with these changes.
    pub fn manifest(&self, name: &str, change: &Value) -> Value {
        json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun",
            "metadata": {"name": name, "namespace": self.space.name}, "spec": spec::run(change),
        })
    }

    /// Creates the run, for the controller to judge.
    pub async fn create(&self, manifest: &Value) -> Run {
        let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
        self.space.run(name, manifest["spec"].clone()).await
    }

    /// Removes everything.
    pub async fn close(self) {
        let name = self.cluster_wide();
        let client = self.space.client.clone();
        forget_ceiling(&client, &name).await;
        let bindings: Api<ClusterRoleBinding> = Api::all(client);
        bindings
            .delete(&name, &DeleteParams::default())
            .await
            .map(drop)
            .expect("the test's own binding");
        self.space.close().await;
    }
}

/// A binding of these groups to a role of the cluster.
fn binding<K: serde::de::DeserializeOwned>(name: &str, role: &str, groups: &[&String]) -> K {
    let api = "rbac.authorization.k8s.io";
    let kind = if name == role {
        "RoleBinding"
    } else {
        "ClusterRoleBinding"
    };
    let subject = |group: &&String| json!({"apiGroup": api, "kind": "Group", "name": group});
    let subjects: Vec<Value> = groups.iter().map(subject).collect();
    let binding = json!({
        "apiVersion": format!("{api}/v1"), "kind": kind, "metadata": {"name": name},
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": role}, "subjects": subjects,
    });
    serde_json::from_value(binding).expect("a binding's shape")
}
