//! The gateway's view of live sandbox pods: who may use the exit now, and cutting those who no longer may.
//!
//! Filled by the watches ([`super::watch`]); everything that decides is in [`super::pods`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::denial::Denial;
use super::pods::{Kind, SandboxPod, Surroundings, identify, permit};
use crate::api::Reason;
use crate::token::Identity;
use crate::wire::control::RunState;
use crate::wire::runner::RunIdentity;

/// No new connections when the view was confirmed longer ago (design: seam 11).
pub const FRESH_FOR: Duration = Duration::from_secs(15);
/// Existing connections are cut when the view was confirmed longer ago.
pub const CUT_AFTER: Duration = Duration::from_secs(30);

/// The watches that the view stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Sandbox pods.
    Pods,
    /// `AgentRun`s.
    Runs,
}

/// Why a connection that was admitted is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutCause {
    /// The run's right to the exit ended.
    RunEnded,
    /// The view is not current.
    Stale,
    /// The sidecar saw a hole in the fence.
    IsolationLost,
}

impl CutCause {
    /// The word for records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunEnded => "RunEnded",
            Self::Stale => "Stale",
            Self::IsolationLost => "IsolationLost",
        }
    }
}

/// The right of one connection, until it is cut. Dropping it gives the right back.
#[derive(Debug)]
pub struct Admission {
    /// The run.
    pub run: RunIdentity,
    /// Uid of its pod.
    pub pod_uid: String,
    /// The kind of its token.
    pub kind: Kind,
    /// Hash of its frozen policy.
    pub policy_hash: String,
    /// Where the connection comes from.
    pub peer: IpAddr,
    cut: Arc<Cut>,
    view: Arc<View>,
    id: u64,
}

impl Admission {
    /// Returns when the connection must end.
    pub async fn cut(&self) -> CutCause {
        self.cut.token.cancelled().await;
        self.cut.cause.get().copied().unwrap_or(CutCause::RunEnded)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.view.table().admissions.remove(&self.id);
    }
}

#[derive(Debug, Default)]
struct Cut {
    token: CancellationToken,
    cause: OnceLock<CutCause>,
}

impl Cut {
    fn now(&self, cause: CutCause) {
        // The first cause is the one that counts.
        let _ = self.cause.set(cause);
        self.token.cancel();
    }
}

#[derive(Debug)]
struct Admitted {
    pod_uid: String,
    kind: Kind,
    peer: IpAddr,
    cut: Arc<Cut>,
}

#[derive(Debug)]
struct Entry {
    pod: SandboxPod,
    state: watch::Sender<RunState>,
    isolation_lost: bool,
    mutation_noticed: bool,
}

#[derive(Debug, Default)]
struct Table {
    pods: HashMap<String, Entry>,
    by_address: HashMap<IpAddr, BTreeSet<String>>,
    runs: HashSet<RunIdentity>,
    admissions: HashMap<u64, Admitted>,
    next_id: u64,
    open: HashSet<Source>,
    confirmed_at: Option<Instant>,
}

/// A pod that is not what was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutated {
    /// The run.
    pub run: RunIdentity,
    /// Digest that was built.
    pub built: String,
    /// Digest of the live pod.
    pub live: String,
}

