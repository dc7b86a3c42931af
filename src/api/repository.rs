//! A repository that is cloned for the agent.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::clone::CloneOptions;
use super::exclude::Exclude;
use super::rules;

/// A repository that is cloned for the agent.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Name within the run, a DNS label.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = rules::label("repositories[].name"))]
    pub name: String,
    /// `https://…` without credentials.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(
        validation = rules::repository_is_https(),
        validation = rules::repository_without_user(),
        validation = rules::repository_url()
    )]
    pub url: String,
    /// What to work on, as git names it: `HEAD`, a branch, a tag, another reference such as `pull/5/head` or
    /// `refs/changes/01/1/1`, or a commit, full or its first seven digits and more. Of a branch and a tag of one name the branch
    /// counts. Absent: the remote's HEAD.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(
        validation = rules::git_reference(),
        validation = rules::git_reference_not_sha256()
    )]
    pub reference: Option<String>,
    /// Directory below `/workspace`, one DNS label. Absent: `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("repositories[].path"))]
    pub path: Option<String>,
    /// `ReadOnly`: the copy is mounted read-only. `ReadWrite`: the agent may change it, and its changes are collected as a
    /// patch.
    #[serde(default)]
    pub access: Access,
    /// How much of it is cloned. Absent: what `ref` names with one commit of history, all files, no submodules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone: Option<CloneOptions>,
    /// New files that are not collected. Absent: the policy's default, else a built-in list of what tools leave behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Exclude>,
}

impl Repository {
    /// Directory of the work tree below `/workspace`.
    pub fn directory(&self) -> &str {
        self.path.as_deref().unwrap_or(&self.name)
    }

    /// How much of it is cloned.
    pub fn clone_options(&self) -> CloneOptions {
        self.clone.clone().unwrap_or_default()
    }
}

/// What the agent may do with its copy of a repository.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// The copy is mounted read-only.
    #[default]
    ReadOnly,
    /// The copy is collected as a patch.
    ReadWrite,
}
