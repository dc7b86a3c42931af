//! What the reconciler of runs holds: what it reads, and what it changes.

use std::sync::Arc;

use kube::runtime::reflector::ObjectRef;
use kube::{Client, ResourceExt};

use crate::archive::Archive;
use crate::backoff::Failures;
use crate::config::SandboxConfig;
use crate::events::Publisher;
use crate::evidence::seal::Sealer;
use crate::guard::Guard;
use crate::memory::Memory;
use crate::slots::{Answer, RunKey, Slot, Slots, Woken};
use crate::stores::Stores;
use crate::watches::{Trigger, Triggers};
use cofferdam_api::AgentRun;
use cofferdam_policy::source::Sourced;

/// What the reconciler of runs needs.
pub struct Context {
    /// What it changes.
    pub effects: Effects,
    /// What the watches see.
    pub stores: Arc<Stores>,
    /// Whether the admission guard is live.
    pub guard: Guard,
    /// The archive.
    pub archive: Archive,
    /// What every sandbox of this installation has in common.
    pub installation: Arc<Installation>,
    /// Runs that fail.
    pub failures: Failures<String>,
}

/// What every sandbox of this installation has in common.
#[derive(Clone, Debug)]
pub struct Installation {
    /// Images and probe targets.
    pub sandbox: SandboxConfig,
    /// The namespace of frozen policies and of the gateway.
    pub operator_namespace: String,
    /// Name of the gateway's Service.
    pub gateway_service: String,
}

/// Everything that a step of a run changes.
pub struct Effects {
    /// The cluster.
    pub client: Client,
    /// Audit events.
    pub events: Publisher,
    /// What this process remembers of runs.
    pub memory: Arc<Memory>,
    /// Which runs may have pods.
    pub slots: Arc<Slots>,
    /// Has runs reconciled.
    pub triggers: Triggers,
    /// Tells the archive of runs, and seals them.
    pub sealer: Sealer,
}

impl Effects {
    /// Asks for a slot of the run's namespace.
    pub fn take_slot(&self, run: &AgentRun, ceiling: &Sourced<i32>) -> Answer {
        let namespace = run.namespace().unwrap_or_default();
        let Some(key) = run_key(run) else {
            return Answer::Wait;
        };
        let (answer, woken) = self.slots.ask(&namespace, key, ceiling.value);
        self.wake(&namespace, &woken);
        answer
    }

    /// Changes what a run has of its namespace's slots.
    pub fn set_slot(&self, run: &AgentRun, run_uid: &str, slot: Slot) {
        let namespace = run.namespace().unwrap_or_default();
        let woken = match slot {
            Slot::Keep => return,
            Slot::Hold => self.slots.hold(&namespace, run_uid),
            Slot::Leave => self.slots.leave(&namespace, run_uid),
            Slot::Release => self.slots.release(&namespace, run_uid),
        };
        self.wake(&namespace, &woken);
    }

    /// Has runs reconciled whose turn may have come.
    fn wake(&self, namespace: &str, woken: &Woken) {
        for run in woken {
            let run = ObjectRef::new(&run.name).within(namespace);
            // Nobody listens only when the process ends.
            drop(self.triggers.unbounded_send(Trigger::Run(run)));
        }
    }
}

/// A run's place by age; `None` of an object that no API server stored.
pub fn run_key(run: &AgentRun) -> Option<RunKey> {
    Some(RunKey {
        created: run.metadata.creation_timestamp.as_ref()?.0,
        name: run.metadata.name.clone()?,
        uid: run.metadata.uid.clone()?,
    })
}
