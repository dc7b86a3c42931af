//! The archive: receives patches and records, and hands them back. Plain files; acknowledged means on the disk.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use cofferdam_identity::{ClusterKeys, Verifier};
use cofferdam_service::args::RoleArgs;
use cofferdam_service::serve::{Readiness, health, shutdown_on_signal};
use cofferdam_service::start::{Role, StartError, bind, cluster_client};

mod batch;
mod commit;
mod credentials;
mod durable;
mod error;
mod holds;
mod keep;
mod log;
mod names;
mod retention;
mod seal;
mod server;
mod shares;
mod space;
mod store;
mod summary;
#[cfg(feature = "testing")]
pub mod testing;
mod upload;
mod volume;

/// Flags of this role.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    role: RoleArgs,
    /// Directory of the volume.
    #[arg(long, default_value = "/data")]
    data: PathBuf,
    /// Days for which what a run left behind is kept after the last of it was written, where no policy says more.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(30..=36500))]
    retention_days: u32,
    /// The same of its patches; 0: as the rest.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=36500))]
    patch_retention_days: u32,
    /// Days up to which policies are followed.
    #[arg(long, default_value_t = 36500, value_parser = clap::value_parser!(u32).range(1..=36500))]
    max_retention_days: u32,
    /// Percent of the volume that the runs of one namespace may leave; new ones wait then. 100: there is no share.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=100))]
    namespace_share_percent: u8,
    /// Address for gateway and controller.
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
}

/// Why the archive could not start.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// What every role needs.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The volume cannot be used, or another process uses it.
    #[error("the volume {}: {source}", path.display())]
    Volume {
        /// Where it is mounted.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A sync failed. The next process looks at what is there.
    #[error("the volume lost what was written to it")]
    Unsynced,
}

/// Runs the role until a signal ends it.
///
/// # Errors
/// The role could not start.
pub async fn run(args: Args) -> Result<(), ArchiveError> {
    let stop = shutdown_on_signal().map_err(StartError::Signals)?;
    let client = cluster_client(Role::Archive).await?;
    let store = store::Store::open_with(&args.data, args.namespace_share_percent).map_err(|source| {
        ArchiveError::Volume {
            path: args.data.clone(),
            source,
        }
    })?;
    let store = Arc::new(store);
    let verifier = Verifier::new(ClusterKeys(client));
    let archive = server::Archive::new(Arc::clone(&store), verifier, args.role.namespace);
    let listener = bind(args.listen).await?;
    let probes = bind(args.role.health).await?;
    let readiness = Readiness::default();
    readiness.set(true);
    let terms = keep::Terms {
        records_days: args.retention_days,
        patches_days: match args.patch_retention_days {
            0 => args.retention_days,
            days => days,
        },
        most_days: args.max_retention_days,
    };
    tracing::info!(listen = %args.listen, data = %args.data.display(), "the archive starts");
    tokio::select! {
        () = server::serve(Arc::new(archive), listener, stop.clone()) => {}
        () = retention::run(Arc::clone(&store), terms) => {}
        () = space::run(Arc::clone(&store)) => {}
        () = store.unsynced() => return Err(ArchiveError::Unsynced),
        // It goes on while the server drains.
        () = health(probes, readiness, CancellationToken::new()) => {}
    }
    tracing::info!("the archive ends");
    Ok(())
}
