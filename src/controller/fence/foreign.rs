//! Every other NetworkPolicy adds to the fence and could open it. Which ones do? Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ObjectMeta;

use super::carried::carried;
use cofferdam_api::names::{FENCE, LABEL_POLICY_HASH, LABEL_RUN, LABEL_RUN_UID};

/// Labels that every sandbox pod has.
const ALWAYS: [&str; 3] = [LABEL_RUN, LABEL_RUN_UID, LABEL_POLICY_HASH];

/// Whether a NetworkPolicy of a sandboxes' namespace may widen the fence.
///
/// One that allows nothing cannot. One that allows something must leave our pods out in a way that can be seen: it
/// asks for the absence of a label that they always have, or for one that they never carry.
pub fn widens(policy: &NetworkPolicy) -> bool {
    let Some(spec) = &policy.spec else { return false };
    if policy.metadata.name.as_deref() == Some(FENCE) {
        return false;
    }
    let allows = spec.ingress.as_ref().is_some_and(|rules| !rules.is_empty())
        || spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
    allows && !spec.pod_selector.as_ref().is_some_and(leaves_out)
}

/// Leaves of a NetworkPolicy what this controller reads: of a foreign one whether it widens the fence, and of the fence
/// what tells whether it stands. Whoever may write to any namespace of the cluster can make one of a
/// megabyte, which takes five in memory.
pub fn trim(policy: &mut NetworkPolicy) {
    let widens = widens(policy);
    let ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        deletion_timestamp,
        finalizers,
        labels,
        ..
    } = std::mem::take(&mut policy.metadata);
    let is_fence = name.as_deref() == Some(FENCE);
    let finalizers = finalizers.filter(|_| is_fence);
    let labels = labels.filter(|labels| is_fence && labels.len() <= MOST_PARTS);
    policy.metadata = ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        deletion_timestamp,
        finalizers,
        labels,
        ..ObjectMeta::default()
    };
    let keeps = is_fence && policy.spec.as_ref().is_some_and(|spec| parts(spec) <= MOST_PARTS);
    if !keeps {
        policy.spec = widens.then(open_to_all);
    }
}

/// More peers, ports and labels than the fence has: what has so many is not the fence as we made it.
const MOST_PARTS: usize = 64;

/// Peers, ports and labels.
fn parts(spec: &NetworkPolicySpec) -> usize {
    let selector = spec.pod_selector.as_ref().map_or(0, |selector| {
        let expressions = selector.match_expressions.iter().flatten();
        let values = expressions.map(|expression| 1 + expression.values.as_ref().map_or(0, Vec::len));
        selector.match_labels.as_ref().map_or(0, BTreeMap::len) + values.sum::<usize>()
    });
    let peers = |peers: Option<&Vec<NetworkPolicyPeer>>| {
        let except = |peer: &NetworkPolicyPeer| {
            let block = peer.ip_block.as_ref().and_then(|block| block.except.as_ref());
            1 + block.map_or(0, Vec::len)
        };
        peers.map_or(0, |peers| peers.iter().map(except).sum())
    };
    let ports = |ports: Option<&Vec<NetworkPolicyPort>>| ports.map_or(0, Vec::len);
    let ingress = spec.ingress.iter().flatten();
    let ingress = ingress.map(|rule| 1 + peers(rule.from.as_ref()) + ports(rule.ports.as_ref()));
    let egress = spec.egress.iter().flatten();
    let egress = egress.map(|rule| 1 + peers(rule.to.as_ref()) + ports(rule.ports.as_ref()));
    selector + ingress.sum::<usize>() + egress.sum::<usize>()
}

/// The shortest rule that widens: all pods reach everything.
fn open_to_all() -> NetworkPolicySpec {
    NetworkPolicySpec {
        egress: Some(vec![NetworkPolicyEgressRule::default()]),
        ..NetworkPolicySpec::default()
    }
}

