//! What cluster policies say of egress *now*, for runs that were admitted before. Pure.
//!
//! A run is held to its frozen policy; a cluster policy that came or changed since then can only take from it. So
//! the gateway meets every answer of the frozen policy with the layers that stand here, and never asks these alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kube::ResourceExt;
use kube::core::DeserializeGuard;

use crate::denial::{Denial, denied_since};
use cofferdam_api::{ClusterSandboxPolicy, OnSinkFailure, PolicyLimits, TlsMode, Tunnels};
use cofferdam_policy::layer::layers::{ClusterEgress, cluster_egress};
use cofferdam_policy::pattern::host::Host;
use cofferdam_policy::route::{Route, route};
use cofferdam_wire::denial::DenialCode;

/// A cluster policy that may be malformed: what it forbids is not known then, and that denies.
pub type Guarded = DeserializeGuard<ClusterSandboxPolicy>;

/// Labels of a namespace.
pub type Labels = BTreeMap<String, String>;

/// Cluster policies and the namespaces that they select, as they are now.
#[derive(Debug, Default)]
pub struct Ceilings {
    policies: BTreeMap<String, Result<ClusterSandboxPolicy, String>>,
    namespaces: HashMap<String, Labels>,
    /// What they come to, by namespace; worked out at the first request and kept until one of them changes.
    known: HashMap<String, Arc<Ceiling>>,
}

/// What the cluster policies over one namespace come to.
#[derive(Debug)]
pub enum Ceiling {
    /// What they say of egress; where they say nothing the frozen policy alone decides.
    Read(ClusterEgress),
    /// One of them cannot be read.
    Unreadable(String),
}

/// What cluster policies leave of the way to one host and port.
#[derive(Clone, Debug)]
pub struct Left {
    /// What they allow of it; `None`: none of them sets `limits.egress`, so they take no host and no request away.
    pub route: Option<Route>,
    /// Whether anything may pass unread.
    tunnels: Tunnels,
}

impl Left {
    /// What they leave of what the run was granted.
    pub fn of(&self, granted: Route) -> Route {
        let met = match &self.route {
            Some(route) => granted.under(route.clone()),
            None => granted,
        };
        met.within(self.tunnels)
    }

    /// Whether they want everything read that goes this way.
    pub fn has_it_read(&self) -> bool {
        match self.tunnels {
            Tunnels::Deny => true,
            Tunnels::Allow => self
                .route
                .as_ref()
                .is_some_and(|route| route.tls() == TlsMode::Inspect),
        }
    }
}

impl Ceilings {
    /// These are all cluster policies.
    pub fn replace_policies(&mut self, all: Vec<Guarded>) {
        self.policies = all.into_iter().map(entry).collect();
        self.known.clear();
    }

    /// One was made or changed.
    pub fn put_policy(&mut self, policy: Guarded) {
        let (name, read) = entry(policy);
        self.policies.insert(name, read);
        self.known.clear();
    }

    /// One is gone.
    pub fn remove_policy(&mut self, name: &str) {
        self.policies.remove(name);
        self.known.clear();
    }

    /// These are all namespaces.
    pub fn replace_namespaces(&mut self, all: impl IntoIterator<Item = (String, Labels)>) {
        self.namespaces = all.into_iter().collect();
        self.known.clear();
    }

    /// A namespace was made or changed; gives whether that can matter.
    pub fn put_namespace(&mut self, name: &str, labels: Labels) -> bool {
        if self.namespaces.get(name) == Some(&labels) {
            return false;
        }
        self.known.remove(name);
        self.namespaces.insert(name.to_owned(), labels);
        true
    }

    /// A namespace is gone.
    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
        self.known.remove(name);
    }

    /// The labels of a namespace, as far as it is known.
    pub fn labels(&self, name: &str) -> Option<&Labels> {
        self.namespaces.get(name)
    }

    /// What the cluster policies over `namespace` come to now.
    ///
    /// # Errors
    /// The namespace is not known.
    pub fn over(&mut self, namespace: &str) -> Result<Arc<Ceiling>, Denial> {
        if let Some(known) = self.known.get(namespace) {
            return Ok(Arc::clone(known));
        }
        let labels = self.namespaces.get(namespace).ok_or_else(|| {
            let message =
                "the API does not show the run's namespace, so which cluster policies apply is not known";
            Denial::new(DenialCode::NamespaceUnknown, message)
        })?;
        let ceiling = Arc::new(Ceiling::read(&self.policies, labels));
        self.known.insert(namespace.to_owned(), Arc::clone(&ceiling));
        Ok(ceiling)
    }
}

