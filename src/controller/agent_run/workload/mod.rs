//! From an admitted run to the objects that carry it. Pure: the same input gives the same bytes.

mod agent_env;
mod containers;
mod frozen_policy;
mod job;
mod pod;
mod probes;
mod pulling;
mod resources;
mod scheduling;
mod specs;
mod storage;
#[cfg(test)]
mod tests;
mod volumes;

use std::net::SocketAddr;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;

use super::plan::Plan;
use crate::config::SandboxConfig;
use cofferdam_api::AgentRun;
use cofferdam_api::canonical::CanonicalError;
use cofferdam_policy::decide::Admitted;
use cofferdam_policy::dimension::profile::Offered;
use cofferdam_wire::pod::pod_digest;

/// Everything that decides how a run's objects look.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The run; it has a name, a namespace and a uid.
    pub run: &'a AgentRun,
    /// What policy made of its asks.
    pub admitted: &'a Admitted,
    /// The installation's images and probe targets.
    pub config: &'a SandboxConfig,
    /// The gateway's data port.
    pub gateway: SocketAddr,
    /// Which attempt this is, from 1.
    pub attempt: i32,
}

/// The objects of a run. Whoever applies them takes them all apart: one that is forgotten does not compile.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The frozen policy, in the operator's namespace; must exist before the Job.
    pub frozen_policy: ConfigMap,
    /// The Job.
    pub job: Job,
    /// The profile by which the agent is started, as canonical JSON, for the chain of records.
    pub profile: Option<String>,
}

/// The run could not be turned into objects.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The API server always sets these; an object without them did not come from one.
    #[error("the AgentRun has no metadata.{0}")]
    Incomplete(&'static str),
    /// Serialisation of our own types.
    #[error("failed to serialise: {0}")]
    Serialise(#[from] serde_json::Error),
    /// The pod has no canonical form to be digested.
    #[error("the pod cannot be digested: {0}")]
    Digest(#[from] CanonicalError),
}

/// A run's identity, taken from its metadata once.
#[derive(Clone, Debug)]
struct Identity {
    namespace: String,
    name: String,
    uid: String,
}

impl Identity {
    fn of(run: &AgentRun) -> Result<Self, BuildError> {
        let metadata = &run.metadata;
        Ok(Self {
            namespace: metadata
                .namespace
                .clone()
                .ok_or(BuildError::Incomplete("namespace"))?,
            name: metadata.name.clone().ok_or(BuildError::Incomplete("name"))?,
            uid: metadata.uid.clone().ok_or(BuildError::Incomplete("uid"))?,
        })
    }
}

/// Builds everything that a run needs.
///
/// # Errors
/// The run lacks metadata that every stored object has.
pub fn build(input: &Input<'_>, operator_namespace: &str) -> Result<Workload, BuildError> {
    let identity = Identity::of(input.run)?;
    let spec = pod::spec(input, &identity)?;
    let digest = pod_digest(&spec)?;
    let plan = Plan::new(input.admitted, input.gateway.to_string(), digest, input.attempt);
    Ok(Workload {
        frozen_policy: frozen_policy::config_map(&input.admitted.frozen, operator_namespace),
        job: job::job(input, &identity, &plan, spec)?,
        profile: input.admitted.profile.as_ref().map(Offered::text),
    })
}
