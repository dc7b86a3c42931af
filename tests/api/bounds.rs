//! What the schema bounds without a rule.

use rstest::rstest;
use serde_json::{Value, json};

use crate::manifests::{cluster_policy, policy, run, with};
use crate::schema::problems;

#[rstest]
#[case("/spec/task/prompt", json!("x".repeat(2049)), "Length 2049")]
#[case("/spec/task/prompt", json!(""), "Length 0")]
#[case("/spec/agent/env", json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]), "Duplicate value")]
#[case("/spec/agent/env", json!([{"name": "A"}]), "value: is required")]
#[case("/spec/agent/env", json!([{"name": "A", "valueFrom": {}}]), "unknown field")]
#[case("/spec/repositories/1/name", json!("app"), "Duplicate value")]
#[case("/spec/repositories/0/access", json!("Write"), "not supported")]
#[case("/spec/startDeadlineSeconds", json!(0), "out of range")]
#[case("/spec/activeDeadlineSeconds", json!(86_401), "out of range")]
#[case("/spec/activeDeadlineSeconds", json!("1h"), "must be of type integer")]
#[case("/spec/ttlSecondsAfterFinished", json!(-1), "out of range")]
#[case("/spec/resources/limits/cpu", json!(2), "must be of type string")]
#[case("/spec/cancel", json!(true), "must be of type string")]
#[case("/spec/cancel", json!("Now"), "not supported")]
#[case("/spec/budget", json!({}), "unknown field")]
#[case("/spec/publish", json!({"mode": "Branch"}), "unknown field")]
#[case("/spec/egress", json!({"mode": "AllowAll"}), "not supported")]
#[case("/spec/egress/rules/0/hosts", json!([]), "Items 0")]
#[case("/spec/egress/rules/0/ports", json!([65_536]), "out of range")]
#[case("/spec/egress/rules/0/addresses", json!(["10.0.0.0/8"]), "unknown field")]
#[case("/spec/egress/rules/0/tls", json!("Tunnel"), "unknown field")]
#[case("/spec/schedulingProfileName", json!(""), "Length 0")]
#[case("/spec/onBehalfOf", json!(""), "Length 0")]
#[case("/spec/onBehalfOf", json!("x".repeat(254)), "Length 254")]
#[case("/spec/requestedBy", json!({}), "username: is required")]
#[case("/spec/requestedBy", json!({"username": ""}), "Length 0")]
#[case("/spec/requestedBy", json!({"username": "x".repeat(513)}), "Length 513")]
#[case("/spec/requestedBy", json!({"username": "x", "groups": vec!["g"; 65]}), "Items 65")]
#[case("/spec/requestedBy", json!({"username": "x", "extra": {}}), "unknown field")]
fn a_run_is_bounded(#[case] pointer: &str, #[case] value: Value, #[case] message: &str) {
    let problems = problems(&with(&run(), pointer, value), None).join("\n");
    assert!(problems.contains(message), "{problems}");
}

