//! Which `RuntimeClass` isolates a run, and how.

use std::sync::Arc;

use crate::layer::meet::{Unmet, meet};
use crate::layer::parsed::{ParsedPolicy, strictest};
use crate::refusal::{LayerKind, Refusal, listed, silence};
use crate::source::Sourced;
use cofferdam_api::{KernelCheck, NodeAccess, Reason, RunAsUser, RuntimeLimits, UserNamespaces};

const FIELD: &str = "runtimeClassName";
const RULE: &str = "limits.runtime";

/// A `RuntimeClass` that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeClassFact {
    /// Its name.
    pub name: String,
    /// Whether nodes advertise user namespaces for its handler.
    pub user_namespaces: UserNamespaceSupport,
}

/// Which of the nodes that have a runtime's handler advertise user namespaces for it
/// (`Node.status.runtimeHandlers[].features.userNamespaces`, KEP-127).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserNamespaceSupport {
    /// None.
    #[default]
    Nowhere,
    /// Some: whether a pod gets one depends on its node.
    Somewhere,
    /// All of them.
    Everywhere,
}

/// What isolates a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Name of the `RuntimeClass`.
    pub class: Sourced<String>,
    /// Whether the run goes on where the sandbox reaches its own node.
    pub node_access: Sourced<NodeAccess>,
    /// Who chooses the uid.
    pub run_as_user: Sourced<RunAsUser>,
    /// Whether the pod has a user namespace of its own.
    pub user_namespace: Sourced<bool>,
    /// Whether `prepare` looks for gVisor's signature.
    pub kernel_check: Sourced<KernelCheck>,
}

/// The first class, in the namespace's order and then in the cluster policies', that every layer allows. There is
/// no falling back to the next one if that class does not exist: a weaker sandbox must never come as a surprise.
///
/// # Errors
/// `PolicyDenied` if no class is allowed by all, or if layers contradict each other; `RuntimeUnavailable` if the one
/// that is does not exist, or no node can give it the user namespace that policy demands.
pub fn decide(layers: &[Arc<ParsedPolicy>], existing: &[RuntimeClassFact]) -> Result<Runtime, Refusal> {
    let class = class(layers)?;
    let Some(fact) = existing.iter().find(|fact| fact.name == class.value) else {
        return Err(unavailable(&class.value, existing));
    };
    Ok(Runtime {
        node_access: strictest(
            layers,
            "limits.runtime.nodeAccess",
            |layer| Some(layer.runtime.as_ref()?.node_access),
            |mode| mode == NodeAccess::Deny,
            NodeAccess::Deny,
        ),
        run_as_user: strictest(
            layers,
            "limits.runtime.runAsUser",
            |layer| layer.runtime.as_ref()?.run_as_user,
            |mode| mode == RunAsUser::Fixed,
            RunAsUser::Fixed,
        ),
        user_namespace: user_namespace(layers, fact)?,
        kernel_check: strictest(
            layers,
            "limits.runtime.kernelCheck",
            |layer| layer.runtime.as_ref()?.kernel_check,
            |mode| mode == KernelCheck::GVisor,
            KernelCheck::None,
        ),
        class,
    })
}

fn class(layers: &[Arc<ParsedPolicy>]) -> Result<Sourced<String>, Refusal> {
    let opinionated = || {
        layers
            .iter()
            .filter_map(|layer| Some((layer, layer.runtime.as_ref()?)))
    };
    let own = opinionated().filter(|(layer, _)| layer.layer.kind == LayerKind::SandboxPolicy);
    let cluster = opinionated().filter(|(layer, _)| layer.layer.kind != LayerKind::SandboxPolicy);
    let mut first_refusal = None;
    let preferred = own
        .chain(cluster)
        .flat_map(|(layer, limits)| limits.runtime_class_names.iter().map(move |class| (layer, class)));
    for (layer, class) in preferred {
        match allowed(class, layers) {
            Ok(()) => {
                return Ok(Sourced::by(
                    class.clone(),
                    &layer.layer,
                    "limits.runtime.runtimeClassNames",
                ));
            }
            Err(refusal) => first_refusal = first_refusal.or(Some(refusal)),
        }
    }
    Err(first_refusal.unwrap_or_else(|| silence(Reason::PolicyDenied, FIELD, RULE, "")))
}

