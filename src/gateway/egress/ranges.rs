//! The cluster's own ranges and addresses, read from the API: what the deny set is made of.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use parking_lot::{Mutex, RwLock};

use super::deny_set::{DenySet, single};
use cofferdam_api::names::API_SERVER;

/// How often Service ranges and addresses are read.
const REFRESH_EVERY: Duration = Duration::from_mins(1);
/// Pause after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Longest time for one read.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything that was read, and the deny set that follows from it.
pub struct Ranges {
    fixed: Vec<IpNet>,
    namespace: String,
    read: Mutex<Read>,
    set: RwLock<Arc<DenySet>>,
}

#[derive(Default)]
struct Read {
    nodes: Option<HashMap<String, Vec<IpNet>>>,
    services: Option<Vec<IpNet>>,
}

impl Ranges {
    /// Starts from what the installation was told, and this pod's own addresses.
    pub fn new(fixed: Vec<IpNet>, namespace: String) -> Self {
        let set = RwLock::new(Arc::new(DenySet::new(fixed.iter().copied())));
        Self {
            fixed,
            namespace,
            read: Mutex::default(),
            set,
        }
    }

    /// The set as it is now; `None` until everything was read once.
    pub fn deny_set(&self) -> Option<Arc<DenySet>> {
        let read = self.read.lock();
        (read.nodes.is_some() && read.services.is_some()).then(|| self.current())
    }

    /// These are all nodes.
    pub fn replace_nodes(&self, nodes: impl IntoIterator<Item = (String, Vec<IpNet>)>) {
        let all = nodes.into_iter().collect();
        self.read.lock().nodes = Some(all);
        self.rebuild();
    }

    /// A node was made or changed. Most changes are heartbeats.
    pub fn put_node(&self, node: &Node) {
        let found = of_node(node);
        {
            let mut read = self.read.lock();
            let nodes = read.nodes.get_or_insert_default();
            if nodes.get(&node.name_any()) == Some(&found) {
                return;
            }
            nodes.insert(node.name_any(), found);
        }
        self.rebuild();
    }

    /// These are all ranges and addresses of Services that matter.
    pub fn replace_services(&self, ranges: Vec<IpNet>) {
        self.read.lock().services = Some(ranges);
        self.rebuild();
    }

    fn rebuild(&self) {
        let set = {
            let read = self.read.lock();
            let nodes = read.nodes.iter().flat_map(HashMap::values).flatten();
            let services = read.services.iter().flatten();
            DenySet::new(self.fixed.iter().chain(nodes).chain(services).copied())
        };
        *self.set.write() = Arc::new(set);
    }

    fn current(&self) -> Arc<DenySet> {
        Arc::clone(&self.set.read())
    }
}

/// A node's pod ranges and every address that it has.
pub fn of_node(node: &Node) -> Vec<IpNet> {
    let spec = node.spec.as_ref();
    let pod_ranges = spec
        .and_then(|spec| spec.pod_cidrs.as_deref())
        .into_iter()
        .flatten()
        .chain(spec.and_then(|spec| spec.pod_cidr.as_ref()))
        .filter_map(|range| range.parse().ok());
    let addresses = node
        .status
        .iter()
        .flat_map(|status| status.addresses.iter().flatten())
        .filter_map(|address| address.address.parse().ok().map(single));
    let mut all: Vec<IpNet> = pod_ranges.chain(addresses).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Every address by which a Service can be reached.
fn of_service(service: &Service) -> Vec<IpNet> {
    let spec = service.spec.as_ref();
    let own = spec.into_iter().flat_map(|spec| {
        let lists = [&spec.cluster_ips, &spec.external_ips];
        lists
            .into_iter()
            .flatten()
            .flatten()
            .chain(&spec.cluster_ip)
            .cloned()
            .collect::<Vec<_>>()
    });
    let balancers = service
        .status
        .iter()
        .filter_map(|status| status.load_balancer.as_ref())
        .flat_map(|balancer| balancer.ingress.iter().flatten())
        .filter_map(|ingress| ingress.ip.clone());
    own.chain(balancers)
        .filter_map(|text| text.parse::<IpAddr>().ok().map(single))
        .collect()
}

/// Reads what is not watched, for ever.
pub async fn refresh(client: Client, ranges: Arc<Ranges>) {
    loop {
        let pause = match tokio::time::timeout(CALL_TIMEOUT, read_services(&client, &ranges.namespace)).await
        {
            Ok(Ok(found)) => {
                ranges.replace_services(found);
                REFRESH_EVERY
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the ranges of Services cannot be read");
                RETRY_AFTER
            }
            Err(_) => RETRY_AFTER,
        };
        tokio::time::sleep(pause).await;
    }
}

async fn read_services(client: &Client, namespace: &str) -> Result<Vec<IpNet>, kube::Error> {
    let mut all = Vec::new();
    let cidrs: Api<ServiceCIDR> = Api::all(client.clone());
    for range in cidrs.list(&ListParams::default()).await?.items {
        let listed = range
            .spec
            .into_iter()
            .flat_map(|spec| spec.cidrs.unwrap_or_default());
        all.extend(listed.filter_map(|text| text.parse::<IpNet>().ok()));
    }
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    all.extend(
        services
            .list(&ListParams::default())
            .await?
            .items
            .iter()
            .flat_map(of_service),
    );
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), API_SERVER.0);
    let slice = slices.get(API_SERVER.1).await?;
    let endpoints = slice
        .endpoints
        .into_iter()
        .flatten()
        .flat_map(|endpoint| endpoint.addresses);
    all.extend(endpoints.filter_map(|text| text.parse::<IpAddr>().ok().map(single)));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, address: &str, range: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"podCIDR": range, "podCIDRs": [range]},
            "status": {"addresses": [
                {"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn the_set_is_complete_only_when_all_was_read() {
        let ranges = Ranges::new(
            vec!["10.244.0.0/16".parse().unwrap()],
            "cofferdam-system".to_owned(),
        );
        assert!(ranges.deny_set().is_none());
        let first = of_node(&node("node-a", "198.51.100.1", "10.9.0.0/24"));
        ranges.replace_nodes([("node-a".to_owned(), first)]);
        assert!(ranges.deny_set().is_none());
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "cofferdam-gateway"},
            "spec": {"clusterIP": "10.96.0.77", "clusterIPs": ["10.96.0.77"], "externalIPs": ["198.51.100.9"]},
            "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.10"}]}},
        }))
        .unwrap();
        ranges.replace_services(of_service(&service));
        let denied = |text: &str| ranges.deny_set().unwrap().contains(text.parse().unwrap());
        for address in [
            "10.244.1.1",
            "198.51.100.1",
            "10.9.0.3",
            "10.96.0.77",
            "198.51.100.9",
            "198.51.100.10",
        ] {
            assert!(denied(address), "{address}");
        }
        assert!(!denied("198.51.100.2"));
        ranges.put_node(&node("node-b", "198.51.100.2", "10.9.1.0/24"));
        assert!(denied("198.51.100.2") && denied("198.51.100.1"));
    }
}
