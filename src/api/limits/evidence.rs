//! What a policy may say of the records and patches of runs.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Evidence of runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceLimits {
    /// Whether a run keeps its way out while the archive does not acknowledge its records. Absent in every policy: `Stop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_sink_failure: Option<OnSinkFailure>,
    /// Days for which the records of a run are kept at least, after the last of them was written. The longest of all policies
    /// and of the installation (`evidence.retentionDays`) counts, up to the installation's `evidence.maxRetentionDays`. Absent
    /// in every policy: the installation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 36500))]
    pub keep_records_days: Option<i32>,
    /// The same of its patches. Records are kept as long as the patches at least. Absent in every policy: the installation's
    /// (`evidence.patchRetentionDays`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 36500))]
    pub keep_patches_days: Option<i32>,
}

/// Whether a run keeps its way out while the archive does not acknowledge its records. `Stop`: no new connection and no new
/// request once a record has waited for 5 s. `Continue`: it keeps it, and the gateway holds up to 2,000 records of the run;
/// of those beyond, only the number is kept. Only a ClusterSandboxPolicy can say `Continue`, and `Stop` of any policy
/// overrules it. Absent: `Stop`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnSinkFailure {
    /// No evidence, no traffic.
    #[default]
    Stop,
    /// Traffic goes on, and what is lost is counted.
    Continue,
}
