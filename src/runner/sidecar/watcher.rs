//! What runs in the background while the agent works: the long poll for its state, and the probes of the fence.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::control::Control;
use crate::probe::{LONGEST_WAIT, Open, Round, Target, Unopened, opens, round};
use cofferdam_wire::control::{IsolationLost, RunState};

/// Between two rounds of probes.
const ROUND: Duration = Duration::from_secs(30);
/// Between two tries of a poll that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two polls that brought nothing.
const EMPTY: Duration = Duration::from_millis(100);
/// Rounds in a row that the sandbox could not make. An agent that uses up what they need would blind them.
const BLIND: u32 = 3;
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
/// run's exit; so do rounds that could not be made.
pub async fn probe(
    control: Control,
    gateway: SocketAddr,
    targets: Vec<Target>,
    hole: CancellationToken,
    stop: CancellationToken,
) {
    let mut blind = 0;
    let mut ticks = interval(ROUND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let round = round(&targets, LONGEST_WAIT).await;
        if let Some(lost) = judge(round, opens(gateway).await, &mut blind) {
            hole.cancel();
            return report(&control, &lost).await;
        }
    }
}

/// What a round says, beside which the open way was tried, after `blind` rounds in a row that the sandbox could not make.
///
/// A gateway that does not answer blinds nobody: it may be starting anew, and its absence shuts the run's exit by itself.
fn judge(round: Round, beside: Result<(), Unopened>, blind: &mut u32) -> Option<IsolationLost> {
    if let Some(Open { name, detail, .. }) = round.open.into_iter().next() {
        return Some(IsolationLost { probe: name, detail });
    }
    let here = match beside {
        Err(Unopened::Here(why)) => Some(format!("{why} (gateway)")),
        Ok(()) | Err(Unopened::There) => None,
    };
    let Some(why) = round.unmade.into_iter().chain(here).next() else {
        *blind = 0;
        return None;
    };
    *blind += 1;
    tracing::warn!(why, blind, "the fence could not be probed");
    (*blind >= BLIND).then(|| IsolationLost {
        probe: "none".to_owned(),
        detail: format!(
            "the sandbox had nothing left to probe the fence with, {BLIND} times in a row: {why}"
        ),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn made(open: &[&str], unmade: &[&str]) -> Round {
        let open = open.iter().map(|name| Open {
            name: (*name).to_owned(),
            detail: "it opened".to_owned(),
            node: false,
        });
        Round {
            open: open.collect(),
            unmade: unmade.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_fence_that_the_sandbox_cannot_probe_counts_as_lost() {
        let here = || Err(Unopened::Here("Cannot assign requested address".to_owned()));
        let mut blind = 0;
        let mut probes = |round: Round, beside| judge(round, beside, &mut blind).map(|lost| lost.probe);
        // A hole counts at once, whatever else could not be made.
        assert_eq!(
            probes(made(&["dns"], &["no ports"]), here()).as_deref(),
            Some("dns")
        );
        for _ in 0..2 {
            assert_eq!(probes(made(&[], &["no ports"]), Ok(())), None);
        }
        // A round that was made begins the count anew, also where the gateway was away.
        assert_eq!(probes(made(&[], &[]), Err(Unopened::There)), None);
        for _ in 0..2 {
            assert_eq!(probes(made(&[], &[]), here()), None);
        }
        assert_eq!(
            probes(made(&[], &["no ports"]), Err(Unopened::There)).as_deref(),
            Some("none")
        );
        // The control: rounds that are made end nothing.
        let mut blind = 0;
        assert!((0..100).all(|_| judge(made(&[], &[]), Ok(()), &mut blind).is_none()));
    }
}
