//! What a policy's status says: whether runs can start under it, and if not, what is to be done. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::conditions::{self, Desired};
use crate::credentials::health::Told;
use crate::credentials::not_ready;
use crate::fence;
use cofferdam_api::names::{LABEL_RUN, LABEL_SANDBOX, SANDBOX_ENABLED};
use cofferdam_api::{ClusterSandboxPolicy, SandboxCredential, SandboxPolicy, SandboxPolicyStatus};
use cofferdam_policy::dimension::runtime::{self, RuntimeClassFact};
use cofferdam_policy::dimension::{credentials, images, resources};
use cofferdam_policy::frozen::FrozenPolicy;
use cofferdam_policy::layer::cache::PolicyCache;
use cofferdam_policy::layer::layers::{Layers, Required};
use cofferdam_policy::layer::parsed::ParsedPolicy;
use cofferdam_policy::refusal::Refusal;

pub use crate::policy_status::READY;
/// Whether the fence of the policy's namespace would hold.
const NAMESPACE_FENCEABLE: &str = "NamespaceFenceable";
/// Whether the runtime that policy settles on exists.
const RUNTIME_AVAILABLE: &str = "RuntimeAvailable";

/// What a status rests on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Labels of the policy's namespace.
    pub namespace_labels: BTreeMap<String, String>,
    /// All cluster policies, or which of them cannot be read.
    pub cluster_policies: Result<Vec<ClusterSandboxPolicy>, String>,
    /// Runtime classes that exist.
    pub runtime_classes: Vec<RuntimeClassFact>,
    /// Credentials that exist.
    pub credentials: Vec<SandboxCredential>,
    /// What gateways tell of them.
    pub credential_health: Arc<Told>,
    /// A NetworkPolicy of the namespace that may widen the fence.
    pub widening: Option<String>,
    /// Name of a Service of the namespace that selects its sandboxes.
    pub selecting: Option<String>,
    /// What was read of these policies before.
    pub readings: Arc<PolicyCache>,
}

/// What is found about one thing.
struct Finding {
    holds: Option<bool>,
    reason: &'static str,
    message: String,
}

impl Finding {
    fn new(holds: impl Into<Option<bool>>, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            holds: holds.into(),
            reason,
            message: message.into(),
        }
    }

    /// What this adds to a reason why the policy is not ready.
    fn objection(&self) -> Option<(&'static str, &str)> {
        (self.holds == Some(false)).then_some((self.reason, self.message.as_str()))
    }
}

/// The status of a policy.
pub fn judge(policy: &SandboxPolicy, facts: &Facts, now: Timestamp) -> SandboxPolicyStatus {
    let fence = fenceable(policy, facts);
    let (hash, runtime, ready) = match read(policy, facts) {
        Ok(layers) => {
            let runtime = runtime_available(&layers, &facts.runtime_classes);
            let namespace = policy.namespace().unwrap_or_default();
            let credentials = without_credentials(&namespace, &layers, facts);
            let ready = ready(policy, &layers, &[&runtime, &fence], &credentials);
            (Some(hash(&layers)), runtime, ready)
        }
        Err(message) => {
            let runtime = Finding::new(
                None,
                "PolicyUnreadable",
                "It is not known which runtime policy demands.",
            );
            (None, runtime, Finding::new(false, "PolicyUnreadable", message))
        }
    };
    let mut conditions = policy
        .status
        .as_ref()
        .map(|status| status.conditions.clone())
        .unwrap_or_default();
    let generation = policy.metadata.generation;
    for (type_, found) in [
        (READY, ready),
        (NAMESPACE_FENCEABLE, fence),
        (RUNTIME_AVAILABLE, runtime),
    ] {
        let desired = Desired {
            type_,
            holds: found.holds,
            reason: found.reason.to_owned(),
            message: found.message,
        };
        conditions::set(&mut conditions, desired, generation, now);
    }
    SandboxPolicyStatus {
        observed_generation: generation,
        policy_hash: hash,
        conditions,
    }
}

fn read(policy: &SandboxPolicy, facts: &Facts) -> Result<Arc<Layers>, String> {
    let cluster_policies = facts.cluster_policies.as_ref().map_err(Clone::clone)?;
    let layers = facts
        .readings
        .layers(&facts.namespace_labels, cluster_policies, policy);
    layers.map_err(|refusal| refusal.message())
}

/// Name of what the gateway would enforce for a run that asks for nothing.
fn hash(layers: &Layers) -> String {
    FrozenPolicy::of_layers(layers.egress(), layers.tunnels())
        .on_sink_failure(layers.on_sink_failure())
        .hash()
}

