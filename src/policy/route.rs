//! The way to one host and port, decided before the first byte: which rules of all layers allow it, how TLS is
//! treated, and which addresses may be dialled.

use std::borrow::Borrow;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::decision::{Decision, Denied, DenyReason};
use crate::dimension::egress::{EgressAsk, EgressLayer, EgressRule, Target};
use crate::dimension::git::GitRule;
use crate::dimension::requests::{Requests, meet_any};
use crate::layer::meet::{Unmet, meet};
use crate::pattern::address::{intersect, is_global, is_grantable};
use crate::pattern::host::{Host, HostPattern};
use crate::pattern::repository::RepositoryPattern;
use crate::pattern::sorted;
use crate::refusal::{Layer, listed};
use cofferdam_api::{Mode, TlsMode, Tunnels};

/// A host and port that may be reached, as every matching rule of every layer allows it.
///
/// Only policy makes one, so whoever holds a route holds a decision. It has what all requests to the host have in
/// common; [`Route::permit`] decides about each of them by its method and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    host: Host,
    port: u16,
    grant: Grant,
}

/// What all matching rules come to, in the order of the layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// What the matching rules of each layer come to; never empty.
    layers: Vec<LayerGrant>,
    /// `AgentRun/spec.egress/rule` of each matching rule of the run's ask.
    asked: Vec<String>,
}

/// What the matching rules of one layer come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayerGrant {
    /// The layer; absent where no policy grants the route.
    layer: Option<Layer>,
    /// The strictest mode of the rules.
    mode: TlsMode,
    /// The networks of the rules.
    networks: Vec<IpNet>,
    /// The rules.
    rules: Vec<RuleGrant>,
    /// Whether it came after the run was admitted: it only takes away then, and grants no credential.
    is_later: bool,
}

/// What one matching rule comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleGrant {
    /// `Kind/name/rule`.
    name: String,
    /// The requests that it allows.
    requests: Requests,
    /// The credential that it adds to them.
    credential: Option<String>,
    /// The repositories that they may read, and then nothing else.
    reads: Option<RepositoryPattern>,
}

/// Of two modes the stricter one, which holds wherever two rules match.
const fn stricter(one: TlsMode, two: TlsMode) -> TlsMode {
    // Without a catch-all: a new mode says here what it gives way to.
    match (one, two) {
        (TlsMode::Tunnel, TlsMode::Tunnel) => TlsMode::Tunnel,
        (TlsMode::Inspect, _) | (_, TlsMode::Inspect) => TlsMode::Inspect,
    }
}

/// Decides about `host` at `port`: what every layer allows, less what the run does not ask for, and whether it may pass
/// unread. `layers` are in the canonical order of [`crate::layer::layers::Layers`].
pub fn route<L: Borrow<EgressLayer>>(
    layers: &[L],
    tunnels: Tunnels,
    ask: Option<&EgressAsk>,
    host: &Host,
    port: u16,
) -> Decision<Route> {
    grant(layers, tunnels, ask, host, port).map(|grant| Route {
        host: host.clone(),
        port,
        grant,
    })
}

impl Route {
    /// The route that one rule outside of the layers grants.
    pub(crate) fn by_rule(host: &Host, port: u16, tls: TlsMode, rule: String, networks: Vec<IpNet>) -> Self {
        let layer = LayerGrant {
            layer: None,
            mode: tls,
            networks,
            rules: vec![RuleGrant {
                name: rule,
                requests: Requests::default(),
                credential: None,
                reads: None,
            }],
            is_later: false,
        };
        Self {
            host: host.clone(),
            port,
            grant: Grant {
                layers: vec![layer],
                asked: Vec::new(),
            },
        }
    }

    /// The route to repositories that are read with credentials: what a rule of each layer names, and nothing else there.
    pub(crate) fn of_repositories(
        host: &Host,
        port: u16,
        networks: &[IpNet],
        layers: &[Vec<GitRule>],
    ) -> Self {
        let layer = |rules: &Vec<GitRule>| LayerGrant {
            layer: None,
            mode: TlsMode::Inspect,
            networks: networks.to_vec(),
            rules: rules
                .iter()
                .map(|rule| RuleGrant {
                    name: rule.rule.clone(),
                    requests: Requests::default(),
                    credential: rule.credential.clone(),
                    reads: Some(rule.url.clone()),
                })
                .collect(),
            is_later: false,
        };
        Self {
            host: host.clone(),
            port,
            grant: Grant {
                layers: layers.iter().map(layer).collect(),
                asked: Vec::new(),
            },
        }
    }

    /// The credentials that its rules name, in order.
    pub fn credentials(&self) -> Vec<String> {
        let rules = self.grant.layers.iter().flat_map(|layer| &layer.rules);
        sorted(rules.filter_map(|rule| rule.credential.clone()).collect())
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
    pub fn tls(&self) -> TlsMode {
        self.grant.mode()
    }

    /// `Kind/name/rule` of each rule that matches, layer by layer, and of the run's ask where there is one.
    pub fn rules(&self) -> Vec<String> {
        self.grant.rules()
    }

    /// Whether policy lets `address` be dialled for the host: it is on the public internet, or every layer lists a
    /// network around it and it is of a kind that policies can allow. The cluster's own addresses are not known here.
    pub fn permits_address(&self, address: IpAddr) -> bool {
        is_global(address) || self.grant.permits_special(address)
    }

    /// This route where tunnels are allowed, or denied: then every request is read, whatever the rules say.
    #[must_use]
    pub fn within(mut self, tunnels: Tunnels) -> Self {
        self.grant = self.grant.within(tunnels);
        self
    }

    /// This route under further layers, which can only take away: `ceiling` is what they allow for the same host and
    /// port. The stricter TLS mode holds, an address needs a network of each layer of both, and a request a rule of each. A
    /// credential that only they name is not granted.
    #[must_use]
    pub fn under(mut self, ceiling: Self) -> Self {
        // What a ceiling was asked for is this route's own business.
        let Grant { layers, asked: _ } = ceiling.grant;
        self.grant
            .layers
            .extend(layers.into_iter().map(|layer| LayerGrant {
                is_later: true,
                ..layer
            }));
        self
    }
}

impl Grant {
    /// The strictest mode of all matching rules.
    pub(crate) fn mode(&self) -> TlsMode {
        let modes = self.layers.iter().map(|layer| layer.mode);
        // Without a layer nothing may pass unread.
        modes.reduce(stricter).unwrap_or(TlsMode::Inspect)
    }

