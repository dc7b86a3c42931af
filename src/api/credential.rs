//! `SandboxCredential`: a credential that the gateway adds to requests and that no sandbox ever holds.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{bounds, rules};

/// Headers in which no credential is sent: they say how a message is framed, where it goes or what it is.
pub const OTHER_HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// A credential that policies name and the gateway adds to requests; its value stands in a Secret that no sandbox sees.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "cofferdam.dev",
    version = "v1alpha1",
    kind = "SandboxCredential",
    doc = "A credential that policies name and the gateway adds to requests; its value stands in a Secret that no sandbox sees.",
    plural = "sandboxcredentials",
    shortname = "sbc",
    category = "cofferdam",
    status = "SandboxCredentialStatus",
    derive = "PartialEq",
    validation = rules::named_by_label("policies and records refer to it: choose another name"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".spec.secretName"),
    printcolumn(name = "Hosts", type_ = "string", json_path = ".spec.hosts")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::exactly_one("inject", "basic"), validation = rules::app_of_its_type())]
pub struct SandboxCredentialSpec {
    /// What the credential is made of. `Secret`: the value of one key of a Secret, as it stands there. `GitHubApp`: the key is
    /// the private key of a GitHub App, and what is sent is an installation token, made for the repositories of one run.
    #[serde(rename = "type")]
    pub type_: CredentialType,
    /// Name of a Secret in the namespace that the installation keeps for credentials (`cofferdam-credentials` unless the
    /// chart says otherwise). The gateway reads it there; nobody else does.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::subdomain("secretName"))]
    pub secret_name: String,
    /// Key of the Secret whose value is the credential, or the App's private key in PEM. White space around the value does not
    /// count. Absent: `token`.
    #[serde(default = "default_secret_key")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::secret_key())]
    pub secret_key: String,
    /// Hosts to which the credential may ever be sent, whatever policies say, by their whole names.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 253)))]
    #[x_kube(
        merge_strategy = kube::core::cel::ListMerge::Set,
        validation = rules::exact_hosts(),
        validation = rules::hosts_are_not_addresses()
    )]
    pub hosts: Vec<String>,
    /// Sends the value in a header. Exactly one of `inject` and `basic` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inject: Option<HeaderInjection>,
    /// Sends the value as the password of HTTP's basic authentication, as git does. Exactly one of `inject` and `basic` is
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicInjection>,
    /// The App; with `type: GitHubApp` and only then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_hub_app: Option<GitHubApp>,
    /// What the agent sees in its environment in the credential's place, for tools that do not start without a key. Absent:
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<Placeholder>,
    /// Namespaces whose runs may use the credential; an empty selector selects all.
    #[schemars(schema_with = "bounds::selector")]
    #[x_kube(validation = rules::selector_values())]
    pub namespace_selector: LabelSelector,
}

/// What a credential is made of. `Secret`: the value of one key of a Secret, as it stands there. `GitHubApp`: an installation
/// token of a GitHub App, whose private key stands there.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CredentialType {
    /// The value of one key of a Secret.
    #[default]
    Secret,
    /// A token that the gateway has GitHub make for each run.
    GitHubApp,
}

/// A GitHub App that is installed where the repositories are.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GitHubApp {
    /// Id of the App, as its settings show it.
    #[serde(rename = "appID")]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_i64))]
    pub app_id: i64,
    /// Id of the App's installation. Absent: that of the repositories' owner, which GitHub is asked for.
    #[serde(default, rename = "installationID", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_i64))]
    pub installation_id: Option<i64>,
    /// Where GitHub is: `https://` and the host of a GitHub Enterprise Server, or of a company's own part of ghe.com. Absent:
    /// `https://github.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 270))]
    #[x_kube(validation = rules::forge_url())]
    pub url: Option<String>,
    /// CIDRs that the host of GitHub's API may resolve to though they are not globally routable. Never the cluster's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 49)))]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Set, validation = rules::cidrs())]
    pub addresses: Vec<String>,
    /// What a token may do in the run's repositories, by GitHub's names. The App must have been granted as much. Absent:
    /// `contents: Read`.
    #[serde(default = "read_contents")]
    #[schemars(schema_with = "bounds::app_permissions")]
    #[x_kube(validation = rules::app_permissions())]
    pub permissions: BTreeMap<String, AppPermission>,
}

impl Default for GitHubApp {
    fn default() -> Self {
        Self {
            app_id: 1,
            installation_id: None,
            url: None,
            addresses: Vec::new(),
            permissions: read_contents(),
        }
    }
}

/// What a token may do with one kind of things.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AppPermission {
    /// Read them.
    Read,
    /// Read and change them.
    Write,
}

impl AppPermission {
    /// GitHub's word.
    pub const fn of_github(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// Permissions of an App that a token of a run may have. All others are refused: `workflows` and `actions` have other code run
/// with other credentials, `administration` and what belongs to an organisation reach beyond the run's repositories, and
/// `secrets`, `environments` and `secret_scanning_alerts` tell secrets.
pub const APP_PERMISSIONS: &[&str] = &[
    "checks",
    "contents",
    "deployments",
    "discussions",
    "issues",
    "metadata",
    "packages",
    "pages",
    "pull_requests",
    "repository_projects",
    "security_events",
    "statuses",
    "vulnerability_alerts",
];

fn read_contents() -> BTreeMap<String, AppPermission> {
    BTreeMap::from([("contents".to_owned(), AppPermission::Read)])
}

/// The header in which a credential is sent.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderInjection {
    /// Name of the header, such as `Authorization`, `x-api-key` or `PRIVATE-TOKEN`. Whatever the agent sent in it is dropped.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = rules::header_name(), validation = rules::header_carries_credentials())]
    pub header: String,
    /// Word before the value, such as `Bearer`; one space stands between them. Absent: the value alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules::authentication_scheme())]
    pub scheme: Option<String>,
}

/// HTTP's basic authentication.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct BasicInjection {
    /// User name; the credential is the password. Forges that take tokens want a certain one, such as `x-access-token`
    /// (GitHub) or `oauth2` (GitLab).
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::basic_username())]
    pub username: String,
}

/// What stands in a credential's place where the agent can see it: random for each run, and of no use anywhere.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Placeholder {
    /// Variable of the agent's environment that holds it, such as `ANTHROPIC_API_KEY`. A run must not set it too.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::variable_name(), validation = rules::variable_not_reserved())]
    pub env: String,
    /// How it begins, for tools that look at that. Absent: as the keys of the variable's well-known provider do, such as
    /// `sk-ant-api03-` for `ANTHROPIC_API_KEY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules::placeholder_prefix())]
    pub prefix: Option<String>,
}

/// What is known of a credential.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SandboxCredentialStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: the gateway has a value that it can send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = kube::core::cel::ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

fn default_secret_key() -> String {
    "token".to_owned()
}
