//! The line that says how a run stands. Pure.

use k8s_openapi::jiff::Timestamp;

use crate::print::time::{seconds_between, span};
use cofferdam_api::AgentRun;
use cofferdam_api::queue::Place;
use cofferdam_text::bounded;

/// Longest message of a line.
const MESSAGE: usize = 60;

/// What is known beside the run itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Where it waits.
    pub place: Option<Place>,
    /// Requests so far, allowed and denied.
    pub requests: Option<(u64, u64)>,
}

/// The line.
pub fn line(run: &AgentRun, beside: Beside, now: Timestamp) -> String {
    let status = run.status.clone().unwrap_or_default();
    let phase = status.phase.clone().unwrap_or_else(|| "Pending".to_owned());
    let mut words = vec![phase.clone()];
    if let Some(reason) = status.reason.as_ref().filter(|reason| **reason != phase) {
        words.push(format!("({reason})"));
    }
    if let Some(place) = beside.place {
        words.push(format!("place {} of {}", place.position, place.length));
    }
    let since = status
        .agent_start_time
        .as_ref()
        .or(run.metadata.creation_timestamp.as_ref());
    if let Some(since) = since {
        let passed = seconds_between(since.0, now);
        words.push(span(passed));
        let limit = run
            .spec
            .active_deadline_seconds
            .and_then(|limit| u64::try_from(limit).ok());
        if let (Some(limit), true) = (limit, status.agent_start_time.is_some()) {
            words.push(format!("{} left", span(limit.saturating_sub(passed))));
        }
    }
    if let Some((allowed, denied)) = beside.requests {
        words.push(format!("{allowed} requests, {denied} denied"));
    }
    if status.agent_start_time.is_none()
        && let Some(message) = status.message.as_ref().filter(|message| !message.is_empty())
    {
        words.push(bounded(message, MESSAGE));
    }
    let name = run.metadata.name.as_deref().unwrap_or_default();
    bounded(&format!("{name}  {}", words.join("  ")), 240)
}
