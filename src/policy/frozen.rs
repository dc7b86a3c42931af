//! The frozen policy: what the gateway enforces for a run, fixed when the run was admitted.
//!
//! The document is canonical JSON and named by its hash, so that equal policies are one object and no other bytes
//! can pass for it. A reader that does not know a field or the schema version refuses the whole document.
//!
//! What the document says of a credential is how and where it is sent. Its value never stands in it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::decision::{Decision, Denied, DenyReason};
use crate::dimension::credentials::Credential;
use crate::dimension::egress::{EgressAsk, EgressLayer, EgressRule};
use crate::dimension::git::{GitHost, reading_refs};
use crate::pattern::host::Host;
use crate::pattern::repository::RepositoryUrl;
use crate::route::{Route, route};
use cofferdam_api::names::short_hash;
use cofferdam_api::{OnSinkFailure, TlsMode, Tunnels, canonical};

/// Version of a document whose rules are all tunnels. Any change of meaning, not only of shape, makes a new version. A
/// document has the lowest one that can say what it says, so that gateways of the release before read what they can honour.
const TUNNELS: u32 = 2;
/// Version of a document in which a rule speaks of requests.
const REQUESTS: u32 = 3;
/// Version of a document in which a rule says `Tunnel` and policy denies tunnels, or which has a credential.
const CREDENTIALS: u32 = 4;
/// Version of a document in which a credential is a GitHub App.
const APPS: u32 = 5;
/// Version of a document in which a rule is for Services, or that lets traffic go on without evidence.
const NEWEST: u32 = 6;
/// Longest document in bytes that is read: a ConfigMap holds 1 MiB.
const DOCUMENT_LIMIT: usize = 1024 * 1024;

/// What the gateway enforces for a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FrozenPolicy {
    /// The lowest version that can say the rest.
    schema_version: u32,
    /// Every policy that has an opinion on egress.
    layers: Vec<Arc<EgressLayer>>,
    /// Whether rules that say `Tunnel` let anything pass unread. Absent: they do. Only said where there is such a rule.
    #[serde(default = "allow", skip_serializing_if = "is_allow")]
    tunnels: Tunnels,
    /// Whether the run keeps its way out while the archive does not acknowledge its records. Absent: it does not.
    #[serde(default, skip_serializing_if = "is_stop")]
    on_sink_failure: OnSinkFailure,
    /// What the run itself asks to reach at most; absent: all that the layers grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ask: Option<EgressAsk>,
    /// Hosts of the admitted repositories, open to `prepare` alone.
    git: Vec<GitHost>,
    /// The credentials that its rules name, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    credentials: Vec<Credential>,
}

/// Why a document is not a frozen policy. Each means: deny.
#[derive(Debug, thiserror::Error)]
pub enum FrozenError {
    /// Longer than any document that Cofferdam writes.
    #[error("the frozen policy is longer than 1 MiB")]
    TooLong,
    /// Not JSON, an unknown or missing field, or a value that its parser refuses.
    #[error("the frozen policy cannot be read: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Written by another version.
    #[error("the frozen policy has schema version {0}, this gateway knows {TUNNELS} to {NEWEST}")]
    Version(u32),
    /// A version in which its rules cannot, or need not, be said.
    #[error("the frozen policy has schema version {said}, and its rules are of version {of_rules}")]
    NotItsVersion {
        /// The version that it says.
        said: u32,
        /// The version of its rules.
        of_rules: u32,
    },
    /// The same content in other bytes, which would have another hash.
    #[error("the frozen policy is not in canonical form")]
    NotCanonical,
}

/// The one field that every version has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    schema_version: u32,
}

