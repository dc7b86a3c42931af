//! The life of a run: fetch → decide → build → apply → observe → status. Only fetch, apply and ask talk to others.

mod apply;
mod ask;
mod attempts;
mod context;
pub mod decide;
mod fetch;
mod follow;
mod housekeeping;
mod notices;
mod observe;
pub(crate) mod plan;
mod queue;
#[cfg(test)]
mod refused;
mod retry;
pub mod status;
pub(crate) mod workload;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use self::apply::ApplyError;
pub use self::context::Context;
use self::decide::Decision;
use self::fetch::FoundJob;
use self::housekeeping::Chore;
pub use self::queue::Queue;
use self::queue::{Place, Standing, Turn};
use self::workload::{BuildError, Input};
use super::events::Notice;
use super::stores::Guarded;
use crate::conditions::seconds_since;
use crate::verdict::{Gap, Verdict};
use cofferdam_api::{AgentRun, AgentRunStatus, Reason};
use cofferdam_policy::decide::Admitted;

/// Seconds for which a run that cannot start yet is not told so: most gaps of a new run close by themselves.
const QUIET_SECONDS: i64 = 3;
/// How soon a run that waits is looked at again; what it waits for triggers too.
const WAITING_LOOK: Duration = Duration::from_secs(5);
/// A queued run is looked at when its turn may have come; this is for a change that no watch told of.
const QUEUED_LOOK: Duration = Duration::from_mins(1);
const QUIET_LOOK: Duration = Duration::from_secs(1);

/// A step of a run's life failed; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A change could not be made.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The objects could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Looks at one run.
///
/// # Errors
/// A step failed; nothing is lost by trying again.
pub async fn reconcile(run: Arc<Guarded<AgentRun>>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let run = match &run.0 {
        Ok(run) => run,
        Err(error) => {
            // The schema forbids it, so an older or newer version stored it. Its next change is looked at again.
            tracing::warn!(%error, "a run cannot be read");
            return Ok(Action::await_change());
        }
    };
    let now = Timestamp::now();
    let Some(uid) = run.uid().filter(|_| run.metadata.deletion_timestamp.is_none()) else {
        return Ok(Action::await_change());
    };
    let action = if run.is_finished() {
        context.forget(run, &uid);
        keep_house(run, &uid, &context, now).await
    } else {
        match fetch::workload(run, &uid, &context).await? {
            FoundJob::None => start(run, &uid, &context, now).await,
            FoundJob::Gone => follow::gone(run, &uid, &context, now).await,
            FoundJob::Present(job) => {
                context.stand(run, &uid, Standing::Holding);
                follow::present(run, &uid, &job, &context, now).await
            }
        }
    }?;
    context.failures.succeeded(&uid);
    Ok(action)
}

/// What to do after a failure.
#[expect(clippy::needless_pass_by_value, reason = "the signature is the runtime's")]
pub fn on_error(run: Arc<Guarded<AgentRun>>, error: &ReconcileError, context: Arc<Context>) -> Action {
    if let ReconcileError::Apply(error) = error
        && error.is_conflict()
    {
        return Action::requeue(Duration::from_millis(200));
    }
    let delay = context.failures.failed(&run.uid().unwrap_or_default());
    tracing::warn!(run = run.name_any(), namespace = run.namespace(), %error, retry_ms = delay.as_millis(), "will try again");
    Action::requeue(delay)
}

