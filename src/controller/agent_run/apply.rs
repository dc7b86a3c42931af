//! Everything that the controller changes in the cluster for a run, each step harmless when done twice.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{ObjectMeta, Patch, PatchParams, PropagationPolicy};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::workload::Workload;
use crate::api_server::{delete, is_code, post};
use cofferdam_api::names::ANNOTATION_STOP;
use cofferdam_api::{AgentRun, AgentRunStatus, Reason};

/// A change that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server did not do it.
    #[error("failed to {step}: {source}")]
    Api {
        /// What was tried.
        step: &'static str,
        /// What it said.
        #[source]
        source: kube::Error,
    },
    /// A Job of the run's name belongs to someone else.
    #[error("Job {0} exists and is not this run's")]
    Foreign(String),
    /// An object lacks what every stored object has.
    #[error("the object has no metadata.{0}")]
    Incomplete(&'static str),
}

impl ApplyError {
    /// Whether someone else changed the object first; the next pass sees it.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source: kube::Error::Api(status), .. } if status.is_conflict())
    }

    /// Whether it is certain that no Job came of it: the API server itself said no, or it was not asked. After anything
    /// else, such as a broken connection, there may be one.
    pub fn made_nothing(&self) -> bool {
        match self {
            Self::Foreign(_) | Self::Incomplete(_) => true,
            Self::Api { step, source } => {
                let refused = matches!(source, kube::Error::Api(status) if (400..500).contains(&status.code));
                refused || step.ends_with("the frozen policy")
            }
        }
    }

    /// Message and HTTP code of the API server's refusal, if it was one and trying again will not change it.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Api {
                source: kube::Error::Api(status),
                ..
            } if matches!(status.code, 400 | 403 | 422) => Some(&status.message),
            _ => None,
        }
    }
}

fn failed(step: &'static str) -> impl FnOnce(kube::Error) -> ApplyError {
    move |source| ApplyError::Api { step, source }
}

/// Creates the run's objects in the order in which they need each other; gives the Job as it is stored.
pub async fn create(client: &Client, run: &AgentRun, workload: Workload) -> Result<Job, ApplyError> {
    let Workload { frozen_policy, job } = workload;
    let found = create_frozen_policy(client, &frozen_policy).await?;
    let job = create_job(client, run, &job).await?;
    if found {
        // Before the Job was there to hold it, a sweep may have taken it (controller/sweep.rs). One that was made just
        // now is too young for that.
        create_frozen_policy(client, &frozen_policy).await?;
    }
    Ok(job)
}

/// Gives whether it was there already.
async fn create_frozen_policy(client: &Client, policy: &ConfigMap) -> Result<bool, ApplyError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &policy.namespace().unwrap_or_default());
    // Immutable and named by its content: if there is one, it is this one, and reading is cheaper than writing.
    if api
        .get_metadata_opt(&policy.name_any())
        .await
        .map_err(failed("read the frozen policy"))?
        .is_some()
    {
        return Ok(true);
    }
    match api.create(&post(), policy).await {
        Err(error) if is_code(&error, 409) => Ok(true),
        result => result.map(|_| false).map_err(failed("create the frozen policy")),
    }
}

async fn create_job(client: &Client, run: &AgentRun, job: &Job) -> Result<Job, ApplyError> {
    let api: Api<Job> = Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    match api.create(&post(), job).await {
        Ok(created) => Ok(created),
        Err(error) if is_code(&error, 409) => {
            let name = job.name_any();
            let existing = api.get(&name).await.map_err(failed("read the Job"))?;
            if is_owned(&existing.metadata, run) {
                Ok(existing)
            } else {
                Err(ApplyError::Foreign(name))
            }
        }
        Err(error) => Err(failed("create the Job")(error)),
    }
}

/// Whether an object's controller is this run, by uid.
pub fn is_owned(metadata: &ObjectMeta, run: &AgentRun) -> bool {
    metadata
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.controller == Some(true) && run.uid().as_deref() == Some(owner.uid.as_str()))
}

/// Reads a run's Job past the cache.
pub async fn read_job(client: &Client, run: &AgentRun, name: &str) -> Result<Option<Job>, ApplyError> {
    let api: Api<Job> = Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let job = api.get_opt(name).await.map_err(failed("read the Job"))?;
    Ok(job.filter(|job| is_owned(&job.metadata, run)))
}

/// Writes a status, unless the run has changed since it was read.
pub async fn write_status(client: &Client, run: &AgentRun, status: AgentRunStatus) -> Result<(), ApplyError> {
    let api: Api<AgentRun> = Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let mut changed = run.clone();
    changed.status = Some(status);
    api.replace_status(&run.name_any(), &post(), &changed)
        .await
        .map(drop)
        .map_err(failed("write the status"))
}

/// Asks the sidecar to collect and stop the agent, through an annotation on the pod that the gateway tells it of.
/// Gives whether this was the first time.
pub async fn ask_to_stop(client: &Client, pod: &Pod, reason: Reason) -> Result<bool, ApplyError> {
    if pod.annotations().contains_key(ANNOTATION_STOP) {
        return Ok(false);
    }
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let uid = pod.uid().ok_or(ApplyError::Incomplete("uid"))?;
    let patch = json!({"metadata": {"uid": uid, "annotations": {ANNOTATION_STOP: reason.as_str()}}});
    match api
        .patch_metadata(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Err(error) if is_code(&error, 404) => Ok(false),
        result => result.map(|_| true).map_err(failed("ask the pod to stop")),
    }
}

/// Deletes a Job with its pods; it stays visible until they are gone.
pub async fn delete_job(client: &Client, job: &Job) -> Result<(), ApplyError> {
    delete(client, job, PropagationPolicy::Foreground)
        .await
        .map_err(failed("delete the Job"))
}

/// Deletes a run whose time to live is over.
pub async fn delete_run(client: &Client, run: &AgentRun) -> Result<(), ApplyError> {
    delete(client, run, PropagationPolicy::Background)
        .await
        .map_err(failed("delete the run"))
}

#[cfg(test)]
mod tests;
