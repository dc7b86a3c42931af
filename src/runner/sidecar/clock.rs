//! Decides when the agent's time is over, from what the gateway, the kubelet and the clock say.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use cofferdam_api::Reason;
use cofferdam_wire::control::RunState;

/// How the agent's time ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The agent has ended.
    Ended,
    /// The pod is being ended, and all of its containers with it: the agent may live for the rest of the pod's grace.
    Terminated,
    /// The agent is to be stopped.
    Stop(Reason),
}

/// What the clock listens to.
#[derive(Clone, Debug)]
pub struct Signals {
    /// What the gateway says.
    pub states: watch::Receiver<RunState>,
    /// Whether the kubelet has probed the agent, which it does once the agent runs. It stands in for the start
    /// that the gateway reports, should the gateway be out of reach.
    pub probed: watch::Receiver<bool>,
    /// A hole in the fence was seen.
    pub hole: CancellationToken,
    /// SIGTERM.
    pub terminated: CancellationToken,
}

/// Waits for the end of the agent's time, which is `timeout` after its start at the latest.
pub async fn wait(mut signals: Signals, timeout: Duration) -> End {
    let mut deadline: Option<Instant> = None;
    loop {
        if let Some(end) = told(&signals.states.borrow_and_update()) {
            return end;
        }
        deadline = earlier(deadline, reported_deadline(&signals.states.borrow(), timeout));
        if deadline.is_none() && *signals.probed.borrow_and_update() {
            deadline = Instant::now().checked_add(timeout);
        }
        let over = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Ok(()) = signals.states.changed() => {}
            () = signals.terminated.cancelled() => return End::Terminated,
            () = signals.hole.cancelled() => return End::Stop(Reason::EgressNotEnforced),
            () = over => return End::Stop(Reason::DeadlineExceeded),
            Ok(()) = signals.probed.changed() => {}
        }
    }
}

/// Returns when the gateway says that the agent has ended; not at all if it does not.
pub async fn agent_ended(mut states: watch::Receiver<RunState>) {
    if states.wait_for(|state| state.agent_ended).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn told(state: &RunState) -> Option<End> {
    if state.agent_ended {
        return Some(End::Ended);
    }
    state.stop.map(End::Stop)
}

/// The deadline by the agent's start as the gateway reports it. It was written by this node's clock; should that
/// have been set since, the agent gets no more than its time from now.
fn reported_deadline(state: &RunState, timeout: Duration) -> Option<Instant> {
    let started: Timestamp = state.agent_started_at.as_deref()?.parse().ok()?;
    let elapsed = Duration::try_from(Timestamp::now().duration_since(started)).unwrap_or_default();
    Instant::now().checked_add(timeout.saturating_sub(elapsed))
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(100);

    struct World {
        states: watch::Sender<RunState>,
        probed: watch::Sender<bool>,
        hole: CancellationToken,
        terminated: CancellationToken,
    }

    /// What happens, and what the clock makes of it.
    type Case = (fn(&World), End);

    fn world() -> (World, Signals) {
        let (states, states_seen) = watch::channel(RunState::default());
        let (probed, probed_seen) = watch::channel(false);
        let world = World {
            states,
            probed,
            hole: CancellationToken::new(),
            terminated: CancellationToken::new(),
        };
        let signals = Signals {
            states: states_seen,
            probed: probed_seen,
            hole: world.hole.clone(),
            terminated: world.terminated.clone(),
        };
        (world, signals)
    }

    fn started(seconds_ago: i64) -> RunState {
        let at = Timestamp::now() - jiff::SignedDuration::from_secs(seconds_ago);
        RunState {
            agent_started_at: Some(at.to_string()),
            ..RunState::default()
        }
    }

    /// What the clock says, and after how many seconds.
    async fn run(signals: Signals, script: impl Future<Output = ()>) -> (End, u64) {
        let from = Instant::now();
        let waiting = tokio::spawn(wait(signals, TIMEOUT));
        script.await;
        let end = tokio::time::timeout(Duration::from_secs(1000), waiting)
            .await
            .expect("it ends")
            .unwrap();
        (end, from.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn time_runs_from_the_start_that_the_gateway_reports() {
        let (world, signals) = world();
        let (end, after) = run(signals, async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            world.states.send_replace(started(30));
        })
        .await;
        assert_eq!(end, End::Stop(Reason::DeadlineExceeded));
        assert!((76..=78).contains(&after), "{after}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_in_the_future_gives_no_extra_time_and_a_long_gone_one_none() {
        for (ago, low, high) in [(-5000, 99, 101), (5000, 0, 1)] {
            let (world, signals) = world();
            world.states.send_replace(started(ago));
            let (end, after) = run(signals, async {}).await;
            assert_eq!(end, End::Stop(Reason::DeadlineExceeded));
            assert!((low..=high).contains(&after), "{after}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_gateway_the_kubelets_first_probe_counts() {
        let (world, signals) = world();
        let (end, after) = run(signals, async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            world.probed.send_replace(true);
        })
        .await;
        drop(world.states);
        assert_eq!(end, End::Stop(Reason::DeadlineExceeded));
        assert!((119..=121).contains(&after), "{after}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_gateway_does_not_stop_the_clock_nor_spin() {
        let (world, signals) = world();
        world.states.send_replace(started(0));
        drop(world.states);
        drop(world.probed);
        let (end, after) = run(signals, async {}).await;
        assert_eq!(end, End::Stop(Reason::DeadlineExceeded));
        assert!((99..=101).contains(&after), "{after}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_an_end_a_hole_and_a_signal_end_it_at_once() {
        let cases: [Case; 5] = [
            (
                |world| {
                    world
                        .states
                        .send_modify(|state| state.stop = Some(Reason::Cancelled));
                },
                End::Stop(Reason::Cancelled),
            ),
            (
                |world| world.states.send_modify(|state| state.agent_ended = true),
                End::Ended,
            ),
            (|world| world.hole.cancel(), End::Stop(Reason::EgressNotEnforced)),
            (|world| world.terminated.cancel(), End::Terminated),
            // Both at once: what the agent did by itself counts.
            (
                |world| {
                    world.states.send_modify(|state| {
                        state.agent_ended = true;
                        state.stop = Some(Reason::Cancelled);
                    });
                },
                End::Ended,
            ),
        ];
        for (act, expected) in cases {
            let (world, signals) = world();
            world.states.send_replace(started(0));
            let (end, after) = run(signals, async {
                tokio::time::sleep(Duration::from_secs(5)).await;
                act(&world);
            })
            .await;
            assert_eq!((end, after), (expected, 5));
        }
    }
}
