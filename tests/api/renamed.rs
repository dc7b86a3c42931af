//! Names that fields and words had before v1alpha1 was settled: none of them is taken.

use serde_json::{Value, json};

/// Fields of a run that have other names now: where they stood, with a good value, and their place now.
pub fn run_fields() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/spec/timeoutSeconds", json!(60), "/spec/activeDeadlineSeconds"),
        (
            "/spec/startTimeoutSeconds",
            json!(60),
            "/spec/startDeadlineSeconds",
        ),
        (
            "/spec/schedulingProfile",
            json!("batch"),
            "/spec/schedulingProfileName",
        ),
    ]
}

/// The same of the limits of both kinds of policies.
pub fn limit_fields() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "/spec/limits/maxTimeoutSeconds",
            json!(60),
            "/spec/limits/maxActiveDeadlineSeconds",
        ),
        (
            "/spec/limits/maxStartTimeoutSeconds",
            json!(60),
            "/spec/limits/maxStartDeadlineSeconds",
        ),
        (
            "/spec/limits/maxTTLSeconds",
            json!(60),
            "/spec/limits/maxTTLSecondsAfterFinished",
        ),
        (
            "/spec/limits/repositories/read",
            json!([{"name": "team", "url": "https://github.com/team-a/*"}]),
            "/spec/limits/repositories/clone",
        ),
        (
            "/spec/limits/runtime/classes",
            json!(["gvisor"]),
            "/spec/limits/runtime/runtimeClassNames",
        ),
        (
            "/spec/limits/runtime/user",
            json!("Fixed"),
            "/spec/limits/runtime/runAsUser",
        ),
        (
            "/spec/limits/runtime/sandboxedKernel",
            json!("Required"),
            "/spec/limits/runtime/kernelCheck",
        ),
        (
            "/spec/limits/runtime/nodeReachability",
            json!("Denied"),
            "/spec/limits/runtime/nodeAccess",
        ),
    ]
}

/// The same of what only a `SandboxPolicy` has.
pub fn own_fields() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "/spec/scheduling",
            json!([{"name": "batch"}]),
            "/spec/schedulingProfiles",
        ),
        (
            "/spec/defaults/timeoutSeconds",
            json!(60),
            "/spec/defaults/activeDeadlineSeconds",
        ),
        (
            "/spec/defaults/startTimeoutSeconds",
            json!(60),
            "/spec/defaults/startDeadlineSeconds",
        ),
    ]
}

/// Words of a run's fields that are others now.
pub fn run_words() -> Vec<(&'static str, &'static str)> {
    vec![("/spec/cancel", "Graceful"), ("/spec/cancel", "Immediate")]
}

/// The same of limits.
pub fn limit_words() -> Vec<(&'static str, &'static str)> {
    vec![
        ("/spec/limits/runtime/runAsUser", "Platform"),
        ("/spec/limits/runtime/kernelCheck", "Unchecked"),
        ("/spec/limits/runtime/kernelCheck", "Required"),
        ("/spec/limits/runtime/nodeAccess", "Denied"),
        ("/spec/limits/runtime/nodeAccess", "Tolerated"),
    ]
}
