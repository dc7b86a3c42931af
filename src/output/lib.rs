//! The role `output`: an aggregated API by which users read patches and records, each with the rights that the API server
//! knows of. It keeps nothing; what it hands out is the archive's.
//!
//! Two locks stand before a byte of a run: the API server asks RBAC before it hands a request on, and this role, which
//! believes nobody else about who asks, asks again by a `SubjectAccessReview`.

mod access;
mod archive;
mod discovery;
mod front;
mod living;
mod locate;
mod openapi;
mod path;
mod serve;
mod status;
#[cfg(test)]
mod testing;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use cofferdam_service::args::{ArchiveArgs, RoleArgs};
use cofferdam_service::serve::{Readiness, health, shutdown_on_signal};
use cofferdam_service::start::{Role, StartError, bind, cluster_client};

use front::trust::TrustError;

/// Flags of this role.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    role: RoleArgs,
    #[command(flatten)]
    archive: ArchiveArgs,
    /// Address for the API server. Its port is the kubelet's: many clusters let their API servers reach 443 and 10250 of a
    /// node or pod, and nothing else.
    #[arg(long, default_value = "0.0.0.0:10250")]
    listen: SocketAddr,
    /// Directory with `tls.crt` and `tls.key`; both are read anew when they change.
    #[arg(long, default_value = "/var/run/cofferdam/tls")]
    tls: PathBuf,
}

/// Why the role could not start.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// What every role needs.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Nobody could be believed about who asks.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// Runs the role until a signal ends it.
///
/// # Errors
/// The role could not start.
pub async fn run(args: Args) -> Result<(), OutputError> {
    let stop = shutdown_on_signal().map_err(StartError::Signals)?;
    let client = cluster_client(Role::Output).await?;
    let trust = front::trust::read(&client).await?;
    let listener = bind(args.listen).await?;
    let probes = bind(args.role.health).await?;
    let readiness = Readiness::default();
    let front = Arc::new(front::Front::new(trust, args.tls));
    let output = Arc::new(serve::Output {
        access: access::Access::new(client.clone()),
        archive: archive::Archive::new(args.archive.archive_url, args.archive.archive_token_file),
        runs: locate::Runs::new(client.clone()),
    });
    tracing::info!(listen = %args.listen, "the output API starts");
    tokio::select! {
        () = front::listen::serve(listener, Arc::clone(&front), output, stop.clone()) => {}
        () = front::follow(front, client, readiness.clone()) => {}
        // It goes on while the server drains.
        () = health(probes, readiness, CancellationToken::new()) => {}
    }
    tracing::info!("the output API ends");
    Ok(())
}
