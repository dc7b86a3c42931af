//! What becomes of a run's evidence: whether its way out stays open without.
//!
//! Traffic of which nothing is kept is the cluster's owner's to allow, as tunnels are: a namespace's own policy can only take
//! that away. Its own `Continue` is refused by the API server, and counts for nothing here.

use std::sync::Arc;

use crate::layer::parsed::{ParsedPolicy, strictest};
use crate::refusal::LayerKind;
use crate::source::Sourced;
use cofferdam_api::OnSinkFailure;

/// Where policies say it.
const SINK: &str = "limits.evidence.onSinkFailure";

/// What policies come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Whether the run keeps its way out while the archive does not acknowledge.
    pub on_sink_failure: Sourced<OnSinkFailure>,
}

/// Decides: `Continue` if a cluster policy says so and no policy says `Stop`.
pub fn decide(layers: &[Arc<ParsedPolicy>]) -> Evidence {
    Evidence {
        on_sink_failure: strictest(layers, SINK, opinion, is_strict, OnSinkFailure::default()),
    }
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
