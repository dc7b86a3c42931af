//! `cancel`: ends a run. What the agent has done is kept unless it is to be thrown away.

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::place::{Cluster, Flags, Patience};
use crate::runs::which::{Which, find};
use cofferdam_api::{AgentRun, Cancel};
use cofferdam_text::escape;

/// Which run, and what becomes of its work.
///
/// Needs `patch` on agentruns. A cancel cannot be taken back.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The run: its name, or @latest. It has to be named.
    run: Which,
    /// Stop at once and throw away what the agent has done.
    #[arg(long)]
    discard_work: bool,
}

/// Cancels.
///
/// # Errors
/// There is no such run, it is over, or it may not be changed.
pub async fn main(args: &Args, flags: &Flags) -> Result<Exit, Failure> {
    let Cluster { client, namespace } = flags.connect(Patience::Answer).await?;
    let run = find(&client, &namespace, Some(&args.run)).await?.readable()?;
    let name = run.metadata.name.clone().unwrap_or_default();
    let cancel = wanted(&run, args.discard_work)?;
    let api: Api<AgentRun> = Api::namespaced(client, &namespace);
    let patch = Patch::Merge(json!({
        // Not of a run that was deleted and made again meanwhile.
        "metadata": {"uid": run.metadata.uid},
        "spec": {"cancel": cancel},
    }));
    api.patch(&name, &PatchParams::default(), &patch)
        .await
        .map_err(|error| Failure::api(format!("the cancel of AgentRun {namespace}/{name}"), &error))?;
    let kept = if args.discard_work {
        "thrown away"
    } else {
        "kept as a patch"
    };
    eprintln!(
        "AgentRun {}/{} is being stopped; its work is {kept}",
        escape(&namespace),
        escape(&name)
    );
    Ok(Exit::Done)
}

/// What to write, if that can change anything.
fn wanted(run: &AgentRun, discard: bool) -> Result<Cancel, Failure> {
    let name = run.metadata.name.as_deref().unwrap_or_default();
    if run.is_finished() {
        let reason = run
            .status
            .as_ref()
            .and_then(|status| status.reason.as_deref())
            .unwrap_or("ended");
        return Err(Failure::No(format!(
            "AgentRun {name} is over ({reason}); there is nothing to cancel"
        )));
    }
    Ok(if discard {
        Cancel::DiscardWork
    } else {
        Cancel::KeepWork
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(condition: &str) -> AgentRun {
        serde_json::from_value(json!({
            "metadata": {"name": "x"},
            "spec": {"task": {"prompt": "p"}, "agent": {"image": "i"}},
            "status": {"reason": "Completed", "conditions": [{"type": condition, "status": "True", "reason": "x", "message": "",
                "lastTransitionTime": "2026-11-26T10:00:00Z"}]},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_over_cannot_be_cancelled() {
        assert_eq!(wanted(&run("Reconciling"), false).unwrap(), Cancel::KeepWork);
        assert_eq!(wanted(&run("Reconciling"), true).unwrap(), Cancel::DiscardWork);
        let failure = wanted(&run("Complete"), false).unwrap_err();
        assert_eq!(failure.exit(), Exit::No);
        assert!(failure.to_string().contains("is over (Completed)"));
    }
}
