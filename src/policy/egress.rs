//! What the agent may reach: one decision for one host and port.

use std::borrow::Borrow;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::address::is_grantable;
use super::host::{Host, HostPattern};
use super::meet::{Denial, meet};
use super::refusal::{LayerKind, listed};
use cofferdam_api::{Mode, TlsMode};

/// No layer says anything of egress.
pub const NO_EGRESS_POLICY: &str = "NoEgressPolicy";
/// A layer denies everything.
pub const EGRESS_DENIED: &str = "EgressDenied";
/// A layer has no rule for the host.
pub const HOST_NOT_ALLOWED: &str = "HostNotAllowed";
/// A layer has a rule for the host, but not for the port.
pub const PORT_NOT_ALLOWED: &str = "PortNotAllowed";
/// The run itself asked for less.
pub const NOT_ASKED_FOR: &str = "NotAskedFor";
/// `prepare` asked for something else than the host of an admitted repository.
pub const NOT_A_REPOSITORY_HOST: &str = "NotARepositoryHost";

/// What one policy says of egress. Lists are sorted and without duplicates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EgressLayer {
    /// Kind of the policy.
    pub kind: LayerKind,
    /// Its name.
    pub name: String,
    /// Whether anything is allowed.
    pub mode: Mode,
    /// What is allowed.
    pub rules: Vec<EgressRule>,
}

/// Hosts that may be reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EgressRule {
    /// Name of the rule.
    pub name: String,
    /// Hosts.
    pub hosts: Vec<HostPattern>,
    /// Networks that these hosts may resolve to though not globally routable.
    pub addresses: Vec<IpNet>,
    /// Ports.
    pub ports: Vec<u16>,
    /// How TLS is treated.
    pub tls: TlsMode,
}

/// What the run itself asks for. It is no layer: it can only take away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EgressAsk {
    /// Whether the agent is to reach anything.
    pub mode: Mode,
    /// What it is to reach. Sorted and without duplicates.
    pub rules: Vec<EgressAskRule>,
}

/// Hosts that the agent is to reach.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EgressAskRule {
    /// Name of the rule.
    pub name: String,
    /// Hosts.
    pub hosts: Vec<HostPattern>,
    /// Ports.
    pub ports: Vec<u16>,
}

impl EgressAsk {
    /// The name of the rule that asks for it.
    fn word(&self, host: &Host, port: u16) -> Option<&str> {
        let is_meant = |rule: &&EgressAskRule| {
            rule.ports.contains(&port) && rule.hosts.iter().any(|pattern| pattern.matches(host))
        };
        let rules = match self.mode {
            Mode::DenyAll => &[][..],
            Mode::AllowList => &self.rules,
        };
        rules.iter().find(is_meant).map(|rule| rule.name.as_str())
    }
}

/// The answer for one host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Egress {
    /// Every layer with an opinion grants it.
    Allowed {
        /// `Kind/name/rule`, one for each layer.
        rules: Vec<String>,
        /// For each layer the networks that the host may resolve to though not globally routable.
        addresses: Vec<Vec<IpNet>>,
    },
    /// It is not granted.
    Denied {
        /// Stable short code, a single word.
        code: &'static str,
        /// For people: which layer said no, and what it allows.
        message: String,
    },
}

impl Egress {
    /// Whether `address`, which is not globally routable, may be dialled: every layer must list a network around
    /// it, and it must be of a kind that policies can grant at all. The cluster's own addresses are the gateway's to refuse.
    pub fn permits_address(&self, address: IpAddr) -> bool {
        match self {
            Self::Allowed { addresses, .. } => {
                is_grantable(address)
                    && !addresses.is_empty()
                    && addresses
                        .iter()
                        .all(|nets| nets.iter().any(|net| net.contains(&address)))
            }
            Self::Denied { .. } => false,
        }
    }
}

