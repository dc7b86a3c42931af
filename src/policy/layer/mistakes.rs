//! Rules that can never grant anything, whatever a run asks: mistakes of policies. Pure.
//!
//! A run under a policy with one is refused, as under a policy that cannot be read: whoever wrote the rule believes
//! that it does something. Only what is certain is a mistake: a rule of the namespace's policy that shares nothing
//! with what a cluster policy over it allows, a pattern by tag where its policy has images named by digest, a tunnel
//! to which nobody consents ([`tunnels`]), and a Service that no cluster policy grants. That a cluster policy allows more than the namespace's is how ceilings work.

use std::sync::Arc;

use crate::dimension::egress::EgressRule;
use crate::dimension::images::digest_mode;
use crate::dimension::tunnels::{self, Unread};
use crate::layer::parsed::ParsedPolicy;
use crate::layer::read::RepositoryGrant;
use crate::pattern::image::ImagePattern;
use crate::refusal::{Layer, LayerKind, Refusal, first_of};
use crate::source::Source;
use cofferdam_api::{DigestMode, Reason};

/// Rules that a message names one by one.
const NAMED: usize = 3;

const EGRESS: &str = "limits.egress.rules";
const IMAGES: &str = "limits.images.allowed";

/// A mistake, and the refusal of every run under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Its kind.
    pub kind: Kind,
    /// Which rules, why, and what to do.
    pub refusal: Refusal,
}

/// Kinds of mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A rule can match nothing.
    MatchesNothing,
    /// A rule is a tunnel and may not be one.
    TunnelDenied,
    /// A rule is for Services, which no cluster policy grants.
    ServiceNotGranted,
}

impl Kind {
    /// The reason in a policy's status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MatchesNothing => "RuleMatchesNothing",
            Self::TunnelDenied => "TunnelDenied",
            Self::ServiceNotGranted => "ServiceNotGranted",
        }
    }
}

/// One mistake for each list with such rules and the policy that none of them meets; `layers` in canonical order.
pub fn find(layers: &[Arc<ParsedPolicy>]) -> Vec<Mistake> {
    let Some((own, cluster)) = layers.split_last() else {
        return Vec::new();
    };
    let mut mistakes: Vec<Mistake> = cluster.iter().flat_map(contradictions).collect();
    mistakes.extend(by_tag(own, layers));
    if own.layer.kind == LayerKind::SandboxPolicy {
        mistakes.extend(cluster.iter().flat_map(|other| meets_nothing(own, other)));
        mistakes.extend(not_granted_above(own, cluster));
    }
    mistakes.extend(tunnels::unread(layers).iter().map(unread));
    mistakes
}

/// What is wrong with a policy by itself: its own word on digests leaves some of its own patterns without meaning, or its
/// own word on tunnels some of its own rules.
pub fn contradictions(policy: &Arc<ParsedPolicy>) -> Vec<Mistake> {
    let of_tags = by_tag(policy, std::slice::from_ref(policy));
    let of_tunnels = tunnels::contradiction(policy).as_ref().map(unread);
    of_tags.into_iter().chain(of_tunnels).collect()
}

/// Tunnels that may not be.
fn unread(found: &Unread<'_>) -> Mistake {
    let Unread { of, rules, denied_by } = found;
    let inspected = format!("leave tls out in {of}, so that requests are read on their way");
    let refusal = Refusal {
        layer: denied_by.clone(),
        rule: Some(tunnels::RULE.to_owned()),
        why: match denied_by {
            Some(_) => "tls: Tunnel passes bytes unread, and it denies tunnels",
            None => {
                "no policy in force lets bytes pass unread (tls: Tunnel), and only a ClusterSandboxPolicy can"
            }
        }
        .to_owned(),
        help: match denied_by {
            Some(by) if by == *of => format!("{inspected}, or take tunnels: Deny out there"),
            Some(by) => format!("{inspected}, or ask the owner of {by} for limits.tunnels: Allow"),
            None => format!(
                "{inspected}, or ask the owner of the ClusterSandboxPolicies for limits.tunnels: Allow in one of them"
            ),
        },
        ..mistake(of, EGRESS, rules)
    };
    Mistake {
        kind: Kind::TunnelDenied,
        refusal,
    }
}

