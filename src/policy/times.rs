//! Seconds that a run may take: defaults first, then ceilings.

use super::layers::Opinions;
use super::refusal::{Layer, Refusal};
use crate::api::{AgentRunSpec, Reason, SandboxPolicyDefaults};

/// `startTimeoutSeconds` where neither run nor policy says anything: 10 minutes.
pub const DEFAULT_START_TIMEOUT_SECONDS: i32 = 600;
/// `timeoutSeconds` where neither run nor policy says anything: 1 hour.
pub const DEFAULT_TIMEOUT_SECONDS: i32 = 3600;
/// `ttlSecondsAfterFinished` where neither run nor policy says anything: 7 days.
pub const DEFAULT_TTL_SECONDS: i32 = 7 * 24 * 3600;
/// Ceiling of both time-outs where no policy names a lower one: 24 hours.
pub const MAX_TIMEOUT_SECONDS: i32 = 24 * 3600;
/// Ceiling of `ttlSecondsAfterFinished`: 365 days.
pub const MAX_TTL_SECONDS: i32 = 365 * 24 * 3600;

/// What a run gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// From admission to the agent's start.
    pub start_timeout_seconds: i32,
    /// From the agent's start to its end.
    pub timeout_seconds: i32,
    /// From the run's end to its deletion.
    pub ttl_seconds_after_finished: i32,
}

/// One field with everything that bears on it.
struct Field {
    name: &'static str,
    ceiling_name: &'static str,
    ask: Option<i32>,
    default: i32,
    least: i32,
    built_in_ceiling: i32,
}

/// Resolves the three times of a run.
///
/// # Errors
/// A refusal if the run asks for more than a ceiling.
pub fn decide(
    spec: &AgentRunSpec,
    defaults: Option<&SandboxPolicyDefaults>,
    layers: &[Opinions],
) -> Result<Times, Refusal> {
    let start = Field {
        name: "spec.startTimeoutSeconds",
        ceiling_name: "limits.maxStartTimeoutSeconds",
        ask: spec.start_timeout_seconds,
        default: defaults
            .and_then(|d| d.start_timeout_seconds)
            .unwrap_or(DEFAULT_START_TIMEOUT_SECONDS),
        least: 1,
        built_in_ceiling: MAX_TIMEOUT_SECONDS,
    };
    let timeout = Field {
        name: "spec.timeoutSeconds",
        ceiling_name: "limits.maxTimeoutSeconds",
        ask: spec.timeout_seconds,
        default: defaults
            .and_then(|d| d.timeout_seconds)
            .unwrap_or(DEFAULT_TIMEOUT_SECONDS),
        least: 1,
        built_in_ceiling: MAX_TIMEOUT_SECONDS,
    };
    let ttl = Field {
        name: "spec.ttlSecondsAfterFinished",
        ceiling_name: "built-in ceiling",
        ask: spec.ttl_seconds_after_finished,
        default: defaults
            .and_then(|d| d.ttl_seconds_after_finished)
            .unwrap_or(DEFAULT_TTL_SECONDS),
        least: 0,
        built_in_ceiling: MAX_TTL_SECONDS,
    };
    Ok(Times {
        start_timeout_seconds: start.decide(layers, |layer| layer.max_start_timeout_seconds)?,
        timeout_seconds: timeout.decide(layers, |layer| layer.max_timeout_seconds)?,
        ttl_seconds_after_finished: ttl.decide(layers, |_| None)?,
    })
}

impl Field {
    /// An ask within the strictest ceiling, or the default cut down to it.
    fn decide(
        &self,
        layers: &[Opinions],
        ceiling: impl Fn(&Opinions) -> Option<i32>,
    ) -> Result<i32, Refusal> {
        let strictest = layers
            .iter()
            .filter_map(|layer| ceiling(layer).map(|seconds| (seconds, Some(&layer.layer))))
            .chain([(self.built_in_ceiling, None)])
            .min_by_key(|(seconds, _)| *seconds);
        let (most, layer) = strictest.unwrap_or((self.built_in_ceiling, None));
        let Some(ask) = self.ask else {
            // A ceiling below the least value would be a policy that allows nothing; it is refused as an ask would be.
            let seconds = self.default.clamp(self.least, most.max(self.least));
            return if most < self.least {
                Err(self.refuse(seconds, most, layer))
            } else {
                Ok(seconds)
            };
        };
        if (self.least..=most).contains(&ask) {
            Ok(ask)
        } else {
            Err(self.refuse(ask, most, layer))
        }
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
