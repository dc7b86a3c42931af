//! Measures runs for `make bench` in one sitting, and prints the tables.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::ListParams;

use super::Result;
use super::floors;
use super::gateway::Gateway;
use super::load::{self, Kind, Load};
use super::machine;
use super::place::{Place, Purpose};
use super::report::{self, Bare, Row};
use super::sitting::{self, Figures};
use super::stock;

/// As many slots as one tenant's burst needs.
const ENOUGH: u32 = 500;

/// What to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The loads: rates, writes, CPU, times.
    pub loads: bool,
    /// 1,000 runs that wait for ten slots.
    pub queue: bool,
    /// What one write costs.
    pub floors: bool,
    /// Memory and restart; so many finished runs.
    pub finished: Option<usize>,
}

/// Measures, and prints tables.
pub async fn bench(place: &Place, gateway: &Gateway, scope: Scope) -> Result<()> {
    println!("{}\n", machine::facts());
    let idle = controller_mib(place)?;
    let mut rows = Vec::new();
    if scope.loads || scope.queue {
        let before = jobs(place, gateway, "before").await?;
        if scope.loads {
            for (count, creators) in [(60, 10), (200, 20), (300, 20)] {
                let label = format!("{count} runs, {creators} creators");
                let load = runs(&format!("bench-{count}"), count, creators);
                rows.push(measure(place, gateway, label, &load, ENOUGH).await?);
            }
            let fastest = rows
                .iter()
                .map(|row: &Row| row.figures.rate())
                .fold(0.0, f64::max);
            rows.push(paced(place, gateway, fastest * 0.8).await?);
            rows.push(shaped(place, gateway).await?);
        }
        if scope.queue {
            let load = Load {
                limit: Duration::from_mins(20),
                ..runs("bench-queue", 1010, 20)
            };
            rows.push(measure(place, gateway, "1,010 runs, 10 slots".to_owned(), &load, 10).await?);
        }
        let after = jobs(place, gateway, "after").await?;
        let bare = Bare::of(&[&before.figures, &after.figures]);
        rows.insert(0, before);
        rows.push(after);
        println!("\n{}", report::loads(&rows, bare));
        println!("{}", report::processes(&rows));
        println!("{}", report::writes(&rows));
    }
    if scope.floors {
        floors::bench(place).await?;
    }
    if let Some(finished) = scope.finished {
        println!("controller idle: {idle:.1} MiB");
        stock::bench(place, gateway, finished).await?;
    }
    Ok(())
}

/// Resident MiB of the controller.
pub fn controller_mib(place: &Place) -> Result<f64> {
    let pid = machine::processes(&place.state)?.get("controller").copied();
    Ok(machine::resident(pid.ok_or("the controller does not run")?))
}

/// A load of runs that end at once, as bare Jobs do.
pub fn runs(namespace: &str, count: usize, creators: usize) -> Load {
    Load {
        kind: Kind::Run,
        namespace: namespace.to_owned(),
        count,
        creators,
        runs_for: "0s",
        own_policy: false,
        pace: Duration::ZERO,
        limit: Duration::from_mins(10),
    }
}

async fn jobs(place: &Place, gateway: &Gateway, when: &str) -> Result<Row> {
    let load = Load {
        kind: Kind::Job,
        ..runs(&format!("bench-jobs-{when}"), 200, 20)
    };
    place.namespace(&load.namespace, Purpose::Jobs).await?;
    let figures = sitting::sit(place, gateway, &load).await?;
    Ok(done(format!("200 bare Jobs, {when}"), figures))
}

/// Jobs without runs whose pods are those of runs: what the sandbox's pod costs by itself.
async fn shaped(place: &Place, gateway: &Gateway) -> Result<Row> {
    let load = runs("bench-shape", 1, 1);
    place
        .namespace(&load.namespace, Purpose::Runs { max_running: 1 })
        .await?;
    load.run(place, gateway).await?;
    let sandboxes: Api<Job> = Api::namespaced(place.client.clone(), &load.namespace);
    let found = sandboxes.list(&ListParams::default()).await?.items;
    let job = found.first().ok_or("the run has no Job any more")?;
    let load = Load {
        kind: Kind::Shaped(Arc::new(load::shape(&serde_json::to_value(job)?))),
        ..runs("bench-shaped", 200, 20)
    };
    place.namespace(&load.namespace, Purpose::Jobs).await?;
    let figures = sitting::sit(place, gateway, &load).await?;
    Ok(done("200 Jobs with a run's pod".to_owned(), figures))
}

/// Runs that come at a pace which the cluster can bear.
async fn paced(place: &Place, gateway: &Gateway, rate: f64) -> Result<Row> {
    let load = Load {
        pace: Duration::from_secs_f64(1.0 / rate),
        ..runs("bench-paced", 150, 4)
    };
    let label = format!("150 runs, {rate:.1} a second");
    measure(place, gateway, label, &load, ENOUGH).await
}

async fn measure(place: &Place, gateway: &Gateway, label: String, load: &Load, slots: u32) -> Result<Row> {
    place
        .namespace(&load.namespace, Purpose::Runs { max_running: slots })
        .await?;
    Ok(done(label, sitting::sit(place, gateway, load).await?))
}

fn done(label: String, figures: Figures) -> Row {
    println!(
        "{label}: {:.1} a second, {:.2} writes each, {:.0} CPU-ms each",
        figures.rate(),
        figures.writes_each(),
        figures.cpu_each()
    );
    Row { label, figures }
}