/// Rules of a namespace's policy for Services where no cluster policy says anything of egress. One that does and does not
/// grant them shares nothing with these rules, which is told apart from this.
fn not_granted_above(own: &ParsedPolicy, cluster: &[Arc<ParsedPolicy>]) -> Option<Mistake> {
    if cluster.iter().any(|policy| policy.egress.is_some()) {
        return None;
    }
    let rules = own.egress.iter().flat_map(|egress| egress.allowed());
    let rules = rules.filter(|rule| rule.service.is_some());
    let mut names: Vec<String> = rules.map(|rule| rule.name.clone()).collect();
    names.dedup();
    let refusal = || Refusal {
        rule: Some(EGRESS.to_owned()),
        why:
            "a ClusterSandboxPolicy alone grants Services of the cluster, and none in force has limits.egress"
                .to_owned(),
        help: format!(
            "take the rule out of {}, or ask the owner of the ClusterSandboxPolicies for a rule with these services in one of \
             them",
            own.layer
        ),
        ..mistake(&own.layer, EGRESS, &names)
    };
    (!names.is_empty()).then(|| Mistake {
        kind: Kind::ServiceNotGranted,
        refusal: refusal(),
    })
}

/// Patterns by tag where one of `layers` has images named by digest: no reference with a digest is meant by them.
fn by_tag(own: &ParsedPolicy, layers: &[Arc<ParsedPolicy>]) -> Option<Mistake> {
    let digest = digest_mode(layers);
    let Source::Layer { layer: by, rule } = digest.source else {
        return None;
    };
    let patterns = own.images.iter().flat_map(|images| &images.allowed);
    let dead: Vec<String> = patterns
        .filter(|pattern| digest.value == DigestMode::Required && pattern.is_by_tag())
        .map(ImagePattern::to_string)
        .collect();
    let refusal = || Refusal {
        layer: Some(by),
        rule: Some(rule),
        why: "this pattern names a tag, and images must be named by digest, so it never matches".to_owned(),
        help: format!("leave the tag out in {}, or name a digest", own.layer),
        ..mistake(&own.layer, IMAGES, &dead)
    };
    (!dead.is_empty()).then(|| matches_nothing(refusal()))
}

/// Lists of `own` with rules that share nothing with what `other` allows.
fn meets_nothing(own: &ParsedPolicy, other: &ParsedPolicy) -> Vec<Mistake> {
    let lists = [
        (EGRESS, dead_egress(own, other)),
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
                "take it out of {}, or ask the owner of {} to allow it",
                own.layer, other.layer
            ),
            ..mistake(&own.layer, field, &dead)
        });
    mistakes.map(matches_nothing).collect()
}

const fn matches_nothing(refusal: Refusal) -> Mistake {
    Mistake {
        kind: Kind::MatchesNothing,
        refusal,
    }
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
    let is_met = |name: &str| {
        let mut rules = own.rules.iter().filter(|rule| rule.name == name);
        rules.any(|rule| other.rules.iter().any(|known| rules_meet(rule, known)))
    };
    // A preset is several rules of one name, and one rule to whoever wrote it.
    let mut names: Vec<&String> = own.rules.iter().map(|rule| &rule.name).collect();
    names.dedup();
    names.into_iter().filter(|name| !is_met(name)).cloned().collect()
}

fn rules_meet(one: &EgressRule, two: &EgressRule) -> bool {
    let hosts_meet = one
        .hosts
        .iter()
        .any(|host| two.hosts.iter().any(|known| host.overlaps(known)));
    let ports_meet = one.ports.iter().any(|port| two.ports.contains(port));
    let kinds_meet = one.service.is_some() == two.service.is_some();
    kinds_meet && hosts_meet && ports_meet && one.requests().meet(&two.requests()).is_some()
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
