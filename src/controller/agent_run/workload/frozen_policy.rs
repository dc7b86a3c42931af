//! The policy that a run is held to, as it was when the run was admitted: a ConfigMap named by its own hash.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;

use cofferdam_api::names::{FROZEN_POLICY_KEY, LABEL_FROZEN_POLICY, frozen_policy_name};
use cofferdam_policy::frozen::FrozenPolicy;

/// Immutable and without an owner: runs that share it come and go.
pub fn config_map(policy: &FrozenPolicy, namespace: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(frozen_policy_name(&policy.hash())),
            namespace: Some(namespace.to_owned()),
            labels: Some([(LABEL_FROZEN_POLICY.to_owned(), "true".to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some([(FROZEN_POLICY_KEY.to_owned(), policy.to_json())].into()),
        immutable: Some(true),
        binary_data: None,
    }
}
