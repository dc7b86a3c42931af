//! How a run ended, in words and as an exit code. Pure.

use crate::failure::Exit;
use crate::print::time::{seconds_between, span};
use cofferdam_api::{AgentRun, AgentRunStatus, Reason};
use cofferdam_text::bounded;

/// Longest text of a line.
const LINE: usize = 600;

/// The exit code; none: it goes on.
pub fn exit(run: &AgentRun) -> Option<Exit> {
    let status = run.status.as_ref().filter(|status| status.is_finished())?;
    Some(match status.failure_class.as_deref() {
        None => Exit::Done,
        Some("Agent") => Exit::AgentFailed,
        Some("Policy") => Exit::PolicyRefused,
        Some("User") => Exit::UserEnded,
        // A class of a later version is nobody's who reads this.
        Some(_) => Exit::InfrastructureFailed,
    })
}

/// What is said of a run that is over.
pub fn said(run: &AgentRun) -> String {
    let name = run.metadata.name.as_deref().unwrap_or_default();
    let status = run.status.clone().unwrap_or_default();
    let reason = status.reason.clone().unwrap_or_default();
    let mut lines = vec![format!("{name}: {reason}{}", took(&status))];
    if status.failure_class.is_some() {
        lines.push(format!(
            "  why    {}",
            status.message.as_deref().unwrap_or_default()
        ));
        if let Ok(reason) = reason.parse::<Reason>() {
            lines.push(format!("  to do  {}", reason.advice()));
        }
    }
    if let Some(usage) = &status.usage {
        lines.push(format!(
            "  {} requests allowed, {} denied",
            usage.allowed_requests, usage.denied_requests
        ));
    }
    for patch in status.outputs.iter().flat_map(|outputs| &outputs.patches) {
        let within = patch
            .submodule
            .as_ref()
            .map_or_else(String::new, |path| format!("/{path}"));
        lines.push(format!(
            "  {}{within}: {} files, +{} -{}    kubectl cofferdam diff {name}",
            patch.repository, patch.files, patch.insertions, patch.deletions
        ));
    }
    let lines: Vec<String> = lines.iter().map(|line| indented(line)).collect();
    format!("{}\n", lines.join("\n"))
}

/// The indent is ours, the rest is escaped.
fn indented(line: &str) -> String {
    let indent = if line.starts_with("  ") { "  " } else { "" };
    format!("{indent}{}", bounded(line, LINE))
}

fn took(status: &AgentRunStatus) -> String {
    match (&status.agent_start_time, &status.completion_time) {
        (Some(start), Some(end)) => format!(", the agent worked {}", span(seconds_between(start.0, end.0))),
        _ => String::new(),
    }
}
