//! What the reconciler of runs holds.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use kube::{Client, ResourceExt};

use super::fetch;
use super::queue::{Queue, Standing, Turn};
use cofferdam_api::AgentRun;

use crate::archive::Archive;
use crate::backoff::Failures;
use crate::config::SandboxConfig;
use crate::events::Publisher;
use crate::guard::Guard;
use crate::stores::Stores;
use crate::watches::{Trigger, Triggers};
use cofferdam_policy::source::Met;

/// Jobs that are remembered before those of deleted runs are forgotten.
const MADE_LIMIT: usize = 4096;

/// What the reconciler of runs needs.
pub struct Context {
    /// Access to the API server.
    pub client: Client,
    /// What the watches see.
    pub stores: Arc<Stores>,
    /// Whether the admission guard is live.
    pub guard: Guard,
    /// The archive.
    pub archive: Archive,
    /// Audit events.
    pub events: Publisher,
    /// The installation's part of every sandbox.
    pub config: SandboxConfig,
    /// The operator's namespace.
    pub operator_namespace: String,
    /// Uids of the Jobs that this process made, by the run's uid: the cache may not show them yet.
    pub made: Mutex<HashMap<String, String>>,
    /// Who may start.
    pub queue: Queue,
    /// Asks for runs to be looked at.
    pub triggers: Triggers,
    /// Runs that fail.
    pub failures: Failures<String>,
}

impl Context {
    /// Notes a Job that was made just now.
    pub fn note_made(&self, run_uid: &str, job_uid: &str) {
        let mut made = self.lock();
        if made.len() >= MADE_LIMIT {
            // Runs that were deleted while they were live are never seen to end.
            let live: HashSet<String> = self
                .stores
                .runs
                .state()
                .iter()
                .filter_map(|run| run.uid())
                .collect();
            made.retain(|uid, _| live.contains(uid));
        }
        made.insert(run_uid.to_owned(), job_uid.to_owned());
    }

    /// Whether a Job was made for a run.
    pub fn has_made(&self, run_uid: &str) -> bool {
        self.lock().contains_key(run_uid)
    }

    /// Whether another Job was made for a run than the one of this uid.
    pub fn has_made_another(&self, run_uid: &str, job_uid: &str) -> bool {
        self.lock().get(run_uid).is_some_and(|made| made != job_uid)
    }

    /// Forgets the Job of an attempt that failed: the next one is a new start.
    pub fn forget_attempt(&self, run_uid: &str) {
        self.lock().remove(run_uid);
        self.stores.unstarted.forget(run_uid);
    }

    /// Forgets a run that is over.
    pub fn forget(&self, run: &AgentRun, run_uid: &str) {
        self.forget_attempt(run_uid);
        self.failures.succeeded(&run_uid.to_owned());
        let namespace = run.namespace().unwrap_or_default();
        if self.queue.forget(&namespace, run_uid) {
            self.wake(namespace);
        }
    }

    /// Asks for a slot of the run's namespace.
    pub fn ask_turn(&self, run: &AgentRun, run_uid: &str, ceiling: &Met<i32>) -> Turn {
        let namespace = run.namespace().unwrap_or_default();
        let open = || fetch::open_runs(self, &namespace);
        let (turn, concerns_others) = self.queue.ask(&namespace, run_uid, ceiling, open);
        if concerns_others {
            self.wake(namespace);
        }
        turn
    }

    /// Notes where a run stands in the queue.
    pub fn stand(&self, run: &AgentRun, run_uid: &str, standing: Standing) {
        let namespace = run.namespace().unwrap_or_default();
        if self.queue.note(&namespace, run_uid, standing) {
            self.wake(namespace);
        }
    }

    /// Has those that wait in a namespace looked at.
    fn wake(&self, namespace: String) {
        // Nobody listens only when the process ends.
        drop(self.triggers.unbounded_send(Trigger::Queue(namespace)));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        // An insertion cannot be left half-done.
        self.made
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