#[rstest]
#[case("/spec/limits/runtime/runtimeClassNames", json!([]), "Items 0")]
#[case("/spec/limits/runtime/runtimeClassNames", json!(["a", "a"]), "Duplicate value")]
#[case("/spec/limits/runtime/nodeAccess", json!("Open"), "not supported")]
#[case("/spec/limits/runtime/runAsUser", json!("Root"), "not supported")]
#[case("/spec/limits/runtime/userNamespaces", json!(true), "must be of type string")]
#[case("/spec/limits/runtime/userNamespaces", json!("Always"), "not supported")]
#[case("/spec/limits/runtime/kernelCheck", json!("gVisor"), "not supported")]
#[case("/spec/limits/images/digest", json!("Optional"), "not supported")]
#[case("/spec/limits/images/pullPolicy", json!("Never"), "not supported")]
#[case("/spec/limits/images/vulnerabilities", json!({"onMissingReport": "Deny"}), "equired")]
#[case("/spec/limits/images/vulnerabilities", json!({"maxSeverity": "None"}), "not supported")]
#[case("/spec/limits/images/vulnerabilities", json!({"maxSeverity": "Low", "onMissingReport": "Warn"}), "not supported")]
#[case("/spec/limits/maxTTLSecondsAfterFinished", json!(-1), "out of range")]
#[case("/spec/limits/maxTTLSecondsAfterFinished", json!(31_536_001), "out of range")]
#[case("/spec/limits/maxCloneBytes", json!(-1), "out of range")]
#[case("/spec/limits/maxCloneBytes", json!(0), "out of range")]
#[case("/spec/limits/maxCloneBytes", json!(17_179_869_185_i64), "out of range")]
#[case("/spec/limits/maxRunning", json!(0), "out of range")]
#[case("/spec/limits/maxRunning", json!(1001), "out of range")]
#[case("/spec/limits/retry", json!("Always"), "not supported")]
#[case("/spec/limits/requester", json!(true), "must be of type string")]
#[case("/spec/limits/images/mode", json!("AllowAll"), "not supported")]
#[case("/spec/limits/egress/rules/0/ports", json!([0]), "out of range")]
#[case("/spec/limits/egress/rules/0/ports", json!([65_536]), "out of range")]
#[case("/spec/limits/egress/rules/0/ports", json!([]), "Items 0")]
#[case("/spec/limits/egress/rules/0/ports", json!([443, 443]), "Duplicate value")]
#[case("/spec/limits/egress/rules/0/hosts", json!([]), "either hosts or a preset")]
#[case("/spec/limits/egress/rules/3/preset", json!("npmm"), "not supported")]
#[case("/spec/limits/egress/rules/4/services/0/port", json!(65_536), "out of range")]
#[case("/spec/limits/egress/rules/4/credentialInClearText", json!(true), "must be of type string")]
#[case("/spec/limits/tunnels", json!("Sometimes"), "not supported")]
#[case("/spec/limits/evidence/onSinkFailure", json!("Ignore"), "not supported")]
#[case("/spec/limits/evidence/keepRecordsDays", json!(0), "out of range")]
#[case("/spec/limits/evidence/keepPatchesDays", json!(36_501), "out of range")]
#[case("/spec/limits/egress/rules/0/tls", json!("Trust"), "not supported")]
#[case("/spec/limits/egress/rules/2/methods", json!(["GET", "GET"]), "Duplicate value")]
#[case("/spec/limits/egress/rules/2/methods", json!(["A", "B", "C", "D", "E", "F", "G", "H", "I"]), "Items 9")]
#[case("/spec/limits/egress/rules/2/paths", json!((0..17).map(|n| format!("/{n}")).collect::<Vec<_>>()), "Items 17")]
#[case("/spec/limits/egress/rules/2/paths", json!([format!("/{}", "a".repeat(256))]), "Length 257")]
#[case("/spec/limits/egress/rules/1/name", json!("model"), "Duplicate value")]
#[case("/spec/limits/repositories/write", json!([]), "unknown field")]
#[case("/spec/limits/maxActiveDeadlineSeconds", json!(86_401), "out of range")]
#[case("/spec/limits/maxStartDeadlineSeconds", json!(0), "out of range")]
fn a_policy_is_bounded(#[case] pointer: &str, #[case] value: Value, #[case] message: &str) {
    for manifest in [policy(), cluster_policy()] {
        let problems = problems(&with(&manifest, pointer, value.clone()), None).join("\n");
        assert!(problems.contains(message), "{problems}");
    }
}

#[rstest]
#[case("/spec/schedulingProfiles/1/name", json!("batch"), "Duplicate value")]
#[case("/spec/schedulingProfiles/0/disruption", json!("Never"), "not supported")]
#[case("/spec/schedulingProfiles/0/nodeName", json!("node-1"), "unknown field")]
#[case("/spec/schedulingProfiles/0/nodeSelector/pool", json!("x".repeat(64)), "Length 64")]
#[case("/spec/schedulingProfiles/0/tolerations/0/effect", json!("NoEntry"), "not supported")]
#[case("/spec/schedulingProfiles/0/tolerations/0/tolerationSeconds", json!(-1), "out of range")]
#[case("/spec/schedulingProfiles/0/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/weight", json!(0), "out of range")]
#[case("/spec/schedulingProfiles/0/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution", json!([{}]), "topologyKey: is required")]
#[case("/spec/schedulingProfiles/0/affinity/podAffnity", json!({}), "unknown field")]
#[case("/spec/schedulingProfiles/0/topologySpreadConstraints/0/maxSkew", json!("1"), "must be of type integer")]
#[case("/spec/schedulingProfiles/0/topologySpreadConstraints/0/whenUnsatisfiable", json!("Maybe"), "not supported")]
#[case("/spec/imagePullSecrets/1/name", json!("registry.pull"), "Duplicate value")]
fn a_profile_is_bounded(#[case] pointer: &str, #[case] value: Value, #[case] message: &str) {
    let problems = problems(&with(&policy(), pointer, value), None).join("\n");
    assert!(problems.contains(message), "{problems}");
}

#[test]
fn what_a_profile_may_say_is_what_kubernetes_types_read() {
    let read: cofferdam_api::SandboxPolicy = serde_json::from_value(policy()).unwrap();
    let written = serde_json::to_value(&read.spec.scheduling_profiles[0]).unwrap();
    assert_eq!(written, policy()["spec"]["schedulingProfiles"][0]);
}

#[test]
fn a_run_says_from_the_start_that_it_is_not_finished() {
    let defaulted = kube::core::cel::apply_defaults(crate::schema::of("AgentRun"), &run());
    assert_eq!(defaulted["status"]["phase"], "Pending");
    assert_eq!(defaulted["status"]["conditions"][0]["type"], "Ready");
    assert_eq!(defaulted["status"]["conditions"][0]["status"], "Unknown");
    assert_eq!(
        defaulted["status"]["conditions"][0]["lastTransitionTime"],
        "1970-01-01T00:00:00Z"
    );
    let read: cofferdam_api::AgentRun = serde_json::from_value(defaulted).unwrap();
    assert_eq!(read.status.unwrap().conditions[0].reason, "Pending");
}
