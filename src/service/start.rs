//! The first steps of every role of the operator's namespace, and why they can fail.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use http::HeaderValue;
use http::header::USER_AGENT;
use kube::{Client, Config};
use tokio::net::TcpListener;

/// Who a process is to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Turns runs into Jobs.
    Controller,
    /// The way out of a sandbox.
    Gateway,
    /// Keeps what runs leave behind.
    Archive,
    /// Hands it to users.
    Output,
    /// Makes keys and certificates.
    Keys,
}

impl Role {
    /// By this name the API server's audit log and metrics tell one role's calls from another's.
    pub const fn user_agent(self) -> &'static str {
        match self {
            Self::Controller => concat!("cofferdam-controller/", env!("CARGO_PKG_VERSION")),
            Self::Gateway => concat!("cofferdam-gateway/", env!("CARGO_PKG_VERSION")),
            Self::Archive => concat!("cofferdam-archive/", env!("CARGO_PKG_VERSION")),
            Self::Output => concat!("cofferdam-output/", env!("CARGO_PKG_VERSION")),
            Self::Keys => concat!("cofferdam-keys/", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// Why a role could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The API server's address or credentials cannot be read.
    #[error("the configuration of the API server's client cannot be read: {0}")]
    Config(#[from] kube::config::InferConfigError),
    /// The client of the API server cannot be made.
    #[error("the client of the API server cannot be made: {0}")]
    Client(#[from] kube::Error),
    /// The process cannot install signal handlers.
    #[error("the signal handlers cannot be installed: {0}")]
    Signals(#[source] io::Error),
    /// Nobody can listen on an address.
    #[error("the address {address} cannot be bound: {source}")]
    Bind {
        /// What was to listen there.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A file that a flag names.
    #[error("{} cannot be read: {source}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A client of the API server with the credentials of this pod, or of a kubeconfig outside of a cluster.
///
/// # Errors
/// There is neither, or TLS cannot be set up.
pub async fn cluster_client(role: Role) -> Result<Client, StartError> {
    let mut config = Config::infer().await?;
    config
        .headers
        .push((USER_AGENT, HeaderValue::from_static(role.user_agent())));
    Ok(Client::try_from(config)?)
}

/// Listens on `address`.
///
/// # Errors
/// The address is in use, or not one of this host.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Bind { address, source })
}
