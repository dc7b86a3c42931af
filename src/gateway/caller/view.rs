//! The gateway's view of live sandbox pods: who may use the exit now, and cutting those who no longer may.
//!
//! Filled by the watches ([`crate::watches`]); the rules are in [`super::pods`].

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use self::ceilings::{Ceilings, Guarded, Labels};
use self::clock::Now;
use self::destination::Destination;
pub use self::destination::Passing;
pub use self::right::Caller;
use self::table::{Connection, Cut, Table};
pub use self::table::{CutCause, Mutated, Source};
use super::pods::{Kind, PodContext, SandboxPod, identify, permit};
use crate::denial::Denial;
use cofferdam_identity::Identity;
use cofferdam_wire::control::RunState;
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::runner::RunIdentity;

pub mod ceilings;
mod clock;
mod destination;
mod right;
mod table;

/// Existing connections are cut when the view was confirmed longer ago.
pub const CUT_AFTER: Duration = Duration::from_secs(30);

/// The view; cheap to share.
#[derive(Debug, Default)]
pub struct View {
    table: Mutex<Table>,
    /// Moved under the lock, before open connections are judged by what changed.
    revision: AtomicU64,
}

impl View {
    /// Replaces all pods by a consistent list of them.
    pub fn replace_pods(&self, pods: Vec<SandboxPod>) -> Vec<Mutated> {
        let mut table = self.table();
        let listed: HashSet<&String> = pods.iter().map(|pod| &pod.uid).collect();
        let gone: Vec<String> = table
            .pods
            .keys()
            .filter(|uid| !listed.contains(uid))
            .cloned()
            .collect();
        for uid in gone {
            table.remove(&uid);
        }
        let now = Now::read();
        let noticed = pods.into_iter().filter_map(|pod| table.put(pod, now)).collect();
        table.cut_the_unentitled();
        noticed
    }

    /// A pod was made or changed.
    pub fn put_pod(&self, pod: SandboxPod) -> Option<Mutated> {
        let mut table = self.table();
        let noticed = table.put(pod, Now::read());
        table.cut_the_unentitled();
        noticed
    }

    /// A pod is gone, or has reached its final phase.
    pub fn remove_pod(&self, uid: &str) {
        let mut table = self.table();
        table.remove(uid);
        table.cut_the_unentitled();
    }

    /// Replaces all runs by a consistent list of them; only those that are not being deleted.
    pub fn replace_runs(&self, runs: impl IntoIterator<Item = RunIdentity>) {
        let mut table = self.table();
        table.runs = runs.into_iter().collect();
        table.cut_the_unentitled();
    }

    /// A run exists, or ended (was deleted, or is being deleted).
    pub fn set_run(&self, run: RunIdentity, present: bool) {
        let mut table = self.table();
        if present {
            table.runs.insert(run);
        } else {
            table.runs.remove(&run);
            table.cut_the_unentitled();
        }
    }

    /// Replaces all cluster policies by a consistent list of them.
    pub fn replace_cluster_policies(&self, policies: Vec<Guarded>) {
        self.change_ceilings(|ceilings| ceilings.replace_policies(policies))
            .cut_the_denied(None);
    }

    /// A cluster policy was made or changed.
    pub fn put_cluster_policy(&self, policy: Guarded) {
        self.change_ceilings(|ceilings| ceilings.put_policy(policy))
            .cut_the_denied(None);
    }

    /// A cluster policy is gone: nothing is denied by that.
    pub fn remove_cluster_policy(&self, name: &str) {
        drop(self.change_ceilings(|ceilings| ceilings.remove_policy(name)));
    }

    /// Replaces all namespaces by a consistent list of them.
    pub fn replace_namespaces(&self, namespaces: impl IntoIterator<Item = (String, Labels)>) {
        self.change_ceilings(|ceilings| ceilings.replace_namespaces(namespaces))
            .cut_the_denied(None);
    }

    /// The labels of a namespace, as far as it is known.
    pub fn namespace_labels(&self, name: &str) -> Option<Labels> {
        self.table().ceilings.labels(name).cloned()
    }

    /// A namespace was made or changed.
    pub fn put_namespace(&self, name: &str, labels: Labels) {
        let mut changed = false;
        let mut table = self.change_ceilings(|ceilings| changed = ceilings.put_namespace(name, labels));
        if changed {
            table.cut_the_denied(Some(name));
        }
    }

    /// A namespace is gone.
    pub fn remove_namespace(&self, name: &str) {
        self.change_ceilings(|ceilings| ceilings.remove_namespace(name))
            .cut_the_denied(Some(name));
    }

