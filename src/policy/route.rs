//! The way to one host and port, decided before the first byte: which rules of all layers allow it, how TLS is
//! treated, and which addresses may be dialled.

use std::borrow::Borrow;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::decision::{Decision, Denied, DenyReason};
use crate::dimension::egress::{EgressAsk, EgressLayer, EgressRule, Target};
use crate::layer::meet::{Unmet, meet};
use crate::pattern::address::{intersect, is_global, is_grantable};
use crate::pattern::host::{Host, HostPattern};
use crate::refusal::listed;
use cofferdam_api::{Mode, TlsMode};

/// A host and port that may be reached, as every matching rule of every layer allows it.
///
/// Only policy makes one, so whoever holds a route holds a decision. It has what all requests to the host have in
/// common; what is decided for each request by its method and path starts from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    host: Host,
    port: u16,
    grant: Grant<TlsMode>,
}

/// What all matching rules come to, in the order of the layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant<M> {
    /// The strictest mode of all matching rules.
    pub(crate) mode: M,
    /// `Kind/name/rule` of each matching rule, and of the run's ask where there is one.
    pub(crate) rules: Vec<String>,
    /// For each layer the networks of its matching rules.
    networks: Vec<Vec<IpNet>>,
}

/// A mode of which the stricter one holds wherever two rules match.
pub(crate) trait Strictness: Copy {
    /// The stricter of both.
    fn stricter(self, other: Self) -> Self;
}

impl Strictness for TlsMode {
    #[inline]
    fn stricter(self, other: Self) -> Self {
        // Without a catch-all: a new mode says here what it gives way to.
        match (self, other) {
            (Self::Tunnel, Self::Tunnel) => Self::Tunnel,
        }
    }
}

/// Decides about `host` at `port`: what every layer allows, less what the run does not ask for. `layers` are in the
/// canonical order of [`crate::layer::layers::Layers`].
pub fn route<L: Borrow<EgressLayer>>(
    layers: &[L],
    ask: Option<&EgressAsk>,
    host: &Host,
    port: u16,
) -> Decision<Route> {
    grant(layers, ask, host, port, |rule| rule.tls).map(|grant| Route {
        host: host.clone(),
        port,
        grant,
    })
}

impl Route {
    /// The route that one rule outside of the layers grants.
    pub(crate) fn by_rule(host: &Host, port: u16, tls: TlsMode, rule: String, networks: Vec<IpNet>) -> Self {
        Self {
            host: host.clone(),
            port,
            grant: Grant {
                mode: tls,
                rules: vec![rule],
                networks: vec![networks],
            },
        }
    }

    /// The host that was decided about.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The port that was decided about.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// How TLS is treated: the strictest mode of all matching rules.
    pub const fn tls(&self) -> TlsMode {
        self.grant.mode
    }

    /// `Kind/name/rule` of each rule that matches, layer by layer, and of the run's ask where there is one.
    pub fn rules(&self) -> &[String] {
        &self.grant.rules
    }

    /// Whether policy lets `address` be dialled for the host: it is on the public internet, or every layer lists a
    /// network around it and it is of a kind that policies can allow. The cluster's own addresses are not known here.
    pub fn permits_address(&self, address: IpAddr) -> bool {
        is_global(address) || self.grant.permits_special(address)
    }

    /// This route under further layers, which can only take away: `ceiling` is what they allow for the same host and
    /// port. The stricter TLS mode holds, and an address needs a network of each layer of both.
    #[must_use]
    pub fn under(mut self, ceiling: Self) -> Self {
        let Grant {
            mode,
            rules,
            networks,
        } = ceiling.grant;
        self.grant.mode = self.grant.mode.stricter(mode);
        self.grant.networks.extend(networks);
        for rule in rules {
            if !self.grant.rules.contains(&rule) {
                self.grant.rules.push(rule);
            }
        }
        self
    }
}

impl<M> Grant<M> {
    fn permits_special(&self, address: IpAddr) -> bool {
        let within = |networks: &Vec<IpNet>| networks.iter().any(|network| network.contains(&address));
        is_grantable(address) && !self.networks.is_empty() && self.networks.iter().all(within)
    }

    /// The networks that every layer lists.
    pub(crate) fn common_networks(&self) -> Vec<IpNet> {
        let mut lists = self.networks.iter();
        let first = lists.next().cloned().unwrap_or_default();
        // The meet of a list with itself sorts it and leaves out what is listed twice.
        lists.fold(intersect(&first, &first), |met, next| intersect(&met, next))
    }
}

