//! The objects that each namespace of sandboxes has once: the fence and the identity of its pods. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;

use cofferdam_api::names::{FENCE, FENCE_FINALIZER, GATEWAY_PORT, LABEL_RUN, SANDBOX_SERVICE_ACCOUNT};

/// Kubernetes puts each namespace's name on it as this label; nobody else can.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// The fence: nothing comes in, and only the gateway's data port can be reached.
///
/// By labels and not by address: where a Service's address is translated before the policy is asked, an address
/// would match nothing. Its finalizer keeps it until no sandbox pod is left, whoever deletes it or the namespace.
pub fn fence(namespace: &str, operator_namespace: &str) -> NetworkPolicy {
    NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(FENCE.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels()),
            finalizers: Some(vec![FENCE_FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_expressions: Some(vec![LabelSelectorRequirement {
                    key: LABEL_RUN.to_owned(),
                    operator: "Exists".to_owned(),
                    values: None,
                }]),
                match_labels: None,
            }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: None,
            egress: Some(vec![NetworkPolicyEgressRule {
                ports: Some(vec![NetworkPolicyPort {
                    port: Some(IntOrString::Int(i32::from(GATEWAY_PORT))),
                    protocol: Some("TCP".to_owned()),
                    end_port: None,
                }]),
                to: Some(vec![gateway(operator_namespace)]),
            }]),
        }),
    }
}

fn gateway(operator_namespace: &str) -> NetworkPolicyPeer {
    let selects = |pairs: &[(&str, &str)]| LabelSelector {
        match_labels: Some(
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        ),
        match_expressions: None,
    };
    NetworkPolicyPeer {
        ip_block: None,
        namespace_selector: Some(selects(&[(NAMESPACE_NAME, operator_namespace)])),
        pod_selector: Some(selects(&[
            ("app.kubernetes.io/component", "gateway"),
            ("app.kubernetes.io/name", "cofferdam"),
        ])),
    }
}

/// The identity of all sandbox pods of a namespace: no rights, and no token but those that a pod asks for.
pub fn service_account(namespace: &str) -> ServiceAccount {
    ServiceAccount {
        metadata: ObjectMeta {
            name: Some(SANDBOX_SERVICE_ACCOUNT.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels()),
            ..ObjectMeta::default()
        },
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "cofferdam".to_owned()),
        (
            "app.kubernetes.io/managed-by".to_owned(),
            "cofferdam-controller".to_owned(),
        ),
    ])
}

/// Whether a live fence still says what it must, and will stay.
pub fn fence_stands(live: &NetworkPolicy, wanted: &NetworkPolicy) -> bool {
    live.metadata.deletion_timestamp.is_none()
        && live.spec == wanted.spec
        && has_finalizer(live)
        && has_labels(&live.metadata, &wanted.metadata)
}

/// Whether our finalizer holds the fence.
pub fn has_finalizer(live: &NetworkPolicy) -> bool {
    live.metadata
        .finalizers
        .iter()
        .flatten()
        .any(|finalizer| finalizer == FENCE_FINALIZER)
}

/// Whether a live account is as it must be.
pub fn account_stands(live: &ServiceAccount, wanted: &ServiceAccount) -> bool {
    live.metadata.deletion_timestamp.is_none()
        && live.automount_service_account_token == wanted.automount_service_account_token
        && has_labels(&live.metadata, &wanted.metadata)
}

fn has_labels(live: &ObjectMeta, wanted: &ObjectMeta) -> bool {
    let live = live.labels.as_ref();
    wanted
        .labels
        .iter()
        .flatten()
        .all(|(key, value)| live.and_then(|labels| labels.get(key)) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fence_is_closed_but_for_the_gateway() {
        insta::assert_yaml_snapshot!(fence("tenant-a", "operator-space"));
    }

    #[test]
    fn a_changed_fence_does_not_stand() {
        let wanted = fence("tenant-a", "operator-space");
        assert!(fence_stands(&wanted, &wanted));
        let changes: [fn(&mut NetworkPolicy); 4] = [
            |fence| fence.metadata.finalizers = None,
            |fence| fence.metadata.labels = None,
            |fence| fence.spec.as_mut().unwrap().egress = None,
            |fence| {
                fence.metadata.deletion_timestamp = Some(
                    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH),
                );
            },
        ];
        for change in changes {
            let mut live = wanted.clone();
            change(&mut live);
            assert!(!fence_stands(&live, &wanted));
        }
    }
}
