//! Questions about a run that the watches do not answer.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt};

use super::call::{Call, CallError, failed, is_refusal};
use crate::api_server::is_owned;
use crate::conditions::bounded;
use crate::run_pod::RunPod;
use cofferdam_api::AgentRun;
use cofferdam_wire::pod;

/// Warnings of a pod that are looked at.
const WARNINGS: u32 = 50;
/// Longest of them in bytes: what a runtime wraps around its own cause is long.
const WARNING_LIMIT: usize = 500;

/// Whether the API server would take the Job's pod: a Job itself never says why it would not. Nothing is stored.
pub async fn admission(client: &Client, run: &AgentRun, job: &Job) -> Result<Result<(), String>, CallError> {
    let name = job.name_any();
    let Some(template) = read_job(client, run, &name)
        .await?
        .and_then(|job| job.spec)
        .map(|spec| spec.template)
    else {
        return Ok(Ok(()));
    };
    let mut pod = Pod {
        metadata: template.metadata.unwrap_or_default(),
        spec: template.spec,
        status: None,
    };
    pod.metadata.name = Some(format!("{name}-check"));
    let api: Api<Pod> = Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match api.create(&params, &pod).await {
        Ok(_) => Ok(Ok(())),
        Err(kube::Error::Api(status)) if is_refusal(status.code) => Ok(Err(status.message.clone())),
        Err(error) => Err(failed(Call::TryPod)(error)),
    }
}

/// Where a pod differs from what its Job says of it, such as `containers[agent].image`: neither cache has so much.
pub async fn changes(
    client: &Client,
    run: &AgentRun,
    job: &Job,
    pod: &RunPod,
) -> Result<Vec<String>, CallError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let live = pods
        .get_opt(&pod.name_any())
        .await
        .map_err(failed(Call::ReadPod))?
        .filter(|live| live.metadata.uid == pod.metadata.uid)
        .and_then(|live| live.spec);
    let built = read_job(client, run, &job.name_any())
        .await?
        .and_then(|job| job.spec?.template.spec);
    let places = built
        .zip(live)
        .and_then(|(built, live)| pod::changes(&built, &live).ok());
    Ok(places.unwrap_or_default())
}

/// Messages of a pod's warning events, oldest first, bounded and escaped.
pub async fn warnings(client: &Client, pod: &RunPod) -> Result<Vec<String>, CallError> {
    let api: Api<Event> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let uid = pod.uid().ok_or(CallError::Incomplete("uid"))?;
    let params = ListParams::default()
        .fields(&format!("involvedObject.uid={uid},type=Warning"))
        .limit(WARNINGS);
    let mut events = api.list(&params).await.map_err(failed(Call::ListWarnings))?.items;
    events.sort_by_key(last_seen);
    Ok(events
        .iter()
        .filter_map(|event| event.message.as_deref())
        .map(|message| bounded(message, WARNING_LIMIT))
        .collect())
}

fn last_seen(event: &Event) -> Option<Timestamp> {
    event
        .last_timestamp
        .as_ref()
        .map(|time| time.0)
        .or(event.event_time.as_ref().map(|time| time.0))
}

/// Reads a run's Job past the cache.
pub async fn read_job(client: &Client, run: &AgentRun, name: &str) -> Result<Option<Job>, CallError> {
    let api: Api<Job> = Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let job = api.get_opt(name).await.map_err(failed(Call::ReadJob))?;
    Ok(job.filter(|job| is_owned(&job.metadata, run)))
}
