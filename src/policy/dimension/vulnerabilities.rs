//! What scanners found in the images of a run's pod, held against what policies let pass.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dimension::images::FIELD;
use crate::layer::parsed::{ParsedPolicy, strictest};
use crate::pattern::image::ImageReference;
use crate::refusal::{Layer, Refusal};
use crate::source::{Source, Sourced};
use cofferdam_api::{ClusterSandboxPolicy, OnMissingReport, Reason, SandboxPolicy, Severity};

const MAX_SEVERITY: &str = "limits.images.vulnerabilities.maxSeverity";
const ON_MISSING_REPORT: &str = "limits.images.vulnerabilities.onMissingReport";

/// How many vulnerabilities of each severity an image has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Critical ones.
    pub critical: u64,
    /// High ones.
    pub high: u64,
    /// Medium ones.
    pub medium: u64,
    /// Low ones.
    pub low: u64,
    /// Ones whose severity nobody has judged.
    pub unknown: u64,
}

/// Counts by image digest (`sha256:…`). A digest that is missing has no report.
pub type Reports = BTreeMap<String, Counts>;

/// The worst severity that an image may have; `None`: no policy has reports looked at.
pub type Ceiling = Sourced<Option<Severity>>;

/// No report on anything.
pub static NONE: Reports = BTreeMap::new();

impl Counts {
    /// The worse of two reports on one image, severity by severity: a second report never hides what a first one tells.
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        Self {
            critical: self.critical.max(other.critical),
            high: self.high.max(other.high),
            medium: self.medium.max(other.medium),
            low: self.low.max(other.low),
            unknown: self.unknown.max(other.unknown),
        }
    }

    /// What is worse than `ceiling`, the worst first. What nobody has judged may be the worst.
    fn above(&self, ceiling: Severity) -> Vec<String> {
        let judged = [
            (self.critical, Severity::Critical),
            (self.high, Severity::High),
            (self.medium, Severity::Medium),
            (self.low, Severity::Low),
        ];
        let mut above: Vec<String> = judged
            .iter()
            .filter(|(count, severity)| *count > 0 && *severity > ceiling)
            .map(|(count, severity)| format!("{count} {severity:?}"))
            .collect();
        if self.unknown > 0 && ceiling < Severity::Critical {
            above.push(format!("{} of unknown severity", self.unknown));
        }
        above
    }
}

/// Whether any of these policies has scanners' reports looked at.
pub fn is_asked(policy: Option<&SandboxPolicy>, cluster_policies: &[ClusterSandboxPolicy]) -> bool {
    let own = policy.map(|policy| &policy.spec.limits);
    let mut all = cluster_policies
        .iter()
        .map(|policy| &policy.spec.limits)
        .chain(own);
    all.any(|limits| {
        limits
            .images
            .as_ref()
            .is_some_and(|images| images.vulnerabilities.is_some())
    })
}

/// Decides about the agent's image; gives the ceiling that it was held to.
///
/// # Errors
/// `ImageDenied`.
pub fn decide(
    image: &ImageReference,
    reports: &Reports,
    layers: &[Arc<ParsedPolicy>],
) -> Result<Ceiling, Refusal> {
    let ceiling = strictest(
        layers,
        MAX_SEVERITY,
        |layer| Some(Some(layer.images.as_ref()?.vulnerabilities?.max_severity)),
        Reverse,
        None,
    );
    let (Some(severity), Source::Layer { layer, rule }) = (ceiling.value, &ceiling.source) else {
        return Ok(ceiling);
    };
    let Some(counts) = image.digest().and_then(|digest| reports.get(digest)) else {
        return match on_missing(layers) {
            Sourced {
                value: OnMissingReport::Deny,
                source: Source::Layer { layer, rule },
            } => Err(unreported(image, &layer, &rule)),
            _ => Ok(ceiling),
        };
    };
    let above = counts.above(severity);
    if above.is_empty() {
        return Ok(ceiling);
    }
    Err(Refusal {
        reason: Reason::ImageDenied,
        layer: Some(layer.clone()),
        field: FIELD.to_owned(),
        rule: Some(rule.clone()),
        offered: image.to_string(),
        allowed: Vec::new(),
        why: format!(
            "its VulnerabilityReport counts {} vulnerabilities, and nothing worse than {severity:?} is allowed",
            above.join(", ")
        ),
        help: format!(
            "use a build of it in which they are mended (kubectl get vulnerabilityreports -A -o wide shows the report), \
             or ask the owner of {layer} to raise maxSeverity"
        ),
    })
}

