//! What becomes of a run's evidence: whether its way out stays open without, and how long it is kept.
//!
//! Traffic of which nothing is kept is the cluster's owner's to allow, as tunnels are: a namespace's own policy can only take
//! that away. Its own `Continue` is refused by the API server, and counts for nothing here.
//!
//! Days are a floor: whoever has to keep evidence says so in his own policy, and nobody else's can shorten that. So the longest
//! counts. What may go sooner is the installation's to say, whose volume it is.

use std::sync::Arc;

use crate::layer::parsed::{ParsedPolicy, strictest};
use crate::refusal::LayerKind;
use crate::source::Sourced;
use cofferdam_api::{EvidenceLimits, OnSinkFailure};

/// Where policies say it.
const SINK: &str = "limits.evidence.onSinkFailure";
const RECORDS: &str = "limits.evidence.keepRecordsDays";
const PATCHES: &str = "limits.evidence.keepPatchesDays";

/// What policies come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Whether the run keeps its way out while the archive does not acknowledge.
    pub on_sink_failure: Sourced<OnSinkFailure>,
    /// Days for which its records are kept at least; absent: the installation's.
    pub keep_records_days: Sourced<Option<i32>>,
    /// Days for which its patches are kept at least; absent: the installation's.
    pub keep_patches_days: Sourced<Option<i32>>,
}

/// Decides: `Continue` if a cluster policy says so and no policy says `Stop`; of days the most.
pub fn decide(layers: &[Arc<ParsedPolicy>]) -> Evidence {
    Evidence {
        on_sink_failure: strictest(layers, SINK, opinion, is_strict, OnSinkFailure::default()),
        keep_records_days: longest(layers, RECORDS, |evidence| evidence.keep_records_days),
        keep_patches_days: longest(layers, PATCHES, |evidence| evidence.keep_patches_days),
    }
}

fn longest(
    layers: &[Arc<ParsedPolicy>],
    rule: &str,
    days: impl Fn(EvidenceLimits) -> Option<i32>,
) -> Sourced<Option<i32>> {
    let said = |layer: &ParsedPolicy| layer.evidence.and_then(&days).map(Some);
    strictest(layers, rule, said, |days| days, None)
}

/// What a layer's word counts for: a namespace's own `Continue` is none.
fn opinion(layer: &ParsedPolicy) -> Option<OnSinkFailure> {
    match (layer.layer.kind, layer.evidence?.on_sink_failure?) {
        (LayerKind::SandboxPolicy, OnSinkFailure::Continue) => None,
        (_, word) => Some(word),
    }
}

fn is_strict(word: OnSinkFailure) -> bool {
    word == OnSinkFailure::Stop
}
