//! Credentials: which ones the policies of a run name, whether its namespace may use them, and where they may be sent.
//!
//! A credential is an obligation and not a permission: requests are allowed by methods and paths, and of those that a rule
//! with a credential allows the gateway adds it. A layer that names none has no opinion; layers that name different ones
//! for a request deny it. What the run asks for can only take away.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt as _;
use kube::core::{Selector, SelectorExt as _};
use serde::{Deserialize, Serialize};

use crate::dimension::egress::{EgressAsk, EgressRule};
use crate::layer::parsed::{ParsedPolicy, RepositoryGrant};
use crate::pattern::host::{Host, HostPattern};
use crate::pattern::sorted;
use crate::refusal::{Layer, Refusal, first_of};
use crate::source::Source;
use cofferdam_api::names::short_hash;
use cofferdam_api::{
    AgentRunSpec, BasicInjection, CredentialType, HeaderInjection, Reason, SandboxCredential,
};

/// Characters of a placeholder behind its prefix, where no provider's keys are of a certain length.
const PLACEHOLDER_LENGTH: usize = 52;

/// How the keys of well-known providers begin and how long the rest is, by the variables that their tools read.
const KNOWN_KEYS: &[(&[&str], &str, usize)] = &[
    (
        &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"],
        "sk-ant-api03-",
        PLACEHOLDER_LENGTH,
    ),
    (
        &["OPENAI_API_KEY", "CODEX_API_KEY"],
        "sk-proj-",
        PLACEHOLDER_LENGTH,
    ),
    (&["GEMINI_API_KEY", "GOOGLE_API_KEY"], "AIzaSy", 33),
    (&["GITHUB_TOKEN", "GH_TOKEN"], "ghp_", 36),
    (&["GITLAB_TOKEN"], "glpat-", 20),
];

/// What the gateway has to know of a credential; its value is not among it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Credential {
    /// Its name.
    pub name: String,
    /// Hosts to which it may ever be sent, in order.
    pub hosts: Vec<Host>,
    /// Where its value stands.
    pub secret: SecretKey,
    /// How it is sent.
    pub inject: Injection,
    /// What the agent sees in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<Placeholder>,
}

/// A key of a Secret in the credentials' namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret.
    pub name: String,
    /// Key of its value.
    pub key: String,
}

/// How a credential is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "type")]
pub enum Injection {
    /// In a header.
    Header {
        /// Name of the header, in small letters.
        header: String,
        /// Word before the value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scheme: Option<String>,
    },
    /// As the password of basic authentication.
    Basic {
        /// The user.
        username: String,
    },
}

/// What stands in the agent's environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Placeholder {
    /// The variable.
    pub env: String,
    /// How the value begins.
    pub prefix: String,
    /// How many characters follow.
    pub length: usize,
}

/// A definition says what no credential can be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// A host.
    #[error("spec.hosts: {0:?} is not a host name")]
    Host(String),
    /// Neither or both ways of sending it.
    #[error("exactly one of spec.inject and spec.basic must be given")]
    Injection,
    /// The selector.
    #[error("spec.namespaceSelector: {0}")]
    Selector(String),
}

/// A credential that a run's policies name, and who names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The credential.
    pub credential: Credential,
    /// The first rule that names it.
    pub source: Source,
}

impl Credential {
    /// Reads a definition.
    ///
    /// # Errors
    /// [`CredentialError`]: the schema takes no such definition, but not every reader has the schema.
    pub fn read(definition: &SandboxCredential) -> Result<Self, CredentialError> {
        let spec = &definition.spec;
        // Without a catch-all: another type says here what it is made of.
        let secret = match spec.type_ {
            CredentialType::Secret => SecretKey {
                name: spec.secret_name.clone(),
                key: spec.secret_key.clone(),
            },
        };
        let hosts = spec
            .hosts
            .iter()
            .map(|host| Host::parse(host).map_err(|_| CredentialError::Host(host.clone())));
        let inject = match (&spec.inject, &spec.basic) {
            (Some(HeaderInjection { header, scheme }), None) => Injection::Header {
                header: header.to_ascii_lowercase(),
                scheme: scheme.clone(),
            },
            (None, Some(BasicInjection { username })) => Injection::Basic {
                username: username.clone(),
            },
            (None, None) | (Some(_), Some(_)) => return Err(CredentialError::Injection),
        };
        Ok(Self {
            name: definition.name_any(),
            hosts: sorted(hosts.collect::<Result<_, _>>()?),
            secret,
            inject,
            placeholder: spec.placeholder.as_ref().map(Placeholder::of),
        })
    }

