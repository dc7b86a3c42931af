//! What a policy says of repositories and of hosts.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Mode;
use crate::rules;

/// Repositories that may be cloned. Absent in every policy: none.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = rules::allow_list_needs("clone"), validation = rules::deny_all_forbids("clone"))]
pub struct RepositoryLimits {
    /// `AllowList`: the repositories of `clone`. `DenyAll`: none.
    pub mode: Mode,
    /// Repositories that may be cloned; needed with `AllowList`, forbidden with `DenyAll`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Map(vec!["name".into()]))]
    pub clone: Vec<RepositoryRule>,
}

/// Repositories that may be cloned.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RepositoryRule {
    /// Name of the rule; refusals refer to it.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("name of a rule"))]
    pub name: String,
    /// `https://host[:port]/path`, whole path segments; `*` stands for one segment, `**` at the end for any.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = rules::repository_pattern())]
    pub url: String,
    /// CIDRs that the host may resolve to though they are not globally routable. Never the cluster's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 49)))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Set, validation = rules::cidrs())]
    pub addresses: Vec<String>,
    /// Name of a `SandboxCredential` with which the gateway clones these repositories; the sandbox never holds it. What is read
    /// there is inspected then: fetches, and downloads of Git LFS, of admitted repositories alone. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("credential"))]
    pub credential: Option<String>,
}

/// Hosts that the agent may reach through the gateway. Absent in every policy: none.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = rules::allow_list_needs("rules"), validation = rules::deny_all_forbids("rules"))]
pub struct EgressLimits {
    /// `AllowList`: the hosts of `rules`. `DenyAll`: none.
    pub mode: Mode,
    /// Hosts that may be reached; needed with `AllowList`, forbidden with `DenyAll`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Map(vec!["name".into()]))]
    pub rules: Vec<EgressRule>,
}

/// Hosts that may be reached, and what may be asked of them.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(
    validation = rules::tunnel_is_unread(),
    validation = rules::preset_or_hosts(),
    validation = rules::preset_says_the_rest(),
    validation = rules::services_are_inspected(),
    validation = rules::presets_of_services(),
    validation = rules::clear_text_is_for_services(),
    validation = rules::credential_needs_requests(),
    validation = rules::credential_needs_exact_hosts()
)]
#[serde(rename_all = "camelCase")]
pub struct EgressRule {
    /// Name of the rule; refusals and records refer to it.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("name of a rule"))]
    pub name: String,
    /// Hosts, methods and paths that are known by a name. Instead of `hosts`, `ports`, `methods`, `paths` and `tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// Services of the cluster, such as a model proxy or a mirror of packages, instead of `hosts`, `addresses`, `ports` and
    /// `tls`. A ClusterSandboxPolicy must list a Service; a SandboxPolicy that lists it can only narrow. The agent asks for
    /// `name.namespace.svc`, with or without the cluster's domain; the gateway dials the `ClusterIP` of this Service and nothing
    /// else. The Service's namespace must carry the label `cofferdam.dev/services: reachable`. With `preset` (`anthropic`,
    /// `gemini` or `openai`) its methods and paths are those of that API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(
        merge_strategy = kube::core::cel::ListMerge::Map(vec!["namespace".into(), "name".into(), "port".into()]),
        validation = rules::services_are_not_the_api_server()
    )]
    pub services: Vec<ServicePort>,
    /// Host names, exact or with `*` as the whole left-most label. Instead of `preset`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)))]
    #[x_kube(
        merge_strategy = kube::core::cel::ListMerge::Set,
        validation = rules::hosts(),
        validation = rules::hosts_are_not_addresses()
    )]
    pub hosts: Vec<String>,
    /// CIDRs that these hosts may resolve to though they are not globally routable. Never the cluster's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 49)))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Set, validation = rules::cidrs())]
    pub addresses: Vec<String>,
    /// Ports of these hosts. Absent: 443.
    #[serde(default = "default_ports")]
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 65535)))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Set)]
    pub ports: Vec<i32>,
    /// Methods that a request may have, in capitals; `GET` does not stand for `HEAD`. Absent: every method that the gateway
    /// serves. With `tls: Inspect` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 20)))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Set, validation = rules::methods())]
    pub methods: Vec<String>,
    /// Paths that a request may have: whole segments, `*` for exactly one, a final `**` for the rest of the path. Behind a
    /// `?` stand the pairs of which the query must consist; without a `?` any query will do. Absent: every path. With
    /// `tls: Inspect` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Set, validation = rules::request_paths())]
    pub paths: Vec<String>,
    /// How TLS is treated. `Inspect`: it ends at the gateway, and each request is judged by its method and path. `Tunnel`:
    /// bytes pass unread once the server name in the TLS hello equals the host; a ClusterSandboxPolicy must let it
    /// (`limits.tunnels: Allow`). `Inspect` of one rule of any policy overrules `Tunnel` of the others.
    #[serde(default)]
    pub tls: TlsMode,
    /// Name of a `SandboxCredential` that the gateway adds to the requests of this rule; the sandbox never holds it. Needs
    /// `methods`, `paths` and hosts without `*`, or a preset. Two policies that name different ones for a request deny it. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("credential"))]
    pub credential: Option<String>,
    /// Whether the credential goes to Services of the rule over plain HTTP too. `Allow`: whatever can read the network between
    /// the gateway and the Service's pods can read the credential. Only a ClusterSandboxPolicy can say so, and every
    /// one that names the credential for a request must; `Deny` of any policy overrules it. Absent: `Deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_in_clear_text: Option<ClearText>,
}

/// One port of a Service.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Namespace of the Service; never that of Cofferdam, or one in which sandboxes run.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("namespace of a Service"))]
    pub namespace: String,
    /// Name of the Service. It has a `ClusterIP` and a selector: headless and `ExternalName` Services are not dialled.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("name of a Service"))]
    pub name: String,
    /// Port of the Service, TCP; not that of its pods.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

/// Whether a credential may go out over plain HTTP, to a Service of the cluster. `Deny`: it goes over TLS alone. `Allow`: it
/// goes over plain HTTP too. Absent: `Deny`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClearText {
    /// Over TLS alone.
    Deny,
    /// Over plain HTTP too.
    Allow,
}

pub(crate) fn default_ports() -> Vec<i32> {
    vec![443]
}

/// Well-known hosts, and what reads from them; publishing is closed. Of registries `crates`, `debian`, `go`, `maven`, `npm`
/// and `pypi`; of forges `github` and `gitlab`; of model APIs `anthropic`, `gemini` and `openai`; and `git`: the repositories that
/// this policy names in `repositories.clone`. docs/presets.md has what each lets out, and what it could leak.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Anthropic's model API.
    Anthropic,
    /// Packages of crates.io.
    Crates,
    /// Packages of Debian.
    Debian,
    /// Google's Gemini API.
    Gemini,
    /// The repositories that the same policy names.
    Git,
    /// What is public on github.com.
    Github,
    /// What is public on gitlab.com.
    Gitlab,
    /// Modules of Go.
    Go,
    /// Artefacts of Maven Central.
    Maven,
    /// Packages of npm.
    Npm,
    /// The model API of openai.com.
    Openai,
    /// Packages of pypi.org.
    Pypi,
}

/// How TLS to a host is treated.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    /// Each request is judged by its method and path.
    #[default]
    Inspect,
    /// Bytes are passed on unread once the server name in the TLS hello equals the host.
    Tunnel,
}
