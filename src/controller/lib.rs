//! The controller: turns runs and policies into Jobs under the fence, and tells what happened.

pub mod agent_run;
mod api_server;
mod archive;
mod backoff;
mod cluster_policy;
mod conditions;
mod config;
mod credentials;
mod events;
mod evidence;
pub mod fence;
mod guard;
mod holds;
mod index;
mod memory;
mod nodes;
mod pod_view;
mod policy_status;
mod queues;
mod reports;
mod retired;
mod run_pod;
pub mod sandbox_policy;
mod slot_upkeep;
mod slots;
mod space;
mod stores;
mod strays;
mod sweep;
#[cfg(test)]
mod testing;
mod trim;
mod verdict;
mod watches;
mod witness;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::controller::{Action, Config as ApplierConfig, ReconcileRequest, applier};
use kube::runtime::reflector::{ObjectRef, Store};
use tokio_util::sync::CancellationToken;

use self::archive::Archive;
pub use self::config::Args;
use self::config::SandboxConfig;
use self::events::Publisher;
use self::evidence::seal::Sealer;
use self::evidence::signer::Signer;
use self::evidence::statement::Origin;
use self::evidence::unsealed;
use self::memory::Memory;
use self::queues::{Queue, Queues};
use self::slots::Slots;
use self::stores::{NotFilled, Stores};
use self::watches::Trigger;
use crate::backoff::{Backoff, Failures};
use cofferdam_service::args::RoleArgs;
use cofferdam_service::serve::{Readiness, health, shutdown_on_signal};
use cofferdam_service::start::{Role, StartError, bind, cluster_client};
use cofferdam_wire::record::ProcessId;

/// Delays after failures: quick enough for a race, slow enough for an outage.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(500),
    ceiling: Duration::from_mins(1),
};
/// Namespaces that are fenced at a time.
const FENCE_CONCURRENCY: u16 = 4;
/// Policies whose status is written at a time.
const POLICY_CONCURRENCY: u16 = 4;

