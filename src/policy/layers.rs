//! Policy layers, read once: which policies apply to a run, and what each says with every pattern parsed.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use ipnet::IpNet;
use kube::ResourceExt as _;
use kube::core::{Selector, SelectorExt as _};

use super::egress::{EgressLayer, EgressRule};
use super::host::HostPattern;
use super::image::ImagePattern;
use super::quantity::Amount;
use super::refusal::{Layer, LayerKind, Refusal};
use super::repository::RepositoryPattern;
use super::resources::Kind;
use crate::api::{
    ClusterSandboxPolicy, DigestMode, EgressLimits, ImageLimits, Mode, PolicyLimits, PullPolicy, Reason,
    RepositoryLimits, RequesterMode, ResolvedPolicy, Retry, RuntimeLimits, SandboxPolicy,
    VulnerabilityLimits,
};

/// One policy's opinions. `None`: it has none on that dimension; an empty list: it grants nothing.
#[derive(Clone, Debug)]
pub struct Opinions {
    /// Whose.
    pub layer: Layer,
    /// On runtimes.
    pub runtime: Option<RuntimeLimits>,
    /// On images.
    pub images: Option<ImageOpinion>,
    /// On repositories.
    pub repositories: Option<Vec<RepositoryGrant>>,
    /// On egress. Shared with the frozen policy of every run under it.
    pub egress: Option<Arc<EgressLayer>>,
    /// Ceilings of resources; a resource that is missing has none here.
    pub max_resources: BTreeMap<Kind, Amount>,
    /// Ceiling of `startTimeoutSeconds`.
    pub max_start_timeout_seconds: Option<i32>,
    /// Ceiling of `timeoutSeconds`.
    pub max_timeout_seconds: Option<i32>,
    /// Ceiling of `ttlSecondsAfterFinished`.
    pub max_ttl_seconds: Option<i32>,
    /// Ceiling of the runs of a namespace that have a pod.
    pub max_running: Option<i32>,
    /// On trying again before the agent's start.
    pub retry: Option<Retry>,
    /// On saying who asks.
    pub requester: Option<RequesterMode>,
}

/// On images.
#[derive(Clone, Debug)]
pub struct ImageOpinion {
    /// Which ones.
    pub allowed: Vec<ImagePattern>,
    /// On digests.
    pub digest: Option<DigestMode>,
    /// On pulling.
    pub pull_policy: Option<PullPolicy>,
    /// On what scanners found.
    pub vulnerabilities: Option<VulnerabilityLimits>,
}

/// A rule for repositories.
#[derive(Clone, Debug)]
pub struct RepositoryGrant {
    /// Name of the rule.
    pub name: String,
    /// Which ones.
    pub url: RepositoryPattern,
    /// Networks that their host may resolve to though not globally routable.
    pub addresses: Vec<IpNet>,
}

/// Every layer that applies to a run, in canonical order: cluster policies by name, then the namespace's policy.
#[derive(Clone, Debug)]
pub struct Layers {
    /// What each says.
    pub opinions: Vec<Arc<Opinions>>,
    /// For the run's status.
    pub resolved: Vec<ResolvedPolicy>,
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
        let mut layers = Self {
            opinions: Vec::new(),
            resolved: Vec::new(),
        };
        for cluster_policy in matching(namespace_labels, cluster_policies)? {
            let layer = cluster_layer(cluster_policy);
            layers.add(layer, cluster_policy, &cluster_policy.spec.limits)?;
        }
        let layer = Layer {
            kind: LayerKind::SandboxPolicy,
            name: policy.name_any(),
        };
        layers.add(layer, policy, &policy.spec.limits)?;
        Ok(layers)
    }

    fn add(
        &mut self,
        layer: Layer,
        object: &impl kube::ResourceExt,
        limits: &PolicyLimits,
    ) -> Result<(), Refusal> {
        self.resolved.push(resolve(&layer, object));
        self.opinions.push(Arc::new(Opinions::read(layer, limits)?));
        Ok(())
    }
}

