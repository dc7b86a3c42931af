//! What a credential is: to which hosts it may go, where its value stands, how it is sent and what the agent sees instead.

use std::collections::BTreeMap;

use kube::ResourceExt as _;
use kube::core::{Selector, SelectorExt as _};
use serde::{Deserialize, Serialize};

use super::app::App;
use super::error::CredentialError;
use crate::dimension::repositories::AdmittedRepository;
use crate::pattern::host::Host;
use crate::pattern::sorted;
use cofferdam_api::names::short_hash;
use cofferdam_api::{BasicInjection, CredentialType, HeaderInjection, SandboxCredential};

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
    /// Where its value stands, or the private key of its App.
    pub secret: SecretKey,
    /// The GitHub App whose tokens are sent; absent: the value itself is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<App>,
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

impl Credential {
    /// Reads a definition.
    ///
    /// # Errors
    /// [`CredentialError`]: the schema takes no such definition, but not every reader has the schema.
    pub fn read(definition: &SandboxCredential) -> Result<Self, CredentialError> {
        let spec = &definition.spec;
        // Without a catch-all: another type says here what it is made of.
        let app = match (spec.type_, &spec.git_hub_app) {
            (CredentialType::Secret, None) => None,
            (CredentialType::GitHubApp, Some(app)) => Some(App::read(app)?),
            (CredentialType::Secret, Some(_)) => {
                return Err(CredentialError::App("it goes with type: GitHubApp".to_owned()));
            }
            (CredentialType::GitHubApp, None) => {
                return Err(CredentialError::App("it is missing".to_owned()));
            }
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
            secret: SecretKey {
                name: spec.secret_name.clone(),
                key: spec.secret_key.clone(),
            },
            app,
            inject,
            placeholder: spec.placeholder.as_ref().map(Placeholder::of),
        })
    }

    /// The same for a run that clones these repositories.
    #[must_use]
    pub(crate) fn for_run<'a>(self, repositories: impl IntoIterator<Item = &'a AdmittedRepository>) -> Self {
        Self {
            app: self.app.map(|app| app.for_run(repositories)),
            ..self
        }
    }

    /// Whether two definitions, of whatever run, send the same in the same way.
    pub fn is_sent_as(&self, other: &Self) -> bool {
        let app = |of: &Self| of.app.as_ref().map(App::definition);
        (&self.secret, &self.inject, app(self)) == (&other.secret, &other.inject, app(other))
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
