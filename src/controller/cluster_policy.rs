//! The status of each `ClusterSandboxPolicy`: whether it can be read, and whether it stands over anything at all.
//!
//! It does not count its namespaces: the number would change with every namespace of the cluster, and be a write for
//! each cluster policy every time.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::core::{ParseExpressionError, Selector, SelectorExt};
use kube::{Api, Client, ResourceExt};

use super::policy_status::{Context, Found, Judged};
use cofferdam_api::{ClusterSandboxPolicy, ClusterSandboxPolicyStatus, SandboxPolicy, SandboxPolicySpec};
use cofferdam_policy::layer::layers::Layers;
use cofferdam_policy::layer::mistakes;

impl Judged for ClusterSandboxPolicy {
    // Its status cannot be written either; every SandboxPolicy says so.
    const UNREADABLE: &'static str = "a cluster policy cannot be read: no run starts";

    fn api(&self, client: &Client) -> Api<Self> {
        Api::all(client.clone())
    }

    fn judge(&self, context: &Context, now: Timestamp) -> ClusterSandboxPolicyStatus {
        judge(self, &context.stores.namespaces.state(), now)
    }

    fn conditions(status: &ClusterSandboxPolicyStatus) -> &[Condition] {
        &status.conditions
    }
}

/// The status of a cluster policy. Pure.
fn judge(
    policy: &ClusterSandboxPolicy,
    namespaces: &[Arc<Namespace>],
    now: Timestamp,
) -> ClusterSandboxPolicyStatus {
    let before = policy.status.as_ref().map(|status| &status.conditions);
    ClusterSandboxPolicyStatus {
        observed_generation: policy.metadata.generation,
        conditions: found(policy, namespaces).into_ready(policy, before, now),
    }
}

/// Whether it is in order.
fn found(policy: &ClusterSandboxPolicy, namespaces: &[Arc<Namespace>]) -> Found {
    // Over everything, so that its patterns are read whatever it selects.
    let mut everywhere = policy.clone();
    everywhere.spec.namespace_selector = LabelSelector::default();
    let none = SandboxPolicy::new("none", SandboxPolicySpec::default());
    let layers = match Layers::read(&BTreeMap::new(), &[everywhere], &none) {
        Ok(layers) => layers,
        Err(refusal) => return Found::wrong("PolicyUnreadable", refusal.message()),
    };
    // By itself: whether another policy consents to its tunnels is a matter of each namespace.
    let own = layers.policies.first().map(mistakes::contradictions);
    if let Some(mistake) = own.unwrap_or_default().first() {
        return Found::wrong(mistake.kind.as_str(), mistake.refusal.message());
    }
    match selected(policy, namespaces) {
        Err(error) => Found::wrong("PolicyUnreadable", format!("spec.namespaceSelector: {error}")),
        Ok(false) => Found::wrong(
            "SelectsNoNamespace",
            "spec.namespaceSelector matches no namespace, so this policy limits nothing. Compare it with \
             kubectl get namespaces --show-labels.",
        ),
        Ok(true) => Found {
            holds: Some(true),
            reason: "Ready".to_owned(),
            message: "It limits every run of the namespaces that it selects.".to_owned(),
        },
    }
}

/// Whether it stands over a namespace.
fn selected(
    policy: &ClusterSandboxPolicy,
    namespaces: &[Arc<Namespace>],
) -> Result<bool, ParseExpressionError> {
    let selector: Selector = policy.spec.namespace_selector.clone().try_into()?;
    Ok(namespaces
        .iter()
        .any(|namespace| selector.matches(namespace.labels())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn policy(selector: &Value, limits: &Value) -> ClusterSandboxPolicy {
        serde_json::from_value(json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "ClusterSandboxPolicy",
            "metadata": {"name": "base", "generation": 4},
            "spec": {"namespaceSelector": selector, "limits": limits},
        }))
        .unwrap()
    }

    fn namespaces() -> Vec<Arc<Namespace>> {
        let namespace = json!({"metadata": {"name": "tenant-a", "labels": {"team": "red"}}});
        vec![Arc::new(serde_json::from_value(namespace).unwrap())]
    }

    #[rstest]
    #[case::everything(json!({}), json!({}), "True", "Ready")]
    #[case::one(json!({"matchLabels": {"team": "red"}}), json!({}), "True", "Ready")]
    #[case::none(json!({"matchLabels": {"team": "rde"}}), json!({}), "False", "SelectsNoNamespace")]
    #[case::odd_operator(
        json!({"matchExpressions": [{"key": "team", "operator": "Near", "values": ["red"]}]}), json!({}),
        "False", "PolicyUnreadable")]
    #[case::odd_pattern_over_nobody(
        json!({"matchLabels": {"team": "rde"}}),
        json!({"images": {"mode": "AllowList", "allowed": ["ghcr.io/te*m/**"]}}), "False", "PolicyUnreadable")]
    #[case::tags_where_it_wants_digests(
        json!({}), json!({"images": {"mode": "AllowList", "digest": "Required", "allowed": ["ghcr.io/team/*", "ghcr.io/team/app:1"]}}),
        "False", "RuleMatchesNothing")]
    #[case::tunnels_where_it_denies_them(
        json!({}), json!({"tunnels": "Deny", "egress": {"mode": "AllowList", "rules": [
            {"name": "a", "hosts": ["a.example"], "ports": [443], "tls": "Tunnel"}]}}),
        "False", "TunnelDenied")]
    #[case::tunnels_to_which_another_may_consent(
        json!({}), json!({"egress": {"mode": "AllowList", "rules": [
            {"name": "a", "hosts": ["a.example"], "ports": [443], "tls": "Tunnel"}]}}),
        "True", "Ready")]
    #[case::no_tags_where_it_wants_digests(
        json!({}), json!({"images": {"mode": "AllowList", "digest": "Required", "allowed": ["ghcr.io/team/*"]}}), "True", "Ready")]
    fn a_cluster_policy_says_whether_it_stands_over_anything(
        #[case] selector: Value,
        #[case] limits: Value,
        #[case] status: &str,
        #[case] reason: &str,
    ) {
        let judged = judge(&policy(&selector, &limits), &namespaces(), at(0));
        let ready = &judged.conditions[0];
        assert_eq!(
            (ready.status.as_str(), ready.reason.as_str()),
            (status, reason),
            "{}",
            ready.message
        );
        assert_eq!(judged.observed_generation, Some(4));
    }

    #[test]
    fn the_same_again_is_no_change() {
        let mut policy = policy(&json!({}), &json!({}));
        let first = judge(&policy, &namespaces(), at(0));
        policy.status = Some(first.clone());
        assert_eq!(judge(&policy, &namespaces(), at(60)), first);
    }
}
