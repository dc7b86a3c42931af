//! What policies and runs say of egress: layers of rules, and what the run itself asks for.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::host::{Host, HostPattern};
use super::refusal::{Layer, LayerKind};
use cofferdam_api::{Mode, TlsMode};

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

/// What an egress decision is about: one host, or all hosts of a pattern.
pub(crate) trait Target: fmt::Display {
    /// Whether `pattern` names all hosts that are meant.
    fn is_named_by(&self, pattern: &HostPattern) -> bool;
}

impl Target for Host {
    #[inline]
    fn is_named_by(&self, pattern: &HostPattern) -> bool {
        pattern.matches(self)
    }
}

impl Target for HostPattern {
    fn is_named_by(&self, pattern: &HostPattern) -> bool {
        pattern.covers(self)
    }
}

impl EgressLayer {
    /// What is allowed: with `DenyAll` nothing, whatever `rules` has.
    pub(crate) fn allowed(&self) -> &[EgressRule] {
        match self.mode {
            Mode::DenyAll => &[],
            Mode::AllowList => &self.rules,
        }
    }

    /// The policy, for refusals.
    pub(crate) fn layer(&self) -> Layer {
        Layer {
            kind: self.kind,
            name: self.name.clone(),
        }
    }
}

impl EgressAsk {
    /// What is asked for: with `DenyAll` nothing, whatever `rules` has.
    pub(crate) fn asked(&self) -> &[EgressAskRule] {
        match self.mode {
            Mode::DenyAll => &[],
            Mode::AllowList => &self.rules,
        }
    }
}

impl EgressRule {
    /// Whether the rule names the target, at any port.
    #[inline]
    pub(crate) fn names(&self, target: &impl Target) -> bool {
        self.hosts.iter().any(|pattern| target.is_named_by(pattern))
    }
}

impl EgressAskRule {
    /// Whether the rule names the target at the port.
    pub(crate) fn names(&self, target: &impl Target, port: u16) -> bool {
        self.ports.contains(&port) && self.hosts.iter().any(|pattern| target.is_named_by(pattern))
    }
}

impl fmt::Display for EgressLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}
