//! What the watches see: one cache of each kind, trimmed, and questions about them. No call to the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Node, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};

use super::api_server::{Guarded, is_owned};
use super::credentials::health::Health;
use super::credentials::users::{Seen, Users};
use super::fence::foreign;
use super::fence::services::SelectingServices;
use super::guard::Tenant;
use super::index::Index;
use super::nodes;
use super::pod_view::is_over;
use super::reports::Scanner;
use super::run_pod::RunPod;
use super::space::Told;
use cofferdam_api::names::{
    FENCE, GATEWAY_PORT, LABEL_RUN, LABEL_RUN_UID, LABEL_SANDBOX, SANDBOX_ENABLED, SANDBOX_SERVICE_ACCOUNT,
    workload_name,
};
use cofferdam_api::{AgentRun, ClusterSandboxPolicy, SandboxCredential, SandboxPolicy};
use cofferdam_policy::dimension::runtime::RuntimeClassFact;
use cofferdam_policy::layer::cache::PolicyCache;

/// All caches.
pub struct Stores {
    /// Runs.
    pub runs: Store<Guarded<AgentRun>>,
    /// Jobs of runs.
    pub jobs: Store<Job>,
    /// Pods of runs.
    pub pods: Store<RunPod>,
    /// Policies.
    pub policies: Store<Guarded<SandboxPolicy>>,
    /// Cluster policies.
    pub cluster_policies: Store<Guarded<ClusterSandboxPolicy>>,
    /// Credentials: where their values stand, never the values.
    pub credentials: Store<Guarded<SandboxCredential>>,
    /// What gateways tell of them.
    pub credential_health: Arc<Health>,
    /// What the archive tells of its volume.
    pub archive_space: Arc<Told>,
    /// Runtime classes.
    pub runtime_classes: Store<RuntimeClass>,
    /// Nodes, of which little is kept ([`nodes::trim`]).
    pub nodes: Store<Node>,
    /// Namespaces.
    pub namespaces: Store<Namespace>,
    /// Every NetworkPolicy, of which little is kept ([`foreign::trim`]).
    pub network_policies: Store<NetworkPolicy>,
    /// The accounts of sandboxes.
    pub accounts: Store<ServiceAccount>,
    /// The gateway's Service.
    pub services: Store<Service>,
    /// Services that select sandboxes, of the whole cluster.
    pub selecting_services: SelectingServices,
    /// What scanners found in images.
    pub scanner: Scanner,
    /// What was read of policies.
    pub readings: Arc<PolicyCache>,
    /// Groups of the caches that are asked about most.
    pub indices: Indices,
}

/// Groups of the caches that are asked about most.
#[derive(Clone, Debug, Default)]
pub struct Indices {
    /// Runs that are not over, by namespace.
    pub open_runs: Arc<Index>,
    /// Pods by the uid of their run.
    pub pods: Arc<Index>,
    /// Policies of the network that may widen the fence, by namespace.
    pub widening: Arc<Index>,
}

/// The namespace of a run that is not over; the group of a run in [`Indices::open_runs`].
pub fn namespace_if_open(run: &Guarded<AgentRun>) -> Option<String> {
    let readable = run.0.as_ref().ok()?;
    (!readable.is_finished()).then(|| run.namespace()).flatten()
}

/// The run of a pod; its group in [`Indices::pods`].
pub fn run_uid(pod: &RunPod) -> Option<String> {
    pod.labels().get(LABEL_RUN_UID).cloned()
}

/// The namespace of a policy that may widen its fence; its group in [`Indices::widening`].
pub fn namespace_if_widening(policy: &NetworkPolicy) -> Option<String> {
    foreign::widens(policy).then(|| policy.namespace()).flatten()
}

/// Whether a namespace holds sandboxes: it says so and is not on its way out.
pub fn is_opted_in(namespace: &Namespace) -> bool {
    namespace.labels().get(LABEL_SANDBOX).map(String::as_str) == Some(SANDBOX_ENABLED)
        && namespace.metadata.deletion_timestamp.is_none()
}

/// A watch ended before its cache was filled.
#[derive(Debug, thiserror::Error)]
#[error("a watch ended before its cache was filled")]
pub struct NotFilled;

