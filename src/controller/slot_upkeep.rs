//! Keeps the slots true to what the caches show: after a start, when a run vanishes, and now and then.

use std::collections::HashSet;
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio_util::sync::CancellationToken;

use super::agent_run::run_key;
use super::pod_view::is_over;
use super::run_pod::RunPod;
use super::slots::{Restored, Slots, Woken};
use super::stores::Stores;
use super::watches::{Trigger, Triggers};
use cofferdam_api::AgentRun;
use cofferdam_api::names::LABEL_RUN_UID;

/// How often slots are compared with the caches. A deletion that no watch saw keeps a slot for this long.
const PERIOD: Duration = Duration::from_mins(5);

/// Takes over the open runs of all namespaces, and the pods of runs that are gone.
pub fn restore(slots: &Slots, stores: &Stores) {
    let with_pods = live_pods(stores);
    for (namespace, uid) in &with_pods {
        slots.restore(namespace, [Restored::Holding(uid.clone())]);
    }
    for run in stores.runs.state() {
        let Ok(run) = &run.0 else { continue };
        let (Some(namespace), Some(key)) = (run.namespace(), run_key(run)) else {
            continue;
        };
        if run.is_finished() || with_pods.contains(&(namespace.clone(), key.uid.clone())) {
            continue;
        }
        let restored = if has_begun(run, &key.uid, stores) {
            Restored::Holding(key.uid)
        } else if may_wait(run) {
            Restored::Waiting {
                run: key,
                ceiling: None,
            }
        } else {
            continue;
        };
        slots.restore(&namespace, [restored]);
    }
}

fn has_begun(run: &AgentRun, uid: &str, stores: &Stores) -> bool {
    run.status
        .as_ref()
        .is_some_and(|status| status.workload.is_some())
        || stores.job_of(run, uid).is_some()
}

fn may_wait(run: &AgentRun) -> bool {
    !run.spec.suspend && run.spec.cancel.is_none() && run.metadata.deletion_timestamp.is_none()
}

/// Namespace and run of every pod that runs or will run.
fn live_pods(stores: &Stores) -> HashSet<(String, String)> {
    stores
        .pods
        .state()
        .iter()
        .filter(|pod| !is_over(pod))
        .filter_map(|pod| owner(pod))
        .collect()
}

fn owner(pod: &RunPod) -> Option<(String, String)> {
    Some((pod.namespace()?, pod.labels().get(LABEL_RUN_UID)?.clone()))
}

/// Gives back the slot of a run that is gone, once no pod of it is live; a run that exists is reconciled instead.
pub fn vacate(slots: &Slots, stores: &Stores, namespace: &str, name: &str, uid: &str) -> Woken {
    let found = stores.runs.get(&ObjectRef::new(name).within(namespace));
    if found.is_some_and(|run| run.uid().as_deref() == Some(uid)) {
        return Woken::new();
    }
    if stores.pods_of(namespace, uid).iter().all(|pod| is_over(pod)) {
        slots.release(namespace, uid)
    } else {
        slots.leave(namespace, uid)
    }
}

/// Compares slots with the caches now and then, until `stop`.
pub async fn run(slots: &Slots, stores: &Stores, triggers: &Triggers, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = stop.cancelled() => return,
        }
        let known = known(stores);
        let retained = slots.retain(|namespace, uid| known.contains(&(namespace.to_owned(), uid.to_owned())));
        for (namespace, woken) in retained {
            tracing::warn!(namespace, "a slot was held by a run that is gone");
            for run in woken {
                let run = ObjectRef::new(&run.name).within(&namespace);
                drop(triggers.unbounded_send(Trigger::Run(run)));
            }
        }
    }
}

/// Namespace and run of everything that may hold a slot or wait for one.
fn known(stores: &Stores) -> HashSet<(String, String)> {
    let runs = stores.runs.state();
    let open = runs.iter().filter_map(|run| {
        let run = run.0.as_ref().ok().filter(|run| !run.is_finished())?;
        Some((run.namespace()?, run.uid()?))
    });
    live_pods(stores).into_iter().chain(open).collect()
}