/// What the cluster policies over a namespace say of egress now, for runs that are under way.
///
/// # Errors
/// A refusal if any of them cannot be read: what it forbids is not known then.
pub fn cluster_egress(
    namespace_labels: &BTreeMap<String, String>,
    cluster_policies: &[ClusterSandboxPolicy],
) -> Result<Vec<EgressLayer>, Refusal> {
    let matching = matching(namespace_labels, cluster_policies)?;
    let opinionated = matching.into_iter().filter_map(|policy| {
        let limits = policy.spec.limits.egress.as_ref()?;
        Some(read_egress(&cluster_layer(policy), limits))
    });
    opinionated.collect()
}

/// The lowest `maxTTLSeconds` that a policy sets now, for runs that are over. A policy that cannot be read counts as
/// silent: on the word of such a one nothing is deleted.
pub fn ttl_ceiling(
    namespace_labels: &BTreeMap<String, String>,
    cluster_policies: &[ClusterSandboxPolicy],
    policy: Option<&SandboxPolicy>,
) -> Option<i32> {
    let over = matching(namespace_labels, cluster_policies).unwrap_or_default();
    let limits = over.into_iter().map(|policy| &policy.spec.limits);
    limits
        .chain(policy.map(|policy| &policy.spec.limits))
        .filter_map(|limits| limits.max_ttl_seconds)
        .min()
}

/// The cluster policies over a namespace, by name.
fn matching<'a>(
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

fn cluster_layer(policy: &ClusterSandboxPolicy) -> Layer {
    Layer {
        kind: LayerKind::ClusterSandboxPolicy,
        name: policy.name_any(),
    }
}

fn resolve(layer: &Layer, object: &impl kube::ResourceExt) -> ResolvedPolicy {
    ResolvedPolicy {
        kind: layer.kind.as_str().to_owned(),
        name: layer.name.clone(),
        uid: object.uid().unwrap_or_default(),
        generation: object.meta().generation.unwrap_or_default(),
    }
}

fn selects(policy: &ClusterSandboxPolicy, labels: &BTreeMap<String, String>) -> Result<bool, Refusal> {
    let selector: Selector = policy
        .spec
        .namespace_selector
        .clone()
        .try_into()
        .map_err(|error| unreadable(&cluster_layer(policy), "namespaceSelector", "", &error))?;
    Ok(selector.matches(labels))
}

/// A policy that cannot be read refuses every run under it.
fn unreadable(layer: &Layer, field: &str, offered: &str, error: &dyn Display) -> Refusal {
    Refusal {
        reason: Reason::PolicyDenied,
        layer: Some(layer.clone()),
        field: format!("spec.{field}"),
        rule: None,
        offered: offered.to_owned(),
        allowed: Vec::new(),
        why: error.to_string(),
        help: format!("correct {layer}: no run starts under a policy that cannot be read"),
    }
}

/// Reads every item of a list, or says which one cannot be read.
fn read_all<T, E: Display>(
    layer: &Layer,
    field: &str,
    items: &[String],
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, Refusal> {
    items
        .iter()
        .map(|item| read(item).map_err(|error| unreadable(layer, field, item, &error)))
        .collect()
}

/// A list whose mode says that it grants nothing is empty, whatever stands in it.
fn granted<T>(mode: Mode, list: Vec<T>) -> Vec<T> {
    match mode {
        Mode::DenyAll => Vec::new(),
        Mode::AllowList => list,
    }
}

fn read_networks(layer: &Layer, field: &str, addresses: &[String]) -> Result<Vec<IpNet>, Refusal> {
    read_all(layer, field, addresses, |text| {
        text.parse::<IpNet>().map(|net| net.trunc())
    })
    .map(sorted)
}

pub(super) fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list.dedup();
    list
}

impl Opinions {
    fn read(layer: Layer, limits: &PolicyLimits) -> Result<Self, Refusal> {
        Ok(Self {
            images: limits
                .images
                .as_ref()
                .map(|l| read_images(&layer, l))
                .transpose()?,
            repositories: limits
                .repositories
                .as_ref()
                .map(|l| read_repositories(&layer, l))
                .transpose()?,
            egress: limits
                .egress
                .as_ref()
                .map(|l| read_egress(&layer, l).map(Arc::new))
                .transpose()?,
            max_resources: read_resources(&layer, limits)?,
            runtime: limits.runtime.clone(),
            max_start_timeout_seconds: limits.max_start_timeout_seconds,
            max_timeout_seconds: limits.max_timeout_seconds,
            max_ttl_seconds: limits.max_ttl_seconds,
            max_running: limits.max_running,
            retry: limits.retry,
            requester: limits.requester,
            layer,
        })
    }
}

