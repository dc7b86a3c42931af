//! The sidecar: the agent's proxy, the run's clock, the fence's watch, and the collector at the end.

pub mod clock;
mod collecting;
pub mod health;
mod output;
pub mod sockets;
mod watcher;

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::clock::{End, Signals};
use self::health::Health;
use self::output::{Output, OutputError};
use super::control::Control;
use super::forward::Forwarder;
use super::paths::Paths;
use super::probe::{self, ProbeError};
use super::report::failure;
use cofferdam_api::{Reason, Snapshot};
use cofferdam_wire::control::RunState;
use cofferdam_wire::runner::{SidecarReport, SidecarSpec, VERSION};

/// The sockets of the sidecar, bound before anything else.
#[derive(Debug)]
pub struct Listeners {
    /// The agent's proxy, on loopback.
    pub forwarder: TcpListener,
    /// The kubelet's probes.
    pub health: TcpListener,
}

/// Works until the agent's time has ended and its output is handed over, reports by `report`, and returns when the
/// agent has ended, too: as long as it lives its probe must find nobody else on its port.
///
/// # Errors
/// The order's probes make no sense.
pub async fn run(
    spec: &SidecarSpec,
    node: Option<IpAddr>,
    paths: &Paths,
    listeners: Listeners,
    terminated: CancellationToken,
    report: impl FnOnce(&SidecarReport),
) -> Result<(), ProbeError> {
    let targets = probe::targets(&spec.probes, node)?;
    let gateway = spec.gateway.parse();
    let gateway = gateway.map_err(|_| ProbeError::Address("gateway".to_owned()))?;
    let control = Control::new(&spec.gateway, paths.token("collect"));
    let health = Health::default();
    let stop = CancellationToken::new();
    let _stopped_with_us = stop.clone().drop_guard();
    let (states, states_seen) = watch::channel(RunState::default());
    let hole = CancellationToken::new();
    let forwarder = Forwarder::new(&spec.gateway, paths.token("egress"));
    let exit = stop.child_token();
    tokio::spawn(forwarder.serve(listeners.forwarder, exit.clone()));
    tokio::spawn(health.clone().serve(listeners.health));
    tokio::spawn(watcher::follow(control.clone(), states, stop.clone()));
    tokio::spawn(watcher::probe(
        control.clone(),
        gateway,
        probe::forbidden(&targets, spec.node_access_allowed),
        hole.clone(),
        stop.clone(),
    ));
    let signals = Signals {
        states: states_seen.clone(),
        probed: health.probed(),
        hole,
        terminated: terminated.clone(),
    };
    let timeout = Duration::from_secs(u64::try_from(spec.active_deadline_seconds).unwrap_or_default());
    let end = clock::wait(signals, timeout).await;
    // The agent's time is over, however long its work takes to collect.
    exit.cancel();
    report(&finish(spec, paths, &control, &health, end, &terminated).await);
    tokio::select! {
        () = terminated.cancelled() => {}
        () = clock::agent_ended(states_seen) => {}
        () = health.unasked() => {}
    }
    Ok(())
}

/// Collects, lets the agent be ended if it still lives, and hands over.
async fn finish(
    spec: &SidecarSpec,
    paths: &Paths,
    control: &Control,
    health: &Health,
    end: End,
    terminated: &CancellationToken,
) -> SidecarReport {
    let (snapshot, stopped) = match end {
        End::Ended => (Snapshot::Final, None),
        End::Terminated => (Snapshot::Live, None),
        End::Stop(reason) => (Snapshot::Live, Some(reason)),
    };
    let collected = output::snapshot(&spec.repositories, paths, snapshot, stopped, terminated).await;
    // Only now: an agent that is ended first might destroy its work on the way out.
    health.stop_agent();
    let handed = match collected {
        Ok(collected) => hand_over(control, collected, spec.print_patches).await,
        Err(error) => Err(error),
    };
    SidecarReport {
        version: VERSION,
        failure: handed
            .err()
            .map(|error| failure(Reason::CollectFailed, &error.to_string())),
        stopped,
    }
}

/// The upload counts; the log, where it is wanted, is for people and comes second.
async fn hand_over(control: &Control, output: Output, print: bool) -> Result<(), OutputError> {
    let uploaded = output::upload(control, &output).await;
    if !print {
        return uploaded;
    }
    let printed = tokio::task::spawn_blocking(move || output::print(&output, &mut std::io::stdout().lock()));
    if let Ok(Err(error)) = printed.await {
        tracing::warn!(%error, "the patch could not be printed");
    }
    uploaded
}

#[cfg(test)]
mod tests;