impl Stores {
    /// Waits until every cache has been filled once.
    ///
    /// # Errors
    /// A watch ended first.
    pub async fn wait_until_filled(&self) -> Result<(), NotFilled> {
        self.selecting_services
            .wait_until_listed()
            .await
            .map_err(|_| NotFilled)?;
        let filled: [Result<(), _>; 12] = tokio::join!(
            self.runs.wait_until_ready(),
            self.jobs.wait_until_ready(),
            self.pods.wait_until_ready(),
            self.policies.wait_until_ready(),
            self.cluster_policies.wait_until_ready(),
            self.credentials.wait_until_ready(),
            self.runtime_classes.wait_until_ready(),
            self.nodes.wait_until_ready(),
            self.namespaces.wait_until_ready(),
            self.network_policies.wait_until_ready(),
            self.accounts.wait_until_ready(),
            self.services.wait_until_ready(),
        )
        .into();
        filled
            .into_iter()
            .try_for_each(|result| result.map_err(|_| NotFilled))
    }

    /// The Job of a run, by name and owner.
    pub fn job_of(&self, run: &AgentRun, run_uid: &str) -> Option<Arc<Job>> {
        let name = workload_name(&run.name_any(), run_uid);
        let job = self.jobs.get(&ObjectRef::new(&name).within(&run.namespace()?))?;
        is_owned(&job.metadata, run).then_some(job)
    }

    /// Pods of a run, oldest first.
    pub fn pods_of(&self, namespace: &str, run_uid: &str) -> Vec<Arc<RunPod>> {
        let found = self.indices.pods.find(&self.pods, Some(run_uid));
        let mut pods = found.unwrap_or_else(|| self.pods.state());
        pods.retain(|pod| {
            pod.metadata.namespace.as_deref() == Some(namespace)
                && pod.labels().get(LABEL_RUN_UID).map(String::as_str) == Some(run_uid)
        });
        pods.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
        pods
    }

    /// Whether any sandbox pod of a namespace still runs.
    pub fn has_live_pods(&self, namespace: &str) -> bool {
        self.pods
            .find(|pod| pod.metadata.namespace.as_deref() == Some(namespace) && !is_over(pod))
            .is_some()
    }

    /// The fence of a namespace.
    pub fn fence(&self, namespace: &str) -> Option<Arc<NetworkPolicy>> {
        self.network_policies
            .get(&ObjectRef::new(FENCE).within(namespace))
    }

    /// The account of a namespace's sandboxes.
    pub fn account(&self, namespace: &str) -> Option<Arc<ServiceAccount>> {
        self.accounts
            .get(&ObjectRef::new(SANDBOX_SERVICE_ACCOUNT).within(namespace))
    }

    /// Name of a NetworkPolicy of a namespace that may widen its fence; the first in order of names.
    pub fn widening_policy(&self, namespace: &str) -> Option<String> {
        let found = self
            .indices
            .widening
            .find(&self.network_policies, Some(namespace));
        found
            .unwrap_or_else(|| self.network_policies.state())
            .iter()
            .filter(|policy| namespace_if_widening(policy).as_deref() == Some(namespace))
            .map(|policy| policy.name_any())
            .min()
    }

    /// Labels of a namespace.
    pub fn namespace_labels(&self, namespace: &str) -> BTreeMap<String, String> {
        self.namespaces
            .get(&ObjectRef::new(namespace))
            .map(|namespace| namespace.labels().clone())
            .unwrap_or_default()
    }

    /// Uid of a namespace.
    pub fn namespace_uid(&self, namespace: &str) -> Option<String> {
        let namespace = self.namespaces.get(&ObjectRef::new(namespace))?;
        namespace.metadata.uid.clone()
    }

    /// An opted-in namespace and one of its sandbox pods; the next one with each round.
    pub fn tenant(&self, round: usize) -> Option<Tenant> {
        let mut names: Vec<String> = self
            .namespaces
            .state_filter(is_opted_in)
            .iter()
            .map(|namespace| namespace.name_any())
            .collect();
        names.sort();
        let namespace = names.get(round.checked_rem(names.len())?)?.clone();
        let pod = self
            .pods
            .find(|pod| pod.metadata.namespace.as_deref() == Some(namespace.as_str()) && !is_over(pod));
        Some(Tenant {
            pod: pod.map(|pod| pod.name_any()),
            namespace,
        })
    }

