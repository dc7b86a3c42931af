//! Flags and environment variables that the roles share: one name for one thing, in every role.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::serve::HEALTH_PORT;

/// What every role of the operator's namespace is told about itself. The chart fills it by the downward API.
#[derive(clap::Args, Clone, Debug)]
pub struct RoleArgs {
    /// The operator's own namespace.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: String,
    /// Name of this pod; events and records carry it.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: String,
    /// Address of the health endpoints.
    #[arg(long, default_value_t = SocketAddr::from(([0, 0, 0, 0], HEALTH_PORT)))]
    pub health: SocketAddr,
}

/// How a role finds the archive and shows it who it is.
#[derive(clap::Args, Clone, Debug)]
pub struct ArchiveArgs {
    /// URL of the archive, without a path.
    #[arg(
        long,
        env = "COFFERDAM_ARCHIVE_URL",
        default_value = "http://cofferdam-archive:8080"
    )]
    pub archive_url: String,
    /// File with the token for the archive; it is read anew for each call, as the kubelet renews it.
    #[arg(
        long,
        env = "COFFERDAM_ARCHIVE_TOKEN_FILE",
        default_value = "/var/run/cofferdam/archive"
    )]
    pub archive_token_file: PathBuf,
}
