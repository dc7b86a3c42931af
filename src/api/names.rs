//! Every name, label and annotation that Cofferdam writes or reads, in one place.
//!
//! Objects and labels with these names are written by the controller alone; the admission guard
//! (`charts/cofferdam/templates/guard-*.yaml`) refuses everyone else, and repeats these strings in CEL.

use sha2::{Digest, Sha256};

/// API group of the custom resources and prefix of every label and annotation.
pub const GROUP: &str = "cofferdam.dev";
/// Name of the field manager of everything the controller applies.
pub const FIELD_MANAGER: &str = "cofferdam-controller";

/// Label that opts a namespace in; its value is [`SANDBOX_ENABLED`].
pub const LABEL_SANDBOX: &str = "cofferdam.dev/sandbox";
/// Value of [`LABEL_SANDBOX`] that opts in.
pub const SANDBOX_ENABLED: &str = "enabled";
/// Label of a namespace whose Services sandboxes may be granted; its value is [`SERVICES_REACHABLE`]. The gateway's
/// NetworkPolicy selects namespaces by it.
pub const LABEL_SERVICES: &str = "cofferdam.dev/services";
/// Value of [`LABEL_SERVICES`] that lets them be granted.
pub const SERVICES_REACHABLE: &str = "reachable";
/// Namespace and name of the API server's own Service, and of its `EndpointSlice`.
pub const API_SERVER: (&str, &str) = ("default", "kubernetes");
/// Label on a run or its namespace: as long as its value is [`LEGAL_HOLD`], nothing that the run left is removed, nor the
/// run's object after its time to live.
pub const LABEL_LEGAL_HOLD: &str = "cofferdam.dev/legal-hold";
/// Value of [`LABEL_LEGAL_HOLD`] that holds.
pub const LEGAL_HOLD: &str = "true";
/// Label on Job and pod: the run's name. The fence selects pods by its presence.
pub const LABEL_RUN: &str = "cofferdam.dev/run";
/// Label on Job and pod: the run's uid.
pub const LABEL_RUN_UID: &str = "cofferdam.dev/run-uid";
/// Label on Job and pod: hash of the frozen policy, 52 characters of base32.
pub const LABEL_POLICY_HASH: &str = "cofferdam.dev/policy-hash";
/// Label on the ConfigMaps that hold frozen policies.
pub const LABEL_FROZEN_POLICY: &str = "cofferdam.dev/frozen-policy";
/// Annotation on the pod template: digest of the pod's security-relevant projection (`cofferdam_wire::pod`).
pub const ANNOTATION_POD_DIGEST: &str = "cofferdam.dev/pod-digest";
/// Annotation that the controller puts on a pod to stop its run; the value is a [`crate::Reason`].
pub const ANNOTATION_STOP: &str = "cofferdam.dev/stop";

/// Annotation on the Job alone: what the run's asks came to, frozen with it (`controller/agent_run/plan.rs`).
pub const ANNOTATION_PLAN: &str = "cofferdam.dev/plan";

/// Prefix of the names of all Jobs and pods of runs. CONNECT admission sees only names.
pub const RUN_PREFIX: &str = "agr-";
/// Reserved name that every CREATE guard refuses to everyone, so that a dry run can prove the guard live.
pub const GUARD_CANARY: &str = "agr-guard-canary";
/// Annotation that every UPDATE guard refuses to everyone, for the same reason.
pub const ANNOTATION_GUARD_CANARY: &str = "cofferdam.dev/guard-canary";
/// The standing NetworkPolicy of each namespace.
pub const FENCE: &str = "cofferdam-fence";
/// Finalizer of the fence: it goes when no sandbox pod is left.
pub const FENCE_FINALIZER: &str = "cofferdam.dev/fence";
/// The `ServiceAccount` of all sandbox pods of a namespace.
pub const SANDBOX_SERVICE_ACCOUNT: &str = "cofferdam-sandbox";
/// The `SandboxPolicy` that a run uses when it names none.
pub const DEFAULT_POLICY: &str = "default";
/// Key of the policy document in a frozen policy's ConfigMap.
pub const FROZEN_POLICY_KEY: &str = "policy.json";

/// The gateway's Service.
pub const GATEWAY_SERVICE: &str = "cofferdam-gateway";
/// Port of the gateway for sandboxes: data and control.
pub const GATEWAY_PORT: u16 = 3128;
/// Port of the gateway that no sandbox may reach; each run proves that it cannot.
pub const GATEWAY_CANARY_PORT: u16 = 3129;
/// The archive's Service.
pub const ARCHIVE_SERVICE: &str = "cofferdam-archive";
/// Port of the archive.
pub const ARCHIVE_PORT: u16 = 8080;

