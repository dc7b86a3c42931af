//! What this process remembers of runs and neither the caches nor the status show.
//!
//! All of it may be lost at any moment, as a restart loses it. Then a run is not repeated that might have been, or a
//! reason is less exact; nothing starts twice for it.

use std::collections::HashMap;

use jiff::Timestamp;
use kube::ResourceExt;
use parking_lot::Mutex;

use super::pod_view::PodView;
use super::run_pod::RunPod;
use super::verdict::Verdict;
use cofferdam_api::names::LABEL_RUN_UID;

/// Runs that are remembered at most. A run is forgotten at its end; one that is deleted while it is live is not seen to end.
const LIMIT: usize = 8192;

/// What is remembered of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Uid of the Job that this process created last: the cache may not show it yet.
    pub job_uid: Option<String>,
    /// Whether the last that was seen of a pod that is being deleted shows that its agent never started.
    pub unstarted: bool,
    /// Why this process removes the run's Job. The status says it too, unless it could not be written.
    pub stopping: Option<Verdict>,
    /// The stop of the agent that this process asked for. The pod shows that it was asked for, but not when.
    pub stop_asked: Option<StopAsked>,
    /// When this process asked for the seal of the run's records for the first time.
    pub sealing_since: Option<Timestamp>,
}

/// That the sidecar was asked to stop the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopAsked {
    /// When it was asked first.
    pub at: Timestamp,
    /// Why.
    pub verdict: Verdict,
}

/// What is remembered of each run, by its uid.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<String, Remembered>>);

impl Memory {
    /// What is remembered of a run.
    pub fn of(&self, run_uid: &str) -> Remembered {
        self.0.lock().get(run_uid).cloned().unwrap_or_default()
    }

    /// Notes a Job that was created just now; everything that was remembered belongs to an earlier attempt.
    pub fn note_created(&self, run_uid: &str, job_uid: &str) {
        self.change(run_uid, |run| {
            *run = Remembered {
                job_uid: Some(job_uid.to_owned()),
                ..Remembered::default()
            };
        });
    }

    /// Notes why the run's Job is about to be removed. The first reason stays.
    pub fn note_stopping(&self, run_uid: &str, verdict: &Verdict) {
        self.change(run_uid, |run| {
            run.stopping.get_or_insert_with(|| verdict.clone());
        });
    }

    /// Notes that the run's sidecar was asked to stop the agent. The first time stays.
    pub fn note_stop_asked(&self, run_uid: &str, verdict: &Verdict, at: Timestamp) {
        self.change(run_uid, |run| {
            run.stop_asked.get_or_insert_with(|| StopAsked {
                at,
                verdict: verdict.clone(),
            });
        });
    }

    /// Notes that the seal of the run's records is asked for; gives when it was for the first time.
    pub fn note_sealing(&self, run_uid: &str, at: Timestamp) -> Timestamp {
        let mut since = at;
        self.change(run_uid, |run| since = *run.sealing_since.get_or_insert(at));
        since
    }

    /// Notes what a pod shows, at every change of it.
    ///
    /// A pod that is deleted can start its agent up to the last moment, and its last state is gone with it. So the watch
    /// calls this, and what the watch did not see counts as started.
    pub fn see(&self, pod: &RunPod) {
        let Some(run_uid) = pod.labels().get(LABEL_RUN_UID) else {
            return;
        };
        if pod.metadata.deletion_timestamp.is_none() {
            return;
        }
        if PodView::new(pod).agent_never_started() {
            self.change(run_uid, |run| run.unstarted = true);
        } else if let Some(run) = self.0.lock().get_mut(run_uid) {
            run.unstarted = false;
        }
    }

    /// Forgets a run, or its last attempt: both leave nothing that is still of use.
    pub fn forget(&self, run_uid: &str) {
        self.0.lock().remove(run_uid);
    }

    fn change(&self, run_uid: &str, change: impl FnOnce(&mut Remembered)) {
        let mut runs = self.0.lock();
        if runs.len() >= LIMIT && !runs.contains_key(run_uid) {
            // Reasons are the last to be given up: nothing else may hold them.
            runs.retain(|_, run| run.stopping.is_some());
            if runs.len() >= LIMIT {
                runs.clear();
            }
        }
        change(runs.entry(run_uid.to_owned()).or_default());
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::testing::{RUN_UID, at, pod};
    use cofferdam_api::Reason;

    #[test]
    fn last_state_of_a_deleted_pod_is_remembered() {
        let memory = Memory::default();
        let unstarted = || memory.of(RUN_UID).unstarted;
        let status = |phase: &str, agent: serde_json::Value| {
            json!({"phase": phase, "containerStatuses": [{"name": "agent", "image": "i", "imageID": "", "ready": false,
                "restartCount": 0, "state": agent}]})
        };
        let waits = || json!({"waiting": {"reason": "ImagePullBackOff"}});
        let mut live = pod(status("Pending", waits()));
        live.spec.node = Some("node-a".to_owned());
        let going = |phase: &str, agent| {
            let mut going = live.clone();
            going.status = pod(status(phase, agent)).status;
            going.metadata.deletion_timestamp = Some(Time(at(5)));
            going
        };
        memory.see(&live);
        memory.see(&going("Pending", waits()));
        assert!(!unstarted(), "it may still start");
        memory.see(&going("Failed", waits()));
        assert!(unstarted());
        let started = json!({"terminated": {"exitCode": 137, "startedAt": at(4).to_string()}});
        memory.see(&going("Failed", started));
        assert!(!unstarted());
        memory.see(&going("Failed", waits()));
        memory.forget(RUN_UID);
        assert!(!unstarted());
    }

    #[test]
    fn created_job_replaces_what_was_remembered() {
        let memory = Memory::default();
        let verdict = |reason| Verdict::new(reason, "because");
        memory.note_stopping("run", &verdict(Reason::Cancelled));
        memory.note_stopping("run", &verdict(Reason::GatewayChanged));
        assert_eq!(memory.of("run").stopping, Some(verdict(Reason::Cancelled)));
        for second in [7, 9] {
            memory.note_stop_asked("run", &verdict(Reason::Cancelled), at(second));
        }
        assert_eq!(memory.of("run").stop_asked.map(|asked| asked.at), Some(at(7)));
        memory.note_created("run", "job-2");
        assert_eq!(
            memory.of("run"),
            Remembered {
                job_uid: Some("job-2".to_owned()),
                ..Remembered::default()
            }
        );
    }

    #[test]
    fn memory_is_bounded_and_gives_reasons_up_last() {
        let memory = Memory::default();
        memory.note_stopping("stopped", &Verdict::new(Reason::Cancelled, "because"));
        for number in 0..LIMIT {
            memory.note_created(&format!("run-{number}"), "job");
        }
        assert!(memory.0.lock().len() <= LIMIT);
        assert!(memory.of("stopped").stopping.is_some());
        assert!(memory.of(&format!("run-{}", LIMIT - 1)).job_uid.is_some());
    }
}
