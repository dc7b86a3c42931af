//! Each single change of a run and its workload that is no creation. Doing it twice is harmless.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PropagationPolicy};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::agent_run::call::{Call, CallError, failed};
use crate::api_server::{delete, end_pod, is_code, post};
use crate::run_pod::RunPod;
use cofferdam_api::names::{ANNOTATION_STOP, FIELD_MANAGER};
use cofferdam_api::{AgentRun, AgentRunStatus, Reason};

/// How a status is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Unless anything about the run has changed since the cache showed it.
    IfUnchanged,
    /// Whatever changes meanwhile, as long as it is the same run. For a status that was made from a run read just now:
    /// nobody else writes statuses, and a tenant who keeps changing the run's annotations must not hold this up.
    Always,
}

/// Writes a run's status.
pub async fn status(
    client: &Client,
    run: &AgentRun,
    status: &AgentRunStatus,
    write: Write,
) -> Result<(), CallError> {
    let api: Api<AgentRun> = Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let name = run.name_any();
    let written = match write {
        Write::IfUnchanged => {
            let mut changed = run.clone();
            changed.status = Some(status.clone());
            api.replace_status(&name, &post(), &changed).await
        }
        Write::Always => {
            let operations = json!([
                {"op": "test", "path": "/metadata/uid", "value": run.uid()},
                {"op": "add", "path": "/status", "value": status},
            ]);
            let operations = serde_json::from_value(operations)
                .map_err(kube::Error::SerdeError)
                .map_err(failed(Call::WriteStatus))?;
            let params = PatchParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            api.patch_status(&name, &params, &Patch::<()>::Json(operations))
                .await
        }
    };
    written.map(drop).map_err(failed(Call::WriteStatus))
}

/// Asks the sidecar to collect and stop the agent, through an annotation on the pod that the gateway tells it of.
pub async fn ask_to_stop(client: &Client, pod: &RunPod, reason: Reason) -> Result<(), CallError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let uid = pod.uid().ok_or(CallError::Incomplete("uid"))?;
    let patch = json!({"metadata": {"uid": uid, "annotations": {ANNOTATION_STOP: reason.as_str()}}});
    match api
        .patch_metadata(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Err(error) if is_code(&error, 404) => Ok(()),
        result => result.map(drop).map_err(failed(Call::StopAgent)),
    }
}

/// Deletes a Job with its pods; it stays visible until they are gone.
pub async fn delete_job(client: &Client, job: &Job) -> Result<(), CallError> {
    delete(client, job, PropagationPolicy::Foreground)
        .await
        .map_err(failed(Call::DeleteJob))
}

/// Has a pod end in seconds. What it could hand over, it has.
pub async fn delete_pod(client: &Client, pod: &RunPod) -> Result<(), CallError> {
    end_pod(client, pod).await.map_err(failed(Call::DeletePod))
}

/// Deletes a run whose time to live is over.
pub async fn delete_run(client: &Client, run: &AgentRun) -> Result<(), CallError> {
    delete(client, run, PropagationPolicy::Background)
        .await
        .map_err(failed(Call::DeleteRun))
}