/// Secret with the key by which the controller signs statements; the role `keys` fills it.
pub const SIGNING_SECRET: &str = "cofferdam-signing";
/// `ConfigMap` with the public half of every such key.
pub const PUBLIC_KEYS: &str = "cofferdam-evidence-keys";
/// `ConfigMap` with the root over the heads of chains (`cofferdam_wire::witness`); the controller writes it each minute.
pub const WITNESS: &str = "cofferdam-witness";
/// Secret with the gateway's certification authorities; the role `keys` fills it.
pub const INSPECTION_SECRET: &str = "cofferdam-inspection-ca";
/// Secret with the serving certificate of the role `output`; the role `keys` fills it.
pub const OUTPUT_SECRET: &str = "cofferdam-output-tls";
/// The Service of the role `output`.
pub const OUTPUT_SERVICE: &str = "cofferdam-output";
/// Name of the `APIService` behind which the role `output` serves.
pub const OUTPUT_API_SERVICE: &str = "v1alpha1.output.cofferdam.dev";

/// Containers of a run's pod.
pub const CONTAINER_PREPARE: &str = "prepare";
/// The native sidecar: forwarder, clock, collector.
pub const CONTAINER_SIDECAR: &str = "sidecar";
/// The user's agent.
pub const CONTAINER_AGENT: &str = "agent";

/// Audience of the token that only `prepare` mounts.
pub const AUDIENCE_PREPARE: &str = "cofferdam-prepare";
/// Audience of the token that the forwarder adds to the agent's requests.
pub const AUDIENCE_EGRESS: &str = "cofferdam-egress";
/// Audience of the token for the sidecar's own calls.
pub const AUDIENCE_COLLECT: &str = "cofferdam-collect";
/// Audience of the tokens that gateway and controller show to the archive.
pub const AUDIENCE_ARCHIVE: &str = "cofferdam-archive";

/// uid, gid and fsGroup of every container of a sandbox pod.
pub const SANDBOX_UID: i64 = 65_532;
/// Port on loopback where the sidecar forwards the agent's requests.
pub const FORWARDER_PORT: u16 = 3128;
/// Port of the sidecar for kubelet's probes: the agent's liveness and the sidecar's start.
pub const PROBE_PORT: u16 = 3130;

/// Longest part of a run's name that goes into its workload's name.
const RUN_NAME_PART: usize = 42;

/// Name of the Job (and hostname-safe prefix of the pod) of a run: `agr-<run≤42>-<uid8>`.
///
/// The uid part keeps a run that was deleted and made again from adopting its forerunner's Job.
pub fn workload_name(run: &str, uid: &str) -> String {
    let part: String = run.chars().take(RUN_NAME_PART).collect();
    let uid8: String = uid.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    format!("{RUN_PREFIX}{}-{uid8}", part.trim_end_matches(['-', '.']))
}

/// Name of the ConfigMap of a frozen policy.
pub fn frozen_policy_name(hash: &str) -> String {
    format!("policy-{hash}")
}

/// SHA-256 of `bytes` as 52 characters of lower-case base32 (RFC 4648, no padding): all 256 bits, and
/// short enough for a label's value (63).
pub fn short_hash(bytes: &[u8]) -> String {
    base32::encode(
        base32::Alphabet::Rfc4648Lower { padding: false },
        &Sha256::digest(bytes),
    )
}

/// `sha256:<hex>` of `bytes`, the OCI spelling of a digest.
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::from("sha256:"), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workload_names_are_dns_labels_of_bounded_length() {
        let uid = "0b7c9f3e-1111-4222-8333-444455556666";
        assert_eq!(workload_name("fix-login", uid), "agr-fix-login-0b7c9f3e");
        assert_eq!(workload_name(&"a".repeat(63), uid).len(), 4 + 42 + 1 + 8);
        assert_eq!(
            workload_name(&format!("{}-b", "a".repeat(41)), uid),
            format!("agr-{}-0b7c9f3e", "a".repeat(41))
        );
    }

    #[test]
    fn hashes_keep_all_bits_and_fit_a_label() {
        assert_eq!(short_hash(b"").len(), 52);
        assert_ne!(short_hash(b"one"), short_hash(b"two"));
        assert_eq!(
            digest(b""),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