/// What a document says where it says nothing.
const fn allow() -> Tunnels {
    Tunnels::Allow
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_allow(tunnels: &Tunnels) -> bool {
    *tunnels == Tunnels::Allow
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_stop(word: &OnSinkFailure) -> bool {
    *word == OnSinkFailure::Stop
}

fn modes(layers: &[Arc<EgressLayer>]) -> impl Iterator<Item = TlsMode> {
    layers.iter().flat_map(|layer| &layer.rules).map(EgressRule::mode)
}

/// What the document says of tunnels: where nothing wants to pass unread there is nothing to deny, and one spelling for that.
fn denied(layers: &[Arc<EgressLayer>], tunnels: Tunnels) -> Tunnels {
    if modes(layers).any(|mode| mode == TlsMode::Tunnel) {
        tunnels
    } else {
        Tunnels::Allow
    }
}

/// The lowest version that can say what a document says.
fn version_of(policy: &FrozenPolicy) -> u32 {
    // Without `..`: a part of the document that needs a version and has none does not compile.
    let FrozenPolicy {
        schema_version: _,
        layers,
        tunnels,
        on_sink_failure,
        ask: _,
        git,
        credentials,
    } = policy;
    let rules = || layers.iter().flat_map(|layer| &layer.rules);
    let has_credential = !credentials.is_empty()
        || rules().any(|rule| rule.credential.is_some())
        || git.iter().any(|host| !host.repositories.is_empty());
    if *on_sink_failure == OnSinkFailure::Continue || rules().any(|rule| rule.service.is_some()) {
        NEWEST
    } else if credentials.iter().any(|credential| credential.app.is_some()) {
        APPS
    } else if has_credential || denied(layers, *tunnels) == Tunnels::Deny {
        CREDENTIALS
    } else if modes(layers).any(|mode| mode == TlsMode::Inspect) {
        REQUESTS
    } else {
        TUNNELS
    }
}

impl FrozenPolicy {
    /// Canonical JSON ([`canonical`]).
    pub fn to_json(&self) -> String {
        // Strings and small numbers alone always have a canonical form.
        canonical::to_string(self).unwrap_or_default()
    }

    /// What `layers` come to for a run with this ask and these repositories.
    pub fn new(
        layers: Vec<Arc<EgressLayer>>,
        tunnels: Tunnels,
        ask: Option<EgressAsk>,
        git: Vec<GitHost>,
    ) -> Self {
        let tunnels = denied(&layers, tunnels);
        Self {
            schema_version: 0,
            layers,
            tunnels,
            on_sink_failure: OnSinkFailure::Stop,
            ask,
            git,
            credentials: Vec::new(),
        }
        .versioned()
    }

    fn versioned(mut self) -> Self {
        self.schema_version = version_of(&self);
        self
    }

    /// The same with the credentials that its rules name.
    #[must_use]
    pub fn with_credentials(mut self, mut credentials: Vec<Credential>) -> Self {
        credentials.sort_by(|one, other| one.name.cmp(&other.name));
        self.credentials = credentials;
        self.versioned()
    }

    /// The same for a run that does this while the archive does not acknowledge its records.
    #[must_use]
    pub fn on_sink_failure(mut self, word: OnSinkFailure) -> Self {
        self.on_sink_failure = word;
        self.versioned()
    }

    /// Whether the run keeps its way out while the archive does not acknowledge its records.
    pub fn continues_without_evidence(&self) -> bool {
        self.on_sink_failure == OnSinkFailure::Continue
    }

    /// What layers come to for a run that asks for nothing and clones nothing.
    pub fn of_layers(layers: Vec<Arc<EgressLayer>>, tunnels: Tunnels) -> Self {
        Self::new(layers, tunnels, None, Vec::new())
    }

    /// Hosts of the admitted repositories, open to `prepare` alone.
    pub fn git(&self) -> &[GitHost] {
        &self.git
    }

    /// The credentials that its rules name.
    pub fn credentials(&self) -> &[Credential] {
        &self.credentials
    }

    /// The credential of this name.
    pub fn credential(&self, name: &str) -> Option<&Credential> {
        self.credentials.iter().find(|credential| credential.name == name)
    }

    /// Name of this policy: all 256 bits of its SHA-256 in base32.
    pub fn hash(&self) -> String {
        short_hash(self.to_json().as_bytes())
    }

    /// Reads a document strictly.
    ///
    /// # Errors
    /// [`FrozenError`].
    pub fn parse(text: &str) -> Result<Self, FrozenError> {
        if text.len() > DOCUMENT_LIMIT {
            return Err(FrozenError::TooLong);
        }
        // The version first: a newer document's new fields must not hide that it is newer.
        let Version { schema_version } = serde_json::from_str(text)?;
        if !(TUNNELS..=NEWEST).contains(&schema_version) {
            return Err(FrozenError::Version(schema_version));
        }
        let policy: Self = serde_json::from_str(text)?;
        let of_rules = version_of(&policy);
        if schema_version != of_rules {
            return Err(FrozenError::NotItsVersion {
                said: schema_version,
                of_rules,
            });
        }
        if policy.to_json() == text && policy.tunnels == denied(&policy.layers, policy.tunnels) {
            Ok(policy)
        } else {
            Err(FrozenError::NotCanonical)
        }
    }

    /// Decides whether the agent may reach `host` at `port`.
    pub fn agent_route(&self, host: &Host, port: u16) -> Decision<Route> {
        // Without `..`: a part of the policy that nobody asks does not compile.
        let Self {
            schema_version: _,
            layers,
            tunnels,
            // Of the run as a whole.
            on_sink_failure: _,
            ask,
            // Open to `prepare` alone.
            git: _,
            // Asked for by the name that a permitted request has.
            credentials: _,
        } = self;
        route(layers, *tunnels, ask.as_ref(), host, port)
    }

    /// The credential with which a repository is cloned; `None`: it is cloned without one, or not at all.
    pub fn clone_credential(&self, url: &RepositoryUrl) -> Option<String> {
        let request = reading_refs(url)?;
        let route = self.prepare_route(url.host(), url.port()).into_result().ok()?;
        let permitted = route.permit(request).into_result().ok()?;
        permitted.credential().map(str::to_owned)
    }

    /// Decides whether `prepare` may reach `host` at `port`: only hosts of admitted repositories.
    pub fn prepare_route(&self, host: &Host, port: u16) -> Decision<Route> {
        match self.git.iter().find(|git| git.host == *host && git.port == port) {
            Some(git) if !git.repositories.is_empty() => Decision::Allow(Route::of_repositories(
                host,
                port,
                &git.addresses,
                &git.repositories,
            )),
            Some(git) => {
                let rule = format!("AgentRun/repositories/{host}:{port}");
                Decision::Allow(Route::by_rule(
                    host,
                    port,
                    TlsMode::Tunnel,
                    rule,
                    git.addresses.clone(),
                ))
            }
            None => Decision::Deny(Denied {
                reason: DenyReason::NotARepositoryHost,
                layer: None,
                message: format!(
                    "{host}:{port} is denied: prepare may reach the hosts of the run's repositories only"
                ),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dimension::egress::EgressRule;
    use crate::dimension::git::GitRule;
    use crate::dimension::requests::Request;
    use crate::pattern::path::Target;
    use crate::refusal::LayerKind;
    use cofferdam_api::Mode;
    use rstest::rstest;

    fn policy() -> FrozenPolicy {
        let layers = vec![Arc::new(EgressLayer {
            kind: LayerKind::SandboxPolicy,
            name: "default".into(),
            mode: Mode::AllowList,
            rules: vec![
                EgressRule {
                    name: "model".into(),
                    hosts: vec![
                        "model.example.org".parse().unwrap(),
                        "*.example.com".parse().unwrap(),
                    ],
                    addresses: vec!["10.0.0.0/8".parse().unwrap()],
                    ports: vec![443],
                    tls: TlsMode::Tunnel,
                    methods: Vec::new(),
                    paths: Vec::new(),
                    credential: None,
                    service: None,
                },
                EgressRule {
                    name: "reads".into(),
                    hosts: vec!["api.example.com".parse().unwrap()],
                    addresses: Vec::new(),
                    ports: vec![80],
                    tls: TlsMode::Inspect,
                    methods: vec!["GET".parse().unwrap(), "HEAD".parse().unwrap()],
                    paths: vec![
                        "/@scope%2Fname".parse().unwrap(),
                        "/repos/org/**?a=b&c=d".parse().unwrap(),
                    ],
                    credential: None,
                    service: None,
                },
            ],
        })];
        let git = vec![GitHost {
            host: "git.example.net".parse().unwrap(),
            port: 8443,
            addresses: vec!["192.168.7.0/24".parse().unwrap()],
            repositories: Vec::new(),
        }];
        FrozenPolicy::new(layers, Tunnels::Allow, None, git)
    }

    #[test]
    fn the_document_and_its_hash_are_fixed() {
        insta::assert_snapshot!(policy().to_json());
        insta::assert_snapshot!(policy().hash());
    }

    /// A document of version 2, byte for byte as the release before writes it.
    const OF_VERSION_2: &str = r#"{"git":[{"addresses":["192.168.7.0/24"],"host":"git.example.net","port":8443}],"layers":[{"kind":"SandboxPolicy","mode":"AllowList","name":"default","rules":[{"addresses":["10.0.0.0/8"],"hosts":["model.example.org","*.example.com"],"name":"model","ports":[443],"tls":"Tunnel"}]}],"schemaVersion":2}"#;

    #[test]
    fn what_is_all_tunnels_is_a_document_of_version_2_as_before() {
        let read = FrozenPolicy::parse(OF_VERSION_2).unwrap();
        assert_eq!(
            read.hash(),
            "o7uiaic5qcfsrrfjvwqltpedhnhe7intu7bfrmzrid4ls6e2vzbq"
        );
        assert_eq!(
            FrozenPolicy::new(read.layers.clone(), Tunnels::Allow, None, read.git.clone()),
            read
        );
        let host = Host::parse("a.example.com").unwrap();
        assert_eq!(
            read.agent_route(&host, 443).into_result().unwrap().tls(),
            TlsMode::Tunnel
        );
    }

    #[test]
    fn a_document_has_the_version_of_its_rules_and_no_other() {
        let newer = OF_VERSION_2.replace(r#""schemaVersion":2"#, r#""schemaVersion":3"#);
        let said = |text: &str| OF_VERSION_2.replace(r#""tls":"Tunnel""#, text);
        for text in [
            newer,
            said(r#""tls":"Inspect""#),
            said(r#""paths":["/a"],"tls":"Tunnel""#),
            said(r#""methods":["GET"],"tls":"Tunnel""#),
        ] {
            let refused = FrozenPolicy::parse(&text).unwrap_err().to_string();
            assert!(refused.contains("its rules are of version"), "{refused}");
        }
    }

    #[test]
    fn a_document_with_an_app_is_one_that_older_gateways_refuse() {
        let credential = r#"{"name":"github","hosts":["github.com"],"secret":{"name":"of-github","key":"token"},
            "app":{"id":7,"forge":"github.com","apiHost":"api.github.com","port":443,"permissions":{"contents":"Read"},
            "repositories":["team/app"]},"inject":{"type":"Basic","username":"x-access-token"}}"#;
        let credential: Credential = serde_json::from_str(credential).unwrap();
        let frozen = policy().with_credentials(vec![credential]);
        let text = frozen.to_json();
        assert!(text.ends_with(r#""schemaVersion":5}"#), "{text}");
        assert_eq!(FrozenPolicy::parse(&text).unwrap(), frozen);
    }

    /// A document of version 6, byte for byte.
    const OF_VERSION_6: &str = r#"{"git":[],"layers":[],"onSinkFailure":"Continue","schemaVersion":6}"#;

    #[test]
    fn what_goes_on_without_evidence_is_a_document_of_version_6_and_silence_stops() {
        let silent = FrozenPolicy::of_layers(Vec::new(), Tunnels::Deny);
        let [stops, goes_on] =
            [OnSinkFailure::Stop, OnSinkFailure::Continue].map(|word| silent.clone().on_sink_failure(word));
        assert_eq!(stops, silent);
        assert_eq!(goes_on.to_json(), OF_VERSION_6);
        assert_eq!(FrozenPolicy::parse(OF_VERSION_6).unwrap(), goes_on);
        assert!(goes_on.continues_without_evidence() && !stops.continues_without_evidence());
        // Those of the versions before do not say it.
        for text in [OF_VERSION_2, OF_VERSION_3, OF_VERSION_4] {
            assert!(!FrozenPolicy::parse(text).unwrap().continues_without_evidence());
        }
    }

    /// Another one, byte for byte.
    const OF_VERSION_6_WITH_SERVICES: &str = r#"{"git":[],"layers":[{"kind":"ClusterSandboxPolicy","mode":"AllowList","name":"base","rules":[{"addresses":[],"credential":"litellm","hosts":["litellm.models.svc"],"methods":["POST"],"name":"models","paths":["/v1/chat/completions"],"ports":[4000],"service":{"clearText":true},"tls":"Inspect"},{"addresses":[],"hosts":["pypi.mirrors.svc"],"name":"packages","ports":[80],"service":{},"tls":"Inspect"}]}],"schemaVersion":6}"#;

    #[test]
    fn what_is_for_services_is_a_document_of_version_6() {
        let read = FrozenPolicy::parse(OF_VERSION_6_WITH_SERVICES).unwrap();
        assert_eq!(
            FrozenPolicy::new(read.layers.clone(), Tunnels::Deny, None, Vec::new()),
            read
        );
        let host = Host::parse("litellm.models.svc").unwrap();
        let route = read.agent_route(&host, 4000).into_result().unwrap();
        assert_eq!(route.service().unwrap().to_string(), "models/litellm");
        // Gateways that would take it for the host of a name do not read it.
        let older = OF_VERSION_6_WITH_SERVICES.replace(r#""schemaVersion":6"#, r#""schemaVersion":5"#);
        let refused = FrozenPolicy::parse(&older).unwrap_err().to_string();
        assert!(refused.contains("its rules are of version 6"), "{refused}");
    }

    #[test]
    fn what_a_run_clones_is_no_service_whatever_it_is_called() {
        let git = vec![GitHost {
            host: "git.forge.svc".parse().unwrap(),
            port: 443,
            addresses: Vec::new(),
            repositories: Vec::new(),
        }];
        let read = FrozenPolicy::new(Vec::new(), Tunnels::Deny, None, git);
        let host = Host::parse("git.forge.svc").unwrap();
        let route = read.prepare_route(&host, 443).into_result().unwrap();
        assert_eq!(route.service(), None);
    }

    /// Documents of the versions before, byte for byte as the releases that had them wrote them.
    const OF_VERSION_3: &str = r#"{"git":[],"layers":[{"kind":"SandboxPolicy","mode":"AllowList","name":"default","rules":[{"addresses":[],"hosts":["model.example.org"],"name":"model","ports":[443],"tls":"Tunnel"},{"addresses":[],"hosts":["api.example.com"],"methods":["GET"],"name":"reads","ports":[443],"tls":"Inspect"}]}],"schemaVersion":3}"#;

    #[rstest]
    #[case::tunnels(OF_VERSION_2, "a.example.com")]
    #[case::requests(OF_VERSION_3, "model.example.org")]
    fn a_document_of_a_version_before_lets_its_tunnels_pass(#[case] text: &str, #[case] host: &str) {
        let read = FrozenPolicy::parse(text).unwrap();
        let route = read.agent_route(&Host::parse(host).unwrap(), 443);
        assert_eq!(route.into_result().unwrap().tls(), TlsMode::Tunnel);
        // The same rules where tunnels are denied are a document of another version, and its tunnels are read.
        let denied = FrozenPolicy::new(read.layers.clone(), Tunnels::Deny, None, read.git.clone());
        assert_eq!(
            denied.to_json(),
            text.replace(r#""schemaVersion":2}"#, r#""schemaVersion":4,"tunnels":"Deny"}"#)
                .replace(r#""schemaVersion":3}"#, r#""schemaVersion":4,"tunnels":"Deny"}"#)
        );
        assert_eq!(FrozenPolicy::parse(&denied.to_json()).unwrap(), denied);
        let route = denied.agent_route(&Host::parse(host).unwrap(), 443);
        assert_eq!(route.into_result().unwrap().tls(), TlsMode::Inspect);
    }

    #[test]
    fn where_no_rule_is_a_tunnel_there_is_nothing_to_deny() {
        let mut layers = policy().layers;
        for rule in &mut Arc::make_mut(&mut layers[0]).rules {
            rule.tls = TlsMode::Inspect;
        }
        let [denied, allowed] = [Tunnels::Deny, Tunnels::Allow]
            .map(|tunnels| FrozenPolicy::new(layers.clone(), tunnels, None, Vec::new()));
        assert_eq!(denied, allowed);
        let said = allowed
            .to_json()
            .replace(r#""schemaVersion":3}"#, r#""schemaVersion":4,"tunnels":"Deny"}"#);
        let refused = FrozenPolicy::parse(&said).unwrap_err().to_string();
        assert!(refused.contains("its rules are of version 3"), "{refused}");
    }

    /// A document of version 4, byte for byte.
    const OF_VERSION_4: &str = r#"{"credentials":[{"hosts":["api.example.com"],"inject":{"header":"x-api-key","type":"Header"},"name":"api","placeholder":{"env":"API_KEY","length":52,"prefix":"sk-"},"secret":{"key":"token","name":"of-api"}},{"hosts":["git.example.com"],"inject":{"type":"Basic","username":"oauth2"},"name":"git","secret":{"key":"password","name":"of-git"}}],"git":[],"layers":[{"kind":"SandboxPolicy","mode":"AllowList","name":"default","rules":[{"addresses":[],"credential":"api","hosts":["api.example.com"],"methods":["POST"],"name":"api","paths":["/v1/messages"],"ports":[443],"tls":"Inspect"}]}],"schemaVersion":4}"#;

    #[test]
    fn what_has_a_credential_is_a_document_of_version_4() {
        let read = FrozenPolicy::parse(OF_VERSION_4).unwrap();
        let built = FrozenPolicy::new(read.layers.clone(), Tunnels::Deny, None, Vec::new());
        assert!(
            built.to_json().contains(r#""schemaVersion":4"#),
            "a rule names one"
        );
        let mut credentials = read.credentials().to_vec();
        credentials.reverse();
        assert_eq!(built.with_credentials(credentials), read);
        let permitted = |method: &str| {
            let host = Host::parse("api.example.com").unwrap();
            let request = Request {
                method: method.parse().unwrap(),
                target: Target::parse("/v1/messages").unwrap(),
            };
            let route = read.agent_route(&host, 443).into_result().unwrap();
            route.permit(request).into_result().ok()
        };
        assert_eq!(permitted("POST").unwrap().credential(), Some("api"));
        assert_eq!(permitted("GET"), None);
        for (from, to) in [
            (r#""schemaVersion":4"#, r#""schemaVersion":3"#),
            (r#""type":"Basic""#, r#""type":"Digest""#),
            (r#""key":"token","#, r#""key":"token","value":"x","#),
        ] {
            let odd = OF_VERSION_4.replacen(from, to, 1);
            assert!(FrozenPolicy::parse(&odd).is_err(), "{odd}");
        }
    }

    /// `prepare` reads at such a host what every layer grants and nothing else; the credential is that of the repository.
    #[test]
    fn repositories_with_a_credential_are_read_and_nothing_else() {
        let rule = |rule: &str, url: &str, credential: Option<&str>| GitRule {
            rule: rule.to_owned(),
            url: url.parse().unwrap(),
            credential: credential.map(str::to_owned),
        };
        let git = vec![GitHost {
            host: "git.example.net".parse().unwrap(),
            port: 443,
            addresses: Vec::new(),
            repositories: vec![
                vec![rule("over", "https://git.example.net/**", None)],
                vec![
                    rule("own", "https://git.example.net/team/*", Some("git")),
                    rule("public", "https://git.example.net/open/**", None),
                ],
            ],
        }];
        let frozen = FrozenPolicy::new(Vec::new(), Tunnels::Deny, None, git);
        assert_eq!(FrozenPolicy::parse(&frozen.to_json()).unwrap(), frozen);
        assert!(frozen.to_json().ends_with(r#""schemaVersion":4}"#));
        let host = Host::parse("git.example.net").unwrap();
        let route = frozen.prepare_route(&host, 443).into_result().unwrap();
        assert_eq!(route.tls(), TlsMode::Inspect);
        let got = |request: &str| {
            let (method, target) = request.split_once(' ').unwrap();
            let request = Request {
                method: method.parse().unwrap(),
                target: Target::parse(target).unwrap(),
            };
            let permitted = route.permit(request).into_result();
            permitted
                .map(|permitted| permitted.credential().map(str::to_owned))
                .ok()
        };
        let refs = "info/refs?service=git-upload-pack";
        assert_eq!(
            got(&format!("GET /team/app.git/{refs}")),
            Some(Some("git".to_owned()))
        );
        assert_eq!(
            got("POST /team/app/git-upload-pack"),
            Some(Some("git".to_owned()))
        );
        assert_eq!(got(&format!("GET /open/a/b.git/{refs}")), Some(None));
        let of = |url: &str| frozen.clone_credential(&url.parse().unwrap());
        assert_eq!(of("https://git.example.net/team/app.git"), Some("git".to_owned()));
        for without in ["open/a/b.git", "other/app.git"] {
            assert_eq!(
                of(&format!("https://git.example.net/{without}")),
                None,
                "{without}"
            );
        }
        assert_eq!(of("https://other.example.net/team/app.git"), None);
        for denied in [
            format!("GET /other/app.git/{refs}"),
            "GET /team/app.git/info/refs?service=git-receive-pack".to_owned(),
            "POST /team/app.git/git-receive-pack".to_owned(),
            "GET /api/v4/user".to_owned(),
            "GET /team/app/settings".to_owned(),
        ] {
            assert_eq!(got(&denied), None, "{denied}");
        }
    }

    #[test]
    fn the_agent_may_ask_what_the_rules_say() {
        let host = Host::parse("api.example.com").unwrap();
        let route = policy().agent_route(&host, 80).into_result().unwrap();
        assert_eq!(route.tls(), TlsMode::Inspect);
        for (method, target, allowed) in [
            ("GET", "/repos/org/a/b?c=d&a=b", true),
            ("GET", "/repos/org/a", false),
            ("GET", "/@scope%2fname", true),
            ("POST", "/@scope%2fname", false),
        ] {
            let request = Request {
                method: method.parse().unwrap(),
                target: Target::parse(target).unwrap(),
            };
            assert_eq!(route.permit(request).is_allowed(), allowed, "{method} {target}");
        }
    }

    #[test]
    fn a_document_reads_back_as_itself() {
        assert_eq!(FrozenPolicy::parse(&policy().to_json()).unwrap(), policy());
    }

    #[rstest]
    #[case::unknown_field(r#""git":"#, r#""also":1,"git":"#, "unknown field `also`")]
    #[case::unknown_rule_field(
        r#""name":"model""#,
        r#""name":"model","preset":"npm""#,
        "unknown field `preset`"
    )]
    #[case::empty_list(r#""name":"model""#, r#""name":"model","paths":[]"#, "canonical")]
    #[case::missing_field(r#","schemaVersion":3"#, "", "missing field `schemaVersion`")]
    #[case::other_version(r#""schemaVersion":3"#, r#""schemaVersion":1"#, "schema version 1")]
    #[case::newer(r#""git":"#, r#""also":1,"schemaVersion":5,"git":"#, "duplicate field")]
    #[case::another_newer(r#""schemaVersion":3"#, r#""schemaVersion":7"#, "schema version 7")]
    #[case::no_app(r#""schemaVersion":3"#, r#""schemaVersion":5"#, "its rules are of version 3")]
    #[case::nothing_goes_on(r#""schemaVersion":3"#, r#""schemaVersion":6"#, "its rules are of version 3")]
    #[case::goes_on_in_an_older_version(
        r#""schemaVersion""#,
        r#""onSinkFailure":"Continue","schemaVersion""#,
        "its rules are of version 6"
    )]
    #[case::says_what_holds_anyway(
        r#""schemaVersion""#,
        r#""onSinkFailure":"Stop","schemaVersion""#,
        "canonical"
    )]
    #[case::unknown_word(
        r#""schemaVersion""#,
        r#""onSinkFailure":"Ignore","schemaVersion""#,
        "unknown variant `Ignore`"
    )]
    #[case::no_credential(r#""schemaVersion":3"#, r#""schemaVersion":4"#, "its rules are of version 3")]
    #[case::older(r#""schemaVersion":3"#, r#""schemaVersion":2"#, "its rules are of version 3")]
    #[case::unknown_mode("AllowList", "AllowAll", "unknown variant `AllowAll`")]
    #[case::unknown_tls("Tunnel", "Trust", "unknown variant `Trust`")]
    #[case::small_method("HEAD", "Head", "capitals")]
    #[case::path_in_another_spelling("%2Fname", "%2fname", "canonical")]
    #[case::pairs_in_another_order("a=b&c=d", "c=d&a=b", "canonical")]
    #[case::path_that_no_request_has("/repos/org", "/repos/../org", "'..' segment")]
    #[case::unknown_kind("SandboxPolicy", "AgentRun", "unknown variant `AgentRun`")]
    #[case::host_in_capitals("model.example.org", "Model.example.org", "canonical")]
    #[case::address_as_host("model.example.org", "10.0.0.1", "IP address")]
    #[case::wide_host("*.example.com", "*.com", "top-level")]
    #[case::large_port("8443", "65537", "u16")]
    #[case::white_space(",", ", ", "canonical")]
    #[case::host_bits("10.0.0.0/8", "10.0.0.0/33", "IP address")]
    fn a_document_that_is_not_fully_understood_is_refused(
        #[case] from: &str,
        #[case] to: &str,
        #[case] error: &str,
    ) {
        let json = policy().to_json();
        assert!(json.contains(from), "the fixture must contain {from}");
        let refused = FrozenPolicy::parse(&json.replacen(from, to, 1))
            .unwrap_err()
            .to_string();
        assert!(refused.contains(error), "{refused}");
    }

    #[test]
    fn prepare_reaches_repository_hosts_only_and_the_agent_does_not() {
        let (git, model) = (
            Host::parse("git.example.net").unwrap(),
            Host::parse("model.example.org").unwrap(),
        );
        let frozen = policy();
        assert!(frozen.prepare_route(&git, 8443).is_allowed());
        assert!(!frozen.prepare_route(&git, 443).is_allowed());
        assert!(!frozen.prepare_route(&model, 443).is_allowed());
        assert!(!frozen.agent_route(&git, 8443).is_allowed());
        assert!(frozen.agent_route(&model, 443).is_allowed());
        let route = frozen.prepare_route(&git, 8443).into_result().unwrap();
        assert!(route.permits_address("192.168.7.9".parse().unwrap()));
        assert!(!route.permits_address("192.168.8.9".parse().unwrap()));
        assert_eq!(route.rules(), ["AgentRun/repositories/git.example.net:8443"]);
    }
}