fn fenceable(policy: &SandboxPolicy, facts: &Facts) -> Finding {
    let namespace = policy.namespace().unwrap_or_default();
    let widening = facts.widening.as_ref().map(|name| {
        format!(
            "NetworkPolicy {name} opens the sandboxes of namespace {namespace}. Make its podSelector leave them out: \
             matchExpressions: [{{key: {LABEL_RUN}, operator: DoesNotExist}}]."
        )
    });
    let selected = facts
        .selecting
        .as_ref()
        .map(|service| fence::selected(service, &namespace));
    let opted_in = facts.namespace_labels.get(LABEL_SANDBOX).map(String::as_str) == Some(SANDBOX_ENABLED);
    match (opted_in, widening, selected) {
        (true, None, None) => Finding::new(
            true,
            "Fenceable",
            format!("Nothing widens the fence of namespace {namespace}."),
        ),
        (true, Some(widening), _) => Finding::new(false, "ForeignNetworkPolicy", widening),
        (true, None, Some(selected)) => Finding::new(false, "ForeignService", selected),
        (false, widening, selected) => Finding::new(
            false,
            "NamespaceNotOptedIn",
            format!(
                "Namespace {namespace} does not hold sandboxes: kubectl label namespace {namespace} \
                 {LABEL_SANDBOX}={SANDBOX_ENABLED}.{}",
                widening
                    .or(selected)
                    .map(|text| format!(" Before that: {text}"))
                    .unwrap_or_default()
            ),
        ),
    }
}

fn runtime_available(layers: &Layers, existing: &[RuntimeClassFact]) -> Finding {
    if layers.unset().contains(&Required::Runtime) {
        return Finding::new(None, "NotGranted", "No policy in force sets limits.runtime.");
    }
    match runtime::decide(&layers.policies, existing) {
        Ok(runtime) => Finding::new(
            true,
            "Available",
            format!(
                "Runs get RuntimeClass {} ({}).",
                runtime.class.value, runtime.class.source
            ),
        ),
        Err(refusal) => Finding::new(false, refusal.reason.as_str(), refusal.message()),
    }
}

/// Everything that is wrong, the worst first: its reason, and all messages one after the other.
fn ready(
    policy: &SandboxPolicy,
    layers: &Layers,
    others: &[&Finding],
    credentials: &[(&'static str, String)],
) -> Finding {
    let impossible = impossible(policy, layers);
    let mistakes: Vec<(&'static str, String)> = layers
        .mistakes
        .iter()
        .map(|mistake| (mistake.kind.as_str(), mistake.refusal.message()))
        .collect();
    let objections: Vec<(&'static str, &str)> = impossible
        .iter()
        .map(|message| ("NoRunCanStart", message.as_str()))
        .chain(others.iter().filter_map(|finding| finding.objection()))
        .chain(
            credentials
                .iter()
                .map(|(reason, message)| (*reason, message.as_str())),
        )
        .chain(
            mistakes
                .iter()
                .map(|(reason, message)| (*reason, message.as_str())),
        )
        .collect();
    match objections.first() {
        None => Finding::new(true, "Ready", unset(layers)),
        Some((reason, _)) => {
            let messages: Vec<&str> = objections.iter().map(|(_, message)| *message).collect();
            Finding::new(false, reason, messages.join(" "))
        }
    }
}

/// Credentials that its rules name and that cannot be sent.
fn without_credentials(namespace: &str, layers: &Layers, facts: &Facts) -> Vec<(&'static str, String)> {
    let labels = &facts.namespace_labels;
    let all = credentials::Scope {
        ask: None,
        clones: &|_| true,
    };
    match credentials::of_policies(labels, &layers.policies, all, &facts.credentials) {
        Ok(granted) => granted
            .iter()
            .filter_map(|granted| {
                let health = facts.credential_health.get(&granted.credential.name)?;
                (!health.is_ready_for(namespace)).then(|| ("CredentialNotReady", not_ready(health)))
            })
            .collect(),
        Err(refusal) => vec![("CredentialRefused", refusal.message())],
    }
}

/// Why no run at all can start, whatever it asks. What concerns the runtime stands in a condition of its own.
fn impossible(policy: &SandboxPolicy, layers: &Layers) -> Vec<String> {
    let resources = resources::decide(None, policy, &layers.policies).err();
    let refused = resources.map(|refusal: Refusal| refusal.message());
    no_image(&layers.policies).into_iter().chain(refused).collect()
}

/// The policies that allow no image at all.
fn no_image(layers: &[Arc<ParsedPolicy>]) -> Option<String> {
    let names: Vec<String> = images::none_allowed(layers)
        .into_iter()
        .map(ToString::to_string)
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "No image is allowed by {} (limits.images): add images to limits.images.allowed, with mode AllowList.",
            names.join(" and ")
        )
    })
}

/// Dimensions that no policy in force sets. Nothing is allowed there, which may be just what is meant.
fn unset(layers: &Layers) -> String {
    let unset = layers.unset();
    let sentences: Vec<&str> = unset.iter().copied().map(without).collect();
    if sentences.is_empty() {
        "Valid: runs can use this policy.".to_owned()
    } else {
        sentences.join(" ")
    }
}

const fn without(required: Required) -> &'static str {
    match required {
        Required::Runtime => "No policy in force sets limits.runtime: no run can start until one does.",
        Required::Images => "No policy in force sets limits.images: no run can start until one does.",
        Required::Repositories => "No policy in force sets limits.repositories: no repository can be cloned.",
        Required::Egress => "No policy in force sets limits.egress: agents reach nothing.",
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
