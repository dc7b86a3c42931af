//! Which runs and policies a credential has a say in, so that only they are looked at when it changes. Pure.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use crate::api_server::Guarded;
use cofferdam_api::{AgentRun, ClusterSandboxPolicy, PolicyLimits, SandboxPolicy};
use cofferdam_policy::layer::layers;

/// Runs and policies.
pub type Users = (
    Vec<ObjectRef<Guarded<AgentRun>>>,
    Vec<ObjectRef<Guarded<SandboxPolicy>>>,
);

/// What the watches see.
pub struct Seen {
    /// Runs.
    pub runs: Vec<Arc<Guarded<AgentRun>>>,
    /// Policies.
    pub policies: Vec<Arc<Guarded<SandboxPolicy>>>,
    /// Cluster policies.
    pub cluster_policies: Vec<Arc<Guarded<ClusterSandboxPolicy>>>,
    /// Namespaces.
    pub namespaces: Vec<Arc<Namespace>>,
}

impl Seen {
    /// The policies that name the credential, or stand under a cluster policy that does, and the runs under them that are
    /// not over.
    pub fn users_of(&self, credential: &str) -> Users {
        let names_it = |limits: &PolicyLimits| limits.credentials().any(|named| named == credential);
        let naming = self.policies.iter().filter_map(|policy| {
            let read = policy.0.as_ref().ok()?;
            names_it(&read.spec.limits).then(|| (read.namespace(), read.name_any()))
        });
        let naming: HashSet<(Option<String>, String)> = naming.collect();
        let over = self.namespaces_under(|policy| names_it(&policy.spec.limits));
        let is_under = |namespace: Option<String>, policy: &str| {
            namespace
                .as_ref()
                .is_some_and(|namespace| over.contains(namespace))
                || naming.contains(&(namespace, policy.to_owned()))
        };
        let runs = self.runs.iter().filter(|run| {
            let open = run.0.as_ref().ok().filter(|run| !run.is_finished());
            open.is_some_and(|open| is_under(open.namespace(), open.spec.policy_name()))
        });
        let policies = self
            .policies
            .iter()
            .filter(|policy| is_under(policy.namespace(), &policy.name_any()));
        (
            runs.map(|run| ObjectRef::from_obj(&**run)).collect(),
            policies.map(|policy| ObjectRef::from_obj(&**policy)).collect(),
        )
    }

    /// Names of the namespaces over which one of these cluster policies stands.
    fn namespaces_under(&self, wanted: impl Fn(&ClusterSandboxPolicy) -> bool) -> HashSet<String> {
        let read = self
            .cluster_policies
            .iter()
            .filter_map(|policy| policy.0.as_ref().ok());
        let policies: Vec<&ClusterSandboxPolicy> = read.filter(|policy| wanted(policy)).collect();
        let under = self.namespaces.iter().filter(|namespace| {
            // A selector with a mistake refuses every run, so it is over all of them.
            let over = |policy: &&ClusterSandboxPolicy| layers::selects(policy, namespace.labels());
            policies.iter().any(|policy| over(policy).unwrap_or(true))
        });
        under.map(|namespace| namespace.name_any()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, at};
    use kube::core::DeserializeGuard;
    use serde_json::{Value, json};

    fn egress(credential: &str) -> Value {
        json!({"egress": {"mode": "AllowList", "rules": [{"name": "model", "preset": "anthropic", "credential": credential}]}})
    }

    fn policy(namespace: &str, name: &str, limits: &Value) -> Arc<Guarded<SandboxPolicy>> {
        let mut policy = testing::policy();
        policy.metadata.name = Some(name.to_owned());
        policy.metadata.namespace = Some(namespace.to_owned());
        policy.spec.limits = serde_json::from_value(limits.clone()).unwrap();
        Arc::new(DeserializeGuard(Ok(policy)))
    }

    fn run(namespace: &str, name: &str, policy: &str) -> AgentRun {
        let mut run = testing::run();
        run.metadata.name = Some(name.to_owned());
        run.metadata.namespace = Some(namespace.to_owned());
        run.spec.policy_ref.as_mut().unwrap().name = policy.to_owned();
        run
    }

    #[test]
    fn those_under_a_policy_that_names_it_are_its_users() {
        let finished = AgentRun {
            status: testing::finished_run(at(9)).status,
            ..run("tenant-a", "finished", "keyed")
        };
        let runs = [
            run("tenant-a", "keyed", "keyed"),
            run("tenant-a", "other", "other"),
            run("tenant-b", "over", "silent"),
            run("tenant-c", "free", "silent"),
            finished,
        ];
        let over = json!({"namespaceSelector": {"matchLabels": {"team": "red"}}, "limits": egress("model")});
        let over = ClusterSandboxPolicy::new("base", serde_json::from_value(over).unwrap());
        let namespace = |(name, team): (&str, &str)| -> Arc<Namespace> {
            let namespace = json!({"metadata": {"name": name, "labels": {"team": team}}});
            Arc::new(serde_json::from_value(namespace).unwrap())
        };
        let seen = Seen {
            runs: runs.map(|run| Arc::new(DeserializeGuard(Ok(run)))).into(),
            policies: vec![
                policy("tenant-a", "keyed", &egress("model")),
                policy("tenant-a", "other", &egress("another")),
                policy("tenant-b", "silent", &json!({})),
                policy("tenant-c", "silent", &json!({})),
            ],
            cluster_policies: vec![Arc::new(DeserializeGuard(Ok(over)))],
            namespaces: [("tenant-a", "blue"), ("tenant-b", "red"), ("tenant-c", "blue")]
                .map(namespace)
                .into(),
        };
        let (runs, policies) = seen.users_of("model");
        let named = |name: &str, namespace: Option<&String>| format!("{}/{name}", namespace.unwrap());
        let runs: Vec<String> = runs
            .iter()
            .map(|run| named(&run.name, run.namespace.as_ref()))
            .collect();
        let policies: Vec<String> = policies
            .iter()
            .map(|policy| named(&policy.name, policy.namespace.as_ref()))
            .collect();
        assert_eq!(runs, ["tenant-a/keyed", "tenant-b/over"]);
        assert_eq!(policies, ["tenant-a/keyed", "tenant-b/silent"]);
        assert_eq!(seen.users_of("nobody"), (Vec::new(), Vec::new()));
    }
}
