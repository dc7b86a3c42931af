//! The pod of a run. Every field that the API server would default is set here, so that the digest of the live
//! pod equals the digest of the built one.

use k8s_openapi::api::core::v1::{
    LocalObjectReference, PodDNSConfig, PodSecurityContext, PodSpec, SeccompProfile,
};

use super::job::GRACE_SECONDS;
use super::{BuildError, Identity, Input, containers, scheduling, volumes};
use cofferdam_api::RunAsUser;
use cofferdam_api::names::{SANDBOX_SERVICE_ACCOUNT, SANDBOX_UID};
use cofferdam_policy::decide::Admitted;

/// The same for every run: what a sandbox is called inside is no one's business.
const HOSTNAME: &str = "sandbox";

/// The pod's spec.
pub fn spec(input: &Input<'_>, identity: &Identity) -> Result<PodSpec, BuildError> {
    let admitted = input.admitted;
    let spec = PodSpec {
        init_containers: Some(vec![
            containers::prepare(input, identity)?,
            containers::sidecar(input, identity)?,
        ]),
        containers: vec![containers::agent(input)],
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
        security_context: Some(security_context(admitted)),
        ..PodSpec::default()
    };
    Ok(scheduling::scheduled(spec, admitted.scheduling.as_ref()))
}

/// The uid, gid and fsGroup of every container; `None`: the platform assigns them at admission.
pub fn user(admitted: &Admitted) -> Option<i64> {
    match admitted.run_as_user {
        RunAsUser::Fixed => Some(SANDBOX_UID),
        RunAsUser::PlatformAssigned => None,
    }
}

fn security_context(admitted: &Admitted) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: user(admitted),
        run_as_group: user(admitted),
        fs_group: user(admitted),
        seccomp_profile: Some(runtime_default()),
        ..PodSecurityContext::default()
    }
}

fn pull_secrets(names: &[String]) -> Option<Vec<LocalObjectReference>> {
    (!names.is_empty()).then(|| {
        names
            .iter()
            .map(|name| LocalObjectReference { name: name.clone() })
            .collect()
    })
}

/// The container runtime's own system call filter.
pub fn runtime_default() -> SeccompProfile {
    SeccompProfile {
        type_: "RuntimeDefault".to_owned(),
        localhost_profile: None,
    }
}
