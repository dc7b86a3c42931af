//! What a policy says of the agent's image.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Mode;
use crate::rules;

/// Images of every container of the pod: the agent's, and Cofferdam's own beside it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::allow_list_needs("allowed"), validation = rules::deny_all_forbids("allowed"))]
pub struct ImageLimits {
    /// `AllowList`: the images of `allowed`. `DenyAll`: none.
    pub mode: Mode,
    /// Patterns `registry/repository[:tag|@digest]`, whole path segments; `*` stands for one segment, `**` at the end for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
    #[x_kube(
        merge_strategy = kube::core::cel::ListMerge::Set,
        validation = rules::image_patterns(),
        validation = rules::image_patterns_are_no_registries()
    )]
    pub allowed: Vec<String>,
    /// Whether every image must be named by its digest. Absent in every policy: `Record`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<DigestMode>,
    /// When images are pulled. Absent in every policy: Kubernetes' own rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_policy: Option<PullPolicy>,
    /// What a scanner may have found in an image. Absent in every policy: reports are not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vulnerabilities: Option<VulnerabilityLimits>,
}

/// What a scanner may have found in an image, by the `VulnerabilityReport`s (`aquasecurity.github.io/v1alpha1`) of the
/// cluster that have the digest by which the image is named.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VulnerabilityLimits {
    /// The worst severity that an image may have: `Low`, `Medium`, `High`, or `Critical`, which allows any. A vulnerability
    /// of unknown severity counts as `Critical`. If policies differ, the lowest counts.
    pub max_severity: Severity,
    /// An image without a report: `Deny` refuses it, `Allow` lets it run. `Allow` counts only if every policy with
    /// `vulnerabilities` says so.
    #[serde(default)]
    pub on_missing_report: OnMissingReport,
}

/// Severity of a vulnerability.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Critical.
    Critical,
}

/// What becomes of an image of which no report is found. An image that is not named by its digest has none.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMissingReport {
    /// It is refused.
    #[default]
    Deny,
    /// It is let through.
    Allow,
}

/// Whether images must be named by digest. `Record`: a tag is enough, and the status shows the digest that ran. `Required`:
/// an image without `@sha256:…` is refused. Absent: `Record`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DigestMode {
    /// A tag will do.
    #[default]
    Record,
    /// An image without `@sha256:…` is refused.
    Required,
}

/// When images are pulled. `Always`: at every start, so that the registry checks each time. `IfNotPresent`: only if the
/// node does not have the image. If policies differ, `Always`. Absent: Kubernetes' own default.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// At every start, which has the registry check that the node may have it.
    Always,
    /// Where the node does not have it.
    IfNotPresent,
}
