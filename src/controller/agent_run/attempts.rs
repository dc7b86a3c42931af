//! From one attempt of a run to the next: does what [`retry`] says.

use jiff::Timestamp;
use kube::runtime::controller::Action;

use super::follow::ENDING_LOOK;
use super::observe::End;
use super::queue::Standing;
use super::retry::{self, Between, Next, Remains};
use super::status::{self, Built};
use super::{Context, ReconcileError, apply, end, fetch, notices, start, write};
use crate::verdict::Verdict;
use cofferdam_api::AgentRun;
use cofferdam_wire::record::RunRecord;

/// Gives up an attempt that may be repeated. As with a kill the reason is written first; whether the agent stayed
/// unstarted to the last is known when the pod is gone.
pub async fn repeat(
    run: &AgentRun,
    built: Built<'_>,
    verdict: &Verdict,
    unstarted: bool,
    context: &Context,
    now: Timestamp,
) -> Result<Action, ReconcileError> {
    let new = status::retrying(run, built, verdict, unstarted, now);
    write(run, new, context).await?;
    let notice = notices::retrying(verdict.reason, &verdict.message, built.plan.attempt);
    context.events.publish(run, &notice, now).await;
    apply::delete_job(&context.client, built.job).await?;
    Ok(Action::requeue(ENDING_LOOK))
}

/// A run whose failed attempt's Job is gone: starts anew when it may, and no longer takes a slot until then.
pub async fn between(
    run: &AgentRun,
    uid: &str,
    between: &Between,
    context: &Context,
    now: Timestamp,
) -> Result<Action, ReconcileError> {
    let mut record = None;
    loop {
        let next = retry::next(
            between,
            &Remains {
                pods: fetch::has_pods(run, uid, context),
                unstarted: context.stores.unstarted.has(uid),
                made_again: context.has_made_another(uid, &between.job_uid),
                record: record
                    .as_ref()
                    .map(|answer: &Result<RunRecord, ()>| answer.as_ref().or(Err(()))),
                now,
            },
        );
        match next {
            Next::AskArchive => record = Some(context.archive.record(uid).await.map_err(drop)),
            Next::Wait(time) => {
                if !fetch::has_pods(run, uid, context) {
                    context.stand(run, uid, Standing::Aside);
                }
                return Ok(Action::requeue(time));
            }
            Next::Start => {
                context.forget_attempt(uid);
                return start(&status::anew(run), uid, context, now).await;
            }
            Next::End(verdict) => {
                let record = record.and_then(Result::ok);
                let denials = record.as_ref().map(notices::denials).unwrap_or_default();
                let ended = End::without_pod(verdict, record);
                let new = status::ended(run, None, &ended, now);
                return end(run, ended.verdict.reason, new, &denials, context, now).await;
            }
        }
    }
}
