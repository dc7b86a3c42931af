//! The state behind the view: pods, runs and admitted connections, and what follows when one of them changes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ceilings::Ceilings;
use super::clock::{AgentClock, Now};
use super::destination::Destination;
use crate::caller::pods::{Kind, Owner, PodContext, SandboxPod, permit};
use crate::denial::Denial;
use cofferdam_api::Reason;
use cofferdam_wire::control::RunState;
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::record::CloseCause;
use cofferdam_wire::runner::RunIdentity;

/// No new connections when the view was confirmed longer ago (design: seam 11).
pub const FRESH_FOR: Duration = Duration::from_secs(15);
/// The watches that the view stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Sandbox pods.
    Pods,
    /// `AgentRun`s.
    Runs,
    /// Cluster policies.
    ClusterPolicies,
    /// Namespaces, by whose labels cluster policies select.
    Namespaces,
}

impl Source {
    /// Every watch.
    pub const ALL: [Self; 4] = [Self::Pods, Self::Runs, Self::ClusterPolicies, Self::Namespaces];
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
    /// A cluster policy has come to deny where the connection goes.
    DeniedSinceAdmission,
}

impl CutCause {
    /// The code of a request that was under destination.
    pub const fn code(self) -> DenialCode {
        match self {
            Self::RunEnded => DenialCode::RunEnded,
            Self::Stale => DenialCode::Stale,
            Self::IsolationLost => DenialCode::IsolationLost,
            Self::DeniedSinceAdmission => DenialCode::DeniedSinceAdmission,
        }
    }

    /// The refusal of a request that was under destination.
    pub fn denial(self) -> Denial {
        let message = match self {
            Self::DeniedSinceAdmission => "a cluster policy denies this host since the run was admitted",
            _ => "the run's right to the exit ended",
        };
        Denial::new(self.code(), message)
    }
}

impl From<CutCause> for CloseCause {
    fn from(cause: CutCause) -> Self {
        match cause {
            CutCause::RunEnded => Self::RunEnded,
            CutCause::Stale => Self::Stale,
            CutCause::IsolationLost => Self::IsolationLost,
            CutCause::DeniedSinceAdmission => Self::DeniedSinceAdmission,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Cut {
    pub(super) token: CancellationToken,
    pub(super) cause: OnceLock<CutCause>,
}

impl Cut {
    pub(super) fn now(&self, cause: CutCause) {
        // The first cause is the one that counts.
        let _ = self.cause.set(cause);
        self.token.cancel();
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) pod_uid: String,
    pub(super) namespace: String,
    /// `None` until the agent's request was judged, and for our own containers, whose repositories were judged when
    /// the run started. Shared with the caller, who notes each of its requests without the lock of the view.
    pub(super) destination: Arc<Mutex<Option<Destination>>>,
    pub(super) kind: Kind,
    pub(super) peer: IpAddr,
    pub(super) cut: Arc<Cut>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) pod: SandboxPod,
    pub(super) state: watch::Sender<RunState>,
    pub(super) isolation_lost: bool,
    pub(super) clock: AgentClock,
    /// Whether the clock was seen to have run out.
    pub(super) time_over: bool,
    pub(super) mutation_noticed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) pods: HashMap<String, Entry>,
    pub(super) by_address: HashMap<IpAddr, BTreeSet<String>>,
    pub(super) runs: HashSet<RunIdentity>,
    pub(super) connections: HashMap<u64, Connection>,
    pub(super) next_id: u64,
    pub(super) ceilings: Ceilings,
    pub(super) open: HashSet<Source>,
    pub(super) confirmed_at: Option<Instant>,
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

impl Table {
    pub(super) fn put(&mut self, mut pod: SandboxPod, now: Now) -> Option<Mutated> {
        let before = self.forget_addresses(&pod.uid);
        for address in &pod.addresses {
            self.by_address
                .entry(*address)
                .or_default()
                .insert(pod.uid.clone());
        }
        let mut entry = match before {
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
                clock: AgentClock::default(),
                time_over: false,
                mutation_noticed: false,
            },
        };
        let SandboxPod {
            agent_started_at,
            active_deadline,
            ..
        } = &entry.pod;
        entry
            .clock
            .see(agent_started_at.as_deref(), *active_deadline, now);
        entry.time_over |= entry.clock.is_over(now.steady);
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

    pub(super) fn remove(&mut self, uid: &str) {
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

    pub(super) fn context(&self, entry: &Entry, peer: IpAddr) -> PodContext {
        let owners = |address: &IpAddr| self.by_address.get(address).map_or(0, BTreeSet::len);
        PodContext {
            run_present: self.runs.contains(&entry.pod.run),
            address_owners: entry.pod.addresses.iter().map(owners).max().unwrap_or(0),
            peer_owners: owners(&peer),
            isolation_lost: entry.isolation_lost,
            time_over: entry.time_over,
        }
    }

    /// Notes that the agent of this pod uses its exit now.
    pub(super) fn used(&mut self, pod_uid: &str, now: Instant) {
        if let Some(entry) = self.pods.get_mut(pod_uid) {
            entry.clock.used(entry.pod.active_deadline, now);
        }
    }

    /// Notes whose time is over; gives whether there is anyone new among them.
    pub(super) fn ring(&mut self, now: Instant) -> bool {
        let mut any = false;
        for entry in self.pods.values_mut() {
            let over = entry.clock.is_over(now);
            any |= over && !entry.time_over;
            entry.time_over |= over;
        }
        any
    }

    pub(super) fn all_open(&self) -> bool {
        Source::ALL.iter().all(|source| self.open.contains(source))
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.all_open()
            && self
                .confirmed_at
                .is_some_and(|at| now.saturating_duration_since(at) <= FRESH_FOR)
    }

    /// Judges every admitted connection anew.
    pub(super) fn cut_the_unentitled(&self) {
        for connection in self.connections.values() {
            let entitled = self.pods.get(&connection.pod_uid).is_some_and(|entry| {
                let context = self.context(entry, connection.peer);
                entry.pod.addresses.contains(&connection.peer)
                    && entry.pod.owner == Owner::ItsJob
                    && context.address_owners <= 1
                    && permit(&entry.pod, context, connection.kind).is_ok()
            });
            if !entitled {
                connection.cut.now(CutCause::RunEnded);
            }
        }
    }

    /// Judges anew where the connections of `namespace`, or of all, go.
    pub(super) fn cut_the_denied(&mut self, namespace: Option<&str>) {
        for connection in self.connections.values() {
            if namespace.is_some_and(|namespace| connection.namespace != namespace) {
                continue;
            }
            let destination = connection.destination.lock();
            let Some(destination) = destination.as_ref() else {
                continue;
            };
            let ceiling = self.ceilings.over(&connection.namespace);
            if ceiling.and_then(|ceiling| destination.judge(&ceiling)).is_err() {
                connection.cut.now(CutCause::DeniedSinceAdmission);
            }
        }
    }
}

impl Entry {
    pub(super) fn publish(&self) {
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
