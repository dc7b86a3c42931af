//! Which `RuntimeClass` isolates a run.

use super::decide::silence;
use super::layers::Opinions;
use super::meet::{Denial, meet};
use super::refusal::{LayerKind, Refusal};
use crate::api::{NodeReachability, Reason, RuntimeLimits};

const FIELD: &str = "runtimeClassName";
const RULE: &str = "limits.runtime";

/// What isolates a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Name of the `RuntimeClass`.
    pub class: String,
    /// Whether the run goes on where the sandbox reaches its own node.
    pub node_reachability: NodeReachability,
}

/// The first class, in the namespace's order and then in the cluster policies', that every layer allows. There is
/// no falling back to the next one if that class does not exist: a weaker sandbox must never come as a surprise.
///
/// # Errors
/// `PolicyDenied` if no class is allowed by all, `RuntimeUnavailable` if the one that is does not exist.
pub fn decide(layers: &[Opinions], existing: &[String]) -> Result<Runtime, Refusal> {
    let opinionated = || {
        layers
            .iter()
            .filter_map(|layer| Some((layer, layer.runtime.as_ref()?)))
    };
    let own = opinionated().filter(|(layer, _)| layer.layer.kind == LayerKind::SandboxPolicy);
    let cluster = opinionated().filter(|(layer, _)| layer.layer.kind != LayerKind::SandboxPolicy);
    let mut first_refusal = None;
    for class in own.chain(cluster).flat_map(|(_, limits)| &limits.classes) {
        match allowed(class, layers) {
            Ok(node_reachability) if existing.contains(class) => {
                return Ok(Runtime {
                    class: class.clone(),
                    node_reachability,
                });
            }
            Ok(_) => return Err(unavailable(class, existing)),
            Err(refusal) => first_refusal = first_refusal.or(Some(refusal)),
        }
    }
    Err(first_refusal.unwrap_or_else(|| silence(Reason::PolicyDenied, FIELD, RULE, "")))
}

/// Whether every layer allows `class`, and whether all of them tolerate a reachable node.
fn allowed(class: &str, layers: &[Opinions]) -> Result<NodeReachability, Refusal> {
    let met = meet(layers, |layer| {
        let limits = layer.runtime.as_ref()?;
        Some(if limits.classes.iter().any(|known| known == class) {
            Ok(limits.node_reachability)
        } else {
            Err(refuse(class, layer, limits))
        })
    });
    match met {
        Ok(words) if words.iter().all(|word| *word == NodeReachability::Tolerated) => {
            Ok(NodeReachability::Tolerated)
        }
        Ok(_) => Ok(NodeReachability::Denied),
        Err(Denial::Objection(refusal)) => Err(refusal),
        Err(Denial::Silence) => Err(silence(Reason::PolicyDenied, FIELD, RULE, class)),
    }
}

fn refuse(class: &str, layer: &Opinions, limits: &RuntimeLimits) -> Refusal {
    Refusal {
        reason: Reason::PolicyDenied,
        layer: Some(layer.layer.clone()),
        field: FIELD.to_owned(),
        rule: Some(format!("{RULE}.classes")),
        offered: class.to_owned(),
        allowed: limits.classes.clone(),
        why: "no class is allowed by every policy in force; this one is the first of those preferred"
            .to_owned(),
        help: "have the policies agree on a RuntimeClass".to_owned(),
    }
}

fn unavailable(class: &str, existing: &[String]) -> Refusal {
    Refusal {
        reason: Reason::RuntimeUnavailable,
        layer: None,
        field: FIELD.to_owned(),
        rule: Some(format!("{RULE}.classes")),
        offered: class.to_owned(),
        allowed: Vec::new(),
        why: format!(
            "policy demands this RuntimeClass and the cluster does not have it (it has {})",
            if existing.is_empty() {
                "none".to_owned()
            } else {
                super::refusal::listed(existing)
            }
        ),
        help: "install the runtime and its RuntimeClass, or change the order in limits.runtime.classes; \
               Cofferdam never falls back to another class"
            .to_owned(),
    }
}
