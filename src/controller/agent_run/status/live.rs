//! What a status says of a run that has a workload: on its way to its agent's start, running, or being stopped.

use jiff::Timestamp;

use super::{Built, admitted, goes_on, notes, open, tells, time};
use crate::agent_run::observe::Running;
use crate::conditions::seconds_since;
use crate::verdict::Verdict;
use cofferdam_api::{AgentRun, AgentRunStatus, LiveReason, Stage};

/// Seconds after which a run that has not started says what it waits for; most have started by then, and spare the
/// write.
const LATE_SECONDS: i64 = 20;

/// Whether what a run waits for before its agent starts is worth a write: it is late, and waits for another kind of
/// thing than was told. What stands behind the colon, such as a scheduler's counts of nodes, may change with each look.
pub fn is_news_of_start(run: &AgentRun, built: Built<'_>, detail: &str, now: Timestamp) -> bool {
    let kind = |text: &str| text.split(':').next().map(str::to_owned);
    let made = built.job.metadata.creation_timestamp.as_ref();
    let late = made.is_some_and(|made| seconds_since(made.0, now) >= LATE_SECONDS);
    let told = run
        .status
        .as_ref()
        .filter(|_| tells(run, LiveReason::Starting))
        .and_then(|status| status.message.as_deref());
    late && told.and_then(kind) != kind(detail)
}

/// A run whose agent has not started yet, and what it waits for.
pub fn starting(run: &AgentRun, built: Built<'_>, detail: &str, now: Timestamp) -> AgentRunStatus {
    let said = (LiveReason::Starting.as_str(), detail);
    with_workload(run, built, Stage::Starting, said, now)
}

/// A run whose agent runs.
pub fn running(run: &AgentRun, built: Built<'_>, running: &Running, now: Timestamp) -> AgentRunStatus {
    let said = (LiveReason::Running.as_str(), "The agent runs.");
    let mut status = with_workload(run, built, Stage::Running, said, now);
    status.agent_start_time = Some(time(running.agent_started));
    let proof = running.proof.as_ref();
    notes::proof(&mut status, built.plan, proof, run.metadata.generation, now);
    notes::images(&mut status, &running.images);
    status
}

/// A run whose workload is being removed because of `verdict`.
pub fn stopped(run: &AgentRun, built: Built<'_>, verdict: &Verdict, now: Timestamp) -> AgentRunStatus {
    let why = (verdict.reason.as_str(), verdict.message.as_str());
    with_workload(run, built, Stage::Stopping, why, now)
}

/// What all of these say: the workload, that the run was admitted, and that it goes on.
fn with_workload(
    run: &AgentRun,
    built: Built<'_>,
    stage: Stage,
    said: (&str, &str),
    now: Timestamp,
) -> AgentRunStatus {
    let (mut status, generation) = open(run);
    notes::workload(&mut status, run, built);
    admitted(&mut status, run, now);
    goes_on(&mut status, stage, said, generation, now);
    status
}
