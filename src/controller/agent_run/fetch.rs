//! Everything that is known of a run, from the caches; the API server is asked only where a cache may be behind.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::Context;
use super::apply::{self, ApplyError};
use super::decide::Facts;
use super::housekeeping::PolicyTtl;
use super::queue::Open;
use super::status;
use crate::fence;
use crate::pod_view::is_over;
use cofferdam_api::AgentRun;
use cofferdam_api::names::{DEFAULT_POLICY, workload_name};
use cofferdam_policy::layers::ttl_ceiling;
use cofferdam_policy::vulnerabilities::{self, Reports};

/// The Job of a run.
pub enum FoundJob {
    /// There has been none.
    None,
    /// There was one.
    Gone,
    /// It is there.
    Present(Arc<Job>),
}

/// Finds the run's Job. One that should be there and is not in the cache is looked for past it.
pub async fn workload(run: &AgentRun, uid: &str, context: &Context) -> Result<FoundJob, ApplyError> {
    if let Some(job) = cached_job(run, uid, context) {
        return Ok(FoundJob::Present(job));
    }
    let noted = run
        .status
        .as_ref()
        .is_some_and(|status| status.workload.is_some());
    if !noted && !context.has_made(uid) {
        return Ok(FoundJob::None);
    }
    let name = workload_name(&run.name_any(), uid);
    Ok(match apply::read_job(&context.client, run, &name).await? {
        Some(job) => FoundJob::Present(Arc::new(job)),
        None => FoundJob::Gone,
    })
}

/// The run's Job, if the cache shows it.
pub fn cached_job(run: &AgentRun, uid: &str, context: &Context) -> Option<Arc<Job>> {
    let name = workload_name(&run.name_any(), uid);
    let job = context.stores.job(&run.namespace().unwrap_or_default(), &name)?;
    apply::is_owned(&job.metadata, run).then_some(job)
}

/// The run's pod. A Job with `backoffLimit: 0` makes one; should there be more, the oldest.
pub fn pod(run: &AgentRun, uid: &str, context: &Context) -> Option<Arc<Pod>> {
    let namespace = run.namespace().unwrap_or_default();
    context.stores.pods_of(&namespace, uid).into_iter().next()
}

/// Whether a pod of the run still runs.
pub fn live_pod(run: &AgentRun, uid: &str, context: &Context) -> bool {
    let namespace = run.namespace().unwrap_or_default();
    context
        .stores
        .pods_of(&namespace, uid)
        .iter()
        .any(|pod| !is_over(pod))
}

/// What the policies in force say of how long the run is kept after its end.
pub fn policy_ttl(run: &AgentRun, context: &Context) -> PolicyTtl {
    let namespace = run.namespace().unwrap_or_default();
    let stores = &context.stores;
    let policy = stores.policy(&namespace, policy_name(run));
    let cluster_policies = stores.cluster_policies().unwrap_or_default();
    let labels = stores.namespace_labels(&namespace);
    PolicyTtl {
        ceiling: ttl_ceiling(&labels, &cluster_policies, policy.as_ref()),
        default: policy
            .and_then(|policy| policy.spec.defaults)
            .and_then(|defaults| defaults.ttl_seconds_after_finished),
    }
}

fn policy_name(run: &AgentRun) -> &str {
    run.spec
        .policy_ref
        .as_ref()
        .map_or(DEFAULT_POLICY, |policy| policy.name.as_str())
}

/// The runs of a namespace that are not over, as the queue sees them.
pub fn open_runs(context: &Context, namespace: &str) -> Vec<Open> {
    let runs = context.stores.runs.state();
    runs.iter()
        .filter_map(|run| run.0.as_ref().ok())
        .filter(|run| run.metadata.namespace.as_deref() == Some(namespace))
        .filter(|run| run.metadata.deletion_timestamp.is_none() && !run.is_finished())
        .filter_map(|run| {
            let uid = run.uid()?;
            let noted = || {
                run.status
                    .as_ref()
                    .is_some_and(|status| status.workload.is_some())
            };
            Some(Open {
                created: run.metadata.creation_timestamp.as_ref()?.0,
                name: run.name_any(),
                begun: cached_job(run, &uid, context).is_some() || noted(),
                wanted: !run.spec.suspend && run.spec.cancel.is_none(),
                uid,
            })
        })
        .collect()
}

/// Whether the caches show any pod of the run.
pub fn has_pods(run: &AgentRun, uid: &str, context: &Context) -> bool {
    !context
        .stores
        .pods_of(&run.namespace().unwrap_or_default(), uid)
        .is_empty()
}

/// What the decision about a run without a Job rests on.
pub fn facts(run: &AgentRun, context: &Context, now: Timestamp) -> Facts {
    let namespace = run.namespace().unwrap_or_default();
    let stores = &context.stores;
    let policy = stores.policy(&namespace, policy_name(run));
    let cluster_policies = stores.cluster_policies();
    let reports =
        if vulnerabilities::is_asked(policy.as_ref(), cluster_policies.as_deref().unwrap_or_default()) {
            let images = [
                run.spec.agent.image.as_str(),
                context.config.runner_image.as_str(),
            ];
            stores.scanner.on(&images)
        } else {
            Some(Reports::new())
        };
    Facts {
        namespace_labels: stores.namespace_labels(&namespace),
        policy,
        cluster_policies,
        runtime_classes: stores.runtime_classes(),
        runner_image: context.config.runner_image.clone(),
        reports,
        gateway: stores.gateway(),
        guard_gap: context.guard.gap(),
        fence_gap: fence::gap(stores, &namespace, &context.operator_namespace),
        waiting_since: status::waiting_since(run, now),
        readings: Arc::clone(&stores.readings),
    }
}