    /// Whether it may ever be sent to the host.
    pub fn may_go_to(&self, host: &Host) -> bool {
        self.hosts.contains(host)
    }

    /// The variable and the value that the agent of a run sees. The value is made from the run's random uid, so that
    /// whoever knows the run can tell it and nothing has to be handed on.
    pub fn placeholder(&self, run_uid: &str) -> Option<(&str, String)> {
        let Placeholder { env, prefix, length } = self.placeholder.as_ref()?;
        let mark = short_hash(format!("cofferdam placeholder\0{run_uid}\0{}", self.name).as_bytes());
        let rest: String = mark.chars().take(*length).collect();
        Some((env, format!("{prefix}{rest}")))
    }
}

impl Placeholder {
    fn of(asked: &cofferdam_api::Placeholder) -> Self {
        let known = KNOWN_KEYS
            .iter()
            .find(|(names, ..)| names.contains(&asked.env.as_str()))
            .map_or(("", PLACEHOLDER_LENGTH), |(_, prefix, length)| (*prefix, *length));
        let (prefix, length) = match &asked.prefix {
            Some(prefix) if prefix != known.0 => (prefix.as_str(), PLACEHOLDER_LENGTH),
            _ => known,
        };
        Self {
            env: asked.env.clone(),
            prefix: prefix.to_owned(),
            length,
        }
    }
}

/// Whether runs of a namespace with these labels may use a credential.
///
/// # Errors
/// Its selector has a mistake.
pub fn selects(
    definition: &SandboxCredential,
    labels: &BTreeMap<String, String>,
) -> Result<bool, CredentialError> {
    let selector: Selector =
        definition.spec.namespace_selector.clone().try_into().map_err(
            |error: kube::core::ParseExpressionError| CredentialError::Selector(error.to_string()),
        )?;
    Ok(selector.matches(labels))
}

/// A rule that names a credential.
struct Use<'a> {
    layer: &'a Layer,
    /// Where it stands.
    place: String,
    /// To which hosts it sends the credential.
    hosts: Vec<HostPattern>,
}

/// Which rules count.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// What the run asks to reach; absent: all that is granted.
    pub ask: Option<&'a EgressAsk>,
    /// Whether something that this rule grants may be cloned.
    pub clones: &'a dyn Fn(&RepositoryGrant) -> bool,
}

impl Use<'_> {
    fn source(&self) -> Source {
        Source::Layer {
            layer: self.layer.clone(),
            rule: self.place.clone(),
        }
    }

    fn refused(&self, name: &str, reason: Reason, why: String, help: String) -> Refusal {
        Refusal {
            reason,
            layer: Some(self.layer.clone()),
            field: "credential".to_owned(),
            rule: Some(self.place.clone()),
            offered: name.to_owned(),
            allowed: Vec::new(),
            why,
            help,
        }
    }
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

/// The credentials that rules which count name, with those rules, in canonical order.
fn named<'a>(layers: &'a [Arc<ParsedPolicy>], scope: Scope<'_>) -> BTreeMap<&'a str, Vec<Use<'a>>> {
    let mut named: BTreeMap<&str, Vec<Use<'_>>> = BTreeMap::new();
    for policy in layers {
        let mut name = |credential: &'a str, place: String, hosts: Vec<HostPattern>| {
            let layer = &policy.layer;
            let using = Use { layer, place, hosts };
            named.entry(credential).or_default().push(using);
        };
        for rule in policy.egress.iter().flat_map(|egress| egress.allowed()) {
            if let Some(credential) = rule
                .credential
                .as_deref()
                .filter(|_| is_asked_for(rule, scope.ask))
            {
                let place = format!("limits.egress.rules[{}].credential", rule.name);
                name(credential, place, rule.hosts.clone());
            }
        }
        for rule in policy.repositories.iter().flatten() {
            if let Some(credential) = rule.credential.as_deref().filter(|_| (scope.clones)(rule)) {
                let place = format!("limits.repositories.clone[{}].credential", rule.name);
                name(
                    credential,
                    place,
                    vec![HostPattern::Exact(rule.url.host().clone())],
                );
            }
        }
    }
    named
}

fn is_asked_for(rule: &EgressRule, ask: Option<&EgressAsk>) -> bool {
    ask.is_none_or(|ask| {
        ask.asked().iter().any(|asked| {
            let hosts = |host: &HostPattern| asked.hosts.iter().any(|known| known.overlaps(host));
            asked.ports.iter().any(|port| rule.ports.contains(port)) && rule.hosts.iter().any(hosts)
        })
    })
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
