//! Whether a run may start, and with what: one pure function for everyone who has to know.

use std::collections::BTreeMap;

use kube::ResourceExt as _;

use super::egress::EgressLayer;
use super::frozen::{FrozenPolicy, SCHEMA_VERSION};
use super::image::{ImagePattern, ImageReference};
use super::layers::{Layers, Opinions};
use super::meet::{Denial, meet};
use super::{repositories, resources, runtime, times};
use crate::api::names::{DEFAULT_POLICY, LABEL_SANDBOX, SANDBOX_ENABLED};
use crate::api::{
    AgentRun, ClusterSandboxPolicy, NodeReachability, Reason, ResolvedPolicy, Resources, SandboxPolicy,
};

pub use super::refusal::{Layer, LayerKind, Refusal};
pub use super::repositories::AdmittedRepository;

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
    /// Names of the `RuntimeClass`es that exist.
    pub runtime_classes: &'a [String],
}

/// What an admitted run gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// What the gateway enforces.
    pub frozen: FrozenPolicy,
    /// The policies that were met.
    pub policies: Vec<ResolvedPolicy>,
    /// `RuntimeClass` of the pod.
    pub runtime_class: String,
    /// Whether the run goes on where the sandbox reaches its own node.
    pub node_reachability: NodeReachability,
    /// Requests and limits of the agent's container for cpu, memory and ephemeral-storage.
    pub resources: Resources,
    /// From admission to the agent's start.
    pub start_timeout_seconds: i32,
    /// From the agent's start to its end.
    pub timeout_seconds: i32,
    /// From the run's end to its deletion.
    pub ttl_seconds_after_finished: i32,
    /// What to clone.
    pub repositories: Vec<AdmittedRepository>,
}

/// Decides about a run.
///
/// # Errors
/// The first refusal, in the order policy, runtime, image, repositories, times, resources. It does not depend on
/// the order in which cluster policies were listed.
pub fn decide(request: &Request<'_>) -> Result<Admitted, Refusal> {
    let spec = &request.run.spec;
    let policy = find_policy(request)?;
    let layers = Layers::read(request.namespace_labels, request.cluster_policies, policy)?;
    let opinions = layers.opinions.as_slice();
    let runtime = runtime::decide(opinions, request.runtime_classes)?;
    decide_image(&spec.agent.image, opinions)?;
    let granted = spec
        .repositories
        .iter()
        .map(|repository| repositories::decide(repository, opinions))
        .collect::<Result<Vec<_>, _>>()?;
    let times = times::decide(spec, policy.spec.defaults.as_ref(), opinions)?;
    let egress: Vec<EgressLayer> = opinions.iter().filter_map(|layer| layer.egress.clone()).collect();
    Ok(Admitted {
        frozen: FrozenPolicy {
            schema_version: SCHEMA_VERSION,
            layers: egress,
            git: repositories::git_hosts(&granted),
        },
        runtime_class: runtime.class,
        node_reachability: runtime.node_reachability,
        resources: resources::decide(spec.resources.as_ref(), policy, opinions)?,
        start_timeout_seconds: times.start_timeout_seconds,
        timeout_seconds: times.timeout_seconds,
        ttl_seconds_after_finished: times.ttl_seconds_after_finished,
        repositories: granted.into_iter().map(|granted| granted.repository).collect(),
        policies: layers.resolved,
    })
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
                "ask whoever owns the cluster to label it: kubectl label namespace {namespace} {LABEL_SANDBOX}={SANDBOX_ENABLED}"
            ),
        ));
    }
    let name = request
        .run
        .spec
        .policy_ref
        .as_ref()
        .map_or(DEFAULT_POLICY, |reference| &reference.name);
    request.policy.filter(|policy| policy.name_any() == name).ok_or_else(|| {
        missing(
            "spec.policyRef.name",
            name,
            format!("namespace {namespace} has no SandboxPolicy of this name"),
            "name one that exists in spec.policyRef.name, or ask whoever owns the namespace's policies to create it".to_owned(),
        )
    })
}

/// A field on which no policy says anything: nothing is allowed.
pub(super) fn silence(reason: Reason, field: &str, rule: &str, offered: &str) -> Refusal {
    Refusal {
        reason,
        layer: None,
        field: field.to_owned(),
        rule: None,
        offered: offered.to_owned(),
        allowed: Vec::new(),
        why: format!("no policy in force sets {rule}, and what no policy grants is not allowed"),
        help: format!(
            "ask whoever owns the policies to set {rule} in the SandboxPolicy or in a ClusterSandboxPolicy"
        ),
    }
}

fn decide_image(offered: &str, layers: &[Opinions]) -> Result<(), Refusal> {
    const FIELD: &str = "spec.agent.image";
    const RULE: &str = "limits.images";
    let refusal = |layer: Option<&Layer>, allowed, why: String, help: String| Refusal {
        reason: Reason::ImageDenied,
        layer: layer.cloned(),
        field: FIELD.to_owned(),
        rule: layer.map(|_| format!("{RULE}.allowed")),
        offered: offered.to_owned(),
        allowed,
        why,
        help,
    };
    let image = ImageReference::parse(offered).map_err(|error| {
        let help = "write registry/repository:tag or registry/repository@sha256:…".to_owned();
        refusal(None, Vec::new(), error.to_string(), help)
    })?;
    let met = meet(layers, |layer| {
        let patterns = layer.images.as_ref()?;
        Some(if patterns.iter().any(|pattern| pattern.matches(&image)) {
            Ok(())
        } else {
            let allowed = patterns.iter().map(ImagePattern::to_string).collect::<Vec<_>>();
            Err(refusal(
                Some(&layer.layer),
                allowed,
                nothing_matches(patterns.len(), &image),
                ask_owner(&layer.layer),
            ))
        })
    });
    met.map(drop).map_err(|denial| match denial {
        Denial::Objection(refusal) => refusal,
        Denial::Silence => silence(Reason::ImageDenied, FIELD, RULE, offered),
    })
}

pub(super) fn nothing_matches(count: usize, value: &dyn std::fmt::Display) -> String {
    if count == 0 {
        "it allows none at all".to_owned()
    } else {
        format!("no entry there matches {value}")
    }
}

pub(super) fn ask_owner(layer: &Layer) -> String {
    format!("use one that is allowed, or ask whoever owns {layer} to add it")
}
