//! A run that has, or had, a Job: asks what must be asked, and does what its progress calls for.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use super::observe::{End, Observation, Progress, Question, observe};
use super::plan::Plan;
use super::status::{self, Built};
use super::{Context, ReconcileError, apply, ask, attempts, end, fetch, notices, retry, write};
use crate::fence;
use crate::verdict::Verdict;
use cofferdam_api::{AgentRun, Cancel, Reason};
use cofferdam_wire::record::RunRecord;

/// How soon a run that is starting is looked at again; its pod's changes trigger too.
pub const STARTING_LOOK: Duration = Duration::from_secs(5);
const RUNNING_LOOK: Duration = Duration::from_mins(1);
/// How soon a run whose pod ends is looked at again; its pod's changes trigger too.
pub const ENDING_LOOK: Duration = Duration::from_secs(2);

/// The answers to the questions of one pass.
#[derive(Default)]
struct Answers {
    admission: Option<Result<(), String>>,
    warnings: Option<Vec<String>>,
    record: Option<Result<RunRecord, String>>,
}

/// A run whose Job is there.
pub async fn present(
    run: &AgentRun,
    uid: &str,
    job: &Arc<Job>,
    context: &Context,
    now: Timestamp,
) -> Result<Action, ReconcileError> {
    let failed_attempt = status::between(run.status.as_ref())
        .is_some_and(|between| job.metadata.uid.as_ref() == Some(&between.job_uid));
    if failed_attempt || status::stopping(run.status.as_ref()).is_some() {
        apply::delete_job(&context.client, job).await?;
        return Ok(Action::requeue(ENDING_LOOK));
    }
    let plan = match Plan::of(job) {
        Ok(plan) => plan,
        Err(error) => return unreadable(run, job, &error.to_string(), context, now).await,
    };
    let built = Built { job, plan: &plan };
    let pod = fetch::pod(run, uid, context);
    let (progress, answers) = look(run, uid, built, pod.as_deref(), context, now).await?;
    match progress {
        Progress::Ended(ended) if ended.unstarted && retry::may_follow(&plan, ended.verdict.reason) => {
            attempts::repeat(run, built, &ended.verdict, true, context, now).await
        }
        Progress::Ended(ended) => {
            let denials = answers
                .record
                .and_then(Result::ok)
                .map(|record| notices::denials(&record));
            let new = status::ended(run, Some(built), &ended, now);
            end(
                run,
                ended.verdict.reason,
                new,
                &denials.unwrap_or_default(),
                context,
                now,
            )
            .await
        }
        Progress::Kill(verdict) if pod.is_some() && retry::may_follow(&plan, verdict.reason) => {
            attempts::repeat(run, built, &verdict, false, context, now).await
        }
        Progress::Kill(verdict) => kill(run, built, &verdict, context, now).await,
        live => {
            if let Some(verdict) = no_longer_wanted(run, &plan, &live, context) {
                return kill(run, built, &verdict, context, now).await;
            }
            go_on(run, built, pod.as_deref(), &live, context, now).await
        }
    }
}

/// Observes, answering questions as they come up; there are three, so three answers are the most.
async fn look(
    run: &AgentRun,
    uid: &str,
    built: Built<'_>,
    pod: Option<&Pod>,
    context: &Context,
    now: Timestamp,
) -> Result<(Progress, Answers), ReconcileError> {
    let mut answers = Answers::default();
    loop {
        let progress = observe(&Observation {
            run_uid: uid,
            plan: built.plan,
            job: built.job,
            pod,
            admission: answers.admission.as_ref(),
            warnings: answers.warnings.as_deref(),
            record: answers.record.as_ref(),
            now,
        });
        match (progress, pod) {
            (Progress::Ask(Question::Admission), _) if answers.admission.is_none() => {
                answers.admission = Some(ask::admission(&context.client, run, built.job).await?);
            }
            (Progress::Ask(Question::Warnings), Some(pod)) if answers.warnings.is_none() => {
                answers.warnings = Some(ask::warnings(&context.client, pod).await?);
            }
            (Progress::Ask(Question::Record), _) if answers.record.is_none() => {
                let record = context.archive.record(uid).await;
                answers.record = Some(record.map_err(|error| error.to_string()));
            }
            (progress, _) => return Ok((progress, answers)),
        }
    }
}

