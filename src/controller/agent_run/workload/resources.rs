//! Requests and limits, on every container: a pod without them is refused where a quota is, and starves others.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::storage::Storage;
use cofferdam_api::Resources;

/// `prepare`: git unpacks whole histories, on disk and in memory.
pub fn prepare(storage: Storage) -> ResourceRequirements {
    requirements(["50m", "128Mi", "64Mi"], ["1", "1Gi", &storage.ours().0])
}

/// `sidecar`: idle but for forwarding, until it hashes the work tree.
pub fn sidecar(storage: Storage) -> ResourceRequirements {
    requirements(["20m", "64Mi", "64Mi"], ["1", "512Mi", &storage.ours().0])
}

/// `agent`: what policy made of the run's asks.
pub fn agent(resources: &Resources) -> ResourceRequirements {
    ResourceRequirements {
        claims: None,
        limits: Some(resources.limits.clone()),
        requests: Some(resources.requests.clone()),
    }
}

fn requirements(requests: [&str; 3], limits: [&str; 3]) -> ResourceRequirements {
    ResourceRequirements {
        claims: None,
        limits: Some(list(limits)),
        requests: Some(list(requests)),
    }
}

fn list([cpu, memory, storage]: [&str; 3]) -> BTreeMap<String, Quantity> {
    BTreeMap::from([
        ("cpu".to_owned(), Quantity(cpu.to_owned())),
        ("memory".to_owned(), Quantity(memory.to_owned())),
        ("ephemeral-storage".to_owned(), Quantity(storage.to_owned())),
    ])
}