/// Whether every layer allows `class`.
fn allowed(class: &str, layers: &[Arc<ParsedPolicy>]) -> Result<(), Refusal> {
    let met = meet(layers, |layer| {
        let limits = layer.runtime.as_ref()?;
        Some(if limits.runtime_class_names.iter().any(|known| known == class) {
            Ok(())
        } else {
            Err(refuse(class, layer, limits))
        })
    });
    met.map(drop).map_err(|denial| match denial {
        Unmet::Refused(refusal) => refusal,
        Unmet::NoOpinion => silence(Reason::PolicyDenied, FIELD, RULE, class),
    })
}

/// Whether the pod gets a user namespace: `Required` of one layer and `Disabled` of another leave nothing to run.
fn user_namespace(layers: &[Arc<ParsedPolicy>], class: &RuntimeClassFact) -> Result<Sourced<bool>, Refusal> {
    const RULE: &str = "limits.runtime.userNamespaces";
    let strictest_of = |strictness: fn(UserNamespaces) -> u8| {
        strictest(
            layers,
            RULE,
            |layer| layer.runtime.as_ref()?.user_namespaces,
            strictness,
            UserNamespaces::Disabled,
        )
    };
    let required_first = strictest_of(|mode| match mode {
        UserNamespaces::Required => 2,
        UserNamespaces::Disabled => 1,
        UserNamespaces::Preferred => 0,
    });
    let disabled_first = strictest_of(|mode| u8::from(mode == UserNamespaces::Disabled));
    let refusal = |reason, why: String, help: &str| Refusal {
        reason,
        layer: match &required_first.source {
            crate::source::Source::Layer { layer, .. } => Some(layer.clone()),
            _ => None,
        },
        field: "hostUsers".to_owned(),
        rule: Some(RULE.to_owned()),
        offered: class.name.clone(),
        allowed: Vec::new(),
        why,
        help: help.to_owned(),
    };
    let is_own = match (required_first.value, class.user_namespaces) {
        (UserNamespaces::Required, _) if disabled_first.value == UserNamespaces::Disabled => {
            return Err(refusal(
                Reason::PolicyDenied,
                format!("it is Required here and Disabled by {}", disabled_first.source),
                "have the policies agree on userNamespaces",
            ));
        }
        (UserNamespaces::Required, UserNamespaceSupport::Nowhere) => {
            return Err(refusal(
                Reason::RuntimeUnavailable,
                "no node advertises user namespaces for this class's handler".to_owned(),
                "use a runtime that supports them, or relax userNamespaces",
            ));
        }
        (UserNamespaces::Required, _) => true,
        (UserNamespaces::Preferred, support) => support == UserNamespaceSupport::Everywhere,
        (UserNamespaces::Disabled, _) => false,
    };
    Ok(Sourced {
        value: is_own,
        source: required_first.source,
    })
}

fn refuse(class: &str, layer: &ParsedPolicy, limits: &RuntimeLimits) -> Refusal {
    Refusal {
        reason: Reason::PolicyDenied,
        layer: Some(layer.layer.clone()),
        field: FIELD.to_owned(),
        rule: Some(format!("{RULE}.runtimeClassNames")),
        offered: class.to_owned(),
        allowed: limits.runtime_class_names.clone(),
        why: "no class is allowed by every policy in force; this one is the first of those preferred"
            .to_owned(),
        help: "have the policies agree on a RuntimeClass".to_owned(),
    }
}

fn unavailable(class: &str, existing: &[RuntimeClassFact]) -> Refusal {
    let existing: Vec<String> = existing.iter().map(|fact| fact.name.clone()).collect();
    Refusal {
        reason: Reason::RuntimeUnavailable,
        layer: None,
        field: FIELD.to_owned(),
        rule: Some(format!("{RULE}.runtimeClassNames")),
        offered: class.to_owned(),
        allowed: Vec::new(),
        why: format!(
            "policy demands this RuntimeClass and the cluster does not have it (it has {})",
            if existing.is_empty() {
                "none".to_owned()
            } else {
                listed(&existing)
            }
        ),
        help: "install the runtime and its RuntimeClass, or change the order in limits.runtime.runtimeClassNames; \
               Cofferdam never falls back to another class"
            .to_owned(),
    }
}
