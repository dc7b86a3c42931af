//! Rules of a namespace's policy that can never grant anything, whatever a run asks. Pure.
//!
//! Only what is certain is told: a rule that shares nothing with what another policy in force allows. That a cluster
//! policy allows more than the namespace's is how ceilings work, and no mistake.

use std::sync::Arc;

use crate::api::DigestMode;
use crate::policy::egress::EgressRule;
use crate::policy::image::ImagePattern;
use crate::policy::images::digest_mode;
use crate::policy::layers::{Opinions, RepositoryGrant};
use crate::policy::refusal::LayerKind;

/// Rules that a message names one by one.
const NAMED: usize = 3;

/// One sentence for each list of dead rules and the policy that none of them meets.
pub fn dead_rules(layers: &[Arc<Opinions>]) -> Vec<String> {
    let Some((own, others)) = layers.split_last() else {
        return Vec::new();
    };
    if own.layer.kind != LayerKind::SandboxPolicy {
        return Vec::new();
    }
    let mut sentences = by_tag(own, layers);
    for other in others {
        let dead = [
            ("limits.egress.rules", dead_egress(own, other)),
            ("limits.images.allowed", dead_images(own, other)),
            ("limits.repositories.read", dead_repositories(own, other)),
        ];
        for (field, dead) in dead.into_iter().filter(|(_, dead)| !dead.is_empty()) {
            sentences.push(format!(
                "{field} ({}) can match nothing: {} allows none of it. Take it out, or have that policy allow it.",
                named(&dead),
                other.layer
            ));
        }
    }
    sentences
}

fn dead_egress(own: &Opinions, other: &Opinions) -> Vec<String> {
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
    hosts_meet && one.ports.iter().any(|port| two.ports.contains(port))
}

fn dead_images(own: &Opinions, other: &Opinions) -> Vec<String> {
    let (Some(own), Some(other)) = (&own.images, &other.images) else {
        return Vec::new();
    };
    own.allowed
        .iter()
        .filter(|pattern| !other.allowed.iter().any(|known| pattern.overlaps(known)))
        .map(ImagePattern::to_string)
        .collect()
}

fn dead_repositories(own: &Opinions, other: &Opinions) -> Vec<String> {
    let (Some(own), Some(other)) = (&own.repositories, &other.repositories) else {
        return Vec::new();
    };
    let meets = |one: &RepositoryGrant| other.iter().any(|known| one.url.overlaps(&known.url));
    own.iter()
        .filter(|rule| !meets(rule))
        .map(|rule| rule.name.clone())
        .collect()
}

/// Patterns by tag where images must be named by digest: no reference with a digest is meant by them.
fn by_tag(own: &Opinions, layers: &[Arc<Opinions>]) -> Vec<String> {
    let digest = digest_mode(layers);
    let patterns = own.images.iter().flat_map(|images| &images.allowed);
    let dead: Vec<String> = patterns
        .filter(|pattern| digest.value == DigestMode::Required && pattern.is_by_tag())
        .map(ImagePattern::to_string)
        .collect();
    if dead.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "limits.images.allowed ({}) can match nothing: images must be named by digest (decided by {}), and these name \
         tags. Leave the tag out.",
        named(&dead),
        digest.source
    )]
}

fn named(rules: &[String]) -> String {
    let first: Vec<&str> = rules.iter().take(NAMED).map(String::as_str).collect();
    match rules.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
