//! What policies and runs say of egress: layers of rules, and what the run itself asks for.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::dimension::requests::Requests;
use crate::pattern::host::{Host, HostPattern};
use crate::pattern::method::Method;
use crate::pattern::path::PathPattern;
use crate::pattern::{read_port, sorted};
use crate::refusal::{Layer, LayerKind, Refusal};
use cofferdam_api::{AgentRunSpec, Mode, Reason, TlsMode};

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

/// Hosts that may be reached, and what may be asked of them.
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
    /// Methods that a request may have; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<Method>,
    /// Paths that a request may have; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathPattern>,
    /// Credential that the gateway adds to the requests that the rule allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// That its hosts are Services of the cluster. Absent: they are hosts as all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceUse>,
}

/// How Services are used that a rule grants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServiceUse {
    /// Whether the rule lets its credential go to them in clear text. A cluster policy has to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clear_text: bool,
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
    /// Whether Services of the cluster are meant, which rules with services alone name.
    fn is_of_services(&self) -> bool;
}

impl Target for Host {
    #[inline]
    fn is_named_by(&self, pattern: &HostPattern) -> bool {
        pattern.matches(self)
    }

    #[inline]
    fn is_of_services(&self) -> bool {
        self.as_service().is_some()
    }
}

impl Target for HostPattern {
    fn is_named_by(&self, pattern: &HostPattern) -> bool {
        pattern.covers(self)
    }

    fn is_of_services(&self) -> bool {
        Self::is_of_services(self)
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
    /// How TLS is treated: what has to be told apart by its request, gets a credential, or goes to a Service is inspected.
    pub fn mode(&self) -> TlsMode {
        let is_of_hosts = self.credential.is_none() && self.service.is_none();
        if self.methods.is_empty() && self.paths.is_empty() && is_of_hosts {
            self.tls
        } else {
            TlsMode::Inspect
        }
    }

    /// The requests that it allows.
    pub(crate) fn requests(&self) -> Requests {
        Requests {
            methods: self.methods.clone(),
            paths: self.paths.clone(),
        }
    }

    /// Whether the rule names the target, at any port.
    #[inline]
    pub(crate) fn names(&self, target: &impl Target) -> bool {
        self.hosts.iter().any(|pattern| target.is_named_by(pattern))
            && self.service.is_some() == target.is_of_services()
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

/// Reads what the run asks to reach.
///
/// # Errors
/// A host or port that cannot be read: an ask that means nothing is not quietly dropped.
pub(crate) fn read_ask(spec: &AgentRunSpec) -> Result<Option<EgressAsk>, Refusal> {
    let Some(ask) = &spec.egress else {
        return Ok(None);
    };
    let rules = ask.rules.iter().map(|rule| {
        let hosts = rule.hosts.iter().map(|host| {
            HostPattern::parse(host).map_err(|error| unreadable(&rule.name, "hosts", host, error.to_string()))
        });
        let ports = rule.ports.iter().map(|port| {
            let why = || "ports go from 1 to 65535".to_owned();
            read_port(*port).ok_or_else(|| unreadable(&rule.name, "ports", &port.to_string(), why()))
        });
        Ok(EgressAskRule {
            name: rule.name.clone(),
            hosts: sorted(hosts.collect::<Result<_, Refusal>>()?),
            ports: sorted(ports.collect::<Result<_, Refusal>>()?),
        })
    });
    let rules = sorted(rules.collect::<Result<_, Refusal>>()?);
    Ok(Some(EgressAsk {
        mode: ask.mode,
        rules: match ask.mode {
            Mode::DenyAll => Vec::new(),
            Mode::AllowList => rules,
        },
    }))
}

fn unreadable(rule: &str, part: &str, offered: &str, why: String) -> Refusal {
    Refusal {
        reason: Reason::PolicyDenied,
        layer: None,
        field: format!("spec.egress.rules[{rule}].{part}"),
        rule: None,
        offered: offered.to_owned(),
        allowed: Vec::new(),
        why,
        help: "name hosts in full, such as api.example.com or *.example.com".to_owned(),
    }
}
