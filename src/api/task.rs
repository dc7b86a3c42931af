//! What the agent is to do, and the container that does it.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{names, rules};

/// What the agent is to do: exactly one of `prompt` and `promptFrom`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::exactly_one("prompt", "promptFrom"))]
pub struct Task {
    /// The prompt itself, at most 2048 characters; longer ones stand in a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub prompt: Option<String>,
    /// Where a longer prompt stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_from: Option<PromptSource>,
}

/// Source of a prompt.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PromptSource {
    /// A key of a ConfigMap in the run's namespace, and which text is expected there.
    pub config_map_key_ref: ConfigMapKeyRef,
}

impl Task {
    /// Digest of the prompt, `sha256:…`: of the one that stands here, or the one that is given for the ConfigMap's.
    pub fn prompt_digest(&self) -> Option<String> {
        match (&self.prompt, &self.prompt_from) {
            (Some(prompt), _) => Some(names::digest(prompt.as_bytes())),
            (None, Some(source)) => Some(source.config_map_key_ref.digest.clone()),
            (None, None) => None,
        }
    }
}

/// A key of a ConfigMap in the run's namespace, and which text is expected there.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ConfigMapKeyRef {
    /// Name of a ConfigMap in the run's namespace.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::subdomain("configMapKeyRef.name"))]
    pub name: String,
    /// Key of the ConfigMap that holds the prompt.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::config_map_key())]
    pub key: String,
    /// Digest of the prompt as `sha256sum` prints it, after `sha256:`. A run whose ConfigMap holds another text when its
    /// pod starts ends as `PromptChanged` before its agent starts: who asked for the run answers for these words alone.
    #[schemars(length(min = 71, max = 71))]
    #[x_kube(validation = rules::prompt_digest())]
    pub digest: String,
}

/// The agent's container: the user's image as it is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// Image reference, such as `ghcr.io/team/agent:1`; policy may ask for `@sha256:…`. Needed unless the run has `agentProfile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = rules::image_reference())]
    pub image: Option<String>,
    /// Replaces the image's entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 2048)))]
    pub command: Vec<String>,
    /// Arguments of the entrypoint or of `command`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 2048)))]
    pub args: Vec<String>,
    /// Environment, literals only: a sandbox holds no secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
}

impl Agent {
    /// Whether nothing is said of it.
    pub(super) fn is_absent(&self) -> bool {
        *self == Self::default()
    }
}

/// One environment variable.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct EnvVar {
    /// Its name; those that the sandbox sets itself (`HOME`, proxies, certificate authorities) are refused.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::variable_name(), validation = rules::variable_not_reserved())]
    pub name: String,
    /// Value of the variable, not a secret: everyone who can read the run reads it.
    #[schemars(length(max = 2048))]
    pub value: String,
}
