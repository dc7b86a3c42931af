//! A namespace under three ceilings, and Kim, who has `edit` there and the use of its policy `default`.

use std::time::Duration;

use cofferdam_api::AgentRun;
use http::Method;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};

use super::spec;
use super::user::User;
use crate::harness::{Run, Space, eventually, forget_ceiling};

/// The group of those who may run agents in these namespaces.
pub const GROUP: &str = "access-team";

/// A namespace under ceilings.
pub struct World {
    pub space: Space,
    pub kim: User,
}

impl World {
    /// Opens `e2e-<name>` with the policies `default`, which Kim may use, and `lax`, which Kim may not.
    pub async fn open(name: &str, limits: Value) -> Self {
        let world = Self {
            space: Space::open_bare(name).await,
            kim: User::new("access-kim", &[GROUP, "system:authenticated"]),
        };
        world.policy("default", limits).await;
        world.policy("lax", json!({})).await;
        world.ceiling().await;
        world
            .bind("edit", &json!({"kind": "ClusterRole", "name": "edit"}))
            .await;
        world.may_use("default").await;
        world
    }

    /// A policy whose pods find no node: what is admitted here need not run.
    pub async fn policy(&self, name: &str, limits: Value) {
        let spec = json!({"limits": limits, "schedulingProfiles": [
            {"name": "default", "nodeSelector": {"cofferdam.test/nowhere": "true"}},
            {"name": "elsewhere", "nodeSelector": {"cofferdam.test/elsewhere": "true"}}]});
        self.space.policy_of(name, spec).await;
    }

    /// Two cluster policies over this namespace alone; the second forbids what the namespace's policy would allow.
    async fn ceiling(&self) {
        let wide =
            json!({"runtime": {"runtimeClassNames": ["gvisor", "runc"]}, "maxStartDeadlineSeconds": 300});
        let narrow = json!({
            "images": {"mode": "AllowList", "allowed": ["cofferdam.test/**", "docker.io/**", "ghcr.io/team/reviewed"]},
            "maxActiveDeadlineSeconds": 600,
        });
        for (part, limits) in [("wide", wide), ("narrow", narrow)] {
            self.space.ceiling(&self.cluster_policy(part), limits).await;
        }
    }

    /// Name of one of the two cluster policies.
    pub fn cluster_policy(&self, part: &str) -> String {
        format!("{}-{part}", self.space.name)
    }

    /// Binds the team to a role of this namespace.
    pub async fn bind(&self, name: &str, role: &Value) {
        let mut role = role.clone();
        role["apiGroup"] = json!("rbac.authorization.k8s.io");
        let binding = json!({
            "metadata": {"name": name}, "roleRef": role,
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": GROUP}],
        });
        self.space
            .api::<RoleBinding>()
            .create(&PostParams::default(), &serde_json::from_value(binding).unwrap())
            .await
            .expect("a RoleBinding");
    }

    /// Gives the team the verb `use` on one policy.
    pub async fn may_use(&self, policy: &str) {
        let name = format!("use-{policy}");
        let role = json!({"metadata": {"name": name}, "rules": [{
            "apiGroups": ["cofferdam.dev"], "resources": ["sandboxpolicies"], "resourceNames": [policy], "verbs": ["use"]}]});
        self.space
            .api::<Role>()
            .create(&PostParams::default(), &serde_json::from_value(role).unwrap())
            .await
            .expect("a Role");
        self.bind(&name, &json!({"kind": "Role", "name": name})).await;
        // The API server's authorizer knows a new binding a moment later.
        let path = format!("{}?dryRun=All&fieldValidation=Strict", self.ours("agentruns"));
        let asked = manifest("asked", &spec::run(&json!({"policyRef": {"name": policy}})));
        eventually(
            &format!("Kim may use {policy}"),
            Duration::from_secs(30),
            || async {
                let client = &self.space.client;
                self.kim.send(client, Method::POST, &path, &asked).await.is_ok()
            },
        )
        .await;
    }

    /// Path of a resource of the namespace; `group` such as `apis/batch/v1` or `api/v1`.
    pub fn path(&self, group: &str, resource: &str) -> String {
        format!("/{group}/namespaces/{}/{resource}", self.space.name)
    }

    /// Path of one of our resources of the namespace.
    pub fn ours(&self, resource: &str) -> String {
        self.path("apis/cofferdam.dev/v1alpha1", resource)
    }

    /// A run that Kim creates; gives the API server's refusal.
    pub async fn run(&self, name: &str, spec: &Value) -> Result<Run, String> {
        let path = format!("{}?fieldValidation=Strict", self.ours("agentruns"));
        let body = manifest(name, spec);
        let client = &self.space.client;
        self.kim.send(client, Method::POST, &path, &body).await?;
        Ok(Run {
            client: client.clone(),
            namespace: self.space.name.clone(),
            name: name.to_owned(),
        })
    }

    /// The Job of a run, by the owner that it names.
    pub async fn job(&self, run: &Run) -> Option<Job> {
        let jobs = self.space.api::<Job>().list(&ListParams::default()).await;
        let jobs = jobs.expect("Jobs can be listed").items;
        jobs.into_iter().find(|job| {
            let owners = job.metadata.owner_references.iter().flatten();
            owners
                .into_iter()
                .any(|owner| owner.kind == "AgentRun" && owner.name == run.name)
        })
    }

    /// Whether the run is still there.
    pub async fn has(&self, run: &str) -> bool {
        self.space
            .api::<AgentRun>()
            .get_opt(run)
            .await
            .expect("runs can be read")
            .is_some()
    }

    /// Removes the namespace and its cluster policies.
    pub async fn close(self) {
        for part in ["wide", "narrow"] {
            forget_ceiling(&self.space.client, &self.cluster_policy(part)).await;
        }
        self.space.close().await;
    }
}

/// A run's manifest.
pub fn manifest(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun", "metadata": {"name": name}, "spec": spec,
    })
}
