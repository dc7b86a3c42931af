//! Services that policy grants: read from the API when a run asks for one, and dialled by the address that the API shows.
//!
//! No name is resolved for them: whoever answers for DNS decides nothing. What was read is believed for a moment only, so
//! that a Service that is deleted, or made anew with another address, is followed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::caller::View;
use crate::denial::Denial;
use cofferdam_api::names::{
    API_SERVER, GROUP, LABEL_SANDBOX, LABEL_SERVICES, SANDBOX_ENABLED, SERVICES_REACHABLE,
};
use cofferdam_policy::pattern::host::Host;
use cofferdam_policy::pattern::service::{ServiceName, canonical};
use cofferdam_wire::denial::DenialCode;

/// For so long what was read is believed, and a failure is an answer: a run cannot turn its requests into requests to the
/// API server.
const BELIEVED_FOR: Duration = Duration::from_secs(2);
/// Longest time for a read.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Services that are remembered before those that nobody asks for are forgotten.
const REMEMBERED: usize = 256;

/// Where Services are read.
pub trait ServiceSource: Send + Sync {
    /// The Service of this name; the error is for people.
    fn read<'a>(&'a self, name: &'a ServiceName) -> BoxFuture<'a, Result<Option<Service>, String>>;
}

/// Reads from the API server.
pub struct ClusterServices(pub Client);

impl ServiceSource for ClusterServices {
    fn read<'a>(&'a self, name: &'a ServiceName) -> BoxFuture<'a, Result<Option<Service>, String>> {
        Box::pin(async move {
            let services: Api<Service> = Api::namespaced(self.0.clone(), name.namespace());
            let read = services.get_opt(name.name()).await;
            read.map_err(|error| error.to_string())
        })
    }
}

/// Which Services there are for sandboxes.
pub struct ServiceRules {
    /// The domain of the cluster.
    pub domain: String,
    /// Namespaces of the installation's own, of which no Service is dialled.
    pub closed: Vec<String>,
}

/// The Services that were read.
pub struct Services {
    source: Box<dyn ServiceSource>,
    rules: ServiceRules,
    view: Arc<View>,
    known: Mutex<HashMap<ServiceName, Arc<Known>>>,
}

/// What was read of one, and when. Who asks meanwhile waits for the answer that is on its way.
type Known = tokio::sync::Mutex<Option<(Instant, Answer)>>;

/// What the API server says; the error is for people.
type Answer = Result<Arc<Found>, String>;

/// What there is of a Service.
type Found = Result<Endpoints, Unusable>;

/// Where a Service is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoints {
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
}

/// Why a Service that policy grants is not dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Unusable {
    #[error("there is none of this name")]
    Missing,
    #[error("it is the API server's")]
    ApiServer,
    #[error("its namespace is one of Cofferdam's own")]
    OfTheInstallation,
    #[error("its namespace does not carry the label {LABEL_SERVICES}={SERVICES_REACHABLE}")]
    NotReachable,
    #[error("sandboxes run in its namespace ({LABEL_SANDBOX}={SANDBOX_ENABLED})")]
    OfSandboxes,
    #[error("it is of type ExternalName, which leads wherever its author says")]
    ExternalName,
    #[error("it is headless (clusterIP: None), so it has no address of its own")]
    Headless,
    #[error("it has no selector, so it leads wherever its EndpointSlices say")]
    NoSelector,
    #[error("it selects pods by labels of {GROUP}, which pods of runs alone have")]
    SelectsSandboxes,
    #[error("it has no TCP port {0}")]
    NoPort(u16),
}

impl Services {
    /// Nothing read yet.
    pub fn new(source: Box<dyn ServiceSource>, rules: ServiceRules, view: Arc<View>) -> Self {
        Self {
            source,
            rules,
            view,
            known: Mutex::default(),
        }
    }

    /// The host by which policy knows what a client names.
    pub fn canonical(&self, host: &Host) -> Host {
        canonical(host, &self.rules.domain)
    }