/// The controller could not start.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// What every role needs.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The watches ended before they had begun.
    #[error(transparent)]
    NotFilled(#[from] NotFilled),
    /// The system has no random numbers.
    #[error("the system gives no random number: {0}")]
    Random(#[from] getrandom::Error),
}

/// Runs the controller until a signal ends it.
///
/// # Errors
/// It could not start.
pub async fn run(args: Args) -> Result<(), ControllerError> {
    let stop = shutdown_on_signal().map_err(StartError::Signals)?;
    let readiness = Readiness::default();
    let health = tokio::spawn(health(
        bind(args.role.health).await?,
        readiness.clone(),
        stop.clone(),
    ));
    let client = cluster_client(Role::Controller).await?;
    let process = ProcessId(getrandom::u64()?);
    let memory = Arc::new(Memory::default());
    let (stores, triggers, triggered) = watches::start(
        &client,
        &args.role.namespace,
        &args.gateway_service,
        &memory,
        &stop,
    );
    let stores = Arc::new(stores);
    tokio::select! {
        filled = stores.wait_until_filled() => filled?,
        () = stop.cancelled() => return Ok(()),
    }
    let guard_changed = triggers.clone();
    let tenants = Arc::clone(&stores);
    let rounds = AtomicUsize::new(0);
    let guard = guard::watch_guard(
        client.clone(),
        args.guard(),
        stop.clone(),
        move || tenants.tenant(rounds.fetch_add(1, Ordering::Relaxed)),
        move || {
            // Nobody listens only when the process ends.
            drop(guard_changed.unbounded_send(Trigger::AllRuns));
        },
    );
    let slots = Arc::new(Slots::default());
    slot_upkeep::restore(&slots, &stores);
    let queues = Queues::sort(triggered, Arc::clone(&stores), Arc::clone(&slots));
    let archive = Archive::new(&args.archive.archive_url, args.archive.archive_token_file.clone());
    let sealer = sealer(&args, &client, &archive, stores.namespaces.clone(), process);
    let runs = Arc::new(agent_run::Context {
        effects: agent_run::Effects {
            client: client.clone(),
            events: Publisher::new(client.clone(), &args.role.pod_name),
            memory,
            slots: Arc::clone(&slots),
            triggers: triggers.clone(),
            sealer: sealer.clone(),
        },
        stores: Arc::clone(&stores),
        guard,
        archive: archive.clone(),
        installation: Arc::new(agent_run::Installation {
            sandbox: SandboxConfig::of(&args),
            operator_namespace: args.role.namespace.clone(),
            gateway_service: args.gateway_service.clone(),
        }),
        failures: Failures::new(BACKOFF),
    });
    let policies = Arc::new(policy_status::Context {
        client: client.clone(),
        stores: Arc::clone(&stores),
        events: Publisher::new(client.clone(), &args.role.pod_name),
        failures: Failures::new(BACKOFF),
    });
    let fences = Arc::new(fence::Context {
        client: client.clone(),
        stores: Arc::clone(&stores),
        operator_namespace: args.role.namespace.clone(),
        failures: Failures::new(BACKOFF),
    });
    let contexts = Contexts {
        runs,
        policies,
        fences,
    };
    readiness.set(true);
    tracing::info!(
        runs = stores.runs.len(),
        namespace = args.role.namespace,
        "watching"
    );
    tokio::join!(
        reconcile_all(queues, contexts, args.concurrency, &stores, &stop),
        sweep::run(&client, &args.role.namespace, &stores, stop.clone()),
        slot_upkeep::run(&slots, &stores, &triggers, stop.clone()),
        strays::run(&client, &stores, stop.clone()),
        credentials::follow(&archive, &stores, &triggers, stop.clone()),
        follow_archive(&archive, &stores, &client, &args.role, &stop),
        unsealed::run(&archive, &sealer, &stores, stop.clone()),
    );
    drop(health.await);
    Ok(())
}

/// Asks the archive for what runs wait for, and tells it what it must keep.
async fn follow_archive(
    archive: &Archive,
    stores: &Stores,
    client: &kube::Client,
    role: &RoleArgs,
    stop: &CancellationToken,
) {
    let events = Publisher::new(client.clone(), &role.pod_name);
    let place = (client, role.namespace.as_str(), &events);
    tokio::join!(
        holds::follow(archive, stores, stop.clone()),
        witness::follow(archive, client, &role.namespace, stop.clone()),
        space::follow(archive, &stores.archive_space, place, stop.clone()),
    );
}

/// Seals runs in the name of this process.
fn sealer(
    args: &Args,
    client: &kube::Client,
    archive: &Archive,
    namespaces: Store<Namespace>,
    process: ProcessId,
) -> Sealer {
    Sealer::new(
        archive.clone(),
        Signer::new(args.signing_keys.join("current.key")),
        Origin {
            builder: args.builder_id.clone(),
            runner_image: args.runner_image.clone(),
        },
        kube::Api::namespaced(client.clone(), &args.role.namespace),
        namespaces,
        process,
    )
}

/// What each reconciler holds; policies of both kinds and credentials share theirs.
struct Contexts {
    runs: Arc<agent_run::Context>,
    policies: Arc<policy_status::Context>,
    fences: Arc<fence::Context>,
}

/// Reconciles everything, until `stop`.
async fn reconcile_all(
    queues: Queues,
    contexts: Contexts,
    concurrency: u16,
    stores: &Stores,
    stop: &CancellationToken,
) {
    tokio::join!(
        work(
            "run",
            queues.runs,
            &stores.runs,
            contexts.runs,
            concurrency,
            (agent_run::reconcile, agent_run::on_error),
            stop.clone(),
        ),
        work(
            "fence",
            queues.namespaces,
            &stores.namespaces,
            contexts.fences,
            FENCE_CONCURRENCY,
            (fence::reconcile, fence::on_error),
            stop.clone(),
        ),
        work(
            "policy",
            queues.policies,
            &stores.policies,
            Arc::clone(&contexts.policies),
            POLICY_CONCURRENCY,
            (policy_status::reconcile, policy_status::on_error),
            stop.clone(),
        ),
        work(
            "cluster policy",
            queues.cluster_policies,
            &stores.cluster_policies,
            Arc::clone(&contexts.policies),
            POLICY_CONCURRENCY,
            (policy_status::reconcile, policy_status::on_error),
            stop.clone(),
        ),
        work(
            "credential",
            queues.credentials,
            &stores.credentials,
            contexts.policies,
            POLICY_CONCURRENCY,
            (policy_status::reconcile, policy_status::on_error),
            stop.clone(),
        ),
    );
}

/// What to do after a failure.
type OnError<K, E, C> = fn(Arc<K>, &E, Arc<C>) -> Action;

/// Reconciles what comes out of a queue, at most `concurrency` objects at a time, until `stop`.
async fn work<K, C, R, F, E>(
    what: &'static str,
    queue: Queue<K>,
    store: &Store<K>,
    context: Arc<C>,
    concurrency: u16,
    (reconcile, on_error): (R, OnError<K, E, C>),
    stop: CancellationToken,
) where
    K: kube::Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
    C: Send + Sync + 'static,
    R: Fn(Arc<K>, Arc<C>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Action, E>> + Send + 'static,
    E: std::error::Error + Send + 'static,
{
    let worked = applier(
        move |object, context| Box::pin(reconcile(object, context)),
        on_error,
        context,
        store.clone(),
        requests(queue, stop),
        ApplierConfig::default().concurrency(concurrency),
    );
    worked
        .for_each(|result| async {
            match result {
                // `make bench` counts these lines.
                Ok((object, _)) => {
                    tracing::debug!(
                        what,
                        name = object.name,
                        namespace = object.namespace,
                        "reconciled"
                    );
                }
                // The error policies log failures of reconcilers; what is left is an object that was deleted meanwhile.
                Err(error) => tracing::debug!(what, %error, "not reconciled"),
            }
        })
        .await;
}

/// The queue as the runtime wants it; it ends with `stop`, and the work in hand is finished.
fn requests<K>(
    queue: UnboundedReceiver<ObjectRef<K>>,
    stop: CancellationToken,
) -> impl Stream<Item = Result<ReconcileRequest<K>, std::convert::Infallible>>
where
    K: kube::Resource,
{
    queue
        .map(|reference| Ok(ReconcileRequest::from(reference)))
        .take_until(Box::pin(stop.cancelled_owned()))
}