fn read_images(layer: &Layer, limits: &ImageLimits) -> Result<ImageOpinion, Refusal> {
    let patterns = read_all(
        layer,
        "limits.images.allowed",
        &limits.allowed,
        ImagePattern::parse,
    )?;
    Ok(ImageOpinion {
        allowed: granted(limits.mode, patterns),
        digest: limits.digest,
        pull_policy: limits.pull_policy,
        vulnerabilities: limits.vulnerabilities,
    })
}

fn read_repositories(layer: &Layer, limits: &RepositoryLimits) -> Result<Vec<RepositoryGrant>, Refusal> {
    let rules = limits.read.iter().map(|rule| {
        let field = format!("limits.repositories.read[{}]", rule.name);
        let url = RepositoryPattern::parse(&rule.url)
            .map_err(|error| unreadable(layer, &format!("{field}.url"), &rule.url, &error))?;
        let addresses = read_networks(layer, &format!("{field}.addresses"), &rule.addresses)?;
        Ok(RepositoryGrant {
            name: rule.name.clone(),
            url,
            addresses,
        })
    });
    let mut rules = rules.collect::<Result<Vec<_>, _>>()?;
    rules.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(granted(limits.mode, rules))
}

fn read_egress(layer: &Layer, limits: &EgressLimits) -> Result<EgressLayer, Refusal> {
    let rules = limits.rules.iter().map(|rule| {
        let field = format!("limits.egress.rules[{}]", rule.name);
        Ok(EgressRule {
            name: rule.name.clone(),
            hosts: sorted(read_all(
                layer,
                &format!("{field}.hosts"),
                &rule.hosts,
                HostPattern::parse,
            )?),
            addresses: read_networks(layer, &format!("{field}.addresses"), &rule.addresses)?,
            ports: sorted(read_ports(layer, &format!("{field}.ports"), &rule.ports)?),
            tls: rule.tls,
        })
    });
    let rules = sorted(rules.collect::<Result<Vec<_>, Refusal>>()?);
    Ok(EgressLayer {
        kind: layer.kind,
        name: layer.name.clone(),
        mode: limits.mode,
        rules: granted(limits.mode, rules),
    })
}

fn read_ports(layer: &Layer, field: &str, ports: &[i32]) -> Result<Vec<u16>, Refusal> {
    let read = |port: &i32| {
        read_port(*port)
            .ok_or_else(|| unreadable(layer, field, &port.to_string(), &"ports go from 1 to 65535"))
    };
    ports.iter().map(read).collect()
}

pub(super) fn read_port(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port > 0)
}

fn read_resources(layer: &Layer, limits: &PolicyLimits) -> Result<BTreeMap<Kind, Amount>, Refusal> {
    let mut ceilings = BTreeMap::new();
    for (name, quantity) in limits.max_resources.iter().flatten() {
        let field = format!("limits.maxResources.{name}");
        let kind = Kind::parse(name).map_err(|error| unreadable(layer, &field, name, &error))?;
        let amount =
            Amount::parse(&quantity.0).map_err(|error| unreadable(layer, &field, &quantity.0, &error))?;
        ceilings.insert(kind, amount);
    }
    Ok(ceilings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_lowest_time_to_live_of_the_policies_in_force_counts() {
        let over = |name: &str, team: &str, ttl: i32| -> ClusterSandboxPolicy {
            let spec = json!({
                "namespaceSelector": {"matchLabels": {"team": team}}, "limits": {"maxTTLSeconds": ttl},
            });
            ClusterSandboxPolicy::new(name, serde_json::from_value(spec).unwrap())
        };
        let own = |ttl: Option<i32>| -> SandboxPolicy {
            let spec = json!({"limits": {"maxTTLSeconds": ttl}});
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