    /// As [`Route::within`].
    fn within(mut self, tunnels: Tunnels) -> Self {
        match tunnels {
            Tunnels::Allow => {}
            Tunnels::Deny => {
                for layer in &mut self.layers {
                    layer.mode = TlsMode::Inspect;
                }
            }
        }
        self
    }

    /// `Kind/name/rule` of each matching rule once, layer by layer, and of the run's ask where there is one.
    pub(crate) fn rules(&self) -> Vec<String> {
        let of_layers = self.layers.iter().flat_map(|layer| &layer.rules);
        let mut named: Vec<String> = Vec::new();
        for rule in of_layers.map(|rule| &rule.name).chain(&self.asked) {
            if !named.contains(rule) {
                named.push(rule.clone());
            }
        }
        named
    }

    fn permits_special(&self, address: IpAddr) -> bool {
        let within = |layer: &LayerGrant| layer.networks.iter().any(|network| network.contains(&address));
        is_grantable(address) && !self.layers.is_empty() && self.layers.iter().all(within)
    }

    /// The networks that every layer lists.
    pub(crate) fn common_networks(&self) -> Vec<IpNet> {
        let mut lists = self.layers.iter().map(|layer| &layer.networks);
        let first = lists.next().cloned().unwrap_or_default();
        // The meet of a list with itself sorts it and leaves out what is listed twice.
        lists.fold(intersect(&first, &first), |met, next| intersect(&met, next))
    }

    /// The requests that every layer allows.
    pub(crate) fn common_requests(&self) -> Vec<Requests> {
        let lists = self.layers.iter().map(|layer| {
            let all = layer.rules.iter();
            all.map(|rule| rule.requests.clone()).collect::<Vec<_>>()
        });
        let met = lists
            .reduce(|met, next| meet_any(&met, &next))
            .unwrap_or_default();
        // As above.
        meet_any(&met, &met)
    }

    /// The credentials that rules name, in order, each with the requests that get it.
    pub(crate) fn credentials(&self) -> Vec<(String, Vec<Requests>)> {
        let rules = || {
            let layers = self.layers.iter().filter(|layer| !layer.is_later);
            layers.flat_map(|layer| &layer.rules)
        };
        let names = sorted(rules().filter_map(|rule| rule.credential.clone()).collect());
        let common = self.common_requests();
        let with = names.into_iter().map(|name| {
            let naming = rules().filter(|rule| rule.credential.as_ref() == Some(&name));
            let requests: Vec<Requests> = naming.map(|rule| rule.requests.clone()).collect();
            let got = meet_any(&common, &requests);
            (name, got)
        });
        with.filter(|(_, got)| !got.is_empty()).collect()
    }
}

/// The rules of one layer that match.
struct Matching<'a> {
    layer: &'a EgressLayer,
    rules: Vec<&'a EgressRule>,
}

/// The one fold behind [`route`] and [`crate::explain::reach::reach`].
pub(crate) fn grant<L: Borrow<EgressLayer>>(
    layers: &[L],
    tunnels: Tunnels,
    ask: Option<&EgressAsk>,
    target: &impl Target,
    port: u16,
) -> Decision<Grant> {
    let matching = match meet(layers, |layer| Some(layer.borrow().matching(target, port))) {
        Ok(matching) => matching,
        Err(Unmet::Refused(denied)) => return Decision::Deny(denied),
        Err(Unmet::NoOpinion) => return Decision::Deny(no_policy(target, port)),
    };
    if matching.is_empty() {
        return Decision::Deny(no_policy(target, port));
    }
    let granting = matching.into_iter().map(Matching::grant).collect();
    let mut asked = Vec::new();
    if let Some(ask) = ask {
        let matching = ask.asked().iter().filter(|rule| rule.names(target, port));
        asked.extend(matching.map(|rule| format!("AgentRun/spec.egress/{}", rule.name)));
        if asked.is_empty() {
            return Decision::Deny(not_asked_for(target, port));
        }
    }
    let granted = Grant {
        layers: granting,
        asked,
    };
    Decision::Allow(granted.within(tunnels))
}

impl Matching<'_> {
    /// What the rules come to.
    fn grant(self) -> LayerGrant {
        let Self { layer, rules } = self;
        let mut granted = LayerGrant {
            layer: Some(layer.layer()),
            mode: TlsMode::Tunnel,
            networks: Vec::new(),
            rules: Vec::with_capacity(rules.len()),
            is_later: false,
        };
        for rule in rules {
            let name = format!("{layer}/{}", rule.name);
            granted.networks.extend_from_slice(&rule.addresses);
            granted.rules.push(RuleGrant {
                name,
                requests: rule.requests(),
                credential: rule.credential.clone(),
                reads: None,
            });
            granted.mode = stricter(granted.mode, rule.mode());
        }
        granted
    }
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

pub mod permit;

#[cfg(test)]
mod tests;