/// Why a run that goes on must not.
fn no_longer_wanted(run: &AgentRun, plan: &Plan, progress: &Progress, context: &Context) -> Option<Verdict> {
    let started = !matches!(progress, Progress::Starting { .. });
    match run.spec.cancel {
        Some(Cancel::DiscardWork) => {
            return Some(Verdict::new(
                Reason::Cancelled,
                "The run was cancelled at once; nothing was collected.",
            ));
        }
        Some(Cancel::KeepWork) if !started => {
            return Some(Verdict::new(
                Reason::Cancelled,
                "The run was cancelled before its agent started.",
            ));
        }
        _ => {}
    }
    let gateway = context.stores.gateway().map(|gateway| gateway.to_string());
    if gateway.as_ref().is_some_and(|gateway| *gateway != plan.gateway) && *progress != Progress::Finishing {
        return Some(Verdict::new(
            Reason::GatewayChanged,
            format!(
                "The gateway's address changed from {}, which the pod was given.",
                plan.gateway
            ),
        ));
    }
    let foreign = fence::foreign_gap(&context.stores, &run.namespace().unwrap_or_default())?;
    (!started).then(|| Verdict::new(foreign.reason, foreign.message))
}

/// A run that goes on: tells what its start waits for if that takes long, notes that its agent runs, and asks it to
/// stop where it should.
async fn go_on(
    run: &AgentRun,
    built: Built<'_>,
    pod: Option<&Pod>,
    progress: &Progress,
    context: &Context,
    now: Timestamp,
) -> Result<Action, ReconcileError> {
    let running = match progress {
        Progress::Running(running) => running,
        Progress::Starting { detail } => {
            if status::is_news_of_start(run, built, detail, now) {
                write(run, status::starting(run, built, detail, now), context).await?;
            }
            return Ok(Action::requeue(STARTING_LOOK));
        }
        _ => return Ok(Action::requeue(ENDING_LOOK)),
    };
    if run.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Running") {
        write(run, status::running(run, built, running, now), context).await?;
    }
    let foreign = || fence::foreign_gap(&context.stores, &run.namespace().unwrap_or_default());
    let stop = if run.spec.cancel.is_some() {
        Some(Verdict::new(
            Reason::Cancelled,
            "spec.cancel asks for a stop that keeps the work.",
        ))
    } else {
        foreign().map(|gap| Verdict::new(gap.reason, gap.message))
    };
    if let (Some(verdict), Some(pod)) = (stop, pod)
        && apply::ask_to_stop(&context.client, pod, verdict.reason).await?
    {
        let notice = notices::stopping(verdict.reason, &verdict.message);
        context.events.publish(run, &notice, now).await;
    }
    Ok(Action::requeue(RUNNING_LOOK))
}

/// Stops a run by removing its Job. The reason is written first: once the Job is gone nothing else would know it.
async fn kill(
    run: &AgentRun,
    built: Built<'_>,
    verdict: &Verdict,
    context: &Context,
    now: Timestamp,
) -> Result<Action, ReconcileError> {
    write(run, status::stopped(run, built, verdict, now), context).await?;
    context
        .events
        .publish(run, &notices::stopping(verdict.reason, &verdict.message), now)
        .await;
    apply::delete_job(&context.client, built.job).await?;
    Ok(Action::requeue(ENDING_LOOK))
}

/// A Job whose plan cannot be read: made by another version, or changed past the guard. It is not followed further.
async fn unreadable(
    run: &AgentRun,
    job: &Job,
    why: &str,
    context: &Context,
    now: Timestamp,
) -> Result<Action, ReconcileError> {
    let verdict = Verdict::new(Reason::InternalError, why);
    apply::delete_job(&context.client, job).await?;
    end(
        run,
        verdict.reason,
        status::refused(run, &verdict, now),
        &[],
        context,
        now,
    )
    .await
}

/// A run whose Job is gone: ends when its pod is, too.
pub async fn gone(
    run: &AgentRun,
    uid: &str,
    context: &Context,
    now: Timestamp,
) -> Result<Action, ReconcileError> {
    if let Some(between) = status::between(run.status.as_ref()) {
        return Box::pin(attempts::between(run, uid, &between, context, now)).await;
    }
    if fetch::live_pod(run, uid, context) {
        return Ok(Action::requeue(ENDING_LOOK));
    }
    let verdict = status::stopping(run.status.as_ref()).unwrap_or_else(|| {
        Verdict::new(
            Reason::WorkloadDeleted,
            format!(
                "Someone deleted Job {} while the run was live.",
                job_name(run, uid)
            ),
        )
    });
    let mut record = context.archive.record(uid).await.ok();
    if verdict.reason == Reason::Cancelled
        && let Some(record) = &mut record
    {
        // `DiscardWork` asked for no patch; a pod that was told to end may have sent one all the same.
        record.receipt = None;
    }
    let denials = record.as_ref().map(notices::denials).unwrap_or_default();
    let ended = End::without_pod(verdict, record);
    let new = status::ended(run, None, &ended, now);
    end(run, ended.verdict.reason, new, &denials, context, now).await
}

fn job_name(run: &AgentRun, uid: &str) -> String {
    cofferdam_api::names::workload_name(&run.name_any(), uid)
}
