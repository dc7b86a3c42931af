//! Ends what is left of runs that are gone, and that nobody owns: sandboxes without a run, which no reconciler looks at.
//!
//! The guard lets nobody orphan runs and their Jobs; this is for what was orphaned before there was a guard, or while
//! it was not as it was installed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::api::{ObjectMeta, PropagationPolicy};
use kube::{Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::api_server::{delete, end_pod, has_controller};
use super::pod_view::is_over;
use super::run_pod::RunPod;
use super::stores::Stores;
use cofferdam_api::names::LABEL_RUN_UID;

/// How often is looked.
const PERIOD: Duration = Duration::from_secs(30);

/// Looks now and then until `stop`.
pub async fn run(client: &Client, stores: &Stores, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = stop.cancelled() => return,
        }
        // A Job of ours is made only for a run that the cache shows: what has none here has none.
        let runs: HashSet<String> = stores.runs.state().iter().filter_map(|run| run.uid()).collect();
        let strays = strays(&stores.jobs.state(), &stores.pods.state(), &runs);
        for job in &strays.jobs {
            tell("Job", job.as_ref());
            let deleted = delete(client, job.as_ref(), PropagationPolicy::Foreground).await;
            warn("Job", job.as_ref(), deleted);
        }
        for pod in &strays.pods {
            tell("pod", pod.as_ref());
            warn("pod", pod.as_ref(), end_pod(client, pod).await);
        }
    }
}

fn tell(kind: &str, object: &impl ResourceExt) {
    let (namespace, name) = (object.namespace(), object.name_any());
    tracing::warn!(
        kind,
        namespace,
        name,
        "its run is gone and nobody owns it: it is deleted"
    );
}

fn warn(kind: &str, object: &impl ResourceExt, result: kube::Result<()>) {
    if let Err(error) = result {
        let (namespace, name) = (object.namespace(), object.name_any());
        tracing::warn!(kind, namespace, name, %error, "it could not be deleted; tried again in 30 s");
    }
}

/// What nobody owns.
#[derive(Debug, Default)]
struct Strays {
    jobs: Vec<Arc<Job>>,
    pods: Vec<Arc<RunPod>>,
}

/// Jobs and pods without owner, and without a run among `runs`. Pure.
fn strays(jobs: &[Arc<Job>], pods: &[Arc<RunPod>], runs: &HashSet<String>) -> Strays {
    let is_stray = |metadata: &ObjectMeta| {
        let run = metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(LABEL_RUN_UID));
        metadata.deletion_timestamp.is_none()
            && !has_controller(metadata)
            && run.is_some_and(|run| !runs.contains(run))
    };
    Strays {
        jobs: jobs
            .iter()
            .filter(|job| is_stray(&job.metadata))
            .cloned()
            .collect(),
        pods: pods
            .iter()
            .filter(|pod| !is_over(pod) && is_stray(&pod.metadata))
            .cloned()
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::testing::{RUN_UID, at, job, pod};

    #[test]
    fn only_what_has_neither_owner_nor_run_is_stray() {
        let orphans = || {
            let (mut job, mut pod) = (job(), pod(json!({"phase": "Running"})));
            job.metadata.owner_references = None;
            pod.metadata.owner_references = None;
            (job, pod)
        };
        let found = |(job, pod): (Job, RunPod), runs: &[&str]| {
            let runs = runs.iter().map(|run| (*run).to_owned()).collect();
            let strays = strays(&[Arc::new(job)], &[Arc::new(pod)], &runs);
            (strays.jobs.len(), strays.pods.len())
        };
        assert_eq!(found(orphans(), &["another"]), (1, 1));
        assert_eq!(found(orphans(), &[RUN_UID]), (0, 0), "its run sees to it");
        assert_eq!(
            found((job(), pod(json!({}))), &[]),
            (0, 0),
            "the garbage collector does"
        );
        let (mut job, mut pod) = orphans();
        job.metadata.deletion_timestamp = Some(Time(at(5)));
        pod.metadata.deletion_timestamp = Some(Time(at(5)));
        assert_eq!(found((job, pod), &[]), (0, 0), "they are going");
        let (job, mut pod) = orphans();
        pod.status.as_mut().unwrap().phase = Some("Succeeded".to_owned());
        assert_eq!(found((job, pod), &[]), (1, 0));
    }
}
