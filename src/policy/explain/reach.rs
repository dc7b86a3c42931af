//! Everything that a run can reach: the meet of what all layers grant and what the run asks for, written out.
//!
//! [`crate::route::route`] decides about one host; this lists the hosts that it allows, by the same fold. Two patterns
//! are equal, or one names hosts of the other, or they have no host in common, so the meet of patterns is a pattern.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::Serialize;

use crate::dimension::egress::{EgressAsk, EgressLayer};
use crate::dimension::requests::Requests;
use crate::pattern::host::HostPattern;
use crate::pattern::service::ServiceName;
use crate::route::matching::grant;
use cofferdam_api::{TlsMode, Tunnels};

/// Hosts that can be reached, and why. A host that several of these match is meant by the most specific one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reached {
    /// The hosts.
    pub host: HostPattern,
    /// The ports, ascending.
    pub ports: Vec<u16>,
    /// `Kind/name/rule` of each rule that matches, as in the gateway's records, and of the run's ask where there is one.
    pub rules: Vec<String>,
    /// Networks that the hosts may resolve to though not globally routable: what every layer grants.
    pub addresses: Vec<IpNet>,
    /// The Service of the cluster that is dialled, `namespace/name`. Absent: it is a host as every other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// How TLS is treated: the strictest mode of all rules that match.
    pub tls: TlsMode,
    /// The requests that may be made: those of any of these. Absent where nobody looks at them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Vec<Requests>>,
    /// The credentials that the gateway adds, with the requests that get them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<Sent>,
}

/// A credential that the gateway adds to requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// Its name.
    pub credential: String,
    /// The requests that get it: those of any of these.
    pub requests: Vec<Requests>,
    /// Whether all of them get it over plain HTTP, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub in_clear_text: bool,
}

impl Reached {
    /// Whether anything but the server name is looked at on the way.
    pub const fn is_inspected(&self) -> bool {
        match self.tls {
            TlsMode::Tunnel => false,
            TlsMode::Inspect => true,
        }
    }
}

/// Hosts by port.
type Atoms = BTreeMap<u16, BTreeSet<HostPattern>>;

/// Everything that [`crate::route::route`] allows. Without layers it is nothing.
pub fn reach<L: Borrow<EgressLayer>>(
    layers: &[L],
    tunnels: Tunnels,
    ask: Option<&EgressAsk>,
) -> Vec<Reached> {
    let granted = layers.iter().map(|layer| {
        let rules = layer.borrow().allowed().iter();
        atoms(rules.map(|rule| (&rule.hosts[..], &rule.ports[..])))
    });
    let asked = ask.map(|ask| {
        let rules = ask.asked().iter();
        atoms(rules.map(|rule| (&rule.hosts[..], &rule.ports[..])))
    });
    let Some(all) = granted.reduce(|met, next| meet(&met, &next)) else {
        return Vec::new();
    };
    let all = asked.map_or_else(|| all.clone(), |asked| meet(&all, &asked));
    let reached = all.iter().flat_map(|(port, hosts)| {
        hosts
            .iter()
            .filter_map(|host| entry(layers, tunnels, ask, host, *port))
    });
    gather(reached)
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

/// The entry of one pattern and port; `None` where it is denied: hosts do not name Services, and a namespace's policy alone
/// does not grant them.
fn entry<L: Borrow<EgressLayer>>(
    layers: &[L],
    tunnels: Tunnels,
    ask: Option<&EgressAsk>,
    host: &HostPattern,
    port: u16,
) -> Option<Reached> {
    let grant = grant(layers, tunnels, ask, host, port).into_result().ok()?;
    Some(Reached {
        host: host.clone(),
        ports: vec![port],
        addresses: grant.common_networks(),
        requests: match grant.mode() {
            TlsMode::Tunnel => None,
            TlsMode::Inspect => Some(grant.common_requests()),
        },
        service: match host {
            HostPattern::Exact(host) if grant.is_of_services() => ServiceName::of(host),
            HostPattern::Exact(_) | HostPattern::Wildcard(_) => None,
        },
        tls: grant.mode(),
        rules: grant.rules(),
        credentials: grant
            .credentials()
            .into_iter()
            .map(|(credential, requests)| Sent {
                in_clear_text: grant.goes_in_clear_text(&credential),
                credential,
                requests,
            })
            .collect(),
    })
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
                && known.requests == next.requests
                && known.credentials == next.credentials
        };
        match gathered.iter_mut().find(same) {
            Some(known) => known.ports.extend(next.ports),
            None => gathered.push(next),
        }
    }
    gathered.sort_by(|a, b| (&a.host, &a.ports).cmp(&(&b.host, &b.ports)));
    gathered
}
