//! Policy layers: which policies apply to a run, what each of them says, and what is wrong with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt as _;
use kube::api::ObjectMeta;
use kube::core::{Selector, SelectorExt as _};

use crate::dimension::egress::EgressLayer;
use crate::dimension::{evidence, tunnels};
use crate::layer::egress::read_egress;
use crate::layer::mistakes::{self, Mistake};
use crate::layer::parsed::{ParsedPolicy, Written};
use crate::layer::read::{read_repositories, unreadable};
use crate::refusal::{Layer, LayerKind, Refusal};
use cofferdam_api::{ClusterSandboxPolicy, OnSinkFailure, ResolvedPolicy, SandboxPolicy, Tunnels};

/// Every layer that applies to a run, in canonical order: cluster policies by name, then the namespace's policy.
#[derive(Clone, Debug)]
pub struct Layers {
    /// What each says.
    pub policies: Vec<Arc<ParsedPolicy>>,
    /// For the run's status.
    pub resolved: Vec<ResolvedPolicy>,
    /// What is wrong with them though they can be read; the first refuses every run.
    pub mistakes: Vec<Mistake>,
}

impl Layers {
    /// Selects the cluster policies of a namespace, adds the namespace's own, and reads them all.
    ///
    /// # Errors
    /// A refusal if any of them cannot be read: a run under such a policy is never run under the rest of it.
    pub fn read(
        namespace_labels: &BTreeMap<String, String>,
        cluster_policies: &[ClusterSandboxPolicy],
        policy: &SandboxPolicy,
    ) -> Result<Self, Refusal> {
        let over = matching(namespace_labels, cluster_policies)?;
        Self::of(&over, policy, |layer, _, written| {
            ParsedPolicy::read(layer, written).map(Arc::new)
        })
    }

    /// The layers of a policy and of the cluster policies over its namespace, which [`matching`] gives, each as `read`
    /// understands it.
    ///
    /// # Errors
    /// The first refusal of `read`.
    pub(crate) fn of(
        over: &[&ClusterSandboxPolicy],
        policy: &SandboxPolicy,
        read: impl Fn(Layer, &ObjectMeta, Written<'_>) -> Result<Arc<ParsedPolicy>, Refusal>,
    ) -> Result<Self, Refusal> {
        let own = Layer {
            kind: LayerKind::SandboxPolicy,
            name: policy.name_any(),
        };
        let above = over.iter().map(|policy| {
            let written = Written {
                limits: &policy.spec.limits,
                profiles: &policy.spec.agent_profiles,
            };
            (cluster_layer(policy), &policy.metadata, written)
        });
        let written = Written {
            limits: &policy.spec.limits,
            profiles: &policy.spec.agent_profiles,
        };
        let policies = above.chain([(own, &policy.metadata, written)]);
        let mut layers = Self {
            policies: Vec::new(),
            resolved: Vec::new(),
            mistakes: Vec::new(),
        };
        for (layer, metadata, written) in policies {
            layers.resolved.push(resolve(&layer, metadata));
            layers.policies.push(read(layer, metadata, written)?);
        }
        layers.mistakes = mistakes::find(&layers.policies);
        Ok(layers)
    }

    /// What the layers that set `limits.egress` say of it.
    pub fn egress(&self) -> Vec<Arc<EgressLayer>> {
        self.policies
            .iter()
            .filter_map(|policy| policy.egress.clone())
            .collect()
    }

    /// Whether anything may pass unread.
    pub fn tunnels(&self) -> Tunnels {
        tunnels::decide(&self.policies).value
    }

    /// What a run does while the archive does not acknowledge its records.
    pub fn on_sink_failure(&self) -> OnSinkFailure {
        evidence::decide(&self.policies).on_sink_failure.value
    }

    /// Dimensions that no layer sets, though nothing is allowed without.
    pub fn unset(&self) -> Vec<Required> {
        let set = |required: Required| self.policies.iter().any(|policy| policy.sets(required));
        [
            Required::Runtime,
            Required::Images,
            Required::Repositories,
            Required::Egress,
        ]
        .into_iter()
        .filter(|required| !set(*required))
        .collect()
    }
}

/// A dimension on which nothing is allowed as long as no policy sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Required {
    /// `limits.runtime`.
    Runtime,
    /// `limits.images`.
    Images,
    /// `limits.repositories`.
    Repositories,
    /// `limits.egress`.
    Egress,
}

/// What the cluster policies over a namespace say of egress now, for runs that are under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterEgress {
    /// Those that set `limits.egress`.
    pub layers: Vec<EgressLayer>,
    /// `Deny` where one of them says so. That none says `Allow` any more takes nothing from a run that was admitted.
    pub tunnels: Tunnels,
    /// `Stop` where one of them says so. That none says `Continue` any more takes nothing from a run that was admitted.
    pub on_sink_failure: OnSinkFailure,
}

