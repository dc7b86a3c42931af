//! How every container of a sandbox is confined, whoever builds its pod.

use k8s_openapi::api::core::v1::{Capabilities, PodSecurityContext, SeccompProfile, SecurityContext};

use crate::limits::RunAsUser;
use crate::names::SANDBOX_UID;

/// The uid, gid and fsGroup of every container; `None`: the platform assigns them at admission.
pub const fn user(run_as: RunAsUser) -> Option<i64> {
    match run_as {
        RunAsUser::Fixed => Some(SANDBOX_UID),
        RunAsUser::PlatformAssigned => None,
    }
}

/// What a sandbox's pod says of all its containers.
pub fn pod_security_context(run_as: RunAsUser) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: user(run_as),
        run_as_group: user(run_as),
        fs_group: user(run_as),
        seccomp_profile: Some(runtime_default()),
        ..PodSecurityContext::default()
    }
}

/// What each container says besides: level `restricted` of Pod Security, and a root that is read-only.
pub fn container_security_context(run_as: RunAsUser) -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            add: None,
            drop: Some(vec!["ALL".to_owned()]),
        }),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        run_as_user: user(run_as),
        run_as_group: user(run_as),
        seccomp_profile: Some(runtime_default()),
        ..SecurityContext::default()
    }
}

/// The container runtime's own filter of system calls.
fn runtime_default() -> SeccompProfile {
    SeccompProfile {
        type_: "RuntimeDefault".to_owned(),
        localhost_profile: None,
    }
}