fn on_missing(layers: &[Arc<ParsedPolicy>]) -> Sourced<OnMissingReport> {
    strictest(
        layers,
        ON_MISSING_REPORT,
        |layer| Some(layer.images.as_ref()?.vulnerabilities?.on_missing_report),
        |mode| mode == OnMissingReport::Deny,
        OnMissingReport::Deny,
    )
}

fn unreported(image: &ImageReference, layer: &Layer, rule: &str) -> Refusal {
    let (why, help) = match image.digest() {
        Some(digest) => (
            format!("no VulnerabilityReport in the cluster is on digest {digest}"),
            "have the image scanned under this digest".to_owned(),
        ),
        None => (
            "it is not named by its digest, and reports are found by digest alone".to_owned(),
            "write registry/repository@sha256:…".to_owned(),
        ),
    };
    Refusal {
        reason: Reason::ImageDenied,
        layer: Some(layer.clone()),
        field: FIELD.to_owned(),
        rule: Some(rule.to_owned()),
        offered: image.to_string(),
        allowed: Vec::new(),
        why,
        help: format!("{help}, or ask the owner of {layer} to set onMissingReport: Allow"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::layers::Layers;
    use cofferdam_api::{
        ImageLimits, Mode, PolicyLimits, SandboxPolicy, SandboxPolicySpec, VulnerabilityLimits,
    };
    use rstest::rstest;

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    type Gate = Option<(Severity, OnMissingReport)>;

    /// Layers called layer-0, layer-1, …, each with a gate or without.
    fn layers(gates: &[Gate]) -> Vec<Arc<ParsedPolicy>> {
        let layer = |(index, gate): (usize, &Gate)| {
            let vulnerabilities = gate.map(|(max_severity, on_missing_report)| VulnerabilityLimits {
                max_severity,
                on_missing_report,
            });
            let images = ImageLimits {
                mode: Mode::AllowList,
                allowed: vec!["images.example/**".to_owned()],
                digest: None,
                pull_policy: None,
                vulnerabilities,
            };
            let limits = PolicyLimits {
                images: Some(images),
                ..PolicyLimits::default()
            };
            let spec = SandboxPolicySpec {
                limits,
                ..serde_json::from_value(serde_json::json!({"limits": {}})).unwrap()
            };
            let policy = SandboxPolicy::new(&format!("layer-{index}"), spec);
            Layers::read(&BTreeMap::new(), &[], &policy).unwrap().policies
        };
        gates.iter().enumerate().flat_map(layer).collect()
    }

    fn judge(image: &str, counts: Option<Counts>, gates: &[Gate]) -> Result<Option<Severity>, Refusal> {
        let reports = counts
            .map(|counts| (DIGEST.to_owned(), counts))
            .into_iter()
            .collect();
        let image = ImageReference::parse(image).unwrap();
        decide(&image, &reports, &layers(gates)).map(|met| met.value)
    }

    fn pinned() -> String {
        format!("images.example/agent@{DIGEST}")
    }

    const fn counts(critical: u64, high: u64, medium: u64, low: u64, unknown: u64) -> Counts {
        Counts {
            critical,
            high,
            medium,
            low,
            unknown,
        }
    }

    #[rstest]
    #[case(counts(0, 0, 0, 9, 0), Severity::Low, true)]
    #[case(counts(0, 0, 1, 0, 0), Severity::Low, false)]
    #[case(counts(0, 0, 1, 0, 0), Severity::Medium, true)]
    #[case(counts(0, 1, 0, 0, 0), Severity::Medium, false)]
    #[case(counts(0, 1, 0, 0, 0), Severity::High, true)]
    #[case(counts(1, 0, 0, 0, 0), Severity::High, false)]
    #[case(counts(1, 1, 1, 1, 1), Severity::Critical, true)]
    #[case(counts(0, 0, 0, 0, 1), Severity::High, false)]
    #[case(counts(0, 0, 0, 0, 0), Severity::Low, true)]
    fn what_is_worse_than_the_ceiling_is_refused(
        #[case] found: Counts,
        #[case] ceiling: Severity,
        #[case] allowed: bool,
    ) {
        let decided = judge(&pinned(), Some(found), &[Some((ceiling, OnMissingReport::Deny))]);
        assert_eq!(decided.is_ok(), allowed, "{decided:?}");
    }

    #[rstest]
    #[case(&[], true)]
    #[case(&[None], true)]
    #[case(&[Some((Severity::Critical, OnMissingReport::Allow))], true)]
    #[case(&[Some((Severity::Critical, OnMissingReport::Deny))], false)]
    #[case(&[Some((Severity::Low, OnMissingReport::Allow)), Some((Severity::High, OnMissingReport::Deny))], false)]
    fn an_image_without_a_report_passes_only_where_all_who_speak_let_it(
        #[case] gates: &[Gate],
        #[case] allowed: bool,
    ) {
        for image in [pinned(), "images.example/agent:v1".to_owned()] {
            assert_eq!(judge(&image, None, gates).is_ok(), allowed, "{image}");
        }
        // Only the digest in the reference counts: a report never speaks for a tag.
        assert_eq!(
            judge("images.example/agent:v1", Some(counts(0, 0, 0, 0, 0)), gates).is_ok(),
            allowed
        );
    }

    #[test]
    fn the_strictest_layer_holds_in_any_order_and_is_named() {
        let lax = Some((Severity::Critical, OnMissingReport::Deny));
        let strict = Some((Severity::Medium, OnMissingReport::Allow));
        for (gates, named) in [([lax, strict], "layer-1"), ([strict, lax], "layer-0")] {
            let refusal = judge(&pinned(), Some(counts(1, 0, 0, 0, 0)), &gates).unwrap_err();
            assert_eq!(refusal.layer.unwrap().name, named);
            assert_eq!(
                judge(&pinned(), Some(counts(0, 0, 3, 0, 0)), &gates),
                Ok(Some(Severity::Medium))
            );
        }
    }

    #[test]
    fn a_refusal_counts_what_was_found_and_says_what_to_do() {
        let gate = [Some((Severity::Medium, OnMissingReport::Deny))];
        let message = |image: &str, found| judge(image, found, &gate).unwrap_err().message();
        let found = message(&pinned(), Some(counts(2, 5, 1, 0, 3)));
        for part in [
            "is refused by SandboxPolicy/layer-0 (limits.images.vulnerabilities.maxSeverity)",
            "counts 2 Critical, 5 High, 3 of unknown severity vulnerabilities, and nothing worse than Medium is allowed",
            "ask the owner of SandboxPolicy/layer-0 to raise maxSeverity",
        ] {
            assert!(found.contains(part), "{found}");
        }
        let missing = message(&pinned(), None);
        assert!(
            missing.contains("(limits.images.vulnerabilities.onMissingReport)"),
            "{missing}"
        );
        assert!(
            missing.contains(&format!(
                "no VulnerabilityReport in the cluster is on digest {DIGEST}"
            )),
            "{missing}"
        );
        let tagged = message("images.example/agent:v1", None);
        assert!(tagged.contains("it is not named by its digest"), "{tagged}");
    }
}
