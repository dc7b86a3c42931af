//! The frozen policy: what the gateway enforces for a run, fixed when the run was admitted.
//!
//! The document is canonical JSON and named by its hash, so that equal policies are one object and no other bytes
//! can pass for it. A reader that does not know a field or the schema version refuses the whole document.

use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::decision::{Decision, Denied, DenyReason};
use crate::dimension::egress::{EgressAsk, EgressLayer};
use crate::pattern::host::Host;
use crate::route::{Route, route};
use cofferdam_api::TlsMode;
use cofferdam_api::names::short_hash;

/// Version of the document. Any change of meaning, not only of shape, makes a new one. 2: the run's own `ask`.
pub const SCHEMA_VERSION: u32 = 2;
/// Longest document in bytes that is read: a ConfigMap holds 1 MiB.
const DOCUMENT_LIMIT: usize = 1024 * 1024;

/// What the gateway enforces for a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FrozenPolicy {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Every policy that has an opinion on egress.
    pub layers: Vec<Arc<EgressLayer>>,
    /// What the run itself asks to reach at most; absent: all that the layers grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<EgressAsk>,
    /// Hosts of the admitted repositories, open to `prepare` alone.
    pub git: Vec<GitHost>,
}

/// Host of admitted repositories.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GitHost {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// Networks that it may resolve to though not globally routable: what every layer grants.
    pub addresses: Vec<IpNet>,
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
    #[error("the frozen policy has schema version {0}, this gateway knows {SCHEMA_VERSION}")]
    Version(u32),
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

impl FrozenPolicy {
    /// Canonical JSON: object keys sorted, no white space.
    pub fn to_json(&self) -> String {
        // Through a Value, whose maps are sorted; strings and numbers alone cannot fail to serialise.
        serde_json::to_value(self)
            .map(|value| value.to_string())
            .unwrap_or_default()
    }

    /// What layers come to for a run that asks for nothing and clones nothing.
    pub fn of_layers(layers: Vec<Arc<EgressLayer>>) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            layers,
            ask: None,
            git: Vec::new(),
        }
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
        if schema_version != SCHEMA_VERSION {
            return Err(FrozenError::Version(schema_version));
        }
        let policy: Self = serde_json::from_str(text)?;
        if policy.to_json() == text {
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
            ask,
            // Open to `prepare` alone.
            git: _,
        } = self;
        route(layers, ask.as_ref(), host, port)
    }

    /// Decides whether `prepare` may reach `host` at `port`: only hosts of admitted repositories.
    pub fn prepare_route(&self, host: &Host, port: u16) -> Decision<Route> {
        match self.git.iter().find(|git| git.host == *host && git.port == port) {
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
    use crate::refusal::LayerKind;
    use cofferdam_api::Mode;
    use rstest::rstest;

    fn policy() -> FrozenPolicy {
        FrozenPolicy {
            schema_version: SCHEMA_VERSION,
            ask: None,
            layers: vec![Arc::new(EgressLayer {
                kind: LayerKind::SandboxPolicy,
                name: "default".into(),
                mode: Mode::AllowList,
                rules: vec![EgressRule {
                    name: "model".into(),
                    hosts: vec![
                        "model.example.org".parse().unwrap(),
                        "*.example.com".parse().unwrap(),
                    ],
                    addresses: vec!["10.0.0.0/8".parse().unwrap()],
                    ports: vec![443],
                    tls: TlsMode::Tunnel,
                }],
            })],
            git: vec![GitHost {
                host: "git.example.net".parse().unwrap(),
                port: 8443,
                addresses: vec!["192.168.7.0/24".parse().unwrap()],
            }],
        }
    }

    #[test]
    fn the_document_and_its_hash_are_fixed() {
        insta::assert_snapshot!(policy().to_json());
        insta::assert_snapshot!(policy().hash());
    }

    #[test]
    fn a_document_reads_back_as_itself() {
        assert_eq!(FrozenPolicy::parse(&policy().to_json()).unwrap(), policy());
    }

    #[rstest]
    #[case::unknown_field(r#""git":"#, r#""also":1,"git":"#, "unknown field `also`")]
    #[case::unknown_rule_field(r#""name":"model""#, r#""name":"model","paths":[]"#, "unknown field `paths`")]
    #[case::missing_field(r#","schemaVersion":2"#, "", "missing field `schemaVersion`")]
    #[case::other_version(r#""schemaVersion":2"#, r#""schemaVersion":1"#, "schema version 1")]
    #[case::newer(r#""git":"#, r#""also":1,"schemaVersion":3,"git":"#, "duplicate field")]
    #[case::unknown_mode("AllowList", "AllowAll", "unknown variant `AllowAll`")]
    #[case::unknown_tls("Tunnel", "Inspect", "unknown variant `Inspect`")]
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
