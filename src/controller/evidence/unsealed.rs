//! Seals what nobody else does: chains of runs that were deleted, and of runs that ended while the archive was away.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use kube::{Resource, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::seal::{SealOutcome, Sealer};
use crate::archive::Archive;
use crate::pod_view::is_over;
use crate::stores::Stores;
use cofferdam_api::AgentRun;
use cofferdam_api::names::LABEL_RUN_UID;
use cofferdam_wire::seal::Unsealed;

/// How often is looked.
const PERIOD: Duration = Duration::from_mins(1);
/// Chains that were written to more recently are left alone: their run may be too new for the cache, and the gateways
/// may still have records of it.
const REST_SECONDS: u64 = 60;
/// Chains that are sealed in one look.
const SLICE: usize = 100;

/// Looks now and then until `stop`.
pub async fn run(archive: &Archive, sealer: &Sealer, stores: &Stores, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = stop.cancelled() => return,
        }
        match archive.unsealed().await {
            Ok(unsealed) => seal(&unsealed, sealer, stores).await,
            Err(error) => tracing::debug!(%error, "the archive does not say what is not sealed"),
        }
    }
}

async fn seal(unsealed: &[Unsealed], sealer: &Sealer, stores: &Stores) {
    let runs = stores.runs.state();
    let known: HashSet<&str> = runs.iter().filter_map(|run| run.meta().uid.as_deref()).collect();
    let pods = stores.pods.state();
    let live = pods.iter().filter(|pod| !is_over(pod));
    let live: HashSet<&str> = live
        .filter_map(|pod| pod.labels().get(LABEL_RUN_UID).map(String::as_str))
        .collect();
    let gone = |uid: &str| !known.contains(uid) && !live.contains(uid);
    for uid in due(unsealed, gone) {
        tell(uid, &sealer.seal_gone(uid).await);
    }
    let read = runs.iter().filter_map(|run| run.0.as_ref().ok());
    let ended: HashMap<&str, &AgentRun> = read
        .filter(|run| run.is_finished())
        .filter_map(|run| Some((run.metadata.uid.as_deref()?, run)))
        .collect();
    for uid in due(unsealed, |uid| ended.contains_key(uid) && !live.contains(uid)) {
        let run = ended.get(uid).copied();
        if let Some((run, status)) = run.and_then(|run| Some((run, run.status.as_ref()?))) {
            // Whether the chain tells of its admission is not known: it is told again.
            tell(uid, &sealer.seal(run, uid, status, false, true).await);
        }
    }
}

/// Those to seal now, those first that rest longest. Pure.
fn due(unsealed: &[Unsealed], is_wanted: impl Fn(&str) -> bool) -> Vec<&str> {
    let resting = unsealed.iter().filter(|run| run.idle_seconds >= REST_SECONDS);
    let wanted = resting.map(|run| run.run.as_str()).filter(|uid| is_wanted(uid));
    wanted.take(SLICE).collect()
}

fn tell(run: &str, sealed: &SealOutcome) {
    match sealed {
        SealOutcome::Sealed { seal, unsigned: None } => {
            tracing::info!(run, cause = ?seal.data.cause, "sealed a run that nobody had");
        }
        SealOutcome::Sealed {
            unsigned: Some(why), ..
        }
        | SealOutcome::Open(why)
        | SealOutcome::Unavailable(why) => tracing::debug!(run, why, "not sealed yet"),
        SealOutcome::Refused(why) => tracing::debug!(run, why, "it cannot be sealed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_rests_and_is_wanted_is_due() {
        let unsealed = [("a", 100), ("b", 60), ("c", 59), ("d", 70)].map(|(run, idle_seconds)| Unsealed {
            run: run.to_owned(),
            idle_seconds,
        });
        assert_eq!(due(&unsealed, |uid| uid != "d"), ["a", "b"]);
    }
}
