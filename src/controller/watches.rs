//! Starts every watch, fills the caches, and turns what changes into runs and namespaces to look at.

use std::sync::Arc;

use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use self::trigger::{
    Change, SeenSpecs, look_at_cluster_policy, look_at_credential, look_at_pod, look_at_policy,
    runs_and_fence,
};
use self::watch::Watch;
use super::api_server::Guarded;
use super::fence::services::SelectingServices;
use super::index::GroupOf;
use super::memory::Memory;
use super::reports::Scanner;
use super::run_pod::RunPod;
use super::stores::{Indices, Stores, run_of, run_uid};
use super::trim;
use cofferdam_api::names::{LABEL_RUN, SANDBOX_SERVICE_ACCOUNT};
use cofferdam_api::{ClusterSandboxPolicy, SandboxCredential};
use cofferdam_policy::layer::cache::PolicyCache;

pub use self::trigger::{Trigger, Triggers};

mod trigger;
mod watch;

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
    let (mut seen_policies, mut seen_cluster_policies) = (SeenSpecs::default(), SeenSpecs::default());
    let mut seen_credentials = SeenSpecs::default();
    let scanned = triggers.clone();
    let selected = triggers.clone();
    let indices = Indices::default();
    let stores = Stores {
        runs: watch.runs(&indices),
        jobs: watch.run(Api::all(client.clone()), of_runs(), trim::job, |job, _| {
            run_of(job).map(Trigger::Run).into_iter().collect()
        }),
        pods: watch.indexed(
            Api::all(client.clone()),
            of_runs(),
            |_| (),
            (&indices.pods, run_uid as GroupOf<_>),
            move |pod: &RunPod, change| {
                seen.see(pod);
                look_at_pod(pod, change)
            },
        ),
        policies: watch.one(
            Api::all(client.clone()),
            watcher::Config::default(),
            move |policy, change| {
                forget(&of_policies, policy, change);
                look_at_policy(policy, seen_policies.is_news(policy, change))
            },
        ),
        cluster_policies: watch.one(
            Api::all(client.clone()),
            watcher::Config::default(),
            move |policy: &Guarded<ClusterSandboxPolicy>, change| {
                forget(&of_cluster_policies, policy, change);
                look_at_cluster_policy(seen_cluster_policies.is_news(policy, change))
            },
        ),
        credentials: watch.one(
            Api::all(client.clone()),
            watcher::Config::default(),
            move |credential: &Guarded<SandboxCredential>, change| {
                look_at_credential(credential, seen_credentials.is_news(credential, change))
            },
        ),
        credential_health: Arc::default(),
        archive_space: Arc::default(),
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
