//! What one policy says, read once with every pattern parsed.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::dimension::egress::EgressLayer;
use crate::layer::egress::{presets, read_egress};
use crate::layer::read::{RepositoryGrant, granted, read_all, read_profiles, read_repositories, unreadable};
use crate::pattern::image::ImagePattern;
use crate::pattern::quantity::{Amount, ResourceKind};
use crate::refusal::{Layer, Refusal};
use crate::source::Sourced;
use cofferdam_api::{
    AgentProfile, DigestMode, EvidenceLimits, ImageLimits, PolicyLimits, Preset, PullPolicy, RequesterMode,
    Retry, RuntimeLimits, Tunnels, VulnerabilityLimits,
};

/// One policy's opinions. `None`: it has none on that dimension; an empty list: it grants nothing.
#[derive(Clone, Debug)]
pub struct ParsedPolicy {
    /// Whose.
    pub(crate) layer: Layer,
    /// On runtimes.
    pub(crate) runtime: Option<RuntimeLimits>,
    /// On images.
    pub(crate) images: Option<ParsedImages>,
    /// On repositories.
    pub(crate) repositories: Option<Vec<RepositoryGrant>>,
    /// On egress. Shared with the frozen policy of every run under it.
    pub(crate) egress: Option<Arc<EgressLayer>>,
    /// The presets that its rules for egress use.
    pub(crate) presets: Vec<(String, Preset)>,
    /// On what passes unread.
    pub(crate) tunnels: Option<Tunnels>,
    /// On evidence.
    pub(crate) evidence: Option<EvidenceLimits>,
    /// Ceilings of resources; a resource that is missing has none here.
    pub(crate) max_resources: BTreeMap<ResourceKind, Amount>,
    /// Ceiling of `startDeadlineSeconds`.
    pub(crate) max_start_deadline_seconds: Option<i32>,
    /// Ceiling of `activeDeadlineSeconds`.
    pub(crate) max_active_deadline_seconds: Option<i32>,
    /// Ceiling of `ttlSecondsAfterFinished`.
    pub(crate) max_ttl_seconds_after_finished: Option<i32>,
    /// Ceiling of the runs of a namespace that have a pod.
    pub(crate) max_running: Option<i32>,
    /// Ceiling of the bytes of a run's clones.
    pub(crate) max_clone_bytes: Option<i64>,
    /// On trying again before the agent's start.
    pub(crate) retry: Option<Retry>,
    /// On saying who asks.
    pub(crate) requester: Option<RequesterMode>,
    /// Agents that it offers. They are no opinion: they allow nothing and deny nothing.
    pub(crate) profiles: Vec<AgentProfile>,
}

/// What a policy says of runs, as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// What it limits.
    pub limits: &'a PolicyLimits,
    /// Agents that it offers.
    pub profiles: &'a [AgentProfile],
}

/// On images.
#[derive(Clone, Debug)]
pub struct ParsedImages {
    /// Which ones.
    pub allowed: Vec<ImagePattern>,
    /// On digests.
    pub digest: Option<DigestMode>,
    /// On pulling.
    pub pull_policy: Option<PullPolicy>,
    /// On what scanners found.
    pub vulnerabilities: Option<VulnerabilityLimits>,
}

/// The strictest opinion of any layer, with the first layer, in canonical order, that has it; without one `otherwise`.
pub(crate) fn strictest<T: Copy, S: Ord>(
    layers: &[Arc<ParsedPolicy>],
    rule: &str,
    opinion: impl Fn(&ParsedPolicy) -> Option<T>,
    strictness: impl Fn(T) -> S,
    otherwise: T,
) -> Sourced<T> {
    let opinions = layers
        .iter()
        .filter_map(|layer| Some((&layer.layer, opinion(layer)?)));
    let met = opinions.reduce(|best, next| {
        if strictness(next.1) > strictness(best.1) {
            next
        } else {
            best
        }
    });
    met.map_or(Sourced::built_in(otherwise), |(layer, value)| {
        Sourced::by(value, layer, rule)
    })
}

impl ParsedPolicy {
    /// Reads a policy.
    ///
    /// # Errors
    /// A refusal that names the field that cannot be read.
    pub fn read(layer: Layer, written: Written<'_>) -> Result<Self, Refusal> {
        let Written { limits, profiles } = written;
        // Without `..`: a limit that nobody reads would be one that nobody enforces.
        let PolicyLimits {
            requester,
            runtime,
            images,
            repositories,
            egress,
            tunnels,
            evidence,
            max_resources,
            max_start_deadline_seconds,
            max_active_deadline_seconds,
            max_ttl_seconds_after_finished,
            max_running,
            max_clone_bytes,
            retry,
        } = limits;
        let repositories = repositories
            .as_ref()
            .map(|l| read_repositories(&layer, l))
            .transpose()?;
        let named = repositories.as_deref().unwrap_or_default();
        Ok(Self {
            images: images.as_ref().map(|l| read_images(&layer, l)).transpose()?,
            egress: egress
                .as_ref()
                .map(|l| read_egress(&layer, l, named).map(Arc::new))
                .transpose()?,
            repositories,
            presets: presets(egress.as_ref()),
            tunnels: *tunnels,
            evidence: *evidence,
            max_resources: read_resources(&layer, max_resources.as_ref())?,
            runtime: runtime.clone(),
            max_start_deadline_seconds: *max_start_deadline_seconds,
            max_active_deadline_seconds: *max_active_deadline_seconds,
            max_ttl_seconds_after_finished: *max_ttl_seconds_after_finished,
            max_running: *max_running,
            max_clone_bytes: *max_clone_bytes,
            retry: *retry,
            requester: *requester,
            profiles: read_profiles(&layer, profiles)?,
            layer,
        })
    }
}

fn read_images(layer: &Layer, limits: &ImageLimits) -> Result<ParsedImages, Refusal> {
    let patterns = read_all(
        layer,
        "limits.images.allowed",
        &limits.allowed,
        ImagePattern::parse,
    )?;
    Ok(ParsedImages {
        allowed: granted(limits.mode, patterns),
        digest: limits.digest,
        pull_policy: limits.pull_policy,
        vulnerabilities: limits.vulnerabilities,
    })
}

fn read_resources(
    layer: &Layer,
    limits: Option<&BTreeMap<String, Quantity>>,
) -> Result<BTreeMap<ResourceKind, Amount>, Refusal> {
    let mut ceilings = BTreeMap::new();
    for (name, quantity) in limits.into_iter().flatten() {
        let field = format!("limits.maxResources.{name}");
        let kind = ResourceKind::parse(name).map_err(|error| unreadable(layer, &field, name, &error))?;
        let amount = kind
            .amount(&quantity.0)
            .map_err(|error| unreadable(layer, &field, &quantity.0, &error))?;
        ceilings.insert(kind, amount);
    }
    Ok(ceilings)
}
