//! The gateway: the only way out of a sandbox.
//!
//! [`listener`] reads the head of a connection's request and gives it to [`tunnel`], [`forward`] or [`control`]; [`inspect`]
//! ends the TLS of tunnels whose requests have to be read, and `forward` serves these, one after the other.
//! [`caller`] finds out who sends it and whether that run may act now, [`egress`] whether the host may be reached and by
//! which address; [`admission`] puts both in front of `tunnel` and `forward`. [`evidence`] brings the records of all of
//! it to the archive. [`credentials`] holds what is added to requests and no sandbox sees. [`wiring`] hands each room what it
//! needs.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use cofferdam_identity::{ClusterKeys, Verifier};
use cofferdam_policy::pattern::service::DEFAULT_DOMAIN;
use cofferdam_service::args::{ArchiveArgs, RoleArgs};
use cofferdam_service::serve::{Readiness, health, shutdown_on_signal};
use cofferdam_service::start::{Role, StartError, bind, cluster_client};
use cofferdam_wire::record::{ProcessId, StreamEnd};

use self::capacity::{Capacity, raise_descriptors};
use self::credentials::app::tokens;
use self::credentials::store::Credentials;
use self::egress::deny_set::single;
use self::egress::dial::SystemDialer;
use self::egress::frozen::{ClusterPolicies, FrozenPolicies};
use self::egress::ranges::Ranges;
use self::egress::services::{ClusterServices, ServiceRules};
use self::egress::tls::{RootsError, UpstreamTls};
use self::evidence::{ArchiveClient, Recorder, Spool};
use self::inspect::Inspection;
use self::transport::{canary, sockets};
use self::upkeep::{Drain, HANDOVER};
use self::wiring::{Parts, Rooms};

mod admission;
mod caller;
mod capacity;
mod control;
mod credentials;
mod denial;
mod egress;
mod evidence;
mod forward;
mod inspect;
mod listener;
mod secrecy;
#[cfg(feature = "testing")]
pub mod testing;
mod transport;
mod tunnel;
mod upkeep;
mod watches;
mod wiring;

#[cfg(test)]
mod tests;

/// Longest time for the last records at the end of the process.
const LAST_FLUSH: Duration = Duration::from_secs(10);

