//! What the rules that match a host and port come to.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::dimension::requests::{Requests, meet_any};
use crate::pattern::address::{intersect, is_grantable};
use crate::pattern::repository::RepositoryPattern;
use crate::pattern::sorted;
use crate::refusal::{Layer, LayerKind};
use cofferdam_api::{TlsMode, Tunnels};

/// What all matching rules come to, in the order of the layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// What the matching rules of each layer come to; never empty.
    pub(super) layers: Vec<LayerGrant>,
    /// `AgentRun/spec.egress/rule` of each matching rule of the run's ask.
    pub(super) asked: Vec<String>,
    /// Whether rules with services grant it: it leads to Services, whatever names resolve to.
    pub(super) is_of_services: bool,
}

/// What the matching rules of one layer come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayerGrant {
    /// The layer; absent where no policy grants the route.
    pub(super) layer: Option<Layer>,
    /// The strictest mode of the rules.
    pub(super) mode: TlsMode,
    /// The networks of the rules.
    pub(super) networks: Vec<IpNet>,
    /// The rules.
    pub(super) rules: Vec<RuleGrant>,
    /// Whether it came after the run was admitted: it only takes away then, and grants no credential.
    pub(super) is_later: bool,
}

/// What one matching rule comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleGrant {
    /// `Kind/name/rule`.
    pub(super) name: String,
    /// The requests that it allows.
    pub(super) requests: Requests,
    /// The credential that it adds to them.
    pub(super) credential: Option<String>,
    /// The repositories that they may read, and then nothing else.
    pub(super) reads: Option<RepositoryPattern>,
    /// Whether the credential goes out in clear text too.
    pub(super) clear_text: bool,
}

/// Of two modes the stricter one, which holds wherever two rules match.
pub(super) const fn stricter(one: TlsMode, two: TlsMode) -> TlsMode {
    // Without a catch-all: a new mode says here what it gives way to.
    match (one, two) {
        (TlsMode::Tunnel, TlsMode::Tunnel) => TlsMode::Tunnel,
        (TlsMode::Inspect, _) | (_, TlsMode::Inspect) => TlsMode::Inspect,
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
    pub(super) fn within(mut self, tunnels: Tunnels) -> Self {
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

    /// Whether it leads to Services.
    pub(crate) const fn is_of_services(&self) -> bool {
        self.is_of_services
    }

    pub(super) fn permits_special(&self, address: IpAddr) -> bool {
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

    /// Whether every rule that names the credential lets it go in clear text, and one of a cluster policy does.
    pub(crate) fn goes_in_clear_text(&self, credential: &str) -> bool {
        let naming = |layer: &LayerGrant| {
            let rules = layer.rules.iter();
            let named = rules.filter(|rule| rule.credential.as_deref() == Some(credential));
            named.map(|rule| rule.clear_text).collect::<Vec<_>>()
        };
        let by_the_cluster = self.layers.iter().filter(|layer| {
            let of = layer.layer.as_ref();
            of.is_some_and(|of| of.kind == LayerKind::ClusterSandboxPolicy)
        });
        by_the_cluster.flat_map(naming).next().is_some()
            && self.layers.iter().flat_map(naming).all(|says| says)
    }

    /// The credentials that rules name, in order, each with the requests that get it.
    pub(crate) fn credentials(&self) -> Vec<(String, Vec<Requests>)> {
        // Of what is explained no layer is a later one.
        let rules = || self.layers.iter().flat_map(|layer| &layer.rules);
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
