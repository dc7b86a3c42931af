//! The pod of a run. Every field that the API server would default is set here, so that the digest of the live
//! pod equals the digest of the built one.

use k8s_openapi::api::core::v1::{LocalObjectReference, PodDNSConfig, PodSpec};

use super::job::GRACE_SECONDS;
use super::{BuildError, Identity, Input, containers, scheduling, volumes};
use cofferdam_api::confinement::pod_security_context;
use cofferdam_api::names::SANDBOX_SERVICE_ACCOUNT;

/// The same for every run: what a sandbox is called inside is no one's business.
const HOSTNAME: &str = "sandbox";

/// The pod's spec.
pub fn spec(input: &Input<'_>, identity: &Identity) -> Result<PodSpec, BuildError> {
    let admitted = input.admitted;
    let spec = PodSpec {
        init_containers: Some(vec![containers::prepare(input, identity)?]),
        containers: vec![
            containers::sidecar(input, identity)?,
            containers::agent(input, identity),
        ],
        volumes: Some(volumes::all(input)),
        restart_policy: Some("Never".to_owned()),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        runtime_class_name: Some(admitted.runtime_class.clone()),
        hostname: Some(HOSTNAME.to_owned()),
        // No resolver: a lookup is refused at once on loopback instead of waiting for a fenced-off server.
        dns_policy: Some("None".to_owned()),
        dns_config: Some(PodDNSConfig {
            nameservers: Some(vec!["127.0.0.1".to_owned()]),
            ..PodDNSConfig::default()
        }),
        enable_service_links: Some(false),
        service_account_name: Some(SANDBOX_SERVICE_ACCOUNT.to_owned()),
        service_account: Some(SANDBOX_SERVICE_ACCOUNT.to_owned()),
        automount_service_account_token: Some(false),
        scheduler_name: Some("default-scheduler".to_owned()),
        // A true one is the default, which the API server leaves unsaid.
        host_users: admitted.user_namespace.then_some(false),
        image_pull_secrets: pull_secrets(&admitted.image_pull_secrets),
        security_context: Some(pod_security_context(admitted.run_as_user)),
        ..PodSpec::default()
    };
    Ok(scheduling::scheduled(spec, admitted.scheduling.as_ref()))
}

fn pull_secrets(names: &[String]) -> Option<Vec<LocalObjectReference>> {
    (!names.is_empty()).then(|| {
        names
            .iter()
            .map(|name| LocalObjectReference { name: name.clone() })
            .collect()
    })
}