/// The rules of one layer that match.
struct Matching<'a> {
    layer: &'a EgressLayer,
    rules: Vec<&'a EgressRule>,
}

/// The one fold behind [`route`] and [`crate::explain::reach::reach`]. `mode_of` gives the mode of a rule, of which the
/// strictest of all matching rules of all layers holds.
pub(crate) fn grant<L: Borrow<EgressLayer>, M: Strictness>(
    layers: &[L],
    ask: Option<&EgressAsk>,
    target: &impl Target,
    port: u16,
    mode_of: impl Fn(&EgressRule) -> M,
) -> Decision<Grant<M>> {
    let matching = match meet(layers, |layer| Some(layer.borrow().matching(target, port))) {
        Ok(matching) => matching,
        Err(Unmet::Refused(denied)) => return Decision::Deny(denied),
        Err(Unmet::NoOpinion) => return Decision::Deny(no_policy(target, port)),
    };
    let mut rules = Vec::new();
    let mut networks = Vec::with_capacity(matching.len());
    let mut strictest: Option<M> = None;
    for Matching {
        layer,
        rules: matching,
    } in matching
    {
        let mut of_layer = Vec::new();
        for rule in matching {
            rules.push(format!("{layer}/{}", rule.name));
            of_layer.extend_from_slice(&rule.addresses);
            let mode = mode_of(rule);
            strictest = Some(strictest.map_or(mode, |strictest| strictest.stricter(mode)));
        }
        networks.push(of_layer);
    }
    // Every layer that allows has a rule that matches, so there is a mode; without one nothing is allowed.
    let Some(mode) = strictest else {
        return Decision::Deny(no_policy(target, port));
    };
    if let Some(ask) = ask {
        let asked = ask.asked().iter().filter(|rule| rule.names(target, port));
        let granted = rules.len();
        rules.extend(asked.map(|rule| format!("AgentRun/spec.egress/{}", rule.name)));
        if rules.len() == granted {
            return Decision::Deny(not_asked_for(target, port));
        }
    }
    Decision::Allow(Grant {
        mode,
        rules,
        networks,
    })
}

impl EgressLayer {
    /// The rules of this layer for the target at the port; without any, why it is denied.
    fn matching(&self, target: &impl Target, port: u16) -> Result<Matching<'_>, Denied> {
        let rules: Vec<&EgressRule> = self
            .allowed()
            .iter()
            .filter(|rule| rule.ports.contains(&port) && rule.names(target))
            .collect();
        if rules.is_empty() {
            Err(self.denied(target, port))
        } else {
            Ok(Matching { layer: self, rules })
        }
    }

    #[cold]
    fn denied(&self, target: &impl Target, port: u16) -> Denied {
        let for_host = self.allowed().iter().filter(|rule| rule.names(target));
        let ports: Vec<String> = for_host
            .flat_map(|rule| &rule.ports)
            .map(u16::to_string)
            .collect();
        let (reason, why) = match self.mode {
            Mode::DenyAll => (DenyReason::EgressDenied, "it allows no egress at all".to_owned()),
            Mode::AllowList if ports.is_empty() => {
                let hosts = self.rules.iter().flat_map(|rule| &rule.hosts);
                let hosts: Vec<String> = hosts.map(HostPattern::to_string).collect();
                let why = format!("no rule names this host; allowed: {}", listed(&hosts));
                (DenyReason::HostNotAllowed, why)
            }
            Mode::AllowList => {
                let why = format!(
                    "no rule for this host names the port; allowed: {}",
                    listed(&ports)
                );
                (DenyReason::PortNotAllowed, why)
            }
        };
        Denied {
            reason,
            layer: Some(self.layer()),
            message: format!("{target}:{port} is denied by {self}: {why}"),
        }
    }
}

#[cold]
fn no_policy(target: &impl Target, port: u16) -> Denied {
    Denied {
        reason: DenyReason::NoEgressPolicy,
        layer: None,
        message: format!("{target}:{port} is denied: no policy in force sets limits.egress"),
    }
}

#[cold]
fn not_asked_for(target: &impl Target, port: u16) -> Denied {
    Denied {
        reason: DenyReason::NotAskedFor,
        layer: None,
        message: format!(
            "{target}:{port} is denied: policies allow it, but spec.egress of the run does not name it"
        ),
    }
}

#[cfg(test)]
mod tests;