impl Ceiling {
    fn read(policies: &BTreeMap<String, Result<ClusterSandboxPolicy, String>>, labels: &Labels) -> Self {
        let all: Result<Vec<ClusterSandboxPolicy>, String> = policies.values().cloned().collect();
        let read = all.and_then(|all| cluster_egress(labels, &all).map_err(|refusal| refusal.message()));
        match read {
            Ok(egress) => Self::Read(egress),
            Err(message) => Self::Unreadable(message),
        }
    }

    /// Whether none of them says that a run stops while the archive does not acknowledge its records.
    pub fn continues_without_evidence(&self) -> bool {
        match self {
            Self::Read(egress) => egress.on_sink_failure == OnSinkFailure::Continue,
            Self::Unreadable(_) => false,
        }
    }

    /// What they leave of the way to `host` and `port`.
    ///
    /// # Errors
    /// One of them denies it or cannot be read.
    pub fn judge(&self, host: &Host, port: u16) -> Result<Left, Denial> {
        match self {
            Self::Read(ClusterEgress {
                layers,
                tunnels,
                // Of the run as a whole.
                on_sink_failure: _,
            }) => {
                let route = if layers.is_empty() {
                    None
                } else {
                    let decided = route(layers, *tunnels, None, host, port);
                    Some(decided.into_result().map_err(denied_since)?)
                };
                Ok(Left {
                    route,
                    tunnels: *tunnels,
                })
            }
            Self::Unreadable(message) => Err(Denial::new(
                DenialCode::DeniedSinceAdmission,
                format!("{host}:{port} is denied: a cluster policy cannot be read: {message}"),
            )),
        }
    }
}

/// The policy by its name, without the parts that do not concern egress.
fn entry(policy: Guarded) -> (String, Result<ClusterSandboxPolicy, String>) {
    let name = policy.name_any();
    let read = policy
        .0
        .map(trimmed)
        .map_err(|error| format!("ClusterSandboxPolicy/{name}: {error}"));
    (name, read)
}

fn trimmed(mut policy: ClusterSandboxPolicy) -> ClusterSandboxPolicy {
    policy.metadata = kube::api::ObjectMeta {
        name: policy.metadata.name,
        ..kube::api::ObjectMeta::default()
    };
    policy.spec.limits = PolicyLimits {
        egress: policy.spec.limits.egress,
        // The preset `git` stands for these.
        repositories: policy.spec.limits.repositories,
        tunnels: policy.spec.limits.tunnels,
        evidence: policy.spec.limits.evidence,
        ..PolicyLimits::default()
    };
    policy
}

#[cfg(test)]
pub(crate) mod testing {
    //! Cluster policies as the API would show them.

    use super::Guarded;
    use serde_json::{Value, json};

