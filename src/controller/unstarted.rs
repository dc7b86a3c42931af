//! Runs whose pod went without its agent ever having started.
//!
//! A pod that is deleted can start its agent up to the last moment, and its last state is gone with it: so the watch
//! itself remembers, and what it did not see counts as started.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::pod_view::PodView;
use cofferdam_api::names::LABEL_RUN_UID;

/// Runs that are remembered; one is of use for seconds only, so what is lost by forgetting all is a retry.
const LIMIT: usize = 4096;

/// Uids of runs whose last pod is on its way out and never started its agent.
#[derive(Debug, Default)]
pub struct Unstarted(Mutex<HashSet<String>>);

impl Unstarted {
    /// Notes what a pod shows, at every change of it.
    pub fn see(&self, pod: &Pod) {
        let Some(uid) = pod.labels().get(LABEL_RUN_UID) else {
            return;
        };
        if pod.metadata.deletion_timestamp.is_none() {
            return;
        }
        let mut runs = self.lock();
        if !PodView::new(pod).agent_never_started() {
            runs.remove(uid);
            return;
        }
        if runs.len() >= LIMIT {
            runs.clear();
        }
        runs.insert(uid.clone());
    }

    /// Whether the last that was seen of the run's pod shows that its agent never started.
    pub fn has(&self, run_uid: &str) -> bool {
        self.lock().contains(run_uid)
    }

    /// Forgets a run: it starts anew, or is over.
    pub fn forget(&self, run_uid: &str) {
        self.lock().remove(run_uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        // An insertion cannot be left half-done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::testing::{RUN_UID, at, pod};

    #[test]
    fn the_last_state_of_a_pod_that_goes_is_remembered_and_no_other() {
        let unstarted = Unstarted::default();
        let status = |phase: &str, agent: serde_json::Value| {
            json!({"phase": phase, "containerStatuses": [{"name": "agent", "image": "i", "imageID": "", "ready": false,
                "restartCount": 0, "state": agent}]})
        };
        let waits = || json!({"waiting": {"reason": "ImagePullBackOff"}});
        let mut live = pod(status("Pending", waits()));
        live.spec.as_mut().unwrap().node_name = Some("node-a".to_owned());
        let going = |phase: &str, agent| {
            let mut going = live.clone();
            going.status = pod(status(phase, agent)).status;
            going.metadata.deletion_timestamp = Some(Time(at(5)));
            going
        };
        unstarted.see(&live);
        unstarted.see(&going("Pending", waits()));
        assert!(!unstarted.has(RUN_UID), "it may still start");
        unstarted.see(&going("Failed", waits()));
        assert!(unstarted.has(RUN_UID));
        let started = json!({"terminated": {"exitCode": 137, "startedAt": at(4).to_string()}});
        unstarted.see(&going("Failed", started));
        assert!(!unstarted.has(RUN_UID));
        unstarted.see(&going("Failed", waits()));
        unstarted.forget(RUN_UID);
        assert!(!unstarted.has(RUN_UID));
    }
}