    /// The addresses of the Service now, of which it has at least one, if it has the port and may be dialled.
    ///
    /// # Errors
    /// It is not there, or of a kind that is not dialled; or the API server does not say.
    pub async fn addresses(&self, name: &ServiceName, port: u16) -> Result<Vec<IpAddr>, Denial> {
        let unusable = |why: &Unusable| {
            let message = format!("Service {name} is granted and not dialled: {why}");
            Denial::new(DenialCode::ServiceUnusable, message)
        };
        self.admits(name).map_err(|why| unusable(&why))?;
        let found = self.find(name).await.map_err(|error| {
            let message = format!("Service {name} cannot be read from the API server: {error}");
            Denial::new(DenialCode::Stale, message)
        })?;
        match found.as_ref() {
            Ok(Endpoints { addresses, ports }) if ports.contains(&port) => Ok(addresses.clone()),
            Ok(_) => Err(unusable(&Unusable::NoPort(port))),
            Err(why) => Err(unusable(why)),
        }
    }

    /// Whether Services of its namespace may be dialled at all.
    fn admits(&self, name: &ServiceName) -> Result<(), Unusable> {
        if (name.namespace(), name.name()) == API_SERVER {
            return Err(Unusable::ApiServer);
        }
        if self.rules.closed.iter().any(|closed| closed == name.namespace()) {
            return Err(Unusable::OfTheInstallation);
        }
        let labels = self.view.namespace_labels(name.namespace());
        let has = |key: &str, value: &str| {
            let labels = labels.as_ref();
            labels.is_some_and(|labels| labels.get(key).is_some_and(|found| found == value))
        };
        if has(LABEL_SANDBOX, SANDBOX_ENABLED) {
            return Err(Unusable::OfSandboxes);
        }
        if !has(LABEL_SERVICES, SERVICES_REACHABLE) {
            return Err(Unusable::NotReachable);
        }
        Ok(())
    }

    async fn find(&self, name: &ServiceName) -> Answer {
        let known = self.of(name);
        let mut known = known.lock().await;
        if let Some((at, answer)) = known.as_ref()
            && at.elapsed() < BELIEVED_FOR
        {
            return answer.clone();
        }
        let read = tokio::time::timeout(READ_TIMEOUT, self.source.read(name)).await;
        let answer = read
            .unwrap_or_else(|_| Err("no answer in 5 s".to_owned()))
            .map(|service| Arc::new(service.as_ref().map_or(Err(Unusable::Missing), endpoints)));
        *known = Some((Instant::now(), answer.clone()));
        answer
    }

    /// Has every Service be read anew.
    #[cfg(test)]
    pub(crate) fn forget(&self) {
        self.known.lock().clear();
    }

    fn of(&self, name: &ServiceName) -> Arc<Known> {
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED {
            known.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        Arc::clone(known.entry(name.clone()).or_default())
    }
}

/// Where the Service is, by its own object.
fn endpoints(service: &Service) -> Found {
    let spec = service.spec.as_ref().ok_or(Unusable::Missing)?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return Err(Unusable::ExternalName);
    }
    let mut selected = spec.selector.iter().flatten().peekable();
    if selected.peek().is_none() {
        return Err(Unusable::NoSelector);
    }
    let is_ours = |key: &str| key.split('/').next() == Some(GROUP);
    if selected.any(|(key, _)| is_ours(key)) {
        return Err(Unusable::SelectsSandboxes);
    }
    let addresses = addresses(spec);
    if addresses.is_empty() {
        return Err(Unusable::Headless);
    }
    let is_tcp = |protocol: Option<&str>| protocol.is_none_or(|protocol| protocol == "TCP");
    let ports = spec.ports.iter().flatten();
    let ports = ports.filter(|port| is_tcp(port.protocol.as_deref()));
    Ok(Endpoints {
        addresses,
        ports: ports.filter_map(|port| u16::try_from(port.port).ok()).collect(),
    })
}

/// Its own addresses, of which a headless one has none.
fn addresses(spec: &ServiceSpec) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    let all = spec.cluster_ip.iter().chain(spec.cluster_ips.iter().flatten());
    for address in all.filter_map(|text| text.parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests;
