//! What a status says of a run's workload and of the proof of its sandbox.

use jiff::Timestamp;

use super::{Built, ISOLATED, desired, time};
use crate::api::names::FENCE;
use crate::api::{AgentRunStatus, Isolation, ResolvedRepository, WorkloadRef};
use crate::conditions::{bounded, set};
use crate::controller::agent_run::observe::Proof;
use crate::controller::agent_run::plan::Plan;

/// Notes the workload and what it was built from.
pub fn workload(status: &mut AgentRunStatus, built: Built<'_>) {
    let metadata = &built.job.metadata;
    status.workload = Some(WorkloadRef {
        kind: "Job".to_owned(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
    });
    status.start_time.clone_from(&metadata.creation_timestamp);
    if status.resolved.is_none() {
        status.resolved = Some(built.plan.resolved());
    }
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
    });
    if let Some(resolved) = &mut status.resolved {
        resolved.repositories = commits.take(8).collect();
    }
    status.isolation = Some(Isolation {
        runtime_class_name: plan.runtime_class_name.clone(),
        fence: FENCE.to_owned(),
        node: proof.node,
        proven_at: time(proof.proven_at),
        pod_spec_digest: plan.pod_digest.clone(),
    });
    let proven = desired(
        ISOLATED,
        Some(true),
        "Proven",
        "The fence was seen closed before the agent started.",
    );
    set(&mut status.conditions, proven, generation, now);
}
