//! Checks what a run makes the API server write. Counts alone, so that it says the same on every
//! machine, however busy.
//!
//! The measure is a bare Job of the same length in the same sitting: Kubernetes' own controllers write as much for it as
//! for a run's Job. What the controller writes is exact.

use std::time::Duration;

use super::Result;
use super::gateway::Gateway;
use super::load::{Kind, Load};
use super::place::{Place, Purpose};
use super::sitting::{self, Figures, whole};
use super::suite::runs;

/// Bare Jobs of the comparison.
const JOBS: usize = 20;
/// How often the controller may look at a run in its life, on average: 12.0 to 14.1 were seen. What it sees in one look or in
/// two depends on the machine.
const RECONCILES: f64 = 18.0;
/// The program whose writes are exact.
const CONTROLLER: &str = "cofferdam-controller";

/// A load, and what the controller writes for it.
struct Case {
    label: &'static str,
    namespace: &'static str,
    runs: usize,
    slots: u32,
    own_policy: bool,
    /// Status writes of all runs at most: one when the agent runs, one when the run is over, and one for each that has to
    /// queue. A run that ends before the controller has seen it running is written once less.
    status_writes: u64,
    /// Frozen policies at most: one that an earlier run had may still be there.
    frozen_policies: u64,
}

const CASES: [Case; 2] = [
    Case {
        label: "50 runs, each under a policy of its own, a slot for each",
        namespace: "bench-free",
        runs: 50,
        slots: 500,
        own_policy: true,
        status_writes: 100,
        frozen_policies: 50,
    },
    Case {
        label: "20 runs under one policy, 5 slots",
        namespace: "bench-queued",
        runs: 20,
        slots: 5,
        own_policy: false,
        status_writes: 55,
        frozen_policies: 1,
    },
];

/// Measures, compares, and gives the number of cases that passed and that failed.
pub async fn guard(place: &Place, gateway: &Gateway) -> Result<(usize, usize)> {
    let load = |namespace: &str, count: usize| Load {
        // Long enough that the controller sees each run running, as it does on a real node.
        runs_for: "3s",
        limit: Duration::from_mins(5),
        ..runs(namespace, count, 10)
    };
    let jobs = Load {
        kind: Kind::Job,
        ..load("bench-jobs", JOBS)
    };
    place.namespace(&jobs.namespace, Purpose::Jobs).await?;
    let bare = sitting::sit(place, gateway, &jobs).await?;
    tell("20 bare Jobs", &bare);
    let mut failed = 0;
    for case in &CASES {
        let load = Load {
            own_policy: case.own_policy,
            ..load(case.namespace, case.runs)
        };
        let slots = Purpose::Runs {
            max_running: case.slots,
        };
        place.namespace(case.namespace, slots).await?;
        let figures = sitting::sit(place, gateway, &load).await?;
        tell(case.label, &figures);
        let objections = objections(case, &figures, &bare);
        for objection in &objections {
            println!("FAILED: {}: {objection}", case.label);
        }
        failed += usize::from(!objections.is_empty());
    }
    Ok((CASES.len() - failed, failed))
}

fn tell(label: &str, figures: &Figures) {
    let reconciles = figures.reconciles.map_or_else(
        || "reconciles not logged".to_owned(),
        |count| format!("{:.1} reconciles each", whole(count) / whole(figures.count)),
    );
    println!("{label}: {:.2} writes each, {reconciles}", figures.writes_each());
    for (writer, count) in &figures.written {
        println!("  {count:5} {writer}");
    }
}

/// What is wrong with the counts.
fn objections(case: &Case, figures: &Figures, bare: &Figures) -> Vec<String> {
    let mut objections = Vec::new();
    let mut expect = |what: &str, found: u64, right: std::ops::RangeInclusive<u64>| {
        if !right.contains(&found) {
            objections.push(format!(
                "{found} times {what}, where {} to {} are right",
                right.start(),
                right.end()
            ));
        }
    };
    let ours = |what: &str| {
        let key = format!("{CONTROLLER} {what}");
        figures.written.get(&key).copied().unwrap_or(0)
    };
    let runs = case.runs as u64;
    expect("create jobs", ours("create jobs"), runs..=runs);
    expect("create events", ours("create events"), runs..=runs);
    let status = ours("update agentruns/status");
    expect("update agentruns/status", status, runs..=case.status_writes);
    let frozen = ours("create configmaps");
    expect("create configmaps", frozen, 0..=case.frozen_policies);
    let all_ours: u64 = figures
        .written
        .iter()
        .filter(|(writer, _)| writer.starts_with(CONTROLLER))
        .map(|(_, count)| count)
        .sum();
    let known = 2 * runs + status + frozen;
    expect("anything by the controller", all_ours, known..=known);
    // A run and what the controller writes of it stand above its Job, of which the controller's is one write.
    let others = |figures: &Figures| figures.writes.values().sum::<u64>();
    let per_bare = others(bare).div_ceil(JOBS as u64);
    let by_others = others(figures).saturating_sub(all_ours).saturating_sub(runs);
    expect(
        "anything by Kubernetes' own controllers",
        by_others,
        // They join some of their writes, and fewer of them on a busy machine.
        0..=(per_bare - 1) * runs * 21 / 20,
    );
    let refused = figures
        .refused
        .iter()
        .filter(|(writer, _)| writer.starts_with(CONTROLLER));
    // Several runs may create the same frozen policy at once, and a status may change while it is written: whether that
    // happens depends on the machine.
    expect(
        "a refused write of the controller",
        refused.map(|(_, count)| count).sum(),
        0..=runs,
    );
    match figures.reconciles {
        None => objections.push("the controller logs no reconciles (chart value `log`)".to_owned()),
        Some(count) if whole(count) > RECONCILES * whole(runs) => {
            objections.push(format!(
                "{count} reconciles, where {} are the most",
                RECONCILES * whole(runs)
            ));
        }
        Some(_) => {}
    }
    objections.extend(figures.differences.iter().cloned());
    objections
}
