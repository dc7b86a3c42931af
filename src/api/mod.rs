//! The custom resources of group `cofferdam.dev`, version `v1alpha1`. Pure: types, schemas, rules.

pub mod agent_run;
mod bounds;
pub mod crds;
pub mod env;
pub mod limits;
pub mod names;
pub mod policies;
pub mod reason;
mod rules;
pub mod status;

pub use agent_run::{
    Access, Agent, AgentRun, AgentRunSpec, Cancel, ConfigMapKeyRef, EnvVar, PolicyRef, PromptSource,
    Repository, Resources, Task,
};
pub use limits::{
    EgressLimits, EgressRule, ImageLimits, Mode, NodeReachability, PolicyLimits, RepositoryLimits,
    RepositoryRule, RuntimeLimits, TlsMode,
};
pub use policies::{
    ClusterSandboxPolicy, ClusterSandboxPolicySpec, SandboxPolicy, SandboxPolicyDefaults, SandboxPolicySpec,
};
pub use reason::{FailureClass, Reason};
pub use status::{
    AgentRunStatus, DeniedRequest, Isolation, NodeIsolation, Outputs, PatchOutput, ResolvedPolicy,
    ResolvedRepository, ResolvedRun, Snapshot, Usage, WorkloadRef,
};
