//! What runs in the background while the agent works: the long poll for its state, and the probes of the fence.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::control::Control;
use crate::probe::{LONGEST_WAIT, Target, round};
use cofferdam_wire::control::{IsolationLost, RunState};

/// Between two rounds of probes.
const ROUND: Duration = Duration::from_secs(30);
/// Between two tries of a poll that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two polls that brought nothing.
const EMPTY: Duration = Duration::from_millis(100);
/// How often a hole is reported.
const REPORTS: u32 = 5;

/// Follows the run's state until `stop`.
pub async fn follow(control: Control, states: watch::Sender<RunState>, stop: CancellationToken) {
    loop {
        let after = states.borrow().revision;
        let answer = tokio::select! {
            answer = control.state(after) => answer,
            () = stop.cancelled() => return,
        };
        match answer {
            Ok(state) => {
                let news = state.revision > after;
                states.send_if_modified(|known| {
                    let changed = *known != state;
                    *known = state;
                    changed
                });
                if !news {
                    // An empty poll takes its time; one that does not must not make this loop spin.
                    sleep(EMPTY).await;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "no state from the gateway");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Probes the fence until `stop`. The first hole cancels `hole` and is reported, so that the gateway closes the
/// run's exit.
pub async fn probe(control: Control, targets: Vec<Target>, hole: CancellationToken, stop: CancellationToken) {
    let mut ticks = interval(ROUND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        if let Some(open) = round(&targets, LONGEST_WAIT).await.into_iter().next() {
            hole.cancel();
            let lost = IsolationLost {
                probe: open.name,
                detail: open.detail,
            };
            return report(&control, &lost).await;
        }
    }
}

async fn report(control: &Control, lost: &IsolationLost) {
    for _ in 0..REPORTS {
        match control.isolation_lost(lost).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(%error, probe = lost.probe, "a hole in the fence could not be reported");
                sleep(PAUSE).await;
            }
        }
    }
}
