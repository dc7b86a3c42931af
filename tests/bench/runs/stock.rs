//! What runs that live or are over cost the controller: memory, and its next start.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cofferdam_api::AgentRun;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use super::Result;
use super::gateway::Gateway;
use super::load::{self, Load};
use super::place::{OPERATOR_NAMESPACE, Place, Purpose};
use super::suite::{controller_mib, runs};
use super::{machine, proc};

/// Runs that are live at the same time.
const LIVE: usize = 300;
/// Namespace of the runs that are made up.
pub const STOCK: &str = "bench-stock";
/// For the controller's memory to come to rest.
const REST: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_mins(3);

/// Measures the controller with live and with `finished` finished runs, and its restart.
pub async fn bench(place: &Place, gateway: &Gateway, finished: usize) -> Result<()> {
    live(place, gateway).await?;
    let (seconds, mib) = restart(place, gateway, "bench-restart-0").await?;
    println!("controller restarted: {mib:.1} MiB; {seconds:.2} s from its start to the Job of a new run");
    let template = sample(place, gateway).await?;
    place.namespace(STOCK, Purpose::Stock).await?;
    let mut stored = 0;
    for goal in [finished.min(5000), finished] {
        if goal > stored {
            fill(place, &template, stored, goal).await?;
            stored = goal;
            tokio::time::sleep(REST).await;
            println!(
                "controller with {stored} finished runs: {:.1} MiB",
                controller_mib(place)?
            );
        }
    }
    let mark = place.audit.mark()?;
    let (seconds, mib) = restart(place, gateway, "bench-restart").await?;
    let writes = place
        .audit
        .since(mark)?
        .iter()
        .filter(|request| request.namespace() == STOCK)
        .count();
    println!(
        "controller restarted with {stored} finished runs: {mib:.1} MiB; {seconds:.2} s from its start to the Job of a new \
         run; {writes} writes to the finished ones"
    );
    Ok(())
}

/// The controller's memory while many runs are live.
async fn live(place: &Place, gateway: &Gateway) -> Result<()> {
    let load = Load {
        runs_for: "1h",
        ..runs("bench-live", LIVE, 20)
    };
    place
        .namespace(&load.namespace, Purpose::Runs { max_running: 500 })
        .await?;
    load.create(place, gateway).await?;
    let api: Api<AgentRun> = Api::namespaced(place.client.clone(), &load.namespace);
    let running = ListParams::default().fields("status.phase=Running");
    let since = Instant::now();
    while api.list_metadata(&running).await?.items.len() < LIVE {
        if since.elapsed() > PATIENCE {
            return Err("not all live runs have started".into());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(REST).await;
    println!(
        "controller with {LIVE} live runs: {:.1} MiB",
        controller_mib(place)?
    );
    place.remove_namespaces().await
}

/// Kills the controller's pod and gives the seconds from the start of the next process to the Job of a run that was created
/// in between, and that process's memory at rest.
async fn restart(place: &Place, gateway: &Gateway, namespace: &str) -> Result<(f64, f64)> {
    place
        .namespace(namespace, Purpose::Runs { max_running: 10 })
        .await?;
    let pid = |place: &Place| machine::processes(&place.state).map(|found| found.get("controller").copied());
    let old = pid(place)?.ok_or("the controller does not run")?;
    let mark = place.audit.mark()?;
    let pods: Api<Pod> = Api::namespaced(place.client.clone(), OPERATOR_NAMESPACE);
    let selector = ListParams::default().labels("app.kubernetes.io/component=controller");
    // A fresh pod: the kubelet lets a container that is killed again and again wait.
    pods.delete_collection(&DeleteParams::default().grace_period(0), &selector)
        .await?;
    if let Some(old) = Pid::from_raw(i32::try_from(old)?) {
        // It may be gone already.
        let _ = rustix::process::kill_process(old, Signal::KILL);
    }
    runs(namespace, 1, 1).create(place, gateway).await?;
    let since = Instant::now();
    let job = loop {
        if since.elapsed() > PATIENCE {
            return Err("the controller makes no Job after its restart".into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let found = place.audit.since(mark)?.into_iter().find(|request| {
            request.namespace() == namespace
                && request.resource() == "jobs"
                && request.verb == "create"
                && request.stored()
        });
        if let Some(job) = found {
            break job.answered;
        }
    };
    let new = pid(place)?.ok_or("the controller does not run")?;
    let started = proc::started(new).ok_or("the controller ended at once")?;
    let ago = Timestamp::now().duration_since(job).as_secs_f64();
    let seconds = machine::uptime() - ago - started;
    tokio::time::sleep(REST).await;
    Ok((seconds, machine::resident(new)))
}

/// A finished run as it is stored, to make others from.
pub async fn sample(place: &Place, gateway: &Gateway) -> Result<AgentRun> {
    let load = runs("bench-sample", 1, 1);
    place
        .namespace(&load.namespace, Purpose::Runs { max_running: 1 })
        .await?;
    load.run(place, gateway).await?;
    let api: Api<AgentRun> = Api::namespaced(place.client.clone(), &load.namespace);
    Ok(api.get("r-0").await?)
}

/// Makes finished runs up, from number `from` to `to`. The namespace admits no run, so that the controller starts none
/// before its status is there.
pub async fn fill(place: &Place, template: &AgentRun, from: usize, to: usize) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(from));
    let status = Arc::new(serde_json::to_value(&template.status)?);
    let makers: Vec<_> = (0..16)
        .map(|_| {
            let (place, next, status) = (place.clone(), Arc::clone(&next), Arc::clone(&status));
            tokio::spawn(async move {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= to {
                        return Ok(());
                    }
                    finished(&place, &format!("finished-{index}"), &status).await?;
                }
            })
        })
        .collect();
    for maker in makers {
        let made: Result<()> = maker.await?;
        made?;
    }
    Ok(())
}

async fn finished(place: &Place, name: &str, status: &Value) -> Result<()> {
    let api: Api<AgentRun> = Api::namespaced(place.client.clone(), STOCK);
    let run = serde_json::from_value(load::run(name, "0s"))?;
    let run = api.create(&PostParams::default(), &run).await?;
    let as_controller: Api<AgentRun> = Api::namespaced(place.controller.clone(), STOCK);
    let patch = Patch::Merge(json!({"status": status}));
    as_controller
        .patch_status(&run.name_any(), &PatchParams::default(), &patch)
        .await?;
    Ok(())
}
