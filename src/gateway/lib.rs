//! The gateway: the only way out of a sandbox.
//!
//! A connection carries one request. [`listener`] reads its head, [`identity`] says who asks, [`view`] whether that
//! one may use the exit now, [`exit`] whether this host may be reached; [`connect`] and [`forward`] move the bytes,
//! [`control`] serves the run's own containers. [`records`] keeps the evidence of all of it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ipnet::IpNet;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use cofferdam_identity::{ClusterKeys, Verifier};
use cofferdam_service::args::{ArchiveArgs, RoleArgs};
use cofferdam_service::serve::{Readiness, health, shutdown_on_signal};
use cofferdam_service::start::{Role, StartError, bind, cluster_client};
use cofferdam_wire::record::ProcessId;

mod answer;
mod archive_client;
mod authority;
mod canary;
mod connect;
mod control;
mod denial;
mod deny_set;
mod dial;
mod exit;
mod forward;
mod frozen;
mod head;
mod headers;
mod hello;
mod identity;
mod limits;
mod listener;
mod output;
mod pods;
mod prefixed;
mod ranges;
mod records;
mod relay;
mod view;
mod watch;
mod watches;

#[cfg(test)]
mod tests;

/// How often records are sent and what is over is forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Longest time for open tunnels to end after the signal; the pod's grace period is 60 s.
const DRAIN: Duration = Duration::from_secs(40);
/// Longest time for the last records at the end of the process.
const LAST_FLUSH: Duration = Duration::from_secs(10);

/// Flags of this role.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    role: RoleArgs,
    #[command(flatten)]
    archive: ArchiveArgs,
    /// This pod's addresses, never dialled for a run.
    #[arg(long, env = "POD_IPS", value_delimiter = ',')]
    pod_ips: Vec<IpAddr>,
    /// Every range of the cluster's pods, Services and nodes, never dialled for a run.
    #[arg(
        long = "cluster-cidr",
        env = "COFFERDAM_CLUSTER_CIDRS",
        value_delimiter = ',',
        required = true
    )]
    cluster_cidrs: Vec<IpNet>,
    /// PEM file of CAs that sandboxes trust besides the public ones.
    #[arg(long)]
    trusted_ca: Option<PathBuf>,
    /// Address for sandboxes.
    #[arg(long, default_value = "0.0.0.0:3128")]
    listen: SocketAddr,
    /// Address that no sandbox may reach, TCP and UDP.
    #[arg(long, default_value = "0.0.0.0:3129")]
    canary: SocketAddr,
}

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// What every role needs.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The resolver cannot be made.
    #[error("the resolver cannot be made: {0}")]
    Resolver(String),
    /// The kernel gives no random number.
    #[error("no random number: {0}")]
    Random(getrandom::Error),
}

/// Everything that a connection needs.
struct Gateway {
    view: Arc<view::View>,
    verifier: Verifier,
    policies: frozen::Policies,
    ranges: Arc<ranges::Ranges>,
    outside: Box<dyn dial::Outside>,
    limits: Arc<limits::RunLimits>,
    recorder: Arc<records::Recorder>,
    archive: archive_client::ArchiveClient,
    trust: Bytes,
}

/// Runs the role until a signal ends it.
///
/// # Errors
/// The role could not start.
pub async fn run(args: Args) -> Result<(), GatewayError> {
    let stop = shutdown_on_signal().map_err(StartError::Signals)?;
    let client = cluster_client(Role::Gateway).await?;
    let gateway = Arc::new(build(&args, &client).await?);
    let listener = bind(args.listen).await?;
    let probes = bind(args.role.health).await?;
    let readiness = Readiness::default();
    let watches = watches::run(
        client,
        Arc::clone(&gateway.view),
        Arc::clone(&gateway.ranges),
        Arc::clone(&gateway.recorder),
    );
    tracing::info!(listen = %args.listen, canary = %args.canary, "the gateway starts");
    tokio::select! {
        () = watches => {}
        () = listener::serve(Arc::clone(&gateway), listener, &stop) => {}
        () = housekeeping(&gateway, &readiness) => {}
        served = canary::serve(args.canary) => served.map_err(|source| StartError::Bind {
            address: args.canary,
            source,
        })?,
        () = health(probes, readiness.clone(), CancellationToken::new()) => {}
        () = drain(&gateway, &stop) => {}
    }
    tracing::info!("the gateway ends");
    if tokio::time::timeout(LAST_FLUSH, gateway.recorder.flush_all(|_| false))
        .await
        .is_err()
    {
        tracing::warn!("records were lost at the end");
    }
    Ok(())
}

async fn build(args: &Args, client: &Client) -> Result<Gateway, GatewayError> {
    let trust = match &args.trusted_ca {
        Some(path) => tokio::fs::read(path).await.map_err(|source| StartError::File {
            path: path.clone(),
            source,
        })?,
        None => Vec::new(),
    };
    let own = args.pod_ips.iter().copied().map(deny_set::single);
    let fixed = args.cluster_cidrs.iter().copied().chain(own).collect();
    let archive = archive_client::ArchiveClient::new(
        &args.archive.archive_url,
        args.archive.archive_token_file.clone(),
    );
    Ok(Gateway {
        view: Arc::default(),
        verifier: Verifier::new(ClusterKeys(client.clone())),
        policies: frozen::Policies::new(frozen::ClusterPolicies(Api::namespaced(
            client.clone(),
            &args.role.namespace,
        ))),
        ranges: Arc::new(ranges::Ranges::new(fixed, args.role.namespace.clone())),
        outside: Box::new(dial::Internet::new().map_err(GatewayError::Resolver)?),
        limits: Arc::default(),
        recorder: Arc::new(records::Recorder::new(
            args.role.pod_name.clone(),
            process_id()?,
            archive.clone(),
        )),
        archive,
        trust: trust.into(),
    })
}

fn process_id() -> Result<ProcessId, GatewayError> {
    getrandom::u64().map(ProcessId).map_err(GatewayError::Random)
}

/// After the signal: tunnels that are open may end by themselves, still under watch.
async fn drain(gateway: &Gateway, stop: &CancellationToken) {
    stop.cancelled().await;
    let until = Instant::now() + DRAIN;
    while gateway.limits.any_open() && Instant::now() < until {
        tokio::time::sleep(HOUSEKEEPING).await;
    }
}

/// Sends records, forgets what is over, and says whether the gateway can do its work.
async fn housekeeping(gateway: &Gateway, readiness: &Readiness) {
    loop {
        tokio::time::sleep(HOUSEKEEPING).await;
        readiness.set(gateway.view.is_fresh(Instant::now()) && gateway.ranges.deny_set().is_some());
        let (hashes, runs) = gateway.view.in_use();
        gateway.policies.retain(&hashes);
        gateway.limits.retain(|run| runs.contains(run));
        gateway.recorder.flush_all(|run| runs.contains(run)).await;
    }
}
