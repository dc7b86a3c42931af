//! Seconds that a run may take: defaults first, then ceilings.

use std::sync::Arc;

use crate::layer::parsed::ParsedPolicy;
use crate::refusal::{Layer, Refusal};
use crate::source::{Source, Sourced};
use cofferdam_api::{AgentRunSpec, Reason, SandboxPolicyDefaults};

/// `startDeadlineSeconds` where neither run nor policy says anything: 10 minutes.
pub const DEFAULT_START_DEADLINE_SECONDS: i32 = 600;
/// `activeDeadlineSeconds` where neither run nor policy says anything: 1 hour.
pub const DEFAULT_ACTIVE_DEADLINE_SECONDS: i32 = 3600;
/// `ttlSecondsAfterFinished` where neither run nor policy says anything: 7 days.
pub const DEFAULT_TTL_SECONDS: i32 = 7 * 24 * 3600;
/// Ceiling of both time-outs where no policy names a lower one: 24 hours.
pub const MAX_DEADLINE_SECONDS: i32 = 24 * 3600;
/// Ceiling of `ttlSecondsAfterFinished`: 365 days.
pub const MAX_TTL_SECONDS_AFTER_FINISHED: i32 = 365 * 24 * 3600;

/// What a run gets, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    /// From admission to the agent's start.
    pub start_deadline_seconds: Result<Sourced<i32>, Refusal>,
    /// From the agent's start to its end.
    pub active_deadline_seconds: Result<Sourced<i32>, Refusal>,
    /// From the run's end to its deletion.
    pub ttl_seconds_after_finished: Result<Sourced<i32>, Refusal>,
}

/// One field with everything that bears on it.
struct Field {
    name: &'static str,
    ceiling_name: &'static str,
    ask: Option<i32>,
    /// What the namespace's policy gives where the run is silent.
    default: Option<i32>,
    built_in_default: i32,
    least: i32,
    built_in_ceiling: i32,
}

/// Resolves the three times of a run; each is refused where the run asks for more than its ceiling.
pub fn decide(
    spec: &AgentRunSpec,
    defaults: Option<&SandboxPolicyDefaults>,
    layers: &[Arc<ParsedPolicy>],
) -> Times {
    let start = Field {
        name: "spec.startDeadlineSeconds",
        ceiling_name: "limits.maxStartDeadlineSeconds",
        ask: spec.start_deadline_seconds,
        default: defaults.and_then(|d| d.start_deadline_seconds),
        built_in_default: DEFAULT_START_DEADLINE_SECONDS,
        least: 1,
        built_in_ceiling: MAX_DEADLINE_SECONDS,
    };
    let timeout = Field {
        name: "spec.activeDeadlineSeconds",
        ceiling_name: "limits.maxActiveDeadlineSeconds",
        ask: spec.active_deadline_seconds,
        default: defaults.and_then(|d| d.active_deadline_seconds),
        built_in_default: DEFAULT_ACTIVE_DEADLINE_SECONDS,
        least: 1,
        built_in_ceiling: MAX_DEADLINE_SECONDS,
    };
    let ttl = Field {
        name: "spec.ttlSecondsAfterFinished",
        ceiling_name: "limits.maxTTLSecondsAfterFinished",
        ask: spec.ttl_seconds_after_finished,
        default: defaults.and_then(|d| d.ttl_seconds_after_finished),
        built_in_default: DEFAULT_TTL_SECONDS,
        least: 0,
        built_in_ceiling: MAX_TTL_SECONDS_AFTER_FINISHED,
    };
    Times {
        start_deadline_seconds: start.decide(layers, |layer| layer.max_start_deadline_seconds),
        active_deadline_seconds: timeout.decide(layers, |layer| layer.max_active_deadline_seconds),
        ttl_seconds_after_finished: ttl.decide(layers, |layer| layer.max_ttl_seconds_after_finished),
    }
}

impl Field {
    /// An ask within the strictest ceiling, or the default cut down to it.
    fn decide(
        &self,
        layers: &[Arc<ParsedPolicy>],
        ceiling: impl Fn(&ParsedPolicy) -> Option<i32>,
    ) -> Result<Sourced<i32>, Refusal> {
        let strictest = layers
            .iter()
            .filter_map(|layer| ceiling(layer).map(|seconds| (seconds, Some(&layer.layer))))
            .chain([(self.built_in_ceiling, None)])
            .min_by_key(|(seconds, _)| *seconds);
        let (most, layer) = strictest.unwrap_or((self.built_in_ceiling, None));
        // A ceiling below the least value would be a policy that allows nothing; it is refused as an ask would be.
        let wanted = self.ask.or(self.default).unwrap_or(self.built_in_default);
        let within = (self.least..=most).contains(&wanted);
        if most < self.least || (self.ask.is_some() && !within) {
            return Err(self.refuse(wanted, most, layer));
        }
        let source = match (self.ask, within, layer) {
            (Some(_), ..) => Source::Run,
            (None, false, Some(layer)) if wanted > most => Source::Layer {
                layer: layer.clone(),
                rule: self.ceiling_name.to_owned(),
            },
            (None, ..) => match (self.default, layers.last()) {
                (Some(_), Some(own)) => Source::Default {
                    layer: own.layer.clone(),
                },
                _ => Source::BuiltIn,
            },
        };
        Ok(Sourced {
            value: wanted.clamp(self.least, most),
            source,
        })
    }

    fn refuse(&self, ask: i32, most: i32, layer: Option<&Layer>) -> Refusal {
        Refusal {
            reason: Reason::PolicyDenied,
            layer: layer.cloned(),
            field: self.name.to_owned(),
            rule: Some(
                if layer.is_some() {
                    self.ceiling_name
                } else {
                    "built-in ceiling"
                }
                .to_owned(),
            ),
            offered: ask.to_string(),
            allowed: vec![format!("{} to {most}", self.least)],
            why: if ask > most {
                "it is above the ceiling"
            } else {
                "it is below the least value"
            }
            .to_owned(),
            help: "ask for a value within these bounds, or leave the field out to get the default".to_owned(),
        }
    }
}
