//! What runs beside the agent in its pod: `prepare` before it, `sidecar` with it.

pub mod clone;
pub mod collect;
pub mod contract;
pub mod control;
mod conversation;
pub mod deadline;
pub mod forward;
pub mod git;
pub mod java;
pub mod kernel;
pub mod lfs;
pub mod paths;
pub mod prepare;
pub mod probe;
pub mod report;
pub mod sidecar;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod work_tree;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::de::DeserializeOwned;

use self::paths::Paths;
use self::sidecar::{Listeners, sockets};
use cofferdam_api::names::{FORWARDER_PORT, PROBE_PORT};
use cofferdam_wire::runner::{NODE_IP_ENV, PREPARE_ENV, PrepareSpec, SIDECAR_ENV, SidecarSpec, VERSION};

/// Flags of this role.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Which container this is.
    #[command(subcommand)]
    pub container: Container,
    /// Directory that stands for `/`; tests have one of their own.
    #[arg(long, default_value = "/", hide = true)]
    pub root: PathBuf,
}

/// The containers of a run's pod that are ours.
#[derive(clap::Subcommand, Clone, Copy, Debug)]
pub enum Container {
    /// Before the agent: proves the fence, clones.
    Prepare,
    /// With the agent: forwards, keeps the clock, collects.
    Sidecar,
    /// In the sidecar's container, once: returns when the sidecar serves, so that the agent can start.
    Ready,
}

/// Why a container ends with an error. Its termination message says more.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The order in the environment cannot be read.
    #[error("{variable} cannot be read: {problem}")]
    Order {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Files, sockets, signals.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The probes of the order make no sense.
    #[error(transparent)]
    Probe(#[from] probe::ProbeError),
    /// The work failed and was reported.
    #[error("{0}")]
    Failed(String),
}

/// Runs one container's work to its end.
///
/// # Errors
/// The work failed; the termination message says how.
pub async fn run(args: Args) -> Result<(), RunnerError> {
    let paths = Paths::new(args.root);
    match args.container {
        Container::Prepare => run_prepare(&paths).await,
        Container::Sidecar => run_sidecar(&paths).await,
        Container::Ready => {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PROBE_PORT));
            sidecar::health::wait_until_ready(address)
                .await
                .map_err(RunnerError::Failed)
        }
    }
}

async fn run_prepare(paths: &Paths) -> Result<(), RunnerError> {
    let spec: PrepareSpec = order(PREPARE_ENV, |spec: &PrepareSpec| spec.version)?;
    let report = prepare::run(&spec, node()?, paths).await;
    report::write_prepare(&paths.termination_log(), &report)?;
    match report.failure {
        None => Ok(()),
        Some(failure) => Err(RunnerError::Failed(format!(
            "{}: {}",
            failure.reason, failure.message
        ))),
    }
}

async fn run_sidecar(paths: &Paths) -> Result<(), RunnerError> {
    let spec: SidecarSpec = order(SIDECAR_ENV, |spec: &SidecarSpec| spec.version)?;
    let terminated = cofferdam_service::serve::shutdown_on_signal()?;
    let listeners = Listeners {
        forwarder: sockets::listen_alone(SocketAddr::from((Ipv4Addr::LOCALHOST, FORWARDER_PORT)))?,
        health: sockets::listen_alone(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PROBE_PORT)))?,
    };
    let log = paths.termination_log();
    sidecar::run(&spec, node()?, paths, listeners, terminated, |report| {
        if let Err(error) = report::write_sidecar(&log, report) {
            tracing::error!(%error, "the termination message cannot be written");
        }
    })
    .await?;
    Ok(())
}

/// The order in a variable, of the version that this program knows.
fn order<T: DeserializeOwned>(variable: &'static str, version: impl Fn(&T) -> u32) -> Result<T, RunnerError> {
    let problem = |problem: String| RunnerError::Order { variable, problem };
    let text = std::env::var(variable).map_err(|error| problem(error.to_string()))?;
    let order: T = serde_json::from_str(&text).map_err(|error| problem(error.to_string()))?;
    match version(&order) {
        VERSION => Ok(order),
        other => Err(problem(format!("version {other} is not {VERSION}"))),
    }
}

/// Address of the pod's node, where the environment has it.
fn node() -> Result<Option<IpAddr>, RunnerError> {
    match std::env::var(NODE_IP_ENV) {
        Err(_) => Ok(None),
        Ok(text) => text.parse().map(Some).map_err(|_| RunnerError::Order {
            variable: NODE_IP_ENV,
            problem: format!("{} is no address", text::escape(text.as_bytes())),
        }),
    }
}
