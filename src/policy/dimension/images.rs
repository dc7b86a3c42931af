//! Which image the agent may have, and how images are pulled. Cofferdam's own image is the installation's to choose.

use std::sync::Arc;

use crate::layer::meet::{Unmet, meet};
use crate::layer::parsed::{ParsedPolicy, strictest};
use crate::pattern::image::{ImagePattern, ImageReference};
use crate::refusal::{Layer, Refusal, ask_owner, nothing_matches, silence};
use crate::source::{Source, Sourced};
use cofferdam_api::{DigestMode, PullPolicy, Reason};

const RULE: &str = "limits.images";

/// Where a run names the image.
pub const FIELD: &str = "spec.agent.image";

/// Decides about the agent's image.
///
/// # Errors
/// `ImageDenied`.
pub fn decide(offered: &str, layers: &[Arc<ParsedPolicy>]) -> Result<Sourced<ImageReference>, Refusal> {
    let refusal = |layer: Option<&Layer>, part: &str, allowed, why: String, help: String| Refusal {
        reason: Reason::ImageDenied,
        layer: layer.cloned(),
        field: FIELD.to_owned(),
        rule: layer.map(|_| format!("{RULE}.{part}")),
        offered: offered.to_owned(),
        allowed,
        why,
        help,
    };
    let image = ImageReference::parse(offered).map_err(|error| {
        let help = "write registry/repository:tag or registry/repository@sha256:…".to_owned();
        refusal(None, "allowed", Vec::new(), error.to_string(), help)
    })?;
    let met = meet(layers, |layer| {
        let opinion = layer.images.as_ref()?;
        Some(if opinion.allowed.iter().any(|pattern| pattern.matches(&image)) {
            Ok(&layer.layer)
        } else {
            let allowed = opinion.allowed.iter().map(ImagePattern::to_string).collect();
            Err(refusal(
                Some(&layer.layer),
                "allowed",
                allowed,
                nothing_matches(opinion.allowed.len(), &image),
                ask_owner(&layer.layer),
            ))
        })
    });
    let granting = met.map_err(|denial| match denial {
        Unmet::Refused(refusal) => refusal,
        Unmet::NoOpinion => silence(Reason::ImageDenied, FIELD, RULE, offered),
    })?;
    let digest = digest_mode(layers);
    if digest.value == DigestMode::Required
        && image.digest().is_none()
        && let Source::Layer { layer, .. } = &digest.source
    {
        return Err(refusal(
            Some(layer),
            "digest",
            Vec::new(),
            "the image must be named by its digest".to_owned(),
            "write registry/repository@sha256:… (docker buildx imagetools inspect, or crane digest, shows it)"
                .to_owned(),
        ));
    }
    let last = granting.last().copied().cloned();
    Ok(last.map_or_else(
        || Sourced::built_in(image.clone()),
        |layer| Sourced::by(image.clone(), &layer, "limits.images.allowed"),
    ))
}

/// The layers that allow no image at all, so that no run can start under them.
pub fn none_allowed(layers: &[Arc<ParsedPolicy>]) -> Vec<&Layer> {
    let allows_none = |layer: &&Arc<ParsedPolicy>| {
        let images = layer.images.as_ref();
        images.is_some_and(|images| images.allowed.is_empty())
    };
    layers
        .iter()
        .filter(allows_none)
        .map(|layer| &layer.layer)
        .collect()
}

/// Whether images must be named by digest.
pub fn digest_mode(layers: &[Arc<ParsedPolicy>]) -> Sourced<DigestMode> {
    strictest(
        layers,
        "limits.images.digest",
        |layer| layer.images.as_ref()?.digest,
        |mode| mode == DigestMode::Required,
        DigestMode::Record,
    )
}

/// When images are pulled; `None`: Kubernetes' own rule.
pub fn pull_policy(layers: &[Arc<ParsedPolicy>]) -> Sourced<Option<PullPolicy>> {
    strictest(
        layers,
        "limits.images.pullPolicy",
        |layer| layer.images.as_ref()?.pull_policy.map(Some),
        |mode| mode == Some(PullPolicy::Always),
        None,
    )
}
