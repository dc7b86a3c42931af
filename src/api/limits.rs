//! What a policy may limit. Absent means "no opinion"; that no layer has one means that nothing is allowed.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{bounds, rules};

/// Limits of one layer.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyLimits {
    /// How the sandbox is isolated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeLimits>,
    /// Images of every container of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<ImageLimits>,
    /// Repositories that may be cloned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repositories: Option<RepositoryLimits>,
    /// Hosts that the agent may reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<EgressLimits>,
    /// Whether rules may say `tls: Tunnel`. Absent in every policy: `Deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnels: Option<Tunnels>,
    /// Ceiling of each resource of the agent's container (`cpu`, `memory`, `ephemeral-storage`). A resource that no
    /// policy names has a built-in ceiling: 16, 64Gi, 100Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::amounts")]
    #[x_kube(
        validation = rules::resource_names(),
        validation = rules::resource_amounts(),
        validation = rules::amounts_of_bytes()
    )]
    pub max_resources: Option<BTreeMap<String, Quantity>>,
    /// Ceiling of `startDeadlineSeconds`; without one in any policy, 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub max_start_deadline_seconds: Option<i32>,
    /// Ceiling of `activeDeadlineSeconds`; without one in any policy, 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub max_active_deadline_seconds: Option<i32>,
    /// Ceiling of `ttlSecondsAfterFinished`; without one in any policy, 365 days.
    #[serde(
        default,
        rename = "maxTTLSecondsAfterFinished",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub max_ttl_seconds_after_finished: Option<i32>,
    /// Runs of one namespace that may have a pod at a time; further ones wait, oldest first. Without one in any policy, 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_running: Option<i32>,
    /// Bytes that the clones of one run come to at most: their objects, submodules included, and the files of their work
    /// trees. Without a ceiling in any policy, 17179869184 (16 GiB).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 17_179_869_184_i64))]
    pub max_clone_bytes: Option<i64>,
    /// Whether a run that failed before its agent started may be tried again. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Whether a run must say who asked for it. Absent: it need not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<RequesterMode>,
}

/// Whether TLS of the agent may pass the gateway unread (`tls: Tunnel` of a rule). `Deny`: it may not, and rules that say so
/// refuse every run under them. `Allow`: it may; only a ClusterSandboxPolicy can say so, and `Deny` of any policy overrules
/// it. Absent: `Deny`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tunnels {
    /// Every request is read.
    #[default]
    Deny,
    /// What policies let pass unread passes unread.
    Allow,
}

impl PolicyLimits {
    /// Whether a rule names a `SandboxCredential`.
    pub fn names_credential(&self) -> bool {
        let mut egress = self.egress.iter().flat_map(|egress| &egress.rules);
        let mut clone = self
            .repositories
            .iter()
            .flat_map(|repositories| &repositories.clone);
        egress.any(|rule| rule.credential.is_some()) || clone.any(|rule| rule.credential.is_some())
    }
}

/// Whether a run that failed before its agent's container started is tried again; an agent never starts twice. `Never`:
/// the failure ends the run. `BeforeAgentStart`: the run is tried again if the infrastructure failed. Absent: `Never`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It may not.
    Never,
    /// It may, if the failure was the infrastructure's.
    BeforeAgentStart,
}

/// Whether a run must carry `requestedBy`, which the API server checks against the user who creates it. `Optional`: it
/// need not. `Required`: a run without it is refused. Absent: `Optional`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequesterMode {
    /// It need not.
    Optional,
    /// A run without it is refused.
    Required,
}

/// `AllowList` allows what the list names, `DenyAll` nothing. An empty list cannot stand for `DenyAll`, because serializers
/// drop empty lists.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is allowed.
    DenyAll,
    /// What the list names is allowed.
    AllowList,
}

/// How a sandbox is isolated: its runtime, its users and its own node.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeLimits {
    /// Names of `RuntimeClass`es in order of preference; the first that all layers allow is used.
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 253)))]
    #[x_kube(
        merge_strategy = kube::core::cel::ListMerge::Set,
        validation = rules::subdomains("runtimeClassNames")
    )]
    pub runtime_class_names: Vec<String>,
    /// When a sandbox can reach its own node: `Deny` ends the run as `EgressNotEnforced`, `Allow` lets it go on and shows it
    /// in the status. `Allow` counts only if every policy with a `runtime` says so.
    #[serde(default)]
    pub node_access: NodeAccess,
    /// Who chooses the uid of the containers. Absent in every policy: `Fixed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as_user: Option<RunAsUser>,
    /// Whether the pod has a user namespace of its own. Absent in every policy: `Disabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_namespaces: Option<UserNamespaces>,
    /// Whether `prepare` must find itself under gVisor's own kernel. Absent in every policy: `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_check: Option<KernelCheck>,
}

/// Who chooses the uid of a sandbox's containers. `Fixed`: uid and gid 65532. `PlatformAssigned`: the platform assigns one
/// at admission, never root; counts only if every policy that sets this field says so. Absent: `Fixed`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunAsUser {
    /// Cofferdam: uid and gid 65532.
    #[default]
    Fixed,
    /// The platform assigns one at admission; root is refused all the same.
    PlatformAssigned,
}

/// Whether a sandbox's pod has a user namespace of its own (`hostUsers: false`). `Disabled`: no. `Preferred`: if all nodes
/// with the runtime support it. `Required`: yes, else the run ends `RuntimeUnavailable`. Absent: `Disabled`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserNamespaces {
    /// It has none.
    #[default]
    Disabled,
    /// It has one if every node that has the runtime's handler advertises them for it.
    Preferred,
    /// It has one; where no node advertises them the run ends `RuntimeUnavailable`.
    Required,
}

/// Which kernel a run checks for before it clones anything. `None`: no check. `GVisor`: a kernel that is not gVisor's ends
/// the run as `RuntimeUnavailable`, which finds a `RuntimeClass` with a misleading name. Absent: `None`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelCheck {
    /// It does not look.
    #[default]
    None,
    /// A kernel that is not gVisor's ends the run `RuntimeUnavailable` before anything is cloned.
    GVisor,
}

/// What happens when the sandbox reaches its own node: `Deny` ends the run, `Allow` lets it go on and shows it
/// in the status. Allowed only if every policy with a `runtime` says so.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeAccess {
    /// The run ends `EgressNotEnforced`.
    #[default]
    Deny,
    /// The run goes on and its status says so.
    Allow,
}

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
    validation = rules::credential_needs_requests(),
    validation = rules::credential_needs_exact_hosts()
)]
pub struct EgressRule {
    /// Name of the rule; refusals and records refer to it.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("name of a rule"))]
    pub name: String,
    /// Hosts, methods and paths that are known by a name. Instead of `hosts`, `ports`, `methods`, `paths` and `tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
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
}

pub(super) fn default_ports() -> Vec<i32> {
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
