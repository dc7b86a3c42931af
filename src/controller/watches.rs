//! Starts every watch, fills the caches, and turns what changes into runs and namespaces to look at.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::api_server::Guarded;
use super::fence::foreign;
use super::fence::services::SelectingServices;
use super::index::{GroupOf, Index};
use super::memory::Memory;
use super::nodes;
use super::pod_view::is_over;
use super::reports::Scanner;
use super::retired::Reported;
use super::stores::{Indices, Stores, namespace_if_open, namespace_if_widening, run_of, run_uid};
use super::trim;
use cofferdam_api::names::{LABEL_RUN, LABEL_RUN_UID, SANDBOX_SERVICE_ACCOUNT};
use cofferdam_api::{AgentRun, ClusterSandboxPolicy, SandboxPolicy};
use cofferdam_policy::layer::cache::PolicyCache;

/// Objects of one page of a list. A page is in memory as a whole before it is trimmed, and tenants decide how large an
/// object is.
const PAGE: u32 = 50;
/// The same for each `NetworkPolicy`: of a megabyte each, which takes five in memory, at most 50 MiB at a time.
const NETWORK_POLICIES_PAGE: u32 = 10;

/// What a change asks to be looked at.
#[derive(Clone, Debug)]
pub enum Trigger {
    /// One run.
    Run(ObjectRef<Guarded<AgentRun>>),
    /// Every run of a namespace that is not over.
    RunsOf(String),
    /// The slot of a run that may be gone, by namespace, name and uid.
    Slot(String, String, String),
    /// Every run that is not over.
    AllRuns,
    /// The fence of a namespace.
    Fence(String),
    /// The status of a policy.
    Policy(ObjectRef<Guarded<SandboxPolicy>>),
    /// The status of every policy of a namespace.
    PoliciesOf(String),
    /// The status of every policy.
    AllPolicies,
    /// The status of every cluster policy.
    ClusterPolicies,
}

/// Sends triggers to whoever looks.
pub type Triggers = UnboundedSender<Trigger>;

/// Starts all watches; they end with `stop`.
pub fn start(
    client: &Client,
    operator_namespace: &str,
    gateway_service: &str,
    memory: &Arc<Memory>,
    stop: &CancellationToken,
) -> (Stores, Triggers, UnboundedReceiver<Trigger>) {
    let (triggers, receiver) = unbounded();
    let watch = Watch {
        client,
        triggers: &triggers,
        stop,
    };
    let of_runs = || watcher::Config::default().labels(LABEL_RUN);
    let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
    let gateway = Api::namespaced(client.clone(), operator_namespace);
    let seen = Arc::clone(memory);
    let readings = Arc::new(PolicyCache::default());
    let (of_policies, of_cluster_policies) = (Arc::clone(&readings), Arc::clone(&readings));
    let scanned = triggers.clone();
    let selected = triggers.clone();
    let indices = Indices::default();
    let stores = Stores {
        runs: watch.runs(&indices),
        jobs: watch.all(of_runs(), |job| {
            run_of(job).map(Trigger::Run).into_iter().collect()
        }),
        pods: watch.indexed(
            Api::all(client.clone()),
            of_runs(),
            |pod: &mut Pod| pod.managed_fields_mut().clear(),
            (&indices.pods, run_uid as GroupOf<_>),
            move |pod: &Pod, change| {
                seen.see(pod);
                look_at_pod(pod, change)
            },
        ),
        policies: watch.one(
            Api::all(client.clone()),
            watcher::Config::default(),
            move |policy, change| {
                forget(&of_policies, policy, change);
                runs_of_its_namespace_and_itself(policy)
            },
        ),
        cluster_policies: watch.one(
            Api::all(client.clone()),
            watcher::Config::default(),
            move |policy: &Guarded<ClusterSandboxPolicy>, change| {
                forget(&of_cluster_policies, policy, change);
                vec![Trigger::AllRuns, Trigger::AllPolicies, Trigger::ClusterPolicies]
            },
        ),
        runtime_classes: watch.all(watcher::Config::default(), |_| {
            vec![Trigger::AllRuns, Trigger::AllPolicies]
        }),
        nodes: watch.nodes(),
        namespaces: watch.run(
            Api::all(client.clone()),
            watcher::Config::default(),
            trim::namespace,
            |namespace: &Namespace, _| {
                let name = namespace.name_any();
                vec![
                    Trigger::RunsOf(name.clone()),
                    Trigger::PoliciesOf(name.clone()),
                    Trigger::Fence(name),
                    Trigger::ClusterPolicies,
                ]
            },
        ),
        network_policies: watch.network_policies(&indices),
        accounts: watch.all(named(SANDBOX_SERVICE_ACCOUNT), runs_and_fence),
        services: watch.one(gateway, named(gateway_service), |_, _| vec![Trigger::AllRuns]),
        selecting_services: SelectingServices::start(client.clone(), stop.clone(), move |namespace| {
            for trigger in [
                Trigger::RunsOf(namespace.to_owned()),
                Trigger::PoliciesOf(namespace.to_owned()),
            ] {
                // Nobody listens only when the process ends.
                drop(selected.unbounded_send(trigger));
            }
        }),
        scanner: Scanner::start(client.clone(), stop.clone(), move || {
            // Nobody listens only when the process ends.
            drop(scanned.unbounded_send(Trigger::AllRuns));
        }),
        readings,
        indices,
    };
    (stores, triggers, receiver)
}