/// The view; cheap to share.
#[derive(Debug, Default)]
pub struct View(Mutex<Table>);

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
        let noticed = pods.into_iter().filter_map(|pod| table.put(pod)).collect();
        table.cut_the_unentitled();
        noticed
    }

    /// A pod was made or changed.
    pub fn put_pod(&self, pod: SandboxPod) -> Option<Mutated> {
        let mut table = self.table();
        let noticed = table.put(pod);
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
            for admitted in table.admissions.values() {
                admitted.cut.now(CutCause::Stale);
            }
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
        for admitted in table
            .admissions
            .values()
            .filter(|admitted| admitted.pod_uid == pod_uid)
        {
            if admitted.kind != Kind::Collect {
                admitted.cut.now(CutCause::IsolationLost);
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
    ) -> Result<Admission, Denial> {
        let peer = peer.to_canonical();
        let mut table = self.table();
        let uid = identity
            .pod
            .as_ref()
            .map(|pod| pod.uid.as_str())
            .unwrap_or_default();
        let entry = table
            .pods
            .get(uid)
            .ok_or_else(|| Denial::not_yet("PodUnknown", "the API shows no live sandbox pod of this uid"))?;
        let beside = table.surroundings(entry, peer);
        identify(&entry.pod, beside, identity, peer)?;
        if !table.is_fresh(now) {
            return Err(Denial::proven(
                "Stale",
                "the gateway's view of the cluster is not current",
            ));
        }
        permit(&entry.pod, beside, kind)?;
        let pod = entry.pod.clone();
        let cut = Arc::new(Cut::default());
        table.next_id += 1;
        let id = table.next_id;
        let admitted = Admitted {
            pod_uid: pod.uid.clone(),
            kind,
            peer,
            cut: Arc::clone(&cut),
        };
        table.admissions.insert(id, admitted);
        Ok(Admission {
            run: pod.run,
            pod_uid: pod.uid,
            kind,
            policy_hash: pod.policy_hash,
            peer,
            cut,
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
        // Nothing panics while it holds the lock; were it so, every right is judged anew at its use.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn put(&mut self, mut pod: SandboxPod) -> Option<Mutated> {
        let before = self.forget_addresses(&pod.uid);
        for address in &pod.addresses {
            self.by_address
                .entry(*address)
                .or_default()
                .insert(pod.uid.clone());
        }
        let entry = match before {
            Some(mut entry) => {
                // An end is an end, whatever a later status says.
                pod.agent_ended |= entry.pod.agent_ended;
                pod.prepare_ended |= entry.pod.prepare_ended;
                pod.stop = entry.pod.stop.take().or(pod.stop);
                entry.pod = pod;
                entry
            }
            None => Entry {
                pod,
                state: watch::Sender::new(RunState::default()),
                isolation_lost: false,
                mutation_noticed: false,
            },
        };
        let entry = self
            .pods
            .entry(entry.pod.uid.clone())
            .insert_entry(entry)
            .into_mut();
        entry.publish();
        if entry.pod.is_as_built() || entry.mutation_noticed {
            return None;
        }
        entry.mutation_noticed = true;
        Some(Mutated {
            run: entry.pod.run.clone(),
            built: entry.pod.built.clone(),
            live: entry.pod.live.clone(),
        })
    }

    fn remove(&mut self, uid: &str) {
        self.forget_addresses(uid);
    }

    /// Takes a pod out of both maps.
    fn forget_addresses(&mut self, uid: &str) -> Option<Entry> {
        let entry = self.pods.remove(uid)?;
        for address in &entry.pod.addresses {
            if let Some(owners) = self.by_address.get_mut(address) {
                owners.remove(uid);
                if owners.is_empty() {
                    self.by_address.remove(address);
                }
            }
        }
        Some(entry)
    }

    fn surroundings(&self, entry: &Entry, peer: IpAddr) -> Surroundings {
        let owners = |address: &IpAddr| self.by_address.get(address).map_or(0, BTreeSet::len);
        Surroundings {
            run_present: self.runs.contains(&entry.pod.run),
            address_shared: entry.pod.addresses.iter().any(|address| owners(address) > 1),
            peer_is_another: owners(&peer) > 0,
            isolation_lost: entry.isolation_lost,
        }
    }

    fn all_open(&self) -> bool {
        self.open.contains(&Source::Pods) && self.open.contains(&Source::Runs)
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.all_open()
            && self
                .confirmed_at
                .is_some_and(|at| now.saturating_duration_since(at) <= FRESH_FOR)
    }

    /// Judges every admitted connection anew.
    fn cut_the_unentitled(&self) {
        for admitted in self.admissions.values() {
            let entitled = self.pods.get(&admitted.pod_uid).is_some_and(|entry| {
                let beside = self.surroundings(entry, admitted.peer);
                entry.pod.addresses.contains(&admitted.peer)
                    && !beside.address_shared
                    && permit(&entry.pod, beside, admitted.kind).is_ok()
            });
            if !entitled {
                admitted.cut.now(CutCause::RunEnded);
            }
        }
    }
}

impl Entry {
    fn publish(&self) {
        let state = self.state();
        self.state.send_if_modified(|current| {
            let changed = *current != state;
            *current = state;
            changed
        });
    }

    fn state(&self) -> RunState {
        let stop = match &self.pod.stop {
            // An order that this version does not know still stops the run.
            Some(reason) => Some(known_reason(reason).unwrap_or(Reason::InternalError)),
            None => self.isolation_lost.then_some(Reason::EgressNotEnforced),
        };
        // Each of the three happens once and stays: their number grows with every change, on every replica alike.
        let revision = [
            self.pod.agent_started_at.is_some(),
            self.pod.agent_ended,
            stop.is_some(),
        ];
        RunState {
            revision: revision.into_iter().map(u64::from).sum(),
            agent_started_at: self.pod.agent_started_at.clone(),
            agent_ended: self.pod.agent_ended,
            stop,
        }
    }
}

fn known_reason(text: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|reason| reason.as_str() == text)
}

#[cfg(test)]
#[path = "view/tests.rs"]
mod tests;
