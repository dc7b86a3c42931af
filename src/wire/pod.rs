//! Digest of a pod's security-relevant projection: what was built must be what runs (design: seam 12).
//!
//! An allow-list: everything in a pod spec that is not known to be harmless is part of the digest, because it is
//! the whole spec minus a short list of fields that the API server, the scheduler or the platform may set. The
//! builder sets every defaulted field itself, so that defaulting changes nothing.

use k8s_openapi::api::core::v1::{Container, PodSpec};

use crate::api::names::digest;

/// `sha256:…` of the projection of `spec`.
///
/// Left out, because others set them lawfully: `nodeName` (scheduler), `tolerations`, `priority`,
/// `priorityClassName`, `preemptionPolicy` (admission), `overhead` and `nodeSelector` (`RuntimeClass` admission),
/// `imagePullSecrets` (none reach a container), container `resources` (`LimitRange`, autopilots), and
/// `imagePullPolicy` (`AlwaysPullImages` only makes it stricter).
///
/// # Errors
/// Serialisation of a Kubernetes type, which does not fail in practice.
pub fn pod_digest(spec: &PodSpec) -> Result<String, serde_json::Error> {
    let mut projected = spec.clone();
    projected.node_name = None;
    projected.tolerations = None;
    projected.priority = None;
    projected.priority_class_name = None;
    projected.preemption_policy = None;
    projected.overhead = None;
    projected.node_selector = None;
    projected.image_pull_secrets = None;
    projected.containers.iter_mut().for_each(project_container);
    projected
        .init_containers
        .iter_mut()
        .flatten()
        .for_each(project_container);
    // Value's maps are sorted by key, so equal specs give equal bytes.
    Ok(digest(&serde_json::to_vec(&serde_json::to_value(&projected)?)?))
}

fn project_container(container: &mut Container) {
    container.resources = None;
    container.image_pull_policy = None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec() -> PodSpec {
        serde_json::from_value(json!({
            "containers": [{"name": "agent", "image": "one", "env": [{"name": "A", "value": "1"}]}],
            "initContainers": [{"name": "prepare", "image": "two"}],
            "runtimeClassName": "gvisor",
        }))
        .unwrap()
    }

    #[test]
    fn what_scheduler_and_admission_set_lawfully_changes_nothing() {
        let mut live = spec();
        live.node_name = Some("node-a".into());
        live.priority = Some(0);
        live.overhead = Some([("memory".to_owned(), serde_json::from_value(json!("1Mi")).unwrap())].into());
        live.containers[0].image_pull_policy = Some("Always".into());
        assert_eq!(pod_digest(&spec()).unwrap(), pod_digest(&live).unwrap());
    }

    #[test]
    fn everything_else_changes_the_digest() {
        let built = pod_digest(&spec()).unwrap();
        let mutations: [fn(&mut PodSpec); 6] = [
            |s| s.containers[0].image = Some("other".into()),
            |s| s.containers[0].env = None,
            |s| s.init_containers = None,
            |s| s.runtime_class_name = Some("runc".into()),
            |s| s.host_network = Some(true),
            |s| s.service_account_name = Some("other".into()),
        ];
        for mutate in mutations {
            let mut live = spec();
            mutate(&mut live);
            assert_ne!(built, pod_digest(&live).unwrap());
        }
    }
}