/// A run without a Job: decides, and if it may start and it is its turn, builds and creates.
async fn start(
    run: &AgentRun,
    uid: &str,
    context: &Context,
    now: Timestamp,
) -> Result<Action, ReconcileError> {
    let facts = fetch::facts(run, context, now);
    let decision = decide::decide(run, &facts, now);
    if !matches!(decision, Decision::Start { .. }) {
        context.stand(run, uid, Standing::Aside);
    }
    match decision {
        Decision::Start { admitted, gateway } => match context.ask_turn(run, uid, &admitted.max_running) {
            Turn::Go => create(run, uid, &admitted, gateway, context, now).await,
            Turn::Wait(place) => queue(run, &place, context, now).await,
        },
        Decision::Suspended => {
            write(run, status::suspended(run, now), context).await?;
            Ok(Action::await_change())
        }
        Decision::Wait(gap) => wait(run, &gap, &facts, context, now).await,
        Decision::End(verdict) => {
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
    }
}

/// Makes the run's Job. It has its slot; where nothing was made for sure, it gives it back.
async fn create(
    run: &AgentRun,
    uid: &str,
    admitted: &Admitted,
    gateway: SocketAddr,
    context: &Context,
    now: Timestamp,
) -> Result<Action, ReconcileError> {
    let failed = run.status.as_ref().and_then(|status| status.attempt).unwrap_or(0);
    let input = Input {
        run,
        admitted,
        config: &context.config,
        gateway,
        attempt: failed + 1,
    };
    let workload = workload::build(&input, &context.operator_namespace)
        .inspect_err(|_| context.stand(run, uid, Standing::Aside))?;
    match apply::create(&context.client, run, workload).await {
        Ok(job) => {
            context.note_made(uid, &job.uid().unwrap_or_default());
            if failed > 0 {
                let notice = notices::attempt(input.attempt);
                context.events.publish(run, &notice, now).await;
            }
            Ok(Action::requeue(follow::STARTING_LOOK))
        }
        Err(error) => {
            if error.made_nothing() {
                context.stand(run, uid, Standing::Aside);
            }
            refused_job(run, error, context, now).await
        }
    }
}

/// A run whose turn has not come: tells its place, if that is news.
async fn queue(
    run: &AgentRun,
    place: &Place,
    context: &Context,
    now: Timestamp,
) -> Result<Action, ReconcileError> {
    if place.is_news(status::told_place(run)) {
        write(run, status::queued(run, place, now), context).await?;
    }
    Ok(Action::requeue(QUEUED_LOOK))
}

/// The API server did not take the Job: its own refusal is final, anything else is tried again.
async fn refused_job(
    run: &AgentRun,
    error: ApplyError,
    context: &Context,
    now: Timestamp,
) -> Result<Action, ReconcileError> {
    let message = match &error {
        ApplyError::Foreign(_) => error.to_string(),
        ApplyError::Api {
            step: "create the Job",
            ..
        } => match error.refusal() {
            Some(message) => format!("The API server refuses the Job: {message}"),
            None => return Err(error.into()),
        },
        _ => return Err(error.into()),
    };
    let reason = if message.contains("exceeded quota") {
        Reason::QuotaExceeded
    } else {
        Reason::AdmissionRefused
    };
    let verdict = Verdict::new(reason, message);
    end(
        run,
        reason,
        status::refused(run, &verdict, now),
        &[],
        context,
        now,
    )
    .await
}

async fn wait(
    run: &AgentRun,
    gap: &Gap,
    facts: &decide::Facts,
    context: &Context,
    now: Timestamp,
) -> Result<Action, ReconcileError> {
    let old = run.status.as_ref();
    let told_before = old.is_some_and(|status| {
        status.reason.as_deref() == Some(gap.reason.as_str()) && status.phase.as_deref() == Some("Pending")
    });
    // A run that rested is told at once: its clock runs only from then on.
    if !told_before && !status::is_resting(run) && seconds_since(facts.waiting_since, now) < QUIET_SECONDS {
        return Ok(Action::requeue(QUIET_LOOK));
    }
    write(run, status::waiting(run, gap, now), context).await?;
    if !told_before && gap.stalled {
        let notice = notices::waiting(gap.reason, &gap.message);
        context.events.publish(run, &notice, now).await;
    }
    Ok(Action::requeue(WAITING_LOOK))
}

/// Writes a status if it says anything new.
async fn write(run: &AgentRun, new: AgentRunStatus, context: &Context) -> Result<(), ReconcileError> {
    if run.status.as_ref() == Some(&new) {
        return Ok(());
    }
    Ok(apply::write_status(&context.client, run, new).await?)
}

/// Writes the terminal status, then tells: denials first, and one event that sums the run up.
async fn end(
    run: &AgentRun,
    reason: Reason,
    new: AgentRunStatus,
    denials: &[Notice],
    context: &Context,
    now: Timestamp,
) -> Result<Action, ReconcileError> {
    let summary = notices::end(reason, &run.spec, &new);
    apply::write_status(&context.client, run, new).await?;
    context.stand(run, &run.uid().unwrap_or_default(), Standing::Aside);
    for notice in denials.iter().chain([&summary]) {
        context.events.publish(run, notice, now).await;
    }
    tracing::info!(run = run.name_any(), namespace = run.namespace(), %reason, "run ended");
    Ok(Action::await_change())
}

/// A run that is over: no call but those that end its Job, and in the end itself.
async fn keep_house(
    run: &AgentRun,
    uid: &str,
    context: &Context,
    now: Timestamp,
) -> Result<Action, ReconcileError> {
    if let Some(status) = status::observed_again(run) {
        apply::write_status(&context.client, run, status).await?;
        return Ok(Action::await_change());
    }
    let job = fetch::cached_job(run, uid, context);
    let live_pod = fetch::live_pod(run, uid, context);
    let policy_ttl = fetch::policy_ttl(run, context);
    match housekeeping::next(run, job.as_deref(), live_pod, policy_ttl, now) {
        Chore::DeleteJob => {
            if let Some(job) = job {
                apply::delete_job(&context.client, &job).await?;
            }
            Ok(Action::requeue(Duration::from_secs(30)))
        }
        Chore::DeleteRun => {
            apply::delete_run(&context.client, run).await?;
            Ok(Action::await_change())
        }
        Chore::Sleep(time) => Ok(Action::requeue(
            Duration::try_from(time).unwrap_or(Duration::from_secs(1)) + Duration::from_millis(100),
        )),
    }
}
