//! Which rules of policies name a credential, and to which hosts they would send it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::dimension::egress::{EgressAsk, EgressRule};
use crate::layer::parsed::ParsedPolicy;
use crate::layer::read::RepositoryGrant;
use crate::pattern::host::{Host, HostPattern};
use crate::pattern::sorted;
use crate::refusal::{Layer, Refusal};
use crate::source::Source;
use cofferdam_api::{ClusterSandboxPolicy, PolicyLimits, Reason, SandboxPolicy};

/// A rule that names a credential.
pub(super) struct Use<'a> {
    pub(super) layer: &'a Layer,
    /// Where it stands.
    place: String,
    /// To which hosts it sends the credential.
    pub(super) hosts: Vec<HostPattern>,
}

/// Which rules count.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// What the run asks to reach; absent: all that is granted.
    pub ask: Option<&'a EgressAsk>,
    /// Whether something that this rule grants may be cloned.
    pub clones: &'a dyn Fn(&RepositoryGrant) -> bool,
}

impl Use<'_> {
    pub(super) fn source(&self) -> Source {
        Source::Layer {
            layer: self.layer.clone(),
            rule: self.place.clone(),
        }
    }

    pub(super) fn refused(&self, name: &str, reason: Reason, why: String, help: String) -> Refusal {
        Refusal {
            reason,
            layer: Some(self.layer.clone()),
            field: "credential".to_owned(),
            rule: Some(self.place.clone()),
            offered: name.to_owned(),
            allowed: Vec::new(),
            why,
            help,
        }
    }
}

/// The credentials that rules which count name, with those rules, in canonical order.
pub(super) fn named<'a>(
    layers: &'a [Arc<ParsedPolicy>],
    scope: Scope<'_>,
) -> BTreeMap<&'a str, Vec<Use<'a>>> {
    let mut named: BTreeMap<&str, Vec<Use<'_>>> = BTreeMap::new();
    for policy in layers {
        let mut name = |credential: &'a str, place: String, hosts: Vec<HostPattern>| {
            let layer = &policy.layer;
            let using = Use { layer, place, hosts };
            named.entry(credential).or_default().push(using);
        };
        for rule in policy.egress.iter().flat_map(|egress| egress.allowed()) {
            if let Some(credential) = rule
                .credential
                .as_deref()
                .filter(|_| is_asked_for(rule, scope.ask))
            {
                let place = format!("limits.egress.rules[{}].credential", rule.name);
                name(credential, place, rule.hosts.clone());
            }
        }
        for rule in policy.repositories.iter().flatten() {
            if let Some(credential) = rule.credential.as_deref().filter(|_| (scope.clones)(rule)) {
                let place = format!("limits.repositories.clone[{}].credential", rule.name);
                name(
                    credential,
                    place,
                    vec![HostPattern::Exact(rule.url.host().clone())],
                );
            }
        }
    }
    named
}

/// The credentials that rules of these policies name, whether they can be read or not: no verdict hangs on any other.
pub fn named_by<'a>(
    policy: Option<&'a SandboxPolicy>,
    cluster_policies: &'a [ClusterSandboxPolicy],
) -> BTreeSet<&'a str> {
    let own = policy.map(|policy| &policy.spec.limits);
    let all = cluster_policies
        .iter()
        .map(|policy| &policy.spec.limits)
        .chain(own);
    all.flat_map(PolicyLimits::credentials).collect()
}

/// Every credential that a rule names, with the hosts of these rules, in canonical order. Hosts of a wildcard are none: no
/// credential goes there.
pub fn hosts_named(layers: &[Arc<ParsedPolicy>]) -> BTreeMap<&str, Vec<Host>> {
    let all = Scope {
        ask: None,
        clones: &|_| true,
    };
    let by_name = named(layers, all).into_iter().map(|(name, uses)| {
        let hosts = uses.into_iter().flat_map(|using| using.hosts);
        let exact = hosts.filter_map(|host| match host {
            HostPattern::Exact(host) => Some(host),
            HostPattern::Wildcard(_) => None,
        });
        (name, sorted(exact.collect()))
    });
    by_name.collect()
}

fn is_asked_for(rule: &EgressRule, ask: Option<&EgressAsk>) -> bool {
    ask.is_none_or(|ask| {
        ask.asked().iter().any(|asked| {
            let hosts = |host: &HostPattern| asked.hosts.iter().any(|known| known.overlaps(host));
            asked.ports.iter().any(|port| rule.ports.contains(port)) && rule.hosts.iter().any(hosts)
        })
    })
}
