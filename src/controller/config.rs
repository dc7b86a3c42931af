//! Flags of the controller, and what the builders need of them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::guard::Installed;
use cofferdam_service::args::{ArchiveArgs, RoleArgs};

/// Flags of this role.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// What every role is told.
    #[command(flatten)]
    pub role: RoleArgs,
    /// How it finds the archive.
    #[command(flatten)]
    pub archive: ArchiveArgs,
    /// Image of `prepare` and `sidecar`.
    #[arg(long, env = "COFFERDAM_RUNNER_IMAGE")]
    pub runner_image: String,
    /// Pull policy of that image.
    #[arg(long, env = "COFFERDAM_RUNNER_PULL_POLICY", value_enum, default_value_t = PullPolicy::IfNotPresent)]
    pub image_pull_policy: PullPolicy,
    /// Whether sidecars print patches to their logs, too: who may read pods/log reads them then.
    #[arg(long)]
    pub print_patches: bool,
    /// Name of the gateway's Service in the operator's namespace.
    #[arg(long, default_value = cofferdam_api::names::GATEWAY_SERVICE)]
    pub gateway_service: String,
    /// Addresses of the cluster's DNS, with commas between; every run proves that it cannot reach them.
    #[arg(long, env = "COFFERDAM_CLUSTER_DNS", default_value = "")]
    pub cluster_dns: Addresses<53>,
    /// Public addresses, with commas between; every run proves that it cannot reach them.
    #[arg(long, env = "COFFERDAM_PUBLIC_PROBES", default_value = "")]
    pub public_probes: Addresses<443>,
    /// Directory with the key that signs statements, as the role `keys` made it.
    #[arg(
        long,
        env = "COFFERDAM_SIGNING_KEYS",
        default_value = "/etc/cofferdam/signing"
    )]
    pub signing_keys: PathBuf,
    /// URI that names this installation in statements.
    #[arg(
        long,
        env = "COFFERDAM_BUILDER_ID",
        default_value = "https://cofferdam.dev/installation"
    )]
    pub builder_id: String,
    /// Users that the guard lets write the status of pods, as the chart was told.
    #[arg(long, value_delimiter = ',')]
    pub guard_pod_status_writers: Vec<String>,
    /// Users that the guard lets begin suspended Jobs, as the chart was told.
    #[arg(long, value_delimiter = ',')]
    pub guard_queue_controllers: Vec<String>,
    /// Address of the API server as sandboxes would try it.
    #[arg(long, env = "KUBERNETES_SERVICE_HOST")]
    pub api_server_host: String,
    /// Its port.
    #[arg(long, env = "KUBERNETES_SERVICE_PORT", default_value_t = 443)]
    pub api_server_port: u16,
    /// Runs that are reconciled at a time.
    #[arg(long, default_value_t = 16)]
    pub concurrency: u16,
}

impl Args {
    /// What the installation decides about the guard.
    pub fn guard(&self) -> Installed {
        let named = |users: &[String]| users.iter().filter(|user| !user.is_empty()).cloned().collect();
        Installed {
            namespace: self.role.namespace.clone(),
            status_writers: named(&self.guard_pod_status_writers),
            queues: named(&self.guard_queue_controllers),
        }
    }
}

/// `address` or `address:port`, with commas between; `PORT` where none is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses<const PORT: u16>(pub Vec<SocketAddr>);

impl<const PORT: u16> FromStr for Addresses<PORT> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| {
                item.parse::<SocketAddr>()
                    .or_else(|_| {
                        item.parse::<IpAddr>()
                            .map(|address| SocketAddr::new(address, PORT))
                    })
                    .map_err(|_| format!("`{item}` is neither address nor address:port"))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// When the kubelet pulls an image.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "PascalCase")]
pub enum PullPolicy {
    /// Before each start.
    Always,
    /// If the node lacks it.
    IfNotPresent,
    /// It must be on the node.
    Never,
}

impl PullPolicy {
    /// As in a pod.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

impl fmt::Display for PullPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the installation decides about every sandbox.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// Image of `prepare` and `sidecar`.
    pub runner_image: String,
    /// Its pull policy.
    pub image_pull_policy: PullPolicy,
    /// `address:port` of the API server.
    pub api_server: String,
    /// The cluster's DNS.
    pub cluster_dns: Vec<SocketAddr>,
    /// Something public.
    pub public_probes: Vec<SocketAddr>,
    /// Whether sidecars print patches.
    pub print_patches: bool,
}

impl SandboxConfig {
    /// The builders' part of the flags.
    pub fn of(args: &Args) -> Self {
        let host = if args.api_server_host.contains(':') {
            format!("[{}]", args.api_server_host)
        } else {
            args.api_server_host.clone()
        };
        Self {
            runner_image: args.runner_image.clone(),
            image_pull_policy: args.image_pull_policy,
            api_server: format!("{host}:{}", args.api_server_port),
            cluster_dns: args.cluster_dns.0.clone(),
            public_probes: args.public_probes.0.clone(),
            print_patches: args.print_patches,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_lists_may_be_empty_and_ports_may_be_left_out() {
        let parse = |text: &str| text.parse::<Addresses<53>>().map(|list| list.0.len());
        assert_eq!(parse(""), Ok(0));
        assert_eq!(parse("10.96.0.10, [fd00::a]:5353"), Ok(2));
        assert_eq!("10.96.0.10".parse::<Addresses<53>>().unwrap().0[0].port(), 53);
        assert!(parse("dns.example").is_err());
    }
}