/// Meets what all layers say of `host` and `port`, then takes away what the run does not ask for.
pub fn decide<L: Borrow<EgressLayer>>(
    layers: &[L],
    ask: Option<&EgressAsk>,
    host: &Host,
    port: u16,
) -> Egress {
    match meet(layers, |layer| Some(layer.borrow().word(host, port))) {
        Ok(grants) => {
            let (mut rules, addresses): (Vec<String>, _) = grants.into_iter().unzip();
            match ask.map(|ask| ask.word(host, port)) {
                None => {}
                Some(Some(rule)) => rules.push(format!("AgentRun/spec.egress/{rule}")),
                Some(None) => {
                    return Egress::Denied {
                        code: NOT_ASKED_FOR,
                        message: format!(
                            "{host}:{port} is denied: policies would grant it, but spec.egress of the run does not name it"
                        ),
                    };
                }
            }
            Egress::Allowed { rules, addresses }
        }
        Err(Denial::Silence) => Egress::Denied {
            code: NO_EGRESS_POLICY,
            message: format!("{host}:{port} is denied: no policy says what this run may reach"),
        },
        Err(Denial::Objection((code, message))) => Egress::Denied { code, message },
    }
}

type Grant = (String, Vec<IpNet>);
type Objection = (&'static str, String);

impl EgressLayer {
    /// What this layer says: the first matching rule's provenance and the networks of all matching rules.
    fn word(&self, host: &Host, port: u16) -> Result<Grant, Objection> {
        let deny = |code, why: String| (code, format!("{host}:{port} is denied by {self}: {why}"));
        if self.mode == Mode::DenyAll {
            return Err(deny(EGRESS_DENIED, "it allows no egress at all".into()));
        }
        let for_host = || {
            self.rules
                .iter()
                .filter(|rule| rule.hosts.iter().any(|h| h.matches(host)))
        };
        let mut matching = for_host().filter(|rule| rule.ports.contains(&port)).peekable();
        if let Some(first) = matching.peek() {
            let provenance = format!("{self}/{}", first.name);
            let addresses = matching.flat_map(|rule| rule.addresses.iter().copied()).collect();
            return Ok((provenance, addresses));
        }
        let ports: Vec<String> = for_host()
            .flat_map(|rule| &rule.ports)
            .map(u16::to_string)
            .collect();
        Err(if ports.is_empty() {
            let hosts: Vec<String> = self
                .rules
                .iter()
                .flat_map(|rule| &rule.hosts)
                .map(HostPattern::to_string)
                .collect();
            deny(
                HOST_NOT_ALLOWED,
                format!("no rule names this host; allowed: {}", listed(&hosts)),
            )
        } else {
            deny(
                PORT_NOT_ALLOWED,
                format!(
                    "no rule for this host names the port; allowed: {}",
                    listed(&ports)
                ),
            )
        })
    }
}

impl fmt::Display for EgressLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn rule(name: &str, hosts: &[&str], ports: &[u16], addresses: &[&str]) -> EgressRule {
        EgressRule {
            name: name.into(),
            hosts: hosts.iter().map(|h| h.parse().unwrap()).collect(),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            ports: ports.to_vec(),
            tls: TlsMode::Tunnel,
        }
    }

    fn layer(kind: LayerKind, name: &str, mode: Mode, rules: Vec<EgressRule>) -> EgressLayer {
        EgressLayer {
            kind,
            name: name.into(),
            mode,
            rules,
        }
    }

    fn layers() -> Vec<EgressLayer> {
        vec![
            layer(
                LayerKind::ClusterSandboxPolicy,
                "base",
                Mode::AllowList,
                vec![
                    rule("forges", &["*.example.com"], &[443, 8443], &["10.0.0.0/8"]),
                    rule("model", &["model.example.org"], &[443], &[]),
                ],
            ),
            layer(
                LayerKind::SandboxPolicy,
                "default",
                Mode::AllowList,
                vec![
                    rule("git", &["git.example.com"], &[443], &["10.1.0.0/16"]),
                    rule("git-too", &["git.example.com"], &[443], &["10.2.0.0/16"]),
                    rule("wide", &["model.example.org", "other.example.net"], &[443], &[]),
                ],
            ),
        ]
    }

    fn ask(layers: &[EgressLayer], host: &str, port: u16) -> Egress {
        decide(layers, None, &Host::parse(host).unwrap(), port)
    }

    fn code(egress: &Egress) -> &'static str {
        match egress {
            Egress::Allowed { .. } => "",
            Egress::Denied { code, .. } => code,
        }
    }

    #[rstest]
    #[case("git.example.com", 443, "")]
    #[case("model.example.org", 443, "")]
    #[case("other.example.net", 443, HOST_NOT_ALLOWED)]
    #[case("www.example.com", 443, HOST_NOT_ALLOWED)]
    #[case("git.example.com", 8443, PORT_NOT_ALLOWED)]
    #[case("model.example.org", 80, PORT_NOT_ALLOWED)]
    #[case("denied.example", 443, HOST_NOT_ALLOWED)]
    fn every_layer_must_grant(#[case] host: &str, #[case] port: u16, #[case] denied: &str) {
        assert_eq!(code(&ask(&layers(), host, port)), denied);
    }

    #[test]
    fn no_layer_and_a_layer_that_denies_all_allow_nothing() {
        assert_eq!(code(&ask(&[], "git.example.com", 443)), NO_EGRESS_POLICY);
        let mut with_denial = layers();
        with_denial.push(layer(
            LayerKind::SandboxPolicy,
            "closed",
            Mode::DenyAll,
            with_denial[0].rules.clone(),
        ));
        assert_eq!(code(&ask(&with_denial, "git.example.com", 443)), EGRESS_DENIED);
        let empty = layer(LayerKind::SandboxPolicy, "empty", Mode::AllowList, vec![]);
        assert_eq!(code(&ask(&[empty], "git.example.com", 443)), HOST_NOT_ALLOWED);
    }

    #[test]
    fn an_answer_carries_the_rule_of_each_layer() {
        let Egress::Allowed { rules, .. } = ask(&layers(), "git.example.com", 443) else {
            panic!("denied")
        };
        assert_eq!(
            rules,
            ["ClusterSandboxPolicy/base/forges", "SandboxPolicy/default/git"]
        );
    }

    #[test]
    fn a_denial_names_the_layer_and_what_it_allows() {
        let Egress::Denied { message, .. } = ask(&layers(), "denied.example", 443) else {
            panic!("allowed")
        };
        insta::assert_snapshot!(message, @"denied.example:443 is denied by ClusterSandboxPolicy/base: no rule names this host; allowed: *.example.com, model.example.org");
        let Egress::Denied { message, .. } = ask(&layers(), "git.example.com", 8443) else {
            panic!("allowed")
        };
        insta::assert_snapshot!(message, @"git.example.com:8443 is denied by SandboxPolicy/default: no rule for this host names the port; allowed: 443, 443");
    }

    #[rstest]
    #[case("10.1.2.3", true)]
    #[case("10.2.2.3", true)]
    #[case("10.3.2.3", false)]
    #[case("192.168.0.1", false)]
    #[case("::ffff:10.1.2.3", false)]
    fn a_private_address_must_be_granted_by_every_layer(#[case] address: &str, #[case] permitted: bool) {
        let egress = ask(&layers(), "git.example.com", 443);
        assert_eq!(egress.permits_address(address.parse().unwrap()), permitted);
        assert!(!ask(&layers(), "denied.example", 443).permits_address(address.parse().unwrap()));
        assert!(!ask(&layers(), "model.example.org", 443).permits_address(address.parse().unwrap()));
    }

    #[rstest]
    #[case("127.0.0.1")]
    #[case("169.254.169.254")]
    #[case("168.63.129.16")]
    #[case("::ffff:127.0.0.1")]
    #[case("fd00:ec2::254")]
    #[case("::1")]
    fn no_policy_can_grant_loopback_or_metadata(#[case] address: &str) {
        let all = &["0.0.0.0/0", "::/0"];
        let open = layer(
            LayerKind::SandboxPolicy,
            "open",
            Mode::AllowList,
            vec![rule("all", &["git.example.com"], &[443], all)],
        );
        let egress = ask(&[open], "git.example.com", 443);
        assert!(egress.permits_address("10.0.0.1".parse().unwrap()));
        assert!(!egress.permits_address(address.parse().unwrap()));
    }
}
