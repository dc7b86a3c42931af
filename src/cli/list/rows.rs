//! The columns of a list of runs. Pure.

use std::collections::HashMap;

use k8s_openapi::jiff::Timestamp;

use crate::print::paint::Paint;
use crate::print::table::{Cell, Look, render};
use crate::print::time::{age, seconds_between, span};
use crate::runs::Run;
use crate::runs::which::requester;
use cofferdam_api::queue::{self, Place};
use cofferdam_api::{AgentRun, AgentRunStatus, Stage};

/// Which columns there are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape {
    /// All of them.
    pub wide: bool,
    /// The namespace too.
    pub namespaces: bool,
}

const NARROW: [&str; 7] = ["NAME", "PHASE", "REASON", "PLACE", "PATCH", "TOOK", "AGE"];
const WIDE: [&str; 6] = ["POLICY", "REQUESTER", "IMAGE", "ALLOWED", "DENIED", "MESSAGE"];

/// Whether a run waits for a slot.
pub fn is_queued(run: &Run) -> bool {
    run.read.as_ref().is_some_and(queue::is_queued)
}

/// The table of `runs`; `all` are those from which places in queues are told.
pub fn table(runs: &[Run], all: &[Run], shape: Shape, now: Timestamp, paint: Paint) -> String {
    let places = queue::places(all.iter().filter_map(|run| run.read.as_ref()));
    let rows: Vec<Vec<Cell>> = runs.iter().map(|run| row(run, &places, shape, now)).collect();
    render(&header(shape), &rows, paint)
}

/// The table of one run that was deleted, or fits no more.
pub fn gone(run: &Run, shape: Shape, paint: Paint) -> String {
    let mut cells = named(run, shape);
    cells.push(Cell::new("Gone", Look::Odd));
    let header = header(shape);
    cells.resize(header.len(), Cell::default());
    render(&header, &[cells], paint)
}

fn named(run: &Run, shape: Shape) -> Vec<Cell> {
    let mut cells = Vec::new();
    if shape.namespaces {
        cells.push(Cell::from(run.metadata("namespace")));
    }
    cells.push(Cell::from(run.metadata("name")));
    cells
}

fn header(shape: Shape) -> Vec<&'static str> {
    let mut header = Vec::new();
    if shape.namespaces {
        header.push("NAMESPACE");
    }
    header.extend(NARROW);
    if shape.wide {
        header.extend(WIDE);
    }
    header
}

fn row(run: &Run, places: &HashMap<&str, Place>, shape: Shape, now: Timestamp) -> Vec<Cell> {
    let mut cells = named(run, shape);
    let Some(read) = &run.read else {
        // What another version wrote is there all the same.
        cells.push(Cell::new("Unreadable", Look::Odd));
        cells.resize(header(shape).len(), Cell::default());
        return cells;
    };
    let status = read.status.clone().unwrap_or_default();
    cells.push(phase(read, &status));
    cells.push(Cell::from(status.reason.clone().unwrap_or_default()));
    let place = places.get(run.metadata("uid"));
    cells.push(Cell::from(place.map_or_else(String::new, |place| {
        format!("{}/{}", place.position, place.length)
    })));
    cells.push(Cell::from(patch(&status)));
    cells.push(Cell::from(took(&status, now)));
    cells.push(Cell::from(age(read.metadata.creation_timestamp.as_ref(), now)));
    if shape.wide {
        let policy = read.spec.policy_ref.as_ref();
        cells.push(Cell::from(
            policy.map_or("default", |policy| policy.name.as_str()),
        ));
        cells.push(Cell::from(requester(read).unwrap_or_default()));
        let resolved = status.resolved.as_ref().map(|resolved| resolved.image.clone());
        let image = read.spec.agent.image.clone().or(resolved);
        cells.push(Cell::from(match (&read.spec.agent_profile, image) {
            (Some(profile), Some(image)) => format!("{profile}: {image}"),
            (Some(profile), None) => profile.clone(),
            (None, image) => image.unwrap_or_default(),
        }));
        let usage = status.usage.as_ref();
        let count = |of: Option<i64>| Cell::from(of.map_or_else(String::new, |count| count.to_string()));
        cells.push(count(usage.map(|usage| usage.allowed_requests)));
        cells.push(count(usage.map(|usage| usage.denied_requests)));
        cells.push(Cell::from(status.message.unwrap_or_default()));
    }
    cells
}

fn phase(run: &AgentRun, status: &AgentRunStatus) -> Cell {
    let phase = status.phase.clone().unwrap_or_else(|| "Pending".to_owned());
    let look = match (run.stage(), phase.as_str()) {
        (Stage::Finished, "Succeeded") => Look::Good,
        (Stage::Finished, _) => Look::Bad,
        (Stage::Stopping | Stage::Retrying | Stage::RetryingUnstarted, _) => Look::Odd,
        _ => Look::Plain,
    };
    Cell::new(phase, look)
}

/// What came out, in a word: `+12 -3` over all repositories.
fn patch(status: &AgentRunStatus) -> String {
    let patches = status
        .outputs
        .as_ref()
        .map_or(&[][..], |outputs| &outputs.patches);
    if patches.is_empty() {
        return String::new();
    }
    let sum = |of: fn(&cofferdam_api::PatchOutput) -> i32| {
        patches.iter().map(|patch| i64::from(of(patch))).sum::<i64>()
    };
    format!(
        "+{} -{}",
        sum(|patch| patch.insertions),
        sum(|patch| patch.deletions)
    )
}

/// How long the agent worked, or works.
fn took(status: &AgentRunStatus, now: Timestamp) -> String {
    let Some(start) = &status.agent_start_time else {
        return String::new();
    };
    let end = status.completion_time.as_ref().map_or(now, |end| end.0);
    span(seconds_between(start.0, end))
}
