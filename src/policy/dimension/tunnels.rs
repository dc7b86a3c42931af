//! Whether anything of the agent may pass the gateway unread, and the rules that say so where it may not.
//!
//! Whoever owns the cluster consents to tunnels, or nobody does: a namespace's own policy can only take the consent away.
//! Nobody is left to believe in a tunnel that is none, so a rule that says `tls: Tunnel` without consent is a mistake of
//! its policy. That a cluster policy lets bytes pass unread which another policy has read is how ceilings work.

use std::sync::Arc;

use crate::layer::parsed::{ParsedPolicy, strictest};
use crate::refusal::{Layer, LayerKind};
use crate::source::{Source, Sourced};
use cofferdam_api::{TlsMode, Tunnels};

/// Where policies say it.
pub(crate) const RULE: &str = "limits.tunnels";

/// Decides: `Allow` if a cluster policy says so and no policy says `Deny`.
pub fn decide(layers: &[Arc<ParsedPolicy>]) -> Sourced<Tunnels> {
    strictest(layers, RULE, opinion, is_strict, Tunnels::default())
}

/// What a layer's word counts for: a namespace's own `Allow` is none.
pub(crate) fn opinion(layer: &ParsedPolicy) -> Option<Tunnels> {
    match (layer.layer.kind, layer.tunnels?) {
        (LayerKind::SandboxPolicy, Tunnels::Allow) => None,
        (_, word) => Some(word),
    }
}

fn is_strict(word: Tunnels) -> bool {
    word == Tunnels::Deny
}

/// Rules that say `tls: Tunnel` though nothing may pass unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unread<'a> {
    /// Whose rules.
    pub(crate) of: &'a Layer,
    /// Their names.
    pub(crate) rules: Vec<String>,
    /// Who denies tunnels; absent: nobody grants them.
    pub(crate) denied_by: Option<Layer>,
}

/// The rules of the namespace's policy where anybody denies tunnels or nobody grants them, and those of cluster policies
/// of which none grants them.
pub(crate) fn unread(layers: &[Arc<ParsedPolicy>]) -> Vec<Unread<'_>> {
    let met = decide(layers);
    let is_granted = layers.iter().any(|layer| opinion(layer) == Some(Tunnels::Allow));
    let denied_by = match (met.value, met.source) {
        (Tunnels::Allow, _) => return Vec::new(),
        (Tunnels::Deny, Source::Layer { layer, .. }) => Some(layer),
        (Tunnels::Deny, _) => None,
    };
    let all = layers.iter().filter_map(|layer| match layer.layer.kind {
        LayerKind::SandboxPolicy => Some((layer, denied_by.clone())),
        // One that denies tunnels itself contradicts itself, which is told apart from this.
        LayerKind::ClusterSandboxPolicy => {
            (!is_granted && layer.tunnels.is_none()).then_some((layer, denied_by.clone()))
        }
    });
    all.filter_map(|(layer, denied_by)| of(layer, denied_by))
        .collect()
}

/// The rules of a policy that denies tunnels in the same breath.
pub(crate) fn contradiction(layer: &ParsedPolicy) -> Option<Unread<'_>> {
    if layer.tunnels == Some(Tunnels::Deny) {
        of(layer, Some(layer.layer.clone()))
    } else {
        None
    }
}

fn of(layer: &ParsedPolicy, denied_by: Option<Layer>) -> Option<Unread<'_>> {
    let rules = layer.egress.iter().flat_map(|egress| egress.allowed());
    let rules: Vec<String> = rules
        .filter(|rule| rule.mode() == TlsMode::Tunnel)
        .map(|rule| rule.name.clone())
        .collect();
    (!rules.is_empty()).then_some(Unread {
        of: &layer.layer,
        rules,
        denied_by,
    })
}
