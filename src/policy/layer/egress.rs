//! What one policy says of egress, read with its presets and services expanded.

use crate::dimension::egress::{EgressLayer, EgressRule};
use crate::layer::read::{RepositoryGrant, granted, read_all, read_networks, unreadable};
use crate::pattern::host::HostPattern;
use crate::pattern::method::Method;
use crate::pattern::path::PathPattern;
use crate::pattern::{read_port, sorted};
use crate::preset;
use crate::refusal::{Layer, Refusal};
use cofferdam_api::{EgressLimits, EgressRule as Written, Preset, TlsMode};

mod services;

/// Why a rule with methods or paths is no tunnel.
const UNREAD: &str = "a tunnel passes bytes unread, so methods and paths cannot be told in it";
/// Why a rule with a credential lists requests.
const UNLISTED: &str = "a rule with a credential must list methods and paths, or have a preset, which does";
/// Why a rule has a preset and nothing else.
const SAID: &str = "a preset has hosts, ports, methods and paths of its own, and is inspected";
/// Why a rule without any of them means nothing.
const NO_HOSTS: &str = "a rule has either hosts or a preset, or it has services";
/// Why only Services get a credential in clear text.
const NO_SERVICES: &str = "it is for rules with services";

/// What the policy says of egress; `repositories` is what it says of those, for which the preset `git` stands.
///
/// # Errors
/// A rule that cannot be read.
pub(crate) fn read_egress(
    layer: &Layer,
    limits: &EgressLimits,
    repositories: &[RepositoryGrant],
) -> Result<EgressLayer, Refusal> {
    let rules = limits
        .rules
        .iter()
        .map(|rule| read_rule(layer, rule, repositories));
    let rules = sorted(rules.collect::<Result<Vec<_>, Refusal>>()?.concat());
    Ok(EgressLayer {
        kind: layer.kind,
        name: layer.name.clone(),
        mode: limits.mode,
        rules: granted(limits.mode, rules),
    })
}

/// The presets that its rules use, by the names of those. One that is asked of a Service says nothing of who is behind it.
pub(crate) fn presets(limits: Option<&EgressLimits>) -> Vec<(String, Preset)> {
    let rules = limits
        .into_iter()
        .flat_map(|limits| granted(limits.mode, limits.rules.iter().collect()));
    rules
        .filter(|rule: &&Written| rule.services.is_empty())
        .filter_map(|rule| Some((rule.name.clone(), rule.preset?)))
        .collect()
}

fn read_rule(
    layer: &Layer,
    rule: &Written,
    repositories: &[RepositoryGrant],
) -> Result<Vec<EgressRule>, Refusal> {
    if !rule.services.is_empty() {
        return services::read(layer, rule);
    }
    let field = |name: &str| format!("limits.egress.rules[{}].{name}", rule.name);
    if rule.credential_in_clear_text.is_some() {
        return Err(unreadable(
            layer,
            &field("credentialInClearText"),
            "",
            &NO_SERVICES,
        ));
    }
    let written = EgressRule {
        name: rule.name.clone(),
        hosts: sorted(read_all(layer, &field("hosts"), &rule.hosts, HostPattern::parse)?),
        addresses: read_networks(layer, &field("addresses"), &rule.addresses)?,
        ports: sorted(read_ports(layer, &field("ports"), &rule.ports)?),
        tls: rule.tls,
        methods: sorted(read_all(layer, &field("methods"), &rule.methods, Method::parse)?),
        paths: sorted(read_all(layer, &field("paths"), &rule.paths, PathPattern::parse)?),
        credential: rule.credential.clone(),
        service: None,
    };
    lists_what_gets_a_credential(layer, rule)?;
    let Some(preset) = rule.preset else {
        return match (rule.tls, written.mode()) {
            _ if written.hosts.is_empty() => Err(unreadable(layer, &field("hosts"), "", &NO_HOSTS)),
            (TlsMode::Tunnel, TlsMode::Inspect) => Err(unreadable(layer, &field("tls"), "Tunnel", &UNREAD)),
            (TlsMode::Tunnel, TlsMode::Tunnel) | (TlsMode::Inspect, _) => Ok(vec![written]),
        };
    };
    let is_alone = written.hosts.is_empty()
        && written.methods.is_empty()
        && written.paths.is_empty()
        && written.ports == [443]
        && written.tls == TlsMode::Inspect;
    let name = preset::name(preset);
    if !is_alone {
        return Err(unreadable(layer, &field("preset"), &name, &SAID));
    }
    let mut expanded = preset::expand(preset, &rule.name, &written.addresses, repositories)
        .map_err(|error| unreadable(layer, &field("preset"), &name, &error))?;
    for each in &mut expanded {
        each.credential.clone_from(&rule.credential);
    }
    Ok(expanded)
}

/// A credential may do more than the agent is to do with it.
fn lists_what_gets_a_credential(layer: &Layer, rule: &Written) -> Result<(), Refusal> {
    match &rule.credential {
        Some(credential) if rule.preset.is_none() && (rule.methods.is_empty() || rule.paths.is_empty()) => {
            let field = format!("limits.egress.rules[{}].credential", rule.name);
            Err(unreadable(layer, &field, credential, &UNLISTED))
        }
        Some(_) | None => Ok(()),
    }
}

fn read_ports(layer: &Layer, field: &str, ports: &[i32]) -> Result<Vec<u16>, Refusal> {
    let read = |port: &i32| {
        read_port(*port)
            .ok_or_else(|| unreadable(layer, field, &port.to_string(), &"ports go from 1 to 65535"))
    };
    ports.iter().map(read).collect()
}
