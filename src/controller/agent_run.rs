//! The life of a run: seen → step → perform. `seen` reads, `step` decides and is pure, `perform` writes.

mod ask;
mod call;
pub(super) mod cleanup;
mod context;
pub mod decide;
mod notices;
pub(crate) mod observe;
mod perform;
pub(crate) mod plan;
mod retry;
mod seen;
pub mod status;
mod step;
pub(crate) mod workload;

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use self::call::CallError;
pub use self::context::{Context, Effects, Installation, run_key};
use self::perform::{CONFLICT_REQUEUE, Outcome, Write, perform};
use self::seen::{Seen, SeenJob};
use self::step::{Next, Step, step};
use super::api_server::Guarded;
use cofferdam_api::AgentRun;

/// How often a run is decided about in one reconcile: at first, after its Job was refused, and after someone changed it.
const ROUNDS: usize = 4;

/// A run could not be brought further; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A request failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Brings one run further.
///
/// # Errors
/// A request failed; nothing is lost by trying again.
pub async fn reconcile(run: Arc<Guarded<AgentRun>>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let cached = match &run.0 {
        Ok(run) => run,
        Err(error) => {
            // The schema forbids it, so an older or newer version stored it. Its next change is looked at again.
            tracing::warn!(%error, "a run cannot be read");
            return Ok(Action::await_change());
        }
    };
    let Some(uid) = cached.uid() else {
        return Ok(Action::await_change());
    };
    let now = Timestamp::now();
    let (mut fresh, mut write, mut refused) = (None, Write::IfUnchanged, None);
    for _ in 0..ROUNDS {
        let run = fresh.as_ref().unwrap_or(cached);
        let mut seen = Seen::of(run, &uid, &context).await?;
        if let Some(verdict) = refused.take() {
            seen.job = SeenJob::Refused(verdict);
        }
        let step = next_step(run, &mut seen, &context, now).await?;
        match perform(run, step, write, &context.effects, now).await? {
            Outcome::Done(action) => {
                context.failures.succeeded(&uid);
                return Ok(action);
            }
            Outcome::JobRefused(verdict) => refused = Some(verdict),
            Outcome::RunChanged => {
                fresh = seen::fresh_run(run, &context).await?;
                if fresh.is_none() {
                    return Ok(Action::await_change());
                }
                write = Write::Always;
            }
        }
    }
    Ok(Action::requeue(CONFLICT_REQUEUE))
}

/// The next step of a run; answers what has to be known for it.
async fn next_step(
    run: &AgentRun,
    seen: &mut Seen,
    context: &Context,
    now: Timestamp,
) -> Result<Step, CallError> {
    loop {
        match step(run, seen, now) {
            // An answer is not asked for again, so this ends.
            Next::Ask(question) => seen.answer(question, run, context, now).await?,
            Next::Do(step) => return Ok(*step),
        }
    }
}

/// What to do after a failure.
#[expect(clippy::needless_pass_by_value, reason = "the signature is the runtime's")]
pub fn on_error(run: Arc<Guarded<AgentRun>>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let ReconcileError::Call(call) = error;
    if call.is_conflict() {
        return Action::requeue(CONFLICT_REQUEUE);
    }
    let delay = context.failures.failed(&run.uid().unwrap_or_default());
    tracing::warn!(run = run.name_any(), namespace = run.namespace(), %error, retry_ms = delay.as_millis(), "will try again");
    Action::requeue(delay)
}
