//! What is not collected beside what a repository's own rules ignore.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// New files that are not collected, beside what the repository's own rules ignore: patterns as in `.gitignore`, which count
/// less than those rules. Files of the cloned commit are always collected.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Exclude {
    /// `Extend`: the patterns are added to the policy's, and those to the built-in list of what tools leave behind
    /// (docs/collect.md). `Replace`: these patterns alone; without any everything is collected.
    pub mode: ExcludeMode,
    /// Patterns as in `.gitignore`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 128)))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Atomic, validation = rules::exclude_patterns())]
    pub patterns: Vec<String>,
}

/// What patterns are to those that count without them.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExcludeMode {
    /// Added to them.
    Extend,
    /// In their place.
    Replace,
}
