//! Makes the installation's keys and certificates, puts them into Secrets of the operator's namespace, and rotates them.
//!
//! The chart creates these Secrets empty, and this role alone may read or fill them by the API. Everybody else has them
//! as files, mounted by the kubelet.

use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use cofferdam_service::args::RoleArgs;
use cofferdam_service::serve::{Readiness, health, shutdown_on_signal};
use cofferdam_service::start::{Role, StartError, bind, cluster_client};

mod authorities;
mod certificate;
mod inspection;
mod round;
mod serving;
mod signing;

/// How often everything is looked at.
const PERIOD: Duration = Duration::from_secs(30);
/// How soon after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Flags of this role.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    role: RoleArgs,
    /// Keep the certification authority of the gateway too. Without this flag the installation brings its own.
    #[arg(long)]
    keep_inspection_ca: bool,
    /// Keep the certificate of the role `output` too, and have the API server trust it.
    #[arg(long)]
    output: bool,
}

/// Runs the role until a signal ends it.
///
/// # Errors
/// The role could not start.
pub async fn run(args: Args) -> Result<(), StartError> {
    let stop = shutdown_on_signal().map_err(StartError::Signals)?;
    let client = cluster_client(Role::Keys).await?;
    let probes = bind(args.role.health).await?;
    let readiness = Readiness::default();
    let wanted = round::Wanted {
        inspection_ca: args.keep_inspection_ca,
        output: args.output,
    };
    let objects = round::Objects::new(&client, &args.role.namespace, wanted);
    tracing::info!(namespace = args.role.namespace, ?wanted, "the role keys starts");
    tokio::select! {
        () = rounds(&objects, &readiness, &stop) => {}
        () = health(probes, readiness.clone(), CancellationToken::new()) => {}
    }
    tracing::info!("the role keys ends");
    Ok(())
}

async fn rounds(objects: &round::Objects, readiness: &Readiness, stop: &CancellationToken) {
    loop {
        let done = objects.look(Timestamp::now()).await;
        if let Err(error) = &done {
            tracing::warn!(%error, "not every key is as it should be");
        }
        readiness.set(done.is_ok());
        let wait = if done.is_ok() { PERIOD } else { RETRY };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return,
        }
    }
}
