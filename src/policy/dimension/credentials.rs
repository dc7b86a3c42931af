//! Credentials: which ones the policies of a run name, whether its namespace may use them, and where they may be sent.
//!
//! A credential is an obligation and not a permission: requests are allowed by methods and paths, and of those that a rule
//! with a credential allows the gateway adds it. A layer that names none has no opinion; layers that name different ones
//! for a request deny it. What the run asks for can only take away.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt as _;

use self::uses::{Use, named};
use crate::layer::parsed::ParsedPolicy;
use crate::pattern::host::HostPattern;
use crate::refusal::{Refusal, first_of};
use crate::source::Source;
use cofferdam_api::{AgentRunSpec, Reason, SandboxCredential};

pub use self::app::{App, ScopeError};
pub use self::definition::{Credential, Injection, Placeholder, SecretKey, selects};
pub use self::error::CredentialError;
pub use self::uses::{Scope, hosts_named, named_by};

mod app;
mod definition;
mod error;
mod uses;

/// A credential that a run's policies name, and who names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The credential.
    pub credential: Credential,
    /// The first rule that names it.
    pub source: Source,
}

/// Decides about the credentials that the policies of a run name.
///
/// # Errors
/// As [`of_policies`]; or the run itself sets the variable of a placeholder.
pub(crate) fn decide(
    spec: &AgentRunSpec,
    namespace_labels: &BTreeMap<String, String>,
    layers: &[Arc<ParsedPolicy>],
    scope: Scope<'_>,
    definitions: &[SandboxCredential],
) -> Result<Vec<Granted>, Refusal> {
    let granted = of_policies(namespace_labels, layers, scope, definitions)?;
    for credential in &granted {
        leaves_placeholder_alone(spec, credential)?;
    }
    Ok(granted)
}

/// The credentials that the rules which count name, each with the first that does.
///
/// # Errors
/// The first refusal, in the order of the credentials' names: there is none of this name (`CredentialFailed`), the namespace
/// may not use it, a rule would send it elsewhere, or another one has the same variable.
pub fn of_policies(
    namespace_labels: &BTreeMap<String, String>,
    layers: &[Arc<ParsedPolicy>],
    scope: Scope<'_>,
    definitions: &[SandboxCredential],
) -> Result<Vec<Granted>, Refusal> {
    let mut granted: Vec<Granted> = Vec::new();
    for (name, uses) in named(layers, scope) {
        let Some(first) = uses.first() else {
            continue;
        };
        let found = definitions
            .iter()
            .find(|definition| definition.name_any() == name);
        let definition = found.ok_or_else(|| missing(name, first))?;
        let odd = |error: CredentialError| {
            let help =
                format!("correct SandboxCredential/{name}: no run starts under a policy that names it");
            first.refused(name, Reason::PolicyDenied, error.to_string(), help)
        };
        let credential = Credential::read(definition).map_err(odd)?;
        if !selects(definition, namespace_labels).map_err(odd)? {
            let why = "its namespaceSelector does not select the run's namespace".to_owned();
            let help = format!(
                "take it out of {}, or ask whoever owns SandboxCredential/{name} to select the namespace",
                first.layer
            );
            return Err(first.refused(name, Reason::PolicyDenied, why, help));
        }
        for using in &uses {
            stays_within(&credential, using)?;
        }
        has_its_own_variable(&credential, &granted, first)?;
        granted.push(Granted {
            credential,
            source: first.source(),
        });
    }
    Ok(granted)
}

#[cold]
fn missing(name: &str, using: &Use<'_>) -> Refusal {
    let why = "there is no SandboxCredential of this name".to_owned();
    let help = "ask whoever owns the cluster to create it, or have the rule name another one".to_owned();
    using.refused(name, Reason::CredentialFailed, why, help)
}

/// A rule sends its credential to all of its hosts.
fn stays_within(credential: &Credential, using: &Use<'_>) -> Result<(), Refusal> {
    let leaves = |host: &&HostPattern| match host {
        HostPattern::Exact(host) => !credential.may_go_to(host),
        HostPattern::Wildcard(_) => true,
    };
    let elsewhere: Vec<String> = using
        .hosts
        .iter()
        .filter(leaves)
        .map(ToString::to_string)
        .collect();
    if elsewhere.is_empty() {
        return Ok(());
    }
    let why = format!(
        "the rule would send it to {}, which is not among its hosts",
        first_of(&elsewhere, 3, str::to_owned)
    );
    let name = &credential.name;
    let help = format!(
        "take the host out of the rule, or ask whoever owns SandboxCredential/{name} to add it to spec.hosts"
    );
    Err(Refusal {
        allowed: credential.hosts.iter().map(ToString::to_string).collect(),
        ..using.refused(name, Reason::PolicyDenied, why, help)
    })
}

/// A variable has one value.
fn has_its_own_variable(credential: &Credential, others: &[Granted], using: &Use<'_>) -> Result<(), Refusal> {
    let Some(Placeholder { env, .. }) = &credential.placeholder else {
        return Ok(());
    };
    let sets_it = |other: &&Granted| {
        let placeholder = other.credential.placeholder.as_ref();
        placeholder.is_some_and(|placeholder| placeholder.env == *env)
    };
    let Some(other) = others.iter().find(sets_it) else {
        return Ok(());
    };
    let why = format!(
        "its placeholder sets {env}, and so does that of {}",
        other.credential.name
    );
    let help = "let the rules of a run's policies name one of them only".to_owned();
    Err(using.refused(&credential.name, Reason::PolicyDenied, why, help))
}

/// What the run says itself would take the placeholder's place.
fn leaves_placeholder_alone(spec: &AgentRunSpec, granted: &Granted) -> Result<(), Refusal> {
    let Some(Placeholder { env, .. }) = &granted.credential.placeholder else {
        return Ok(());
    };
    if spec.agent.env.iter().all(|variable| variable.name != *env) {
        return Ok(());
    }
    let (layer, rule) = match &granted.source {
        Source::Layer { layer, rule } => (Some(layer.clone()), Some(rule.clone())),
        Source::Run | Source::Default { .. } | Source::BuiltIn => (None, None),
    };
    Err(Refusal {
        reason: Reason::PolicyDenied,
        layer,
        field: format!("spec.agent.env[{env}]"),
        rule,
        offered: String::new(),
        allowed: Vec::new(),
        why: format!(
            "the placeholder of SandboxCredential/{} sets this variable",
            granted.credential.name
        ),
        help: "leave the variable out: the gateway adds the real key to the requests that policy lists"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests;
