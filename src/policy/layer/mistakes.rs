//! Rules that can never grant anything, whatever a run asks: mistakes of policies. Pure.
//!
//! A run under a policy with one is refused, as under a policy that cannot be read: whoever wrote the rule believes
//! that it does something. Only what is certain is a mistake: a rule of the namespace's policy that shares nothing
//! with what a cluster policy over it allows, and a pattern by tag where its policy has images named by digest. That a
//! cluster policy allows more than the namespace's is how ceilings work.

use std::sync::Arc;

use crate::dimension::egress::EgressRule;
use crate::dimension::images::digest_mode;
use crate::layer::parsed::{ParsedPolicy, RepositoryGrant};
use crate::pattern::image::ImagePattern;
use crate::refusal::{Layer, LayerKind, Refusal, first_of};
use crate::source::Source;
use cofferdam_api::{DigestMode, Reason};

/// Rules that a message names one by one.
const NAMED: usize = 3;

const IMAGES: &str = "limits.images.allowed";

/// One refusal for each list with such rules and the policy that none of them meets; `layers` in canonical order.
pub fn find(layers: &[Arc<ParsedPolicy>]) -> Vec<Refusal> {
    let Some((own, cluster)) = layers.split_last() else {
        return Vec::new();
    };
    let mut mistakes: Vec<Refusal> = cluster.iter().filter_map(contradicts_itself).collect();
    mistakes.extend(by_tag(own, layers));
    if own.layer.kind == LayerKind::SandboxPolicy {
        mistakes.extend(cluster.iter().flat_map(|other| meets_nothing(own, other)));
    }
    mistakes
}

/// A policy whose own word on digests leaves some of its own patterns without meaning.
pub fn contradicts_itself(policy: &Arc<ParsedPolicy>) -> Option<Refusal> {
    by_tag(policy, std::slice::from_ref(policy))
}

/// Patterns by tag where one of `layers` has images named by digest: no reference with a digest is meant by them.
fn by_tag(own: &ParsedPolicy, layers: &[Arc<ParsedPolicy>]) -> Option<Refusal> {
    let digest = digest_mode(layers);
    let Source::Layer { layer: by, rule } = digest.source else {
        return None;
    };
    let patterns = own.images.iter().flat_map(|images| &images.allowed);
    let dead: Vec<String> = patterns
        .filter(|pattern| digest.value == DigestMode::Required && pattern.is_by_tag())
        .map(ImagePattern::to_string)
        .collect();
    (!dead.is_empty()).then(|| Refusal {
        layer: Some(by),
        rule: Some(rule),
        why: "images must be named by digest, and these name tags, so they can match nothing".to_owned(),
        help: format!("leave the tag out in {}, or name a digest", own.layer),
        ..mistake(&own.layer, IMAGES, &dead)
    })
}

/// Lists of `own` with rules that share nothing with what `other` allows.
fn meets_nothing(own: &ParsedPolicy, other: &ParsedPolicy) -> Vec<Refusal> {
    let lists = [
        ("limits.egress.rules", dead_egress(own, other)),
        (IMAGES, dead_images(own, other)),
        ("limits.repositories.clone", dead_repositories(own, other)),
    ];
    let mistakes = lists
        .into_iter()
        .filter(|(_, dead)| !dead.is_empty())
        .map(|(field, dead)| Refusal {
            layer: Some(other.layer.clone()),
            rule: Some(field.to_owned()),
            why: "nothing is allowed by both, so it can match nothing".to_owned(),
            help: format!(
                "take it out of {}, or ask whoever owns {} to allow it",
                own.layer, other.layer
            ),
            ..mistake(&own.layer, field, &dead)
        });
    mistakes.collect()
}

/// What all mistakes have in common.
fn mistake(own: &Layer, field: &str, rules: &[String]) -> Refusal {
    Refusal {
        reason: Reason::PolicyDenied,
        layer: None,
        field: format!("{field} of {own}"),
        rule: None,
        offered: first_of(rules, NAMED, str::to_owned),
        allowed: Vec::new(),
        why: String::new(),
        help: String::new(),
    }
}

fn dead_egress(own: &ParsedPolicy, other: &ParsedPolicy) -> Vec<String> {
    let (Some(own), Some(other)) = (&own.egress, &other.egress) else {
        return Vec::new();
    };
    own.rules
        .iter()
        .filter(|rule| !other.rules.iter().any(|known| rules_meet(rule, known)))
        .map(|rule| rule.name.clone())
        .collect()
}

fn rules_meet(one: &EgressRule, two: &EgressRule) -> bool {
    let hosts_meet = one
        .hosts
        .iter()
        .any(|host| two.hosts.iter().any(|known| host.overlaps(known)));
    let ports_meet = one.ports.iter().any(|port| two.ports.contains(port));
    hosts_meet && ports_meet && one.requests().meet(&two.requests()).is_some()
}

fn dead_images(own: &ParsedPolicy, other: &ParsedPolicy) -> Vec<String> {
    let (Some(own), Some(other)) = (&own.images, &other.images) else {
        return Vec::new();
    };
    own.allowed
        .iter()
        .filter(|pattern| !other.allowed.iter().any(|known| pattern.overlaps(known)))
        .map(ImagePattern::to_string)
        .collect()
}

fn dead_repositories(own: &ParsedPolicy, other: &ParsedPolicy) -> Vec<String> {
    let (Some(own), Some(other)) = (&own.repositories, &other.repositories) else {
        return Vec::new();
    };
    let meets = |one: &RepositoryGrant| other.iter().any(|known| one.url.overlaps(&known.url));
    own.iter()
        .filter(|rule| !meets(rule))
        .map(|rule| rule.name.clone())
        .collect()
}
