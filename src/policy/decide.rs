//! Whether a run may start, and with what: one pure function for everyone who has to know.
//!
//! [`evaluate`] judges every dimension; [`Evaluation::admit`] takes the first refusal, and [`crate::explain::findings`] shows all
//! that was judged. So the controller and `explain` cannot disagree.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt as _;

use crate::dimension::profile::Offered;
use crate::dimension::repositories::Granted;
use crate::dimension::runtime::RuntimeClassFact;
use crate::dimension::vulnerabilities::Reports;
use crate::dimension::{
    credentials, egress, evidence, images, literals, profile, repositories, requester, resources, runtime,
    scheduling, times, tunnels, vulnerabilities,
};
use crate::frozen::FrozenPolicy;
use crate::layer::cache::PolicyCache;
use crate::layer::layers::Layers;
use crate::layer::parsed::{ParsedPolicy, strictest};
use crate::pattern::image::ImageReference;
use crate::preset::Used;
use crate::source::Sourced;
use cofferdam_api::names::{LABEL_SANDBOX, SANDBOX_ENABLED};
use cofferdam_api::{
    Agent, AgentRun, ClusterSandboxPolicy, KernelCheck, NodeAccess, PullPolicy, Reason, ResolvedEvidence,
    ResolvedPolicy, Resources, Retry, RunAsUser, SandboxCredential, SandboxPolicy, SchedulingProfile,
};

pub use self::evaluation::Evaluation;
pub use crate::dimension::repositories::{AdmittedRepository, CloneGrant};
pub use crate::refusal::{Layer, LayerKind, Refusal};

mod evaluation;

/// Runs of a namespace that may have a pod at a time, where no policy names fewer.
pub const MAX_RUNNING: i32 = 1000;

/// Bytes that the clones of a run come to at most, where no policy names fewer: 16 GiB, the size of their volume.
pub const MAX_CLONE_BYTES: i64 = 16 * 1024 * 1024 * 1024;

/// Everything that a decision rests on.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Labels of the run's namespace.
    pub namespace_labels: &'a BTreeMap<String, String>,
    /// The run.
    pub run: &'a AgentRun,
    /// The policy that it names; absent: there is none of that name.
    pub policy: Option<&'a SandboxPolicy>,
    /// All cluster policies; those whose selector does not match are left out here.
    pub cluster_policies: &'a [ClusterSandboxPolicy],
    /// The `RuntimeClass`es that exist.
    pub runtime_classes: &'a [RuntimeClassFact],
    /// What scanners found in images; only looked at where a policy asks.
    pub reports: &'a Reports,
    /// The credentials that exist.
    pub credentials: &'a [SandboxCredential],
}

/// What an admitted run gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// What the gateway enforces.
    pub frozen: FrozenPolicy,
    /// The policies that were met.
    pub policies: Vec<ResolvedPolicy>,
    /// The agent, with what its profile says where the run says nothing.
    pub agent: Agent,
    /// The profile that the run names.
    pub profile: Option<Offered>,
    /// The agent's image with nothing implied: what was judged is what is pulled, whatever a node takes short names for.
    pub agent_image: ImageReference,
    /// `RuntimeClass` of the pod.
    pub runtime_class: String,
    /// Whether the run goes on where the sandbox reaches its own node.
    pub node_access: NodeAccess,
    /// Who chooses the uid of the containers.
    pub run_as_user: RunAsUser,
    /// Whether the pod has a user namespace of its own.
    pub user_namespace: bool,
    /// Whether `prepare` looks for gVisor's signature.
    pub kernel_check: KernelCheck,
    /// When images are pulled; absent: Kubernetes' own rule.
    pub pull_policy: Option<PullPolicy>,
    /// Secrets of the run's namespace with which images are pulled.
    pub image_pull_secrets: Vec<String>,
    /// Requests and limits of the agent's container for cpu, memory and ephemeral-storage.
    pub resources: Resources,
    /// From admission to the agent's start.
    pub start_deadline_seconds: i32,
    /// From the agent's start to its end.
    pub active_deadline_seconds: i32,
    /// From the run's end to its deletion.
    pub ttl_seconds_after_finished: i32,
    /// Runs of the namespace that may have a pod at a time, and who says so.
    pub max_running: Sourced<i32>,
    /// Whether the run may be tried again before its agent starts.
    pub retry: Retry,
    /// How the pod is scheduled; absent: as every other.
    pub scheduling: Option<SchedulingProfile>,
    /// What to clone.
    pub repositories: Vec<AdmittedRepository>,
    /// From where their submodules may come; absent: no repository asks for any.
    pub submodules: Option<Vec<CloneGrant>>,
    /// Bytes that the clones come to at most.
    pub max_clone_bytes: i64,
    /// What policies say of its evidence; absent: nothing but what holds without a word.
    pub evidence: Option<ResolvedEvidence>,
}

/// Decides about a run.
///
/// # Errors
/// The first refusal, in the order policy, mistakes of policies, profile, keys in clear text, requester, runtime, images,
/// vulnerabilities, repositories, egress, credentials, times, resources, scheduling. It does not depend on the order in which cluster policies were
/// listed.
pub fn decide(request: &Request<'_>) -> Result<Admitted, Refusal> {
    evaluate(request)?.admit()
}

/// As [`decide`], with layers from a memory of what was read before.
///
/// # Errors
/// As [`decide`].
pub fn decide_cached(request: &Request<'_>, readings: &PolicyCache) -> Result<Admitted, Refusal> {
    let policy = find_policy(request)?;
    let layers = readings.layers(request.namespace_labels, request.cluster_policies, policy)?;
    evaluate_under(request, policy, &layers).admit()
}

