//! How the pod of a run is scheduled: profiles of the `SandboxPolicy`, of which the run names one.

use std::sync::Arc;

use crate::layer::parsed::ParsedPolicy;
use crate::refusal::Refusal;
use crate::source::{Source, Sourced};
use cofferdam_api::{AgentRunSpec, Disruption, Reason, SandboxPolicy, SchedulingProfile};

/// Profile of runs that name none.
const DEFAULT_PROFILE: &str = "default";

/// The profile that the run names, else the one called `default`, else none.
///
/// # Errors
/// `PolicyDenied` if the policy has no profile of that name.
pub(crate) fn decide(
    spec: &AgentRunSpec,
    policy: &SandboxPolicy,
    layers: &[Arc<ParsedPolicy>],
) -> Result<Sourced<Option<SchedulingProfile>>, Refusal> {
    const RULE: &str = "schedulingProfiles";
    let profiles = &policy.spec.scheduling_profiles;
    let name = spec.scheduling_profile_name.as_deref();
    let found = profiles
        .iter()
        .find(|profile| profile.name == name.unwrap_or(DEFAULT_PROFILE));
    let layer = layers.last().map(|own| &own.layer);
    match (found, name) {
        (Some(profile), _) => Ok(Sourced {
            value: Some(profile.clone()),
            source: layer.map_or(Source::BuiltIn, |layer| Source::Layer {
                layer: layer.clone(),
                rule: format!("{RULE}[{}]", profile.name),
            }),
        }),
        (None, None) => Ok(Sourced::built_in(None)),
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
