//! Creates a run's objects in the order in which they need each other. Doing it twice is harmless.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, ResourceExt};

use crate::agent_run::call::{Call, CallError, failed};
use crate::agent_run::workload::Workload;
use crate::api_server::{is_code, is_owned, post};
use cofferdam_api::AgentRun;

/// Creates the frozen policy and the Job; returns the Job as it is stored.
pub async fn create(client: &Client, run: &AgentRun, workload: Workload) -> Result<Job, CallError> {
    let Workload {
        frozen_policy,
        job,
        // For the chain of records.
        profile: _,
    } = workload;
    let found = create_frozen_policy(client, &frozen_policy).await?;
    let job = create_job(client, run, &job).await?;
    if found {
        // Before the Job was there to hold it, a sweep may have taken it (controller/sweep.rs). One that was made just
        // now is too young for that.
        create_frozen_policy(client, &frozen_policy).await?;
    }
    Ok(job)
}

/// Returns whether it existed already.
async fn create_frozen_policy(client: &Client, policy: &ConfigMap) -> Result<bool, CallError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &policy.namespace().unwrap_or_default());
    // Immutable and named by its content: if there is one, it is this one, and reading is cheaper than writing.
    if api
        .get_metadata_opt(&policy.name_any())
        .await
        .map_err(failed(Call::ReadFrozenPolicy))?
        .is_some()
    {
        return Ok(true);
    }
    match api.create(&post(), policy).await {
        Err(error) if is_code(&error, 409) => Ok(true),
        result => result.map(|_| false).map_err(failed(Call::CreateFrozenPolicy)),
    }
}

async fn create_job(client: &Client, run: &AgentRun, job: &Job) -> Result<Job, CallError> {
    let api: Api<Job> = Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    match api.create(&post(), job).await {
        Ok(created) => Ok(created),
        Err(error) if is_code(&error, 409) => {
            let name = job.name_any();
            let existing = api.get(&name).await.map_err(failed(Call::ReadJob))?;
            if is_owned(&existing.metadata, run) {
                Ok(existing)
            } else {
                Err(CallError::Foreign(name))
            }
        }
        Err(error) => Err(failed(Call::CreateJob)(error)),
    }
}

#[cfg(test)]
mod tests;
