//! What a run asks for beside images and repositories: less egress, a way of scheduling, and who it says that it is.

use std::sync::Arc;

use super::egress::{EgressAsk, EgressAskRule};
use super::host::HostPattern;
use super::meet::strictest;
use super::opinions::{Opinions, read_port, sorted};
use super::refusal::Refusal;
use super::source::{Met, Source};
use cofferdam_api::{
    AgentRunSpec, Disruption, Mode, Reason, RequesterMode, SandboxPolicy, SchedulingProfile,
};

/// Profile of runs that name none.
pub const DEFAULT_PROFILE: &str = "default";

/// Reads what the run asks to reach.
///
/// # Errors
/// A host or port that cannot be read: an ask that means nothing is not quietly dropped.
pub fn egress(spec: &AgentRunSpec) -> Result<Option<EgressAsk>, Refusal> {
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

/// The profile that the run names, else the one called `default`, else none.
///
/// # Errors
/// `PolicyDenied` if the policy has no profile of that name.
pub fn scheduling(
    spec: &AgentRunSpec,
    policy: &SandboxPolicy,
    layers: &[Arc<Opinions>],
) -> Result<Met<Option<SchedulingProfile>>, Refusal> {
    const RULE: &str = "schedulingProfiles";
    let profiles = &policy.spec.scheduling_profiles;
    let name = spec.scheduling_profile_name.as_deref();
    let found = profiles
        .iter()
        .find(|profile| profile.name == name.unwrap_or(DEFAULT_PROFILE));
    let layer = layers.last().map(|own| &own.layer);
    match (found, name) {
        (Some(profile), _) => Ok(Met {
            value: Some(profile.clone()),
            source: layer.map_or(Source::BuiltIn, |layer| Source::Layer {
                layer: layer.clone(),
                rule: format!("{RULE}[{}]", profile.name),
            }),
        }),
        (None, None) => Ok(Met::built_in(None)),
        (None, Some(name)) => Err(Refusal {
            reason: Reason::PolicyDenied,
            layer: layer.cloned(),
            field: "spec.schedulingProfileName".to_owned(),
            rule: Some(RULE.to_owned()),
            offered: name.to_owned(),
            allowed: profiles.iter().map(|profile| profile.name.clone()).collect(),
            why: if profiles.is_empty() {
                "the policy has no scheduling profiles".to_owned()
            } else {
                "the policy has no profile of this name".to_owned()
            },
            help: "name one that it has, or leave the field out".to_owned(),
        }),
    }
}

/// Whether autoscalers are asked to leave the pod alone: an agent cannot be resumed, so where no profile speaks they are.
pub fn disruption(profile: Option<&SchedulingProfile>) -> Disruption {
    profile.map_or(Disruption::Avoid, |profile| profile.disruption)
}

/// Whether the run must say who asks, and whether it does. What it says was checked by the API server.
///
/// # Errors
/// `PolicyDenied` if a layer requires what the run lacks.
pub fn requester(spec: &AgentRunSpec, layers: &[Arc<Opinions>]) -> Result<Met<RequesterMode>, Refusal> {
    let mode = strictest(
        layers,
        "limits.requester",
        |layer| layer.requester,
        |word| word == RequesterMode::Required,
        RequesterMode::Optional,
    );
    let Source::Layer { layer, rule } = &mode.source else {
        return Ok(mode);
    };
    if mode.value == RequesterMode::Optional || spec.requested_by.is_some() {
        return Ok(mode);
    }
    Err(Refusal {
        reason: Reason::PolicyDenied,
        layer: Some(layer.clone()),
        field: "spec.requestedBy".to_owned(),
        rule: Some(rule.clone()),
        offered: String::new(),
        allowed: Vec::new(),
        why: "the run does not say who asked for it".to_owned(),
        help:
            "set spec.requestedBy.username to your own user name (kubectl auth whoami); clusters that serve \
               MutatingAdmissionPolicy v1 fill it in"
                .to_owned(),
    })
}
