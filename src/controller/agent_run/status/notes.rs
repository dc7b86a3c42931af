//! What a status says of a run's workload and of the proof of its sandbox.

use jiff::Timestamp;

use super::{Built, ISOLATED, desired, time};
use crate::agent_run::observe::Proof;
use crate::agent_run::plan::Plan;
use crate::conditions::{bounded, set};
use cofferdam_api::names::FENCE;
use cofferdam_api::{
    AgentRun, AgentRunStatus, Isolation, ResolvedImage, ResolvedRepository, ResolvedRun, WorkloadRef,
};

/// Most containers of a pod whose images are shown.
const IMAGES: usize = 8;
/// Longest name of a person in a sentence, in bytes.
const NAME_LIMIT: usize = 200;
const REQUESTER_KNOWN: &str = "RequesterKnown";

/// Notes the workload and what it was built from.
pub fn workload(status: &mut AgentRunStatus, run: &AgentRun, built: Built<'_>) {
    let metadata = &built.job.metadata;
    let another = status
        .workload
        .as_ref()
        .is_some_and(|workload| Some(&workload.uid) != metadata.uid.as_ref());
    if another {
        // What the last attempt came to is not this one's.
        status.resolved = None;
        status.isolation = None;
    }
    status.attempt = Some(built.plan.attempt);
    status.workload = Some(WorkloadRef {
        kind: "Job".to_owned(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
    });
    status.start_time.clone_from(&metadata.creation_timestamp);
    if status.resolved.is_none() {
        status.resolved = Some(ResolvedRun {
            prompt_digest: run.spec.task.prompt_digest(),
            ..built.plan.resolved()
        });
    }
}

/// Notes the images that ran. What was noted before stays unless it is told anew: a pod that goes forgets them.
pub fn images(status: &mut AgentRunStatus, seen: &[ResolvedImage]) {
    let Some(resolved) = &mut status.resolved else {
        return;
    };
    for image in seen {
        resolved.images.retain(|known| known.name != image.name);
        resolved.images.push(image.clone());
    }
    resolved.images.sort_by(|one, other| one.name.cmp(&other.name));
    resolved.images.truncate(IMAGES);
}

/// Notes whether it is known who asked for the run. The API server lets nobody else than the requester write the name.
pub fn requester(status: &mut AgentRunStatus, run: &AgentRun, now: Timestamp) {
    let known = match &run.spec.requested_by {
        Some(requester) => {
            let name = named(&requester.username);
            desired(
                REQUESTER_KNOWN,
                Some(true),
                "Checked",
                &format!("The run was created by {name}; the API server checked it."),
            )
        }
        None => desired(
            REQUESTER_KNOWN,
            Some(false),
            "NotGiven",
            "spec.requestedBy is not set, so who asked for the run is not known.",
        ),
    };
    set(&mut status.conditions, known, run.metadata.generation, now);
}

/// A name from elsewhere in a sentence of ours, which it can neither leave nor reorder.
pub fn named(text: &str) -> String {
    format!("`{}`", bounded(text, NAME_LIMIT).replace('`', "'"))
}

/// Notes what `prepare` proved and resolved.
pub fn proof(
    status: &mut AgentRunStatus,
    plan: &Plan,
    proof: Option<&Proof>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let Some(proof) = proof else { return };
    let commits = proof.report.commits.iter().map(|commit| ResolvedRepository {
        name: bounded(&commit.name, 63),
        commit: bounded(&commit.commit, 64),
        tolerated_faults: commit
            .tolerated
            .iter()
            .take(32)
            .map(|check| bounded(check, 64))
            .collect(),
    });
    if let Some(resolved) = &mut status.resolved {
        resolved.repositories = commits.take(8).collect();
    }
    status.isolation = Some(Isolation {
        runtime_class_name: plan.runtime_class_name.clone(),
        fence: FENCE.to_owned(),
        node_access: proof.node_access,
        proven_time: time(proof.proven_time),
        pod_spec_digest: plan.pod_digest.clone(),
    });
    let proven = desired(ISOLATED, Some(true), "Proven", "");
    set(&mut status.conditions, proven, generation, now);
}
