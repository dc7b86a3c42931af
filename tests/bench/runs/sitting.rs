//! One measurement: a load between two looks at everything that it costs.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use super::Result;
use super::audit::{self, Counts, Request};
use super::gateway::Gateway;
use super::load::{Kind, Load};
use super::machine::{self, CONTROL_PLANE};
use super::metrics;
use super::place::{OPERATOR_NAMESPACE, Place};

/// A load has settled when nothing of it was written for so long.
const QUIET: Duration = Duration::from_secs(4);
/// Longest time that settling may take.
const SETTLING: Duration = Duration::from_mins(2);

/// What a load cost. Everything is in all, not per run.
#[derive(Clone, Debug)]
pub struct Figures {
    /// How many runs or Jobs.
    pub count: usize,
    /// Seconds from the first creation to the last end.
    pub seconds: f64,
    /// Writes by `<verb> <resource>`, settled.
    pub writes: Counts,
    /// Writes by the program that asked, settled.
    pub writers: Counts,
    /// Writes by `<program> <verb> <resource>`, settled.
    pub written: Counts,
    /// Writes that were refused, by `<program> <verb> <resource> <code>`.
    pub refused: Counts,
    /// CPU seconds of each process until the last end.
    pub cpu: BTreeMap<String, f64>,
    /// Seconds from the creation of each run to that of its Job, ascending.
    pub to_job: Vec<f64>,
    /// How often the controller looked at a run; `None` where it does not log that.
    pub reconciles: Option<u64>,
    /// Where the audit log and the API server's counters disagree.
    pub differences: Vec<String>,
    /// Resident MiB of the controller after the load.
    pub controller_mib: f64,
}

impl Figures {
    /// Runs or Jobs a second.
    pub fn rate(&self) -> f64 {
        whole(self.count) / self.seconds
    }

    /// Writes for each run or Job.
    pub fn writes_each(&self) -> f64 {
        whole(self.writes.values().sum::<u64>()) / whole(self.count)
    }

    /// CPU milliseconds of the control plane for each run or Job.
    pub fn cpu_each(&self) -> f64 {
        let all: f64 = CONTROL_PLANE.iter().filter_map(|name| self.cpu.get(*name)).sum();
        all * 1000.0 / whole(self.count)
    }

    /// CPU milliseconds of one process for each run or Job.
    pub fn cpu_of(&self, process: &str) -> f64 {
        self.cpu.get(process).copied().unwrap_or(0.0) * 1000.0 / whole(self.count)
    }

    /// Seconds to the Job at the share `of` of all runs, from 0 to 1.
    pub fn to_job_at(&self, of: f64) -> Option<f64> {
        at(&self.to_job, of)
    }
}

/// The value at the share `of` of ascending `values`.
fn at(values: &[f64], of: f64) -> Option<f64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length"
    )]
    let index = (whole(values.len()) * of).ceil() as usize;
    values.get(index.saturating_sub(1)).copied()
}

/// A count as a number to divide.
#[expect(clippy::cast_precision_loss, reason = "counts of a bench are small")]
pub fn whole<N: TryInto<u64>>(count: N) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}

/// Runs `load` and tells what it cost.
pub async fn sit(place: &Place, gateway: &Gateway, load: &Load) -> Result<Figures> {
    let processes = machine::processes(&place.state)?;
    let counted = place.counters().await?;
    let mark = place.audit.mark()?;
    let before = machine::cpu(&processes);
    let began = Timestamp::now();
    let outcome = load.run(place, gateway).await?;
    let cpu = machine::cpu(&processes)
        .into_iter()
        .map(|(name, after)| {
            let used = after - before.get(&name).copied().unwrap_or(0.0);
            (name, used)
        })
        .collect();
    let controller_mib = processes
        .get("controller")
        .map_or(0.0, |pid| machine::resident(*pid));
    let requests = settle(place, mark, &load.namespace).await?;
    let differences = metrics::differences(&counted, &place.counters().await?, &requests);
    let ours: Vec<&Request> = requests.iter().filter(|request| is_ours(request, load)).collect();
    let stored = || ours.iter().copied().filter(|request| request.stored());
    let mut refused = Counts::new();
    for request in ours.iter().filter(|request| request.refused()) {
        let key = format!(
            "{} {} {} {}",
            request.agent(),
            request.verb,
            request.resource(),
            request.code()
        );
        *refused.entry(key).or_default() += 1;
    }
    Ok(Figures {
        count: outcome.ended,
        seconds: outcome.elapsed.as_secs_f64(),
        writes: audit::by_resource(stored()),
        writers: audit::by_agent(stored()),
        written: audit::by_writer(stored()),
        refused,
        cpu,
        to_job: if load.kind == Kind::Run {
            to_job(&ours)
        } else {
            Vec::new()
        },
        reconciles: reconciles(place, &load.namespace, began).await?,
        differences,
        controller_mib,
    })
}

/// Waits until nothing is written in the namespace any more, and gives all that was written since `mark`.
pub async fn settle(place: &Place, mark: audit::Mark, namespace: &str) -> Result<Vec<Request>> {
    let began = Instant::now();
    let mut quiet_since = Instant::now();
    let mut seen = 0;
    loop {
        let requests = place.audit.since(mark)?;
        let written = requests
            .iter()
            .filter(|request| request.namespace() == namespace)
            .count();
        if written != seen {
            (seen, quiet_since) = (written, Instant::now());
        }
        if quiet_since.elapsed() >= QUIET {
            return Ok(requests);
        }
        if began.elapsed() > SETTLING {
            return Err(format!("namespace {namespace} is still written to after two minutes").into());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Whether a request belongs to the load: in its namespace, or to a frozen policy in the operator's.
fn is_ours(request: &Request, load: &Load) -> bool {
    request.namespace() == load.namespace
        || (load.kind == Kind::Run
            && request.namespace() == OPERATOR_NAMESPACE
            && request.resource() == "configmaps"
            // Written each minute, whatever runs there are.
            && request.name() != cofferdam_api::names::WITNESS)
}

/// Seconds from each run's creation to its Job's, whose name is `agr-<run>-<eight characters of the uid>`.
fn to_job(requests: &[&Request]) -> Vec<f64> {
    let mut created = HashMap::new();
    let mut seconds = Vec::new();
    for request in requests
        .iter()
        .filter(|request| request.stored() && request.verb == "create")
    {
        match request.resource().as_str() {
            "agentruns" => {
                created.insert(request.name().to_owned(), request.received);
            }
            "jobs" => {
                let run = request
                    .name()
                    .strip_prefix(cofferdam_api::names::RUN_PREFIX)
                    .and_then(|name| name.rsplit_once('-'));
                if let Some(since) = run.and_then(|(run, _)| created.get(run)) {
                    seconds.push(request.answered.duration_since(*since).as_secs_f64());
                }
            }
            _ => {}
        }
    }
    seconds.sort_by(f64::total_cmp);
    seconds
}

/// How often the controller has said since `began` that it reconciled a run of the namespace.
async fn reconciles(place: &Place, namespace: &str, began: Timestamp) -> Result<Option<u64>> {
    let seconds = Timestamp::now().duration_since(began).as_secs() + 2;
    let log = place.controller_log(seconds).await?;
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let count = lines
        .filter(|line| {
            line["what"] == "run" && line["message"] == "reconciled" && line["namespace"] == namespace
        })
        .count();
    Ok((count > 0).then_some(count as u64))
}