fn leaves_out(selector: &LabelSelector) -> bool {
    let by_label = selector
        .match_labels
        .iter()
        .flatten()
        .any(|(key, _)| !carried(key));
    let by_expression =
        selector
            .match_expressions
            .iter()
            .flatten()
            .any(|expression| match expression.operator.as_str() {
                "DoesNotExist" => ALWAYS.contains(&expression.key.as_str()),
                "In" | "Exists" => !carried(&expression.key),
                _ => false,
            });
    by_label || by_expression
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn policy(name: &str, spec: &Value) -> NetworkPolicy {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    }

    #[rstest]
    #[case::everyone(json!({}), true)]
    #[case::a_label_of_ours(json!({"matchLabels": {"cofferdam.dev/run": "mend-roof"}}), true)]
    #[case::a_label_of_jobs(json!({"matchLabels": {"batch.kubernetes.io/job-name": "agr-mend-roof-0b7c9f3e"}}), true)]
    #[case::an_old_label_of_jobs(json!({"matchLabels": {"job-name": "agr-mend-roof-0b7c9f3e"}}), true)]
    #[case::not_in(json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}), true)]
    #[case::run_not_in(json!({"matchExpressions": [{"key": "cofferdam.dev/run", "operator": "NotIn", "values": ["x"]}]}), true)]
    #[case::without_another_label(json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}), true)]
    #[case::a_label_of_charts(json!({"matchLabels": {"app.kubernetes.io/name": "web"}}), false)]
    #[case::an_app(json!({"matchLabels": {"app": "web"}}), false)]
    #[case::an_app_among_ours(json!({"matchLabels": {"app": "web", "job-name": "x"}}), false)]
    #[case::without_our_label(json!({"matchExpressions": [{"key": "cofferdam.dev/run", "operator": "DoesNotExist"}]}), false)]
    #[case::with_an_app(json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}), false)]
    fn what_allows_must_leave_our_pods_out(#[case] selector: Value, #[case] widening: bool) {
        for direction in ["ingress", "egress"] {
            let spec = json!({"podSelector": selector, direction: [{}]});
            let mut policy = policy("theirs", &spec);
            assert_eq!(widens(&policy), widening, "{direction}");
            trim(&mut policy);
            assert_eq!(widens(&policy), widening, "{direction}, trimmed");
        }
        let spec = json!({"podSelector": selector, "policyTypes": ["Ingress", "Egress"]});
        assert!(!widens(&policy("theirs", &spec)), "a policy that allows nothing");
    }

    #[test]
    fn the_fence_itself_is_not_foreign() {
        let fence = crate::fence::objects::fence("tenant-a", "operator-space");
        assert!(!widens(&fence));
        let renamed = NetworkPolicy {
            metadata: kube::api::ObjectMeta {
                name: Some("copy".into()),
                ..fence.metadata.clone()
            },
            ..fence
        };
        assert!(widens(&renamed));
    }

    /// A foreign policy of a megabyte, named `name`.
    fn large(name: &str) -> NetworkPolicy {
        let blocks: Vec<Value> = (0..28_000)
            .map(|n| json!({"ipBlock": {"cidr": format!("10.{}.{}.{}/32", n >> 16, n >> 8 & 255, n & 255)}}))
            .collect();
        let mut policy = policy(
            name,
            &json!({"podSelector": {"matchLabels": {"app": "web"}}, "egress": [{"to": blocks}]}),
        );
        let metadata = json!({
            "name": name, "namespace": "elsewhere", "resourceVersion": "7",
            "annotations": {"notes": "x".repeat(200_000)}, "labels": {"app": "x".repeat(63)},
            "managedFields": [{"manager": "kubectl"}],
        });
        policy.metadata = serde_json::from_value(metadata).unwrap();
        policy
    }

    #[rstest]
    #[case::theirs("theirs")]
    #[case::under_our_name(FENCE)]
    fn large_policies_are_kept_small(#[case] name: &str) {
        let mut policy = large(name);
        trim(&mut policy);
        let kept = serde_json::to_string(&policy).unwrap();
        assert!(kept.len() < 500, "{} bytes: {kept:.500}", kept.len());
        assert_eq!(policy.metadata.namespace.as_deref(), Some("elsewhere"));
        assert_eq!(policy.metadata.resource_version.as_deref(), Some("7"));
        assert!(!widens(&policy));
    }

    #[test]
    fn a_trimmed_fence_still_stands_and_a_changed_one_does_not() {
        use crate::fence::objects::{fence, fence_stands};
        let wanted = fence("tenant-a", "operator-space");
        let mut live = wanted.clone();
        live.metadata.annotations = Some([("notes".to_owned(), "long".to_owned())].into());
        let mut widened = live.clone();
        trim(&mut live);
        assert!(fence_stands(&live, &wanted));
        assert_eq!(live.metadata.annotations, None);
        widened.spec.as_mut().unwrap().egress = large("theirs").spec.unwrap().egress;
        trim(&mut widened);
        assert!(!fence_stands(&widened, &wanted));
    }
}
