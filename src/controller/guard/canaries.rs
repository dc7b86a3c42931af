//! Objects of the reserved name, valid in all else, and changes of objects that are there: only the guard may be what
//! refuses them. Never stored.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, Pod, PodSecurityContext, PodSpec, PodTemplateSpec, SeccompProfile,
    SecurityContext, ServiceAccount,
};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use cofferdam_api::names::{ANNOTATION_GUARD_CANARY, GUARD_CANARY};

/// A change that opens a fence.
pub fn opened() -> Value {
    json!({"spec": {"ingress": [{}]}})
}

/// A change of an object that nobody annotates: a sandbox pod, or the account of sandboxes.
pub fn annotated() -> Value {
    json!({"metadata": {"annotations": {ANNOTATION_GUARD_CANARY: GUARD_CANARY}}})
}

fn metadata() -> ObjectMeta {
    ObjectMeta {
        name: Some(GUARD_CANARY.to_owned()),
        ..ObjectMeta::default()
    }
}

/// A pod that pod security `restricted` lets pass.
pub fn pod() -> Pod {
    Pod {
        metadata: metadata(),
        spec: Some(pod_spec()),
        status: None,
    }
}

/// A Job.
pub fn job() -> Job {
    Job {
        metadata: metadata(),
        spec: Some(JobSpec {
            template: PodTemplateSpec {
                metadata: None,
                spec: Some(pod_spec()),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// A NetworkPolicy that allows nothing.
pub fn network_policy() -> NetworkPolicy {
    NetworkPolicy {
        metadata: metadata(),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector::default()),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ..NetworkPolicySpec::default()
        }),
    }
}

/// A ServiceAccount.
pub fn service_account() -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

fn pod_spec() -> PodSpec {
    PodSpec {
        automount_service_account_token: Some(false),
        containers: vec![Container {
            name: "canary".to_owned(),
            image: Some("canary.invalid/canary:none".to_owned()),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                capabilities: Some(Capabilities {
                    add: None,
                    drop: Some(vec!["ALL".to_owned()]),
                }),
                ..SecurityContext::default()
            }),
            ..Container::default()
        }],
        restart_policy: Some("Never".to_owned()),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(65_532),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}
