//! What the reconciler of runs holds.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use kube::{Client, ResourceExt};

use crate::backoff::Failures;
use crate::controller::archive::Archive;
use crate::controller::config::SandboxConfig;
use crate::controller::events::Publisher;
use crate::controller::guard::Guard;
use crate::controller::stores::Stores;

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
    /// Jobs that this process made, by the run's uid: the cache may not show them yet.
    pub made: Mutex<HashMap<String, String>>,
    /// Runs that fail.
    pub failures: Failures<String>,
}

impl Context {
    /// Notes a Job that was made just now.
    pub fn note_made(&self, run_uid: &str, job: &str) {
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
        made.insert(run_uid.to_owned(), job.to_owned());
    }

    /// Whether a Job was made for a run.
    pub fn has_made(&self, run_uid: &str) -> bool {
        self.lock().contains_key(run_uid)
    }

    /// Forgets a run that is over.
    pub fn forget(&self, run_uid: &str) {
        self.lock().remove(run_uid);
        self.failures.succeeded(&run_uid.to_owned());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        // An insertion cannot be left half-done.
        self.made
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
