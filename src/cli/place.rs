//! Which cluster, as whom, in which namespace: the flags that kubectl has too, and a client from them.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// By this name the API server's audit log tells the command's calls from others.
const AGENT: &str = concat!("kubectl-cofferdam/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence after which an answer is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Silence after which a stream is given up: longer than the API server lets a watch live.
const STREAM_TIMEOUT: Duration = Duration::from_mins(10);

/// Flags of every command that asks a cluster.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub struct Flags {
    /// The namespace. Without it: the one of the context.
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// The context of the kubeconfig.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// The kubeconfig.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The cluster of the kubeconfig.
    #[arg(long, global = true)]
    pub cluster: Option<String>,
    /// The user of the kubeconfig.
    #[arg(long, global = true)]
    pub user: Option<String>,
    /// The user to act as; the API server asks whether you may.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub act_as: Option<String>,
    /// A group to act in, with --as. Can be given several times.
    #[arg(long, global = true, value_name = "GROUP", requires = "act_as")]
    pub as_group: Vec<String>,
    /// Seconds of silence after which a request is given up.
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub request_timeout: Option<Duration>,
}

/// A span in seconds, from the command line.
pub fn seconds(text: &str) -> Result<Duration, &'static str> {
    match text.strip_suffix('s').unwrap_or(text).parse() {
        Ok(number @ 1..=86_400) => Ok(Duration::from_secs(number)),
        _ => Err("write seconds, from 1 to 86400"),
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// The account of the pod in which the command runs.
    #[error("there is no kubeconfig, and the pod's own account cannot be used: {0}")]
    InCluster(#[from] InClusterError),
    /// The client.
    #[error(transparent)]
    Client(#[from] kube::Error),
}

/// A cluster to ask, and where in it.
#[derive(Clone)]
pub struct Cluster {
    /// With the identity of the kubeconfig.
    pub client: Client,
    /// `--namespace`, else that of the context.
    pub namespace: String,
}

/// How long silence is borne.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// An answer is due.
    Answer,
    /// Events come when they come.
    Stream,
}

impl Flags {
    /// Whether one of the flags names a cluster; a command that works on files takes none of them.
    pub fn names_a_cluster(&self) -> bool {
        let Self {
            namespace: _,
            request_timeout: _,
            context,
            kubeconfig,
            cluster,
            user,
            act_as,
            as_group: _,
        } = self;
        context.is_some() || kubeconfig.is_some() || cluster.is_some() || user.is_some() || act_as.is_some()
    }

    /// Whether one of the flags names an entry of a kubeconfig.
    fn names_an_entry(&self) -> bool {
        self.context.is_some() || self.cluster.is_some() || self.user.is_some()
    }

    /// A client. Without a kubeconfig in a pod it has the pod's own account, as kubectl's has.
    ///
    /// # Errors
    /// The kubeconfig cannot be read, or says nothing of use.
    pub async fn connect(&self, patience: Patience) -> Result<Cluster, ConnectError> {
        // An error means that there is one already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let options = KubeConfigOptions {
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
        };
        let mut config = match &self.kubeconfig {
            Some(file) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?,
            None => match Config::from_kubeconfig(&options).await {
                Err(error) if is_in_pod(&error) && !self.names_an_entry() => Config::incluster()?,
                config => config?,
            },
        };
        if let Some(user) = &self.act_as {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups = Some(self.as_group.clone());
        }
        // Who asks is told at once what is wrong, and asks again or does not.
        config.default_retry = false;
        config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(match patience {
            Patience::Answer => self.request_timeout.unwrap_or(READ_TIMEOUT),
            Patience::Stream => STREAM_TIMEOUT,
        });
        let namespace = self
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        Ok(Cluster {
            client: Client::try_from(config)?,
            namespace,
        })
    }
}

/// Whether the kubeconfig is absent, and a kubelet has told this process where its API server is.
fn is_in_pod(error: &KubeconfigError) -> bool {
    let is_absent = match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(error, _) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    };
    is_absent
        && std::env::var_os("KUBECONFIG").is_none()
        && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// An error with its causes: a client's own message is often no more than that something went wrong.
pub fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_with_or_without_their_unit() {
        assert_eq!(seconds("5"), Ok(Duration::from_secs(5)));
        assert_eq!(seconds("5s"), Ok(Duration::from_secs(5)));
        for text in ["", "0", "-1", "5m", "1e3", "86401"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
