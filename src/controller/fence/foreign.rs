//! Every other NetworkPolicy adds to the fence and could open it. Which ones do? Pure.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use cofferdam_api::names::{FENCE, LABEL_POLICY_HASH, LABEL_RUN, LABEL_RUN_UID};

/// Labels that every sandbox pod has.
const ALWAYS: [&str; 3] = [LABEL_RUN, LABEL_RUN_UID, LABEL_POLICY_HASH];
/// Prefixes and keys of labels that a sandbox pod may carry: ours, and those that Kubernetes, queues and meshes put
/// on the pods of Jobs. The admission guard refuses sandbox pods with any other.
const CARRIED_PREFIXES: [&str; 7] = [
    "cofferdam.dev/",
    "batch.kubernetes.io/",
    "app.kubernetes.io/",
    "sidecar.istio.io/",
    "linkerd.io/",
    "topology.kubernetes.io/",
    "kueue.x-k8s.io/",
];
const CARRIED_KEYS: [&str; 2] = ["job-name", "controller-uid"];

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

fn carried(key: &str) -> bool {
    CARRIED_KEYS.contains(&key) || CARRIED_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
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
    #[case::an_app(json!({"matchLabels": {"app": "web"}}), false)]
    #[case::an_app_among_ours(json!({"matchLabels": {"app": "web", "job-name": "x"}}), false)]
    #[case::without_our_label(json!({"matchExpressions": [{"key": "cofferdam.dev/run", "operator": "DoesNotExist"}]}), false)]
    #[case::with_an_app(json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}), false)]
    fn what_allows_must_leave_our_pods_out(#[case] selector: Value, #[case] widening: bool) {
        for direction in ["ingress", "egress"] {
            let spec = json!({"podSelector": selector, direction: [{}]});
            assert_eq!(widens(&policy("theirs", &spec)), widening, "{direction}");
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
}