/// Reads what the cluster policies over a namespace say of egress now.
///
/// # Errors
/// A refusal if any of them cannot be read: what it forbids is not known then.
pub fn cluster_egress(
    namespace_labels: &BTreeMap<String, String>,
    cluster_policies: &[ClusterSandboxPolicy],
) -> Result<ClusterEgress, Refusal> {
    let matching = matching(namespace_labels, cluster_policies)?;
    let mut words = matching.iter().map(|policy| policy.spec.limits.tunnels);
    let tunnels = if words.any(|word| word == Some(Tunnels::Deny)) {
        Tunnels::Deny
    } else {
        Tunnels::Allow
    };
    let mut words = matching
        .iter()
        .filter_map(|policy| policy.spec.limits.evidence?.on_sink_failure);
    let on_sink_failure = if words.any(|word| word == OnSinkFailure::Stop) {
        OnSinkFailure::Stop
    } else {
        OnSinkFailure::Continue
    };
    let opinionated = matching.into_iter().filter_map(|policy| {
        let limits = policy.spec.limits.egress.as_ref()?;
        Some((policy, limits))
    });
    let layers = opinionated.map(|(policy, limits)| {
        let layer = cluster_layer(policy);
        let repositories = policy.spec.limits.repositories.as_ref();
        let repositories = repositories.map(|limits| read_repositories(&layer, limits));
        read_egress(&layer, limits, &repositories.transpose()?.unwrap_or_default())
    });
    Ok(ClusterEgress {
        layers: layers.collect::<Result<_, Refusal>>()?,
        tunnels,
        on_sink_failure,
    })
}

/// The lowest `maxTTLSecondsAfterFinished` that a policy sets now, for runs that are over. A policy that cannot be read
/// sets none: no run is deleted because of a policy that nobody can read.
pub fn ttl_ceiling(
    namespace_labels: &BTreeMap<String, String>,
    cluster_policies: &[ClusterSandboxPolicy],
    policy: Option<&SandboxPolicy>,
) -> Option<i32> {
    let over = matching(namespace_labels, cluster_policies).unwrap_or_default();
    let limits = over.into_iter().map(|policy| &policy.spec.limits);
    limits
        .chain(policy.map(|policy| &policy.spec.limits))
        .filter_map(|limits| limits.max_ttl_seconds_after_finished)
        .min()
}

/// The cluster policies over a namespace, by name.
pub(crate) fn matching<'a>(
    namespace_labels: &BTreeMap<String, String>,
    cluster_policies: &'a [ClusterSandboxPolicy],
) -> Result<Vec<&'a ClusterSandboxPolicy>, Refusal> {
    let mut matching = Vec::new();
    for candidate in cluster_policies {
        if selects(candidate, namespace_labels)? {
            matching.push(candidate);
        }
    }
    matching.sort_by_key(|candidate| candidate.name_any());
    // A policy that is listed twice is one policy.
    matching.dedup_by_key(|candidate| candidate.name_any());
    Ok(matching)
}

impl ParsedPolicy {
    fn sets(&self, required: Required) -> bool {
        match required {
            Required::Runtime => self.runtime.is_some(),
            Required::Images => self.images.is_some(),
            Required::Repositories => self.repositories.is_some(),
            Required::Egress => self.egress.is_some(),
        }
    }
}

fn cluster_layer(policy: &ClusterSandboxPolicy) -> Layer {
    Layer {
        kind: LayerKind::ClusterSandboxPolicy,
        name: policy.name_any(),
    }
}

fn resolve(layer: &Layer, metadata: &ObjectMeta) -> ResolvedPolicy {
    ResolvedPolicy {
        kind: layer.kind.as_str().to_owned(),
        name: layer.name.clone(),
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
    }
}

/// Whether a cluster policy is over a namespace with these labels.
///
/// # Errors
/// Its selector has a mistake.
pub fn selects(policy: &ClusterSandboxPolicy, labels: &BTreeMap<String, String>) -> Result<bool, Refusal> {
    let selector: Selector = policy
        .spec
        .namespace_selector
        .clone()
        .try_into()
        .map_err(|error| unreadable(&cluster_layer(policy), "namespaceSelector", "", &error))?;
    Ok(selector.matches(labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_lowest_time_to_live_of_the_policies_in_force_counts() {
        let over = |name: &str, team: &str, ttl: i32| -> ClusterSandboxPolicy {
            let spec = json!({
                "namespaceSelector": {"matchLabels": {"team": team}}, "limits": {"maxTTLSecondsAfterFinished": ttl},
            });
            ClusterSandboxPolicy::new(name, serde_json::from_value(spec).unwrap())
        };
        let own = |ttl: Option<i32>| -> SandboxPolicy {
            let spec = json!({"limits": {"maxTTLSecondsAfterFinished": ttl}});
            SandboxPolicy::new("default", serde_json::from_value(spec).unwrap())
        };
        let labels = BTreeMap::from([("team".to_owned(), "red".to_owned())]);
        let policies = [over("red", "red", 300), over("blue", "blue", 10)];
        let (strict, silent) = (own(Some(200)), own(None));
        for (over, policy, ceiling) in [
            (&policies[..], Some(&strict), Some(200)),
            (&policies[..], Some(&silent), Some(300)),
            (&policies[..], None, Some(300)),
            (&policies[1..], Some(&silent), None),
        ] {
            assert_eq!(ttl_ceiling(&labels, over, policy), ceiling);
        }
    }
}
