//! The custom resources of group `cofferdam.dev`, version `v1alpha1`. Pure: types, schemas, rules.

mod advice;
pub mod agent_run;
mod bounds;
pub mod canonical;
pub mod clone;
pub mod confinement;
pub mod crds;
pub mod credential;
pub mod env;
mod exclude;
pub mod inputs;
pub mod limits;
pub mod names;
mod placement;
pub mod policies;
pub mod policy_status;
pub mod profile;
pub mod queue;
pub mod reason;
pub mod reference;
mod repository;
mod rules;
pub mod scheduling;
pub mod stage;
pub mod status;
mod task;

pub use agent_run::{
    AgentRun, AgentRunSpec, Cancel, EgressAsk, EgressAskRule, PolicyRef, Requester, Resources,
};
pub use clone::{CloneBranches, CloneLfs, CloneOptions, CloneSubmodules};
pub use credential::{
    APP_PERMISSIONS, AppPermission, BasicInjection, CredentialType, GitHubApp, HeaderInjection, Placeholder,
    SandboxCredential, SandboxCredentialSpec, SandboxCredentialStatus,
};
pub use exclude::{Exclude, ExcludeMode};
pub use limits::{
    ClearText, DigestMode, EgressLimits, EgressRule, EvidenceLimits, ImageLimits, KernelCheck, Mode,
    NodeAccess, OnMissingReport, OnSinkFailure, PolicyLimits, Preset, PullPolicy, RepositoryLimits,
    RepositoryRule, RequesterMode, Retry, RunAsUser, RuntimeLimits, ServicePort, Severity, TlsMode, Tunnels,
    UserNamespaces, VulnerabilityLimits,
};
pub use policies::{
    ClusterSandboxPolicy, ClusterSandboxPolicySpec, SandboxPolicy, SandboxPolicyDefaults, SandboxPolicySpec,
    SecretName,
};
pub use policy_status::{ClusterSandboxPolicyStatus, SandboxPolicyStatus};
pub use profile::AgentProfile;
pub use reason::{FailureClass, LiveReason, Reason};
pub use repository::{Access, Repository};
pub use scheduling::{Disruption, SchedulingProfile};
pub use stage::Stage;
pub use status::{
    AgentRunStatus, Completeness, DeniedRequest, Evidence, Isolation, LeftOut, LeftOutPath, Outputs,
    PatchOutput, ProvenNodeAccess, ResolvedAgentProfile, ResolvedEvidence, ResolvedImage, ResolvedPolicy,
    ResolvedRepository, ResolvedRun, Snapshot, Usage, WorkloadRef,
};
pub use task::{Agent, ConfigMapKeyRef, EnvVar, PromptSource, Task};