    /// A cluster policy over the namespaces with these labels, and what it says of egress.
    pub(crate) fn cluster_policy(name: &str, selected: &Value, egress: &Value) -> Guarded {
        let policy = json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "ClusterSandboxPolicy", "metadata": {"name": name},
            "spec": {"namespaceSelector": {"matchLabels": selected}, "limits": {"egress": egress}},
        });
        serde_json::from_value(policy).unwrap()
    }

    /// Egress to these hosts at 80 and 443, wherever in 203.0.113.0/24 they are.
    pub(crate) fn allow(hosts: &[&str]) -> Value {
        json!({"mode": "AllowList", "rules": [
            {"name": "only", "hosts": hosts, "addresses": ["203.0.113.0/24"], "ports": [80, 443], "tls": "Tunnel"}]})
    }

    /// No traffic without evidence in the namespaces with these labels, and nothing of hosts.
    pub(crate) fn stop_on_sink_failure(name: &str, selected: &Value) -> Guarded {
        let policy = json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "ClusterSandboxPolicy", "metadata": {"name": name},
            "spec": {"namespaceSelector": {"matchLabels": selected}, "limits": {"evidence": {"onSinkFailure": "Stop"}}},
        });
        serde_json::from_value(policy).unwrap()
    }

    /// No tunnels, and nothing of hosts.
    pub(crate) fn no_tunnels(name: &str) -> Guarded {
        let policy = json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "ClusterSandboxPolicy", "metadata": {"name": name},
            "spec": {"namespaceSelector": {}, "limits": {"tunnels": "Deny"}},
        });
        serde_json::from_value(policy).unwrap()
    }

    /// No egress.
    pub(crate) fn deny_all() -> Value {
        json!({"mode": "DenyAll"})
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{allow, cluster_policy, deny_all};
    use super::*;
    use serde_json::json;

    fn ceilings(policies: Vec<Guarded>) -> Ceilings {
        let mut ceilings = Ceilings::default();
        ceilings.replace_policies(policies);
        let labels = |team: &str| Labels::from([("team".to_owned(), team.to_owned())]);
        ceilings.replace_namespaces([
            ("tenant-a".to_owned(), labels("red")),
            ("tenant-b".to_owned(), labels("blue")),
        ]);
        ceilings
    }

    fn code(ceilings: &mut Ceilings, namespace: &str, host: &str) -> &'static str {
        let host = Host::parse(host).unwrap();
        let judged = ceilings.over(namespace).and_then(|over| over.judge(&host, 443));
        judged.map_or_else(|denial| denial.code.as_str(), |_| "")
    }

    #[test]
    fn only_policies_over_the_namespace_that_speak_of_egress_take_anything() {
        let silent = json!({"apiVersion": "cofferdam.dev/v1alpha1", "kind": "ClusterSandboxPolicy",
            "metadata": {"name": "silent"}, "spec": {"namespaceSelector": {}, "limits": {"maxActiveDeadlineSeconds": 60}}});
        let silent: Guarded = serde_json::from_value(silent).unwrap();
        let red = cluster_policy("red", &json!({"team": "red"}), &allow(&["one.example"]));
        let mut ceilings = ceilings(vec![silent, red]);
        for (namespace, host, expected) in [
            ("tenant-a", "one.example", ""),
            ("tenant-a", "two.example", "DeniedSinceAdmission"),
            ("tenant-b", "two.example", ""),
            ("tenant-c", "one.example", "NamespaceUnknown"),
        ] {
            assert_eq!(
                code(&mut ceilings, namespace, host),
                expected,
                "{namespace} {host}"
            );
        }
    }

    #[test]
    fn what_is_known_is_worked_out_anew_when_something_changes() {
        let mut ceilings = ceilings(Vec::new());
        let mut now = |change: &dyn Fn(&mut Ceilings)| {
            change(&mut ceilings);
            code(&mut ceilings, "tenant-a", "one.example")
        };
        let closed = || cluster_policy("closed", &json!({"team": "red"}), &deny_all());
        let team = |team: &str| Labels::from([("team".to_owned(), team.to_owned())]);
        assert_eq!(now(&|_| ()), "");
        assert_eq!(now(&|c| c.put_policy(closed())), "DeniedSinceAdmission");
        assert_eq!(now(&|c| assert!(c.put_namespace("tenant-a", team("green")))), "");
        assert_eq!(
            now(&|c| assert!(c.put_namespace("tenant-a", team("red")))),
            "DeniedSinceAdmission"
        );
        assert_eq!(
            now(&|c| assert!(!c.put_namespace("tenant-a", team("red")))),
            "DeniedSinceAdmission"
        );
        assert_eq!(now(&|c| c.remove_policy("closed")), "");
        assert_eq!(
            now(&|c| c.replace_policies(vec![closed()])),
            "DeniedSinceAdmission"
        );
        assert_eq!(now(&|c| c.replace_policies(Vec::new())), "");
        assert_eq!(now(&|c| c.remove_namespace("tenant-a")), "NamespaceUnknown");
    }

    #[test]
    fn a_denial_names_the_policy_and_what_it_allows() {
        let base = cluster_policy("base", &json!({}), &allow(&["one.example"]));
        let mut ceilings = ceilings(vec![base]);
        let denial = ceilings
            .over("tenant-a")
            .and_then(|over| over.judge(&Host::parse("two.example").unwrap(), 443))
            .unwrap_err();
        insta::assert_snapshot!(denial.message, @"two.example:443 is denied by ClusterSandboxPolicy/base: no rule names this host; allowed: one.example; the policy has changed since this run was admitted");
    }

    #[test]
    fn what_cannot_be_read_denies_where_it_may_stand() {
        let odd_host = cluster_policy("odd-host", &json!({"team": "red"}), &allow(&["10.0.0.1"]));
        let mut one = ceilings(vec![odd_host]);
        assert_eq!(code(&mut one, "tenant-a", "one.example"), "DeniedSinceAdmission");
        assert_eq!(code(&mut one, "tenant-b", "one.example"), "");
        let malformed = json!({"metadata": {"name": "malformed"}, "spec": {"namespaceSelector": 7}});
        let malformed: Guarded = serde_json::from_value(malformed).unwrap();
        assert!(malformed.0.is_err());
        let mut everywhere = ceilings(vec![malformed]);
        assert_eq!(
            code(&mut everywhere, "tenant-b", "one.example"),
            "DeniedSinceAdmission"
        );
    }
}