    /// Whether a watch is open.
    pub fn set_open(&self, source: Source, open: bool) {
        let mut table = self.table();
        if open {
            table.open.insert(source);
        } else {
            table.open.remove(&source);
        }
    }

    /// A consistent list succeeded at `now`; it counts only while all watches are open.
    pub fn confirm(&self, now: Instant) {
        let mut table = self.table();
        if table.all_open() {
            table.confirmed_at = Some(now);
        }
    }

    /// Whether new connections may be admitted.
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.table().is_fresh(now)
    }

    /// Cuts every connection when the view is too old; to be called every second.
    pub fn cut_if_stale(&self, now: Instant) {
        let table = self.table();
        let current = table
            .confirmed_at
            .is_some_and(|at| now.saturating_duration_since(at) <= CUT_AFTER);
        if !current {
            for connection in table.connections.values() {
                connection.cut.now(CutCause::Stale);
            }
        }
    }

    /// Cuts the connections of agents that have used up their time; to be called every second.
    pub fn cut_overdue(&self, now: Instant) {
        let mut table = self.table();
        if table.ring(now) {
            table.cut_the_unentitled();
        }
    }

    /// The sidecar of this pod saw a hole in the fence: its exit closes at once.
    ///
    /// Other replicas of the gateway learn of it only by the sidecar's own end, which follows.
    pub fn lose_isolation(&self, pod_uid: &str) {
        let mut table = self.table();
        if let Some(entry) = table.pods.get_mut(pod_uid) {
            entry.isolation_lost = true;
            entry.publish();
        }
        for connection in table
            .connections
            .values()
            .filter(|connection| connection.pod_uid == pod_uid)
        {
            if connection.kind != Kind::Collect {
                connection.cut.now(CutCause::IsolationLost);
            }
        }
    }

    /// Admits one connection of `identity` from `peer`, or says why not.
    pub fn admit(
        self: &Arc<Self>,
        kind: Kind,
        identity: &Identity,
        peer: IpAddr,
        now: Instant,
    ) -> Result<Caller, Denial> {
        let peer = peer.to_canonical();
        let mut table = self.table();
        let uid = identity
            .pod
            .as_ref()
            .map(|pod| pod.uid.as_str())
            .unwrap_or_default();
        let entry = table.pods.get(uid).ok_or_else(|| {
            Denial::new(
                DenialCode::PodUnknown,
                "the API shows no live sandbox pod of this uid",
            )
        })?;
        let context = PodContext {
            time_over: entry.clock.is_over(now),
            ..table.context(entry, peer)
        };
        identify(&entry.pod, context, identity, peer)?;
        if !table.is_fresh(now) {
            return Err(Denial::new(
                DenialCode::Stale,
                "the gateway's view of the cluster is not current",
            ));
        }
        permit(&entry.pod, context, kind)?;
        let pod = entry.pod.clone();
        if kind == Kind::Egress {
            table.used(&pod.uid, now);
        }
        let cut = Arc::new(Cut::default());
        let destination: Arc<Mutex<Option<Destination>>> = Arc::default();
        table.next_id += 1;
        let id = table.next_id;
        let connection = Connection {
            pod_uid: pod.uid.clone(),
            namespace: pod.run.namespace.clone(),
            destination: Arc::clone(&destination),
            kind,
            peer,
            cut: Arc::clone(&cut),
        };
        table.connections.insert(id, connection);
        Ok(Caller {
            run: pod.run,
            pod_uid: pod.uid,
            kind,
            policy_hash: pod.policy_hash,
            peer,
            cut,
            destination,
            ceiling: Mutex::default(),
            view: Arc::clone(self),
            id,
        })
    }

    /// The changing state of a pod's run; it closes when the pod is gone.
    pub fn states(&self, pod_uid: &str) -> Option<watch::Receiver<RunState>> {
        self.table()
            .pods
            .get(pod_uid)
            .map(|entry| entry.state.subscribe())
    }

    /// Policy hashes and run uids that live pods refer to.
    pub fn in_use(&self) -> (HashSet<String>, HashSet<String>) {
        let table = self.table();
        table
            .pods
            .values()
            .map(|entry| (entry.pod.policy_hash.clone(), entry.pod.run.uid.clone()))
            .unzip()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }

    /// Changes the ceilings; whoever judged by the ones before is told so by the revision.
    fn change_ceilings(&self, change: impl FnOnce(&mut Ceilings)) -> MutexGuard<'_, Table> {
        let mut table = self.table();
        change(&mut table.ceilings);
        self.revision.fetch_add(1, Ordering::Release);
        table
    }
}

#[cfg(test)]
#[path = "view/tests.rs"]
mod tests;
