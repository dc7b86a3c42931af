//! What a run came to when its Job was built. It travels on the Job, so that a controller that starts anew, or a
//! policy that changes meanwhile, changes nothing for a run that is under way.

use k8s_openapi::api::batch::v1::Job;
use serde::{Deserialize, Serialize};

use cofferdam_api::names::ANNOTATION_PLAN;
use cofferdam_api::{NodeAccess, ResolvedPolicy, ResolvedRun, Retry};
use cofferdam_policy::decide::Admitted;

/// Version of [`Plan`].
const VERSION: u32 = 2;

/// Everything that the rest of a run's life needs to know of its admission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Plan {
    version: u32,
    /// The agent's image.
    pub image: String,
    /// `RuntimeClass` of the pod.
    pub runtime_class_name: String,
    /// Policies that were met.
    pub policies: Vec<ResolvedPolicy>,
    /// Hash of the frozen policy.
    pub policy_hash: String,
    /// Digest of the built pod.
    pub pod_digest: String,
    /// `address:port` of the gateway that the pod was given.
    pub gateway: String,
    /// Seconds from the Job's creation to the agent's start.
    pub start_deadline_seconds: i32,
    /// Whether policy tolerates a pod that reaches its own node.
    pub node_access: NodeAccess,
    /// Whether policy lets the run be tried again should its agent never start.
    pub retry: Retry,
    /// Which attempt the Job is, from 1.
    pub attempt: i32,
}

/// The annotation is missing or is not what this version writes.
#[derive(Debug, thiserror::Error)]
#[error("the Job's annotation {ANNOTATION_PLAN} cannot be read: {0}")]
pub struct PlanError(String);

impl Plan {
    /// The plan of one attempt of an admitted run.
    pub fn new(image: &str, admitted: &Admitted, gateway: String, pod_digest: String, attempt: i32) -> Self {
        Self {
            version: VERSION,
            image: image.to_owned(),
            runtime_class_name: admitted.runtime_class.clone(),
            policies: admitted.policies.clone(),
            policy_hash: admitted.frozen.hash(),
            pod_digest,
            gateway,
            start_deadline_seconds: admitted.start_deadline_seconds,
            node_access: admitted.node_access,
            retry: admitted.retry,
            attempt,
        }
    }

    /// Reads the plan back from a Job.
    ///
    /// # Errors
    /// The annotation is missing, malformed or of another version.
    pub fn of(job: &Job) -> Result<Self, PlanError> {
        let text = job
            .metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(ANNOTATION_PLAN))
            .ok_or_else(|| PlanError("it is missing".to_owned()))?;
        let plan: Self = serde_json::from_str(text).map_err(|error| PlanError(error.to_string()))?;
        if plan.version == VERSION {
            Ok(plan)
        } else {
            Err(PlanError(format!("version {} is not {VERSION}", plan.version)))
        }
    }

    /// As the annotation's value.
    ///
    /// # Errors
    /// Serialisation, which does not fail for these types.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The part of it that status shows; the prompt's digest comes from the run, commits with `prepare`'s report.
    pub fn resolved(&self) -> ResolvedRun {
        ResolvedRun {
            image: self.image.clone(),
            images: Vec::new(),
            prompt_digest: None,
            runtime_class_name: self.runtime_class_name.clone(),
            repositories: Vec::new(),
            policies: self.policies.clone(),
            policy_hash: self.policy_hash.clone(),
        }
    }
}