/// What was read of a policy goes with it.
fn forget(readings: &PolicyCache, policy: &impl ResourceExt, change: Change) {
    if let (Change::Deleted, Some(uid)) = (change, policy.uid()) {
        readings.forget(&uid);
    }
}

fn runs_of_its_namespace_and_itself(policy: &Guarded<SandboxPolicy>) -> Vec<Trigger> {
    let runs = policy.meta().namespace.clone().map(Trigger::RunsOf);
    let itself = Trigger::Policy(ObjectRef::from_obj(policy));
    runs.into_iter().chain([itself]).collect()
}

/// A run that is gone gives back its slot.
fn look_at_run(run: &Guarded<AgentRun>, change: Change) -> Vec<Trigger> {
    if change == Change::Deleted {
        let slot = || Some(Trigger::Slot(run.namespace()?, run.name_any(), run.uid()?));
        return slot().into_iter().collect();
    }
    vec![Trigger::Run(ObjectRef::from_obj(run))]
}

/// The last pod of a run that is gone gives back its slot.
fn look_at_pod(pod: &Pod, change: Change) -> Vec<Trigger> {
    let slot = || {
        let (run, uid) = (pod.labels().get(LABEL_RUN)?, pod.labels().get(LABEL_RUN_UID)?);
        Some(Trigger::Slot(pod.namespace()?, run.clone(), uid.clone()))
    };
    let left = (change == Change::Deleted || is_over(pod)).then(slot).flatten();
    let fence = pod.namespace().map(Trigger::Fence);
    run_of(pod)
        .map(Trigger::Run)
        .into_iter()
        .chain(fence)
        .chain(left)
        .collect()
}

fn runs_and_fence<K: Resource>(object: &K) -> Vec<Trigger> {
    let namespace = object.meta().namespace.clone();
    namespace
        .map(|namespace| vec![Trigger::RunsOf(namespace.clone()), Trigger::Fence(namespace)])
        .unwrap_or_default()
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// It is new, or it differs.
    Applied,
    /// It is gone.
    Deleted,
}

/// `triggers` with at most one of each that means all objects of a kind: a list of a thousand nodes asks for it a
/// thousand times.
fn all_at_once(triggers: impl Iterator<Item = Trigger>) -> Vec<Trigger> {
    let mut asked = Vec::new();
    triggers
        .filter(|trigger| {
            let kind = std::mem::discriminant(trigger);
            let is_for_all = matches!(
                trigger,
                Trigger::AllRuns | Trigger::AllPolicies | Trigger::ClusterPolicies
            );
            let is_new = !asked.contains(&kind);
            if is_for_all && is_new {
                asked.push(kind);
            }
            !is_for_all || is_new
        })
        .collect()
}

struct Watch<'a> {
    client: &'a Client,
    triggers: &'a Triggers,
    stop: &'a CancellationToken,
}