/// Judges every dimension.
///
/// # Errors
/// There is no policy to judge by, or one that cannot be read.
pub fn evaluate(request: &Request<'_>) -> Result<Evaluation, Refusal> {
    let policy = find_policy(request)?;
    let layers = Layers::read(request.namespace_labels, request.cluster_policies, policy)?;
    Ok(evaluate_under(request, policy, &layers))
}

/// Judges every dimension by layers that were read before.
pub fn evaluate_under(request: &Request<'_>, policy: &SandboxPolicy, layers: &Layers) -> Evaluation {
    let run = &request.run.spec;
    let policies = layers.policies.as_slice();
    let profile = profile::decide(run, policies);
    let asked = profile::asked(run, &profile);
    let place = |refusal| asked.place(refusal, run);
    let spec = asked.spec.as_ref();
    let ask = egress::read_ask(spec).map_err(place);
    let agent_image = match &profile {
        Ok(_) => images::decide(spec.agent.image.as_deref().unwrap_or_default(), policies).map_err(place),
        // There is no image to judge.
        Err(refusal) => Err(refusal.clone()),
    };
    let granted = agent_image.as_ref().ok();
    let vulnerabilities =
        granted.map(|image| vulnerabilities::decide(&image.value, request.reports, policies));
    let repositories = spec.repositories.iter().map(|repository| {
        let decided = repositories::decide(repository, policy.spec.defaults.as_ref(), policies);
        (repository.name.clone(), decided)
    });
    let repositories: Vec<(String, Result<Granted, Refusal>)> = repositories.collect();
    let submodules = repositories::submodules(&spec.repositories, policies);
    let cloned = || {
        repositories
            .iter()
            .filter_map(|(_, granted)| granted.as_ref().ok())
    };
    let scope = credentials::Scope {
        ask: ask.as_ref().ok().and_then(Option::as_ref),
        // Which submodules there are is not known yet.
        clones: &|rule| {
            !spec.repositories.is_empty()
                && (submodules.is_some() || cloned().any(|granted| rule.url.matches(&granted.repository.url)))
        },
    };
    let credentials = credentials::decide(
        spec,
        request.namespace_labels,
        policies,
        scope,
        request.credentials,
    )
    .map_err(place);
    Evaluation {
        mistakes: layers
            .mistakes
            .iter()
            .map(|mistake| mistake.refusal.clone())
            .collect(),
        requester: requester::decide(spec, policies),
        agent: spec.agent.clone(),
        runtime: runtime::decide(policies, request.runtime_classes),
        agent_image,
        vulnerabilities,
        pull_policy: images::pull_policy(policies),
        repositories,
        submodules,
        egress: policies.iter().filter_map(|layer| layer.egress.clone()).collect(),
        presets: presets(policies),
        tunnels: tunnels::decide(policies),
        evidence: evidence::decide(policies),
        ask,
        credentials,
        literals: literals::decide(spec).map_err(place),
        times: times::decide(spec, policy.spec.defaults.as_ref(), policies),
        resources: resources::decide(spec.resources.as_ref(), policy, policies),
        scheduling: scheduling::decide(spec, policy, policies),
        max_running: strictest(
            policies,
            "limits.maxRunning",
            |layer| layer.max_running,
            std::cmp::Reverse,
            MAX_RUNNING,
        ),
        max_clone_bytes: strictest(
            policies,
            "limits.maxCloneBytes",
            |layer| layer.max_clone_bytes,
            std::cmp::Reverse,
            MAX_CLONE_BYTES,
        ),
        retry: strictest(
            policies,
            "limits.retry",
            |layer| layer.retry,
            |mode| mode == Retry::Never,
            Retry::Never,
        ),
        policies: layers.resolved.clone(),
        profile,
        image_pull_secrets: policy
            .spec
            .image_pull_secrets
            .iter()
            .map(|secret| secret.name.clone())
            .collect(),
    }
}

/// Every preset that the layers use.
fn presets(layers: &[Arc<ParsedPolicy>]) -> Vec<Used> {
    let uses = layers.iter().flat_map(|layer| {
        layer.presets.iter().map(|(rule, preset)| Used {
            layer: layer.layer.clone(),
            rule: rule.clone(),
            preset: *preset,
        })
    });
    uses.collect()
}

/// The policy that the run names, in a namespace that has opted in.
fn find_policy<'a>(request: &Request<'a>) -> Result<&'a SandboxPolicy, Refusal> {
    let missing = |field: &str, offered: &str, why: String, help: String| Refusal {
        reason: Reason::PolicyMissing,
        layer: None,
        field: field.to_owned(),
        rule: None,
        offered: offered.to_owned(),
        allowed: Vec::new(),
        why,
        help,
    };
    let namespace = request.run.namespace().unwrap_or_default();
    if request.namespace_labels.get(LABEL_SANDBOX).map(String::as_str) != Some(SANDBOX_ENABLED) {
        return Err(missing(
            "metadata.namespace",
            &namespace,
            format!("the namespace does not carry the label {LABEL_SANDBOX}={SANDBOX_ENABLED}"),
            format!(
                "ask the owner of the cluster to label it: kubectl label namespace {namespace} {LABEL_SANDBOX}={SANDBOX_ENABLED}"
            ),
        ));
    }
    let name = request.run.spec.policy_name();
    request.policy.filter(|policy| policy.name_any() == name).ok_or_else(|| {
        missing(
            "spec.policyRef.name",
            name,
            format!("namespace {namespace} has no SandboxPolicy of this name"),
            "name one that exists in spec.policyRef.name, or ask the owner of the namespace's policies to create it".to_owned(),
        )
    })
}