    /// A policy; one that cannot be read is none.
    pub fn policy(&self, namespace: &str, name: &str) -> Option<SandboxPolicy> {
        let found = self.policies.get(&ObjectRef::new(name).within(namespace))?;
        found.0.as_ref().ok().cloned()
    }

    /// All cluster policies, or the name of one that cannot be read.
    pub fn cluster_policies(&self) -> Result<Vec<ClusterSandboxPolicy>, String> {
        self.cluster_policies
            .state()
            .iter()
            .map(|policy| match &policy.0 {
                Ok(policy) => Ok(policy.clone()),
                Err(error) => Err(format!(
                    "ClusterSandboxPolicy/{} cannot be read: {error}",
                    policy.name_any()
                )),
            })
            .collect()
    }

    /// Those of the named credentials that exist and can be read, by name.
    pub fn credentials(&self, named: &BTreeSet<&str>) -> Vec<SandboxCredential> {
        let found = named.iter().filter_map(|name| {
            let credential = self.credentials.get(&ObjectRef::new(name))?;
            credential.0.as_ref().ok().cloned()
        });
        found.collect()
    }

    /// The runtime classes that exist, by name, and what nodes advertise of their handlers.
    pub fn runtime_classes(&self) -> Vec<RuntimeClassFact> {
        let nodes = self.nodes.state();
        let classes = self.runtime_classes.state();
        let facts = classes.iter().map(|class| RuntimeClassFact {
            name: class.name_any(),
            user_namespaces: nodes::support(nodes.iter().map(|node| &**node), &class.handler),
        });
        let mut facts: Vec<RuntimeClassFact> = facts.collect();
        facts.sort_by(|one, other| one.name.cmp(&other.name));
        facts
    }

    /// The gateway's data port, as sandboxes reach it.
    pub fn gateway(&self) -> Option<SocketAddr> {
        let service = self.services.find(|_| true)?;
        let address: IpAddr = service.spec.as_ref()?.cluster_ip.as_deref()?.parse().ok()?;
        Some(SocketAddr::new(address, GATEWAY_PORT))
    }

    /// References to the policies of one namespace or of all.
    pub fn policy_references(&self, namespace: Option<&str>) -> Vec<ObjectRef<Guarded<SandboxPolicy>>> {
        let policies = self.policies.state();
        let wanted = policies.iter().filter(|policy| {
            namespace.is_none_or(|namespace| policy.namespace().as_deref() == Some(namespace))
        });
        wanted.map(|policy| ObjectRef::from_obj(&**policy)).collect()
    }

    /// References to all cluster policies.
    pub fn cluster_policy_references(&self) -> Vec<ObjectRef<Guarded<ClusterSandboxPolicy>>> {
        let policies = self.cluster_policies.state();
        policies
            .iter()
            .map(|policy| ObjectRef::from_obj(&**policy))
            .collect()
    }

    /// The runs that are not over and the policies that a credential of this name has a say in.
    pub fn users_of(&self, credential: &str) -> Users {
        Seen {
            runs: self.runs.state(),
            policies: self.policies.state(),
            cluster_policies: self.cluster_policies.state(),
            namespaces: self.namespaces.state(),
        }
        .users_of(credential)
    }

    /// References to all runs that are not over, of one namespace or of all.
    pub fn open_runs(&self, namespace: Option<&str>) -> Vec<ObjectRef<Guarded<AgentRun>>> {
        let found = self.indices.open_runs.find(&self.runs, namespace);
        found
            .unwrap_or_else(|| self.runs.state())
            .iter()
            .filter(|run| {
                let own = namespace_if_open(run);
                own.is_some() && (namespace.is_none() || own.as_deref() == namespace)
            })
            .map(|run| ObjectRef::from_obj(&**run))
            .collect()
    }
}

/// The run that a Job or pod of ours belongs to.
pub fn run_of<K: kube::Resource>(object: &K) -> Option<ObjectRef<Guarded<AgentRun>>> {
    let metadata = object.meta();
    let name = metadata.labels.as_ref()?.get(LABEL_RUN)?;
    Some(ObjectRef::new(name).within(metadata.namespace.as_deref()?))
}