impl Watch<'_> {
    fn all<K>(
        &self,
        config: watcher::Config,
        triggered: impl Fn(&K) -> Vec<Trigger> + Send + 'static,
    ) -> Store<K>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        K::DynamicType: Default + Eq + Hash + Clone + Unpin + Send + Sync,
    {
        let triggered = move |object: &K, _| triggered(object);
        self.one(Api::all(self.client.clone()), config, triggered)
    }

    fn one<K>(
        &self,
        api: Api<K>,
        config: watcher::Config,
        triggered: impl Fn(&K, Change) -> Vec<Trigger> + Send + 'static,
    ) -> Store<K>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        K::DynamicType: Default + Eq + Hash + Clone + Unpin + Send + Sync,
    {
        let mut reported = Reported::default();
        let trim = move |object: &mut K| {
            reported.look_at(&K::kind(&K::DynamicType::default()), object.meta());
            object.managed_fields_mut().clear();
        };
        self.run(api, config, trim, triggered)
    }

    fn runs(&self, indices: &Indices) -> Store<Guarded<AgentRun>> {
        let mut reported = Reported::default();
        let trim = move |run: &mut Guarded<AgentRun>| {
            reported.look_at("AgentRun", run.meta());
            trim::run(run);
        };
        let api = Api::all(self.client.clone());
        let index = (&indices.open_runs, namespace_if_open as GroupOf<_>);
        self.indexed(api, watcher::Config::default(), trim, index, look_at_run)
    }

    fn network_policies(&self, indices: &Indices) -> Store<NetworkPolicy> {
        let api = Api::all(self.client.clone());
        let config = watcher::Config::default().page_size(NETWORK_POLICIES_PAGE);
        let index = (&indices.widening, namespace_if_widening as GroupOf<_>);
        self.indexed(api, config, foreign::trim, index, |policy: &NetworkPolicy, _| {
            let policies = policy.meta().namespace.clone().map(Trigger::PoliciesOf);
            runs_and_fence(policy).into_iter().chain(policies).collect()
        })
    }

    /// Ignores updates of nodes that change nothing we use, such as heartbeats: each of the others wakes every run that
    /// waits.
    fn nodes(&self) -> Store<Node> {
        let mut seen = nodes::Seen::default();
        let api = Api::all(self.client.clone());
        self.run(
            api,
            watcher::Config::default(),
            nodes::trim,
            move |node, change| {
                let matters = match change {
                    Change::Applied => seen.is_news(node),
                    Change::Deleted => seen.is_missed(node),
                };
                if matters {
                    vec![Trigger::AllRuns, Trigger::AllPolicies]
                } else {
                    Vec::new()
                }
            },
        )
    }

    /// A watch whose objects are of no group.
    fn run<K>(
        &self,
        api: Api<K>,
        config: watcher::Config,
        trim: impl FnMut(&mut K) + Send + 'static,
        triggered: impl FnMut(&K, Change) -> Vec<Trigger> + Send + 'static,
    ) -> Store<K>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        K::DynamicType: Default + Eq + Hash + Clone + Unpin + Send + Sync,
    {
        let index = (&Arc::default(), (|_| None) as GroupOf<_>);
        self.indexed(api, config, trim, index, triggered)
    }

    /// Runs one watch in a task of its own; what is kept of an object is what `trim` leaves of it. The index is true
    /// before anything is triggered.
    fn indexed<K>(
        &self,
        api: Api<K>,
        config: watcher::Config,
        trim: impl FnMut(&mut K) + Send + 'static,
        (index, group): (&Arc<Index>, GroupOf<K>),
        mut triggered: impl FnMut(&K, Change) -> Vec<Trigger> + Send + 'static,
    ) -> Store<K>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        K::DynamicType: Default + Eq + Hash + Clone + Unpin + Send + Sync,
    {
        let index = Arc::clone(index);
        let name = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
        let (store, writer) = reflector::store::<K>();
        let (triggers, filled) = (self.triggers.clone(), store.clone());
        let stop = self.stop.clone().cancelled_owned();
        let page = config.page_size.filter(|page| *page < PAGE).unwrap_or(PAGE);
        let stream = watcher::watcher(api, config.page_size(page))
            .modify(trim)
            .default_backoff()
            .reflect(writer)
            .take_until(Box::pin(stop));
        tokio::spawn(async move {
            let mut stream = std::pin::pin!(stream);
            while let Some(event) = stream.next().await {
                let changed = match event {
                    Ok(Event::Apply(object)) => {
                        index.set(name(&object), group(&object));
                        triggered(&object, Change::Applied)
                    }
                    Ok(Event::Delete(object)) => {
                        index.set(name(&object), None);
                        triggered(&object, Change::Deleted)
                    }
                    // The cache changes all at once at the end of a list, so only then there is something to look at.
                    Ok(Event::InitDone) => {
                        let objects = filled.state();
                        index.list(objects.iter().map(|object| (name(object), group(object))));
                        all_at_once(
                            objects
                                .iter()
                                .flat_map(|object| triggered(object, Change::Applied)),
                        )
                    }
                    Ok(Event::Init | Event::InitApply(_)) => Vec::new(),
                    Err(error) => {
                        tracing::warn!(kind = std::any::type_name::<K>(), %error, "watch interrupted");
                        Vec::new()
                    }
                };
                for trigger in changed {
                    // Nobody listens only when the process ends.
                    if triggers.unbounded_send(trigger).is_err() {
                        return;
                    }
                }
            }
        });
        store
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_triggers_for_all_runs_become_one_and_others_stay() {
        let triggers = [
            Trigger::AllRuns,
            Trigger::Fence("a".to_owned()),
            Trigger::AllRuns,
            Trigger::Fence("b".to_owned()),
            Trigger::AllRuns,
        ];
        let kept = all_at_once(triggers.into_iter());
        assert!(
            matches!(kept.as_slice(), [Trigger::AllRuns, Trigger::Fence(a), Trigger::Fence(b)] if a == "a" && b == "b"),
            "{kept:?}"
        );
    }
}
