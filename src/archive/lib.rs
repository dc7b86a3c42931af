//! The archive: receives patches and records, and hands them back. Plain files; acknowledged means on the disk.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use kube::{Client, Config};
use tokio::net::TcpListener;

use cofferdam_identity::{ClusterKeys, Verifier};
use cofferdam_service::serve::{Readiness, health, shutdown_on_signal};

mod durable;
mod server;
mod store;
mod summary;
#[cfg(feature = "testing")]
pub mod testing;
mod upload;

/// Flags of this role.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Directory of the volume.
    #[arg(long, default_value = "/data")]
    data: PathBuf,
    /// The operator's namespace: its service accounts `gateway` and `controller` may call.
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// Address for gateway and controller.
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Address of the health endpoints.
    #[arg(long, default_value = "0.0.0.0:8081")]
    health: SocketAddr,
}

/// Why the archive could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The API server's address or credentials cannot be read.
    #[error("the cluster's configuration cannot be read: {0}")]
    Config(#[from] kube::config::InferConfigError),
    /// The client for the API server cannot be made.
    #[error("the client for the API server cannot be made: {0}")]
    Client(#[from] kube::Error),
    /// The volume or an address.
    #[error("{0}: {1}")]
    Io(&'static str, #[source] std::io::Error),
}

/// Runs the role until a signal ends it.
///
/// # Errors
/// The role could not start.
pub async fn run(args: Args) -> Result<(), StartError> {
    let io = |what: &'static str| move |error| StartError::Io(what, error);
    let stop = shutdown_on_signal().map_err(io("signals"))?;
    let mut config = Config::infer().await?;
    config.headers.push((
        http::header::USER_AGENT,
        http::HeaderValue::from_static(concat!("cofferdam-archive/", env!("CARGO_PKG_VERSION"))),
    ));
    let archive = Arc::new(server::Archive {
        store: Arc::new(store::Store::open(&args.data).map_err(io("the volume"))?),
        verifier: Verifier::new(ClusterKeys(Client::try_from(config)?)),
        namespace: args.namespace,
    });
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(io("the data port"))?;
    let readiness = Readiness::default();
    readiness.set(true);
    tracing::info!(listen = %args.listen, data = %args.data.display(), "the archive starts");
    tokio::select! {
        () = server::serve(archive, listener) => {}
        served = health(args.health, readiness, stop.clone()) => served.map_err(io("the health port"))?,
        () = stop.cancelled() => {}
    }
    tracing::info!("the archive ends");
    Ok(())
}
