//! Sorts triggers into one queue for each kind that is worked on; a trigger for many becomes one for each.

use std::sync::Arc;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::reflector::ObjectRef;

use super::api_server::Guarded;
use super::slot_upkeep;
use super::slots::Slots;
use super::stores::Stores;
use super::watches::Trigger;
use cofferdam_api::{AgentRun, ClusterSandboxPolicy, SandboxCredential, SandboxPolicy};

/// Objects to look at.
pub type Queue<K> = UnboundedReceiver<ObjectRef<K>>;

/// All queues, as their workers see them.
pub struct Queues {
    /// Runs.
    pub runs: Queue<Guarded<AgentRun>>,
    /// Namespaces, for their fences.
    pub namespaces: Queue<Namespace>,
    /// Policies, for their status.
    pub policies: Queue<Guarded<SandboxPolicy>>,
    /// Cluster policies, for theirs.
    pub cluster_policies: Queue<Guarded<ClusterSandboxPolicy>>,
    /// Credentials, for theirs.
    pub credentials: Queue<Guarded<SandboxCredential>>,
}

struct Senders {
    runs: UnboundedSender<ObjectRef<Guarded<AgentRun>>>,
    namespaces: UnboundedSender<ObjectRef<Namespace>>,
    policies: UnboundedSender<ObjectRef<Guarded<SandboxPolicy>>>,
    cluster_policies: UnboundedSender<ObjectRef<Guarded<ClusterSandboxPolicy>>>,
    credentials: UnboundedSender<ObjectRef<Guarded<SandboxCredential>>>,
}

impl Queues {
    /// Starts to sort.
    pub fn sort(mut triggered: UnboundedReceiver<Trigger>, stores: Arc<Stores>, slots: Arc<Slots>) -> Self {
        let (runs, runs_out) = unbounded();
        let (namespaces, namespaces_out) = unbounded();
        let (policies, policies_out) = unbounded();
        let (cluster_policies, cluster_policies_out) = unbounded();
        let (credentials, credentials_out) = unbounded();
        let senders = Senders {
            runs,
            namespaces,
            policies,
            cluster_policies,
            credentials,
        };
        tokio::spawn(async move {
            while let Some(trigger) = triggered.next().await {
                senders.sort(trigger, &stores, &slots);
            }
        });
        Self {
            runs: runs_out,
            namespaces: namespaces_out,
            policies: policies_out,
            cluster_policies: cluster_policies_out,
            credentials: credentials_out,
        }
    }
}

impl Senders {
    fn sort(&self, trigger: Trigger, stores: &Stores, slots: &Slots) {
        match trigger {
            Trigger::Run(run) => send(&self.runs, [run]),
            Trigger::RunsOf(namespace) => send(&self.runs, stores.open_runs(Some(&namespace))),
            Trigger::Slot(namespace, name, uid) => {
                let woken = slot_upkeep::vacate(slots, stores, &namespace, &name, &uid);
                let runs = woken
                    .iter()
                    .map(|run| ObjectRef::new(&run.name).within(&namespace));
                send(&self.runs, runs);
            }
            Trigger::AllRuns => send(&self.runs, stores.open_runs(None)),
            Trigger::Fence(namespace) => send(&self.namespaces, [ObjectRef::new(&namespace)]),
            Trigger::Policy(policy) => send(&self.policies, [policy]),
            Trigger::PoliciesOf(namespace) => {
                send(&self.policies, stores.policy_references(Some(&namespace)));
            }
            Trigger::AllPolicies => send(&self.policies, stores.policy_references(None)),
            Trigger::ClusterPolicies => send(&self.cluster_policies, stores.cluster_policy_references()),
            Trigger::Credential(name) => send(&self.credentials, [ObjectRef::new(&name)]),
            Trigger::UsersOf(credential) => {
                let (runs, policies) = stores.users_of(&credential);
                send(&self.runs, runs);
                send(&self.policies, policies);
            }
        }
    }
}

fn send<K>(queue: &UnboundedSender<ObjectRef<K>>, wanted: impl IntoIterator<Item = ObjectRef<K>>)
where
    K: kube::runtime::reflector::Lookup,
    K::DynamicType: Clone + Send,
{
    for object in wanted {
        // Sending fails only when the process ends.
        drop(queue.unbounded_send(object));
    }
}
