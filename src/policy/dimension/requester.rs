//! Whether a run must say who asked for it.

use std::sync::Arc;

use crate::layer::parsed::{ParsedPolicy, strictest};
use crate::refusal::Refusal;
use crate::source::{Source, Sourced};
use cofferdam_api::{AgentRunSpec, Reason, RequesterMode};

/// Whether the run must say who asks, and whether it does. What it says was checked by the API server.
///
/// # Errors
/// `PolicyDenied` if a layer requires what the run lacks.
pub(crate) fn decide(
    spec: &AgentRunSpec,
    layers: &[Arc<ParsedPolicy>],
) -> Result<Sourced<RequesterMode>, Refusal> {
    let mode = strictest(
        layers,
        "limits.requester",
        |layer| layer.requester,
        |mode| mode == RequesterMode::Required,
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
