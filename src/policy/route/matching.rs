//! Which rules match a host and port, or why none does.

use std::borrow::Borrow;

use crate::decision::{Decision, Denied, DenyReason};
use crate::dimension::egress::{EgressAsk, EgressLayer, EgressRule, Target};
use crate::layer::meet::{Unmet, meet};
use crate::pattern::host::HostPattern;
use crate::refusal::{LayerKind, listed};
use crate::route::grant::{Grant, LayerGrant, RuleGrant, stricter};
use cofferdam_api::{Mode, TlsMode, Tunnels};

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
    let is_of_services = target.is_of_services();
    if is_of_services
        && !matching
            .iter()
            .any(|found| found.layer.kind == LayerKind::ClusterSandboxPolicy)
    {
        return Decision::Deny(not_granted_above(target, port));
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
        is_of_services,
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
                clear_text: rule.service.is_some_and(|used| used.clear_text),
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
            Mode::AllowList if ports.is_empty() && target.is_of_services() => {
                let services = self.rules.iter().filter(|rule| rule.service.is_some());
                let hosts = services.flat_map(|rule| &rule.hosts);
                let mut hosts: Vec<String> = hosts.map(HostPattern::to_string).collect();
                if hosts.is_empty() {
                    hosts.push("none".to_owned());
                }
                let why = format!(
                    "no rule has this Service in services, and hosts do not name Services; allowed: {}",
                    listed(&hosts)
                );
                (DenyReason::HostNotAllowed, why)
            }
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
fn not_granted_above(target: &impl Target, port: u16) -> Denied {
    Denied {
        reason: DenyReason::ServiceNotGranted,
        layer: None,
        message: format!(
            "{target}:{port} is denied: a ClusterSandboxPolicy alone grants Services of the cluster, and none in force \
             has limits.egress"
        ),
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
