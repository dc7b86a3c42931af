//! Everything that a run can reach: the meet of what all layers grant and what the run asks for, written out.
//!
//! [`super::egress::decide`] answers for one host; this lists the hosts for which it answers yes. Two patterns are
//! equal, or one names hosts of the other, or they have no host in common, so the meet of patterns is a pattern.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::Serialize;

use super::egress::{EgressAsk, EgressLayer, EgressRule};
use super::host::HostPattern;
use super::repositories::intersect;
use cofferdam_api::{Mode, TlsMode};

/// Hosts that can be reached, and why. A host that several of these match is meant by the most specific one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reached {
    /// The hosts.
    pub host: HostPattern,
    /// The ports, ascending.
    pub ports: Vec<u16>,
    /// `Kind/name/rule` of each layer, as the gateway's records name it, and of the run's ask where there is one.
    pub rules: Vec<String>,
    /// Networks that the hosts may resolve to though not globally routable: what every layer grants.
    pub addresses: Vec<IpNet>,
    /// How TLS is treated: unread only if every rule that matches says so.
    pub tls: TlsMode,
}

impl Reached {
    /// Whether anything but the server name is looked at on the way.
    pub const fn is_inspected(&self) -> bool {
        match self.tls {
            TlsMode::Tunnel => false,
        }
    }
}

/// Hosts by port.
type Atoms = BTreeMap<u16, BTreeSet<HostPattern>>;

/// Everything for which [`super::egress::decide`] says yes. Without layers it is nothing.
pub fn reach<L: Borrow<EgressLayer>>(layers: &[L], ask: Option<&EgressAsk>) -> Vec<Reached> {
    let granted = layers.iter().map(|layer| {
        let layer: &EgressLayer = layer.borrow();
        let rules = open(layer.mode, &layer.rules).iter();
        atoms(rules.map(|rule| (&rule.hosts[..], &rule.ports[..])))
    });
    let asked = ask.map(|ask| {
        let rules = open(ask.mode, &ask.rules).iter();
        atoms(rules.map(|rule| (&rule.hosts[..], &rule.ports[..])))
    });
    let Some(all) = granted.reduce(|met, next| meet(&met, &next)) else {
        return Vec::new();
    };
    let all = asked.map_or_else(|| all.clone(), |asked| meet(&all, &asked));
    let reached = all
        .iter()
        .flat_map(|(port, hosts)| hosts.iter().map(|host| explain(layers, ask, host, *port)));
    gather(reached)
}

/// A list whose mode denies grants nothing, whatever stands in it.
fn open<T>(mode: Mode, rules: &[T]) -> &[T] {
    match mode {
        Mode::DenyAll => &[],
        Mode::AllowList => rules,
    }
}

fn atoms<'a>(rules: impl Iterator<Item = (&'a [HostPattern], &'a [u16])>) -> Atoms {
    let mut atoms = Atoms::new();
    for (hosts, ports) in rules {
        for port in ports {
            atoms.entry(*port).or_default().extend(hosts.iter().cloned());
        }
    }
    atoms
}

/// What both grant.
fn meet(a: &Atoms, b: &Atoms) -> Atoms {
    let ports = a.iter().filter_map(|(port, hosts)| {
        let others = b.get(port)?;
        let one_way = hosts.iter().filter(|host| named(others, host));
        let other_way = others.iter().filter(|host| named(hosts, host));
        let met: BTreeSet<HostPattern> = one_way.chain(other_way).cloned().collect();
        (!met.is_empty()).then_some((*port, met))
    });
    ports.collect()
}

/// Whether `patterns` name every host of `pattern`.
fn named(patterns: &BTreeSet<HostPattern>, pattern: &HostPattern) -> bool {
    patterns.contains(pattern)
        || matches!(pattern, HostPattern::Exact(host) if host.parent().is_some_and(|parent| patterns.contains(&HostPattern::Wildcard(parent))))
}

/// Whether every host of `narrow` is one of `wide`.
fn covers(wide: &HostPattern, narrow: &HostPattern) -> bool {
    match narrow {
        HostPattern::Exact(host) => wide.matches(host),
        HostPattern::Wildcard(_) => wide == narrow,
    }
}

fn explain<L: Borrow<EgressLayer>>(
    layers: &[L],
    ask: Option<&EgressAsk>,
    host: &HostPattern,
    port: u16,
) -> Reached {
    let is_meant = |hosts: &[HostPattern], ports: &[u16]| {
        ports.contains(&port) && hosts.iter().any(|wide| covers(wide, host))
    };
    let mut rules = Vec::new();
    let mut addresses: Option<Vec<IpNet>> = None;
    let mut tls = TlsMode::Tunnel;
    for layer in layers {
        let layer: &EgressLayer = layer.borrow();
        let matching: Vec<&EgressRule> = layer
            .rules
            .iter()
            .filter(|rule| is_meant(&rule.hosts, &rule.ports))
            .collect();
        rules.extend(matching.first().map(|rule| format!("{layer}/{}", rule.name)));
        let granted: Vec<IpNet> = matching
            .iter()
            .flat_map(|rule| rule.addresses.iter().copied())
            .collect();
        addresses = Some(addresses.map_or_else(|| granted.clone(), |met| intersect(&met, &granted)));
        tls = matching.iter().fold(tls, |met, rule| stricter(met, rule.tls));
    }
    let asked = ask
        .into_iter()
        .flat_map(|ask| &ask.rules)
        .find(|rule| is_meant(&rule.hosts, &rule.ports));
    rules.extend(asked.map(|rule| format!("AgentRun/spec.egress/{}", rule.name)));
    let mut addresses = addresses.unwrap_or_default();
    addresses.sort();
    addresses.dedup();
    Reached {
        host: host.clone(),
        ports: vec![port],
        rules,
        addresses,
        tls,
    }
}

const fn stricter(a: TlsMode, b: TlsMode) -> TlsMode {
    match (a, b) {
        (TlsMode::Tunnel, TlsMode::Tunnel) => TlsMode::Tunnel,
    }
}

/// One entry for all ports of a host that the same rules grant in the same way.
fn gather(reached: impl Iterator<Item = Reached>) -> Vec<Reached> {
    let mut gathered: Vec<Reached> = Vec::new();
    for next in reached {
        let same = |known: &&mut Reached| {
            known.host == next.host
                && known.rules == next.rules
                && known.addresses == next.addresses
                && known.tls == next.tls
        };
        match gathered.iter_mut().find(same) {
            Some(known) => known.ports.extend(next.ports),
            None => gathered.push(next),
        }
    }
    gathered.sort_by(|a, b| (&a.host, &a.ports).cmp(&(&b.host, &b.ports)));
    gathered
}
