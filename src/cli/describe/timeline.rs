//! What happened, in its order: times of the status, and events. Pure.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::Facts;
use super::sections::after;
use crate::print::paint::Paint;
use crate::print::time::{seconds_between, span};
use cofferdam_api::AgentRun;
use cofferdam_text::bounded;

/// Longest text of a line.
const LINE: usize = 300;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moment {
    time: Timestamp,
    /// Of moments of one second.
    rank: u8,
    what: String,
    bad: bool,
}

/// The timeline.
pub fn render(facts: &Facts<'_>, now: Timestamp, paint: Paint) -> String {
    let Some(created) = facts.run.metadata.creation_timestamp.as_ref().map(|time| time.0) else {
        return String::new();
    };
    let mut moments = of_status(facts.run);
    moments.extend(facts.events.iter().flatten().filter_map(of_event));
    moments.sort();
    let mut text = format!("{}\n", paint.bold("Timeline"));
    for moment in &moments {
        let what = bounded(&moment.what, LINE);
        let what = if moment.bad { paint.bad(&what) } else { what };
        let after = format!("{:<9}", after(created, moment.time));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {}  {what}", paint.dim(&after));
    }
    if let Some(left) = time_left(facts.run, now) {
        let now = format!("{:<9}", after(created, now));
        let _ = writeln!(text, "  {}  {left}", paint.dim(&now));
    }
    if facts.events.is_none() {
        text.push_str("  events are not shown: you may not list them\n");
    }
    text
}

fn of_status(run: &AgentRun) -> Vec<Moment> {
    let status = run.status.clone().unwrap_or_default();
    let moment = |time: Option<&Time>, rank: u8, what: String, bad: bool| {
        Some(Moment {
            time: time?.0,
            rank,
            what,
            bad,
        })
    };
    let end = match (&status.reason, status.exit_code) {
        (Some(reason), Some(code)) => format!("ended: {reason}, the agent's exit code was {code}"),
        (Some(reason), None) => format!("ended: {reason}"),
        (None, _) => "ended".to_owned(),
    };
    let failed = status.failure_class.is_some();
    let proven = status.isolation.as_ref().map(|isolation| &isolation.proven_time);
    [
        moment(
            run.metadata.creation_timestamp.as_ref(),
            0,
            "created".to_owned(),
            false,
        ),
        moment(
            status.start_time.as_ref(),
            1,
            "admitted, its Job was made".to_owned(),
            false,
        ),
        moment(proven, 2, "the fence was proven closed".to_owned(), false),
        moment(
            status.agent_start_time.as_ref(),
            3,
            "the agent started".to_owned(),
            false,
        ),
        moment(status.completion_time.as_ref(), 9, end, failed),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// An event; those that say what the status says are left out.
fn of_event(event: &Event) -> Option<Moment> {
    let time = event
        .last_timestamp
        .as_ref()
        .or(event.first_timestamp.as_ref())
        .map(|time| time.0)
        .or_else(|| event.event_time.as_ref().map(|time| time.0))?;
    let reason = event.reason.clone().unwrap_or_default();
    let times = match event
        .count
        .or(event.series.as_ref().and_then(|series| series.count))
    {
        Some(count) if count > 1 => format!(" ({count} times)"),
        _ => String::new(),
    };
    Some(Moment {
        time,
        rank: 5,
        what: format!("{reason}{times}: {}", event.message.clone().unwrap_or_default()),
        bad: event.type_.as_deref() == Some("Warning"),
    })
}

/// How long the agent may still work. The default of a policy is not known here.
pub fn time_left(run: &AgentRun, now: Timestamp) -> Option<String> {
    if run.is_finished() {
        return None;
    }
    let start = run.status.as_ref()?.agent_start_time.as_ref()?.0;
    let worked = seconds_between(start, now);
    Some(
        match run
            .spec
            .active_deadline_seconds
            .and_then(|limit| u64::try_from(limit).ok())
        {
            Some(limit) => format!(
                "the agent works for {}, {} left",
                span(worked),
                span(limit.saturating_sub(worked))
            ),
            None => format!("the agent works for {}", span(worked)),
        },
    )
}
