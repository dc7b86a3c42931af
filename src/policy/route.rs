//! The way to one host and port, decided before the first byte: which rules of all layers allow it, how TLS is
//! treated, and which addresses may be dialled.

use std::borrow::Borrow;
use std::net::IpAddr;

use ipnet::IpNet;

use self::grant::{Grant, LayerGrant, RuleGrant};
use crate::decision::Decision;
use crate::dimension::egress::{EgressAsk, EgressLayer};
use crate::dimension::git::GitRule;
use crate::dimension::requests::Requests;
use crate::pattern::address::is_global;
use crate::pattern::host::Host;
use crate::pattern::service::ServiceName;
use crate::pattern::sorted;
use cofferdam_api::{TlsMode, Tunnels};

pub(crate) mod grant;
pub(crate) mod matching;
pub mod permit;

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

/// Decides about `host` at `port`: what every layer allows, less what the run does not ask for, and whether it may pass
/// unread. `layers` are in the canonical order of [`crate::layer::layers::Layers`].
pub fn route<L: Borrow<EgressLayer>>(
    layers: &[L],
    tunnels: Tunnels,
    ask: Option<&EgressAsk>,
    host: &Host,
    port: u16,
) -> Decision<Route> {
    matching::grant(layers, tunnels, ask, host, port).map(|grant| Route {
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
                clear_text: false,
            }],
            is_later: false,
        };
        Self {
            host: host.clone(),
            port,
            grant: Grant {
                layers: vec![layer],
                asked: Vec::new(),
                // Its host is resolved as every other.
                is_of_services: false,
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
                    clear_text: false,
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
                // Its host is resolved as every other.
                is_of_services: false,
            },
        }
    }

    /// The credentials that its rules name, in order.
    pub fn credentials(&self) -> Vec<String> {
        let rules = self.grant.layers.iter().flat_map(|layer| &layer.rules);
        sorted(rules.filter_map(|rule| rule.credential.clone()).collect())
    }

    /// The Service to which it leads, and by whose address of now alone; `None`: it leads where the host's name does.
    pub fn service(&self) -> Option<ServiceName> {
        let named = ServiceName::of(&self.host);
        named.filter(|_| self.grant.is_of_services)
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
        let Grant {
            layers,
            asked: _,
            is_of_services: _,
        } = ceiling.grant;
        self.grant
            .layers
            .extend(layers.into_iter().map(|layer| LayerGrant {
                is_later: true,
                ..layer
            }));
        self
    }
}

#[cfg(test)]
mod tests;