/// Longest time for the revocation of what is held at the end of the process.
const LAST_REVOCATIONS: Duration = Duration::from_secs(10);

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
    /// Directory with the certificate authority by which requests inside TLS are read: `current.crt`, `current.key` and,
    /// while it is rotated, `next.crt`, in PEM. It is looked at again and again.
    #[arg(long)]
    inspection_ca: PathBuf,
    /// Namespace of the Secrets that hold credentials; this process reads Secrets nowhere else.
    #[arg(
        long,
        env = "COFFERDAM_CREDENTIALS_NAMESPACE",
        default_value = "cofferdam-credentials"
    )]
    credentials_namespace: String,
    /// Domain of the cluster, in which its Services have names.
    #[arg(long, env = "COFFERDAM_CLUSTER_DOMAIN", default_value = DEFAULT_DOMAIN)]
    cluster_domain: String,
    /// Address for sandboxes.
    #[arg(long, default_value = "0.0.0.0:3128")]
    listen: SocketAddr,
    /// Memory that the process may use, in bytes: what it takes on is derived from it.
    #[arg(long, env = "COFFERDAM_MEMORY_BYTES", default_value_t = 512 * 1024 * 1024)]
    memory_bytes: u64,
    /// Directory in which records wait for the archive. It must outlive this process, as a volume of its pod does.
    #[arg(long)]
    spool: PathBuf,
    /// Longest time for which open connections go on after the signal to end, in seconds. Its pod's grace period must be
    /// longer by 30 s.
    #[arg(long, default_value_t = 600)]
    drain_seconds: u64,
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
    /// The kernel would write the memory of this process into a file when it fails.
    #[error("core dumps cannot be turned off: {0}")]
    CoreDumps(#[from] rustix::io::Errno),
    /// TLS cannot be spoken.
    #[error("no TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The additional CAs.
    #[error(transparent)]
    Roots(#[from] RootsError),
}

/// Runs the role until a signal ends it.
///
/// # Errors
/// The role could not start.
pub async fn run(args: Args) -> Result<(), GatewayError> {
    secrecy::keep_memory_private()?;
    let stop = shutdown_on_signal().map_err(StartError::Signals)?;
    let client = cluster_client(Role::Gateway).await?;
    let capacity = Capacity::of(raise_descriptors(), args.memory_bytes);
    tracing::info!(?capacity, "what the gateway takes on");
    let trusted_ca = trusted_ca(&args).await?;
    let inspection = Arc::new(Inspection::new(trusted_ca)?);
    let ending = CancellationToken::new();
    let drain = Drain {
        handover: HANDOVER,
        longest: Duration::from_secs(args.drain_seconds),
    };
    let credentials: Arc<Credentials> = Arc::default();
    let parts = parts(
        &args,
        &client,
        (Arc::clone(&inspection), Arc::clone(&credentials)),
        (capacity, ending.clone()),
    )
    .await?;
    let archive = parts.archive.clone();
    let Rooms {
        services,
        view,
        ranges,
        policies,
        limits,
        upstreams,
        recorder,
    } = wiring::connect(parts);
    let listener = sockets::listen(args.listen).map_err(|source| StartError::Bind {
        address: args.listen,
        source,
    })?;
    let probes = bind(args.role.health).await?;
    let readiness = Readiness::default();
    let namespace = args.credentials_namespace.as_str();
    let followed = watches::credentials(client.clone(), namespace, Arc::clone(&credentials));
    let watches = watches::run(
        client,
        Arc::clone(&view),
        Arc::clone(&ranges),
        Arc::clone(&recorder),
    );
    tracing::info!(listen = %args.listen, canary = %args.canary, "the gateway starts");
    tokio::select! {
        () = watches => {}
        () = followed => {}
        () = credentials::report::run(&credentials, &archive) => {}
        () = listener::serve(services, listener, &ending) => {}
        () = upkeep::readiness(&view, &ranges, &inspection, (&readiness, &stop)) => {}
        () = inspect::follow::follow(&args.inspection_ca, &inspection) => {}
        () = upkeep::forget(&view, &policies, &limits) => {}
        () = upkeep::revoke(&view, &upstreams) => {}
        () = upkeep::send_records(&view, &limits, &upstreams.tokens, &recorder) => {}
        () = upkeep::send_left(&recorder) => {}
        served = canary::serve(args.canary) => served.map_err(|source| StartError::Bind {
            address: args.canary,
            source,
        })?,
        () = health(probes, readiness.clone(), CancellationToken::new()) => {}
        () = upkeep::drain(&limits, (&stop, &ending), drain) => {}
    }
    tracing::info!("the gateway ends");
    // Who asks from here on has tokens made by another gateway.
    if tokio::time::timeout(LAST_REVOCATIONS, tokens::revoke(&upstreams, |_| false))
        .await
        .is_err()
    {
        tracing::warn!("tokens of Apps could not be revoked in time: they end by themselves within the hour");
        tokens::give_up(&upstreams);
    }
    let flushed =
        tokio::time::timeout(LAST_FLUSH, recorder.flush_all(|_| false, StreamEnd::GatewayEnded)).await;
    if flushed.is_err() {
        tracing::warn!("records wait in the spool, for the next process of this pod");
    }
    Ok(())
}

async fn trusted_ca(args: &Args) -> Result<Bytes, StartError> {
    let Some(path) = &args.trusted_ca else {
        return Ok(Bytes::new());
    };
    let read = tokio::fs::read(path).await;
    read.map(Bytes::from).map_err(|source| StartError::File {
        path: path.clone(),
        source,
    })
}

/// The parts that reach out of the process: cluster, resolver, archive, files.
async fn parts(
    args: &Args,
    client: &Client,
    (inspection, credentials): (Arc<Inspection>, Arc<Credentials>),
    (capacity, ending): (Capacity, CancellationToken),
) -> Result<Parts, GatewayError> {
    let tls = UpstreamTls::new(&trusted_ca(args).await?)?;
    let own = args.pod_ips.iter().copied().map(single);
    let fixed = args.cluster_cidrs.iter().copied().chain(own).collect();
    let archive = ArchiveClient::new(&args.archive.archive_url, args.archive.archive_token_file.clone());
    let process = getrandom::u64().map(ProcessId).map_err(GatewayError::Random)?;
    let spool = Spool::open(&args.spool).map_err(|source| StartError::File {
        path: args.spool.clone(),
        source,
    })?;
    let policies = Api::namespaced(client.clone(), &args.role.namespace);
    Ok(Parts {
        verifier: Verifier::new(ClusterKeys(client.clone())),
        policies: FrozenPolicies::new(ClusterPolicies(policies)),
        ranges: Ranges::new(fixed, args.role.namespace.clone()),
        services: (
            Box::new(ClusterServices(client.clone())),
            ServiceRules {
                domain: args.cluster_domain.clone(),
                closed: vec![args.role.namespace.clone(), args.credentials_namespace.clone()],
            },
        ),
        dialer: Box::new(SystemDialer::new().map_err(GatewayError::Resolver)?),
        recorder: Recorder::new(process, archive.clone()).spooled(spool),
        archive,
        inspection,
        tls,
        credentials,
        ending,
        capacity,
    })
}
