//! The values of the credentials' namespace and the definitions of the cluster, as the watches show them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use parking_lot::RwLock;

use super::answers::Answers;
use super::sent::Sent;
use super::value::{Value, ValueError};
use crate::denial::Denial;
use cofferdam_policy::dimension::credentials::{Credential, SecretKey};
use cofferdam_policy::frozen::FrozenPolicy;
use cofferdam_policy::pattern::host::Host;
use cofferdam_wire::credential::{CredentialHealth, HealthReason};
use cofferdam_wire::denial::DenialCode;

/// For so long values are used after their watch has ended: what is read anew may be another value.
const STALE_AFTER: Duration = Duration::from_secs(30);

/// Why a credential is not sent. No message holds a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The watches have shown nothing yet, or have ended some time ago.
    #[error("the gateway does not see the Secrets of the credentials' namespace")]
    NotSeen,
    /// The definition is gone.
    #[error("there is no SandboxCredential of this name any more")]
    Gone,
    /// The definition is not what it was when the run was admitted.
    #[error("its SandboxCredential has changed since the run was admitted; start a new run")]
    Changed,
    /// No definition lets it go to the host.
    #[error("its SandboxCredential does not list the host")]
    OtherHost,
    /// There is no such Secret.
    #[error("there is no Secret {0} in the credentials' namespace")]
    NoSecret(String),
    /// It lacks the key.
    #[error("Secret {0} of the credentials' namespace has no key {1}")]
    NoKey(String, String),
    /// The value cannot be sent.
    #[error("the value of key {1} in Secret {0} of the credentials' namespace cannot be used: {2}")]
    Value(String, String, ValueError),
    /// The definition cannot be used.
    #[error("its SandboxCredential cannot be used: {0}")]
    Malformed(&'static str),
}

impl Fault {
    const fn reason(&self) -> HealthReason {
        match self {
            Self::NotSeen => HealthReason::NotSeen,
            Self::NoSecret(_) => HealthReason::SecretMissing,
            Self::NoKey(..) => HealthReason::SecretKeyMissing,
            Self::Value(..) => HealthReason::SecretMalformed,
            Self::Gone | Self::Changed | Self::OtherHost | Self::Malformed(_) => HealthReason::Malformed,
        }
    }
}

/// The denial of a request that needs a credential which is not there.
fn unavailable(name: &str, fault: &Fault) -> Denial {
    let message = format!("credential {name} cannot be added: {fault}");
    Denial::new(DenialCode::CredentialUnavailable, message)
}

/// The values of one Secret.
pub struct Values {
    name: String,
    keys: BTreeMap<String, Result<Arc<Value>, ValueError>>,
}

impl Values {
    /// Takes the values out of a Secret.
    pub fn of(secret: Secret) -> Self {
        let name = secret.name_any();
        let data = secret.data.unwrap_or_default().into_iter();
        Self {
            name,
            keys: data
                .map(|(key, bytes)| (key, Value::read(bytes.0).map(Arc::new)))
                .collect(),
        }
    }
}

/// What the watches show of one kind of objects.
struct Watched<T> {
    /// By name; `None`: they have not been listed yet.
    all: Option<HashMap<String, T>>,
    /// Since when the watch is not open.
    closed: Option<Instant>,
}

impl<T> Default for Watched<T> {
    fn default() -> Self {
        Self {
            all: None,
            closed: Some(Instant::now()),
        }
    }
}

impl<T> Watched<T> {
    fn open(&mut self, open: bool) {
        self.closed = match (open, self.closed) {
            (true, _) => None,
            (false, since) => since.or_else(|| Some(Instant::now())),
        };
    }

    fn seen(&self, now: Instant) -> Option<&HashMap<String, T>> {
        let is_stale = self
            .closed
            .is_some_and(|since| now.saturating_duration_since(since) > STALE_AFTER);
        self.all.as_ref().filter(|_| !is_stale)
    }
}

/// What is known of credentials.
#[derive(Default)]
pub struct Credentials {
    /// What hosts make of the values.
    pub answers: Answers,
    secrets: RwLock<Watched<Values>>,
    definitions: RwLock<Watched<Option<Credential>>>,
}

impl Credentials {
    /// The credential of this name in a run's policy, as it is sent to `host` now.
    ///
    /// # Errors
    /// It cannot be.
    pub fn of(&self, policy: &FrozenPolicy, name: &str, host: &Host, now: Instant) -> Result<Sent, Denial> {
        let frozen = policy.credential(name).ok_or(Fault::Gone);
        frozen
            .and_then(|frozen| self.find(frozen, host, now))
            .map_err(|fault| unavailable(name, &fault))
    }

    /// The credential of a frozen policy as it is sent to `host` now.
    ///
    /// # Errors
    /// [`Fault`].
    fn find(&self, frozen: &Credential, host: &Host, now: Instant) -> Result<Sent, Fault> {
        {
            let definitions = self.definitions.read();
            let defined = definitions.seen(now).ok_or(Fault::NotSeen)?.get(&frozen.name);
            let live = match defined {
                Some(Some(live)) => live,
                Some(None) => return Err(Fault::Malformed("it cannot be read")),
                None => return Err(Fault::Gone),
            };
            if (&live.secret, &live.inject) != (&frozen.secret, &frozen.inject) {
                return Err(Fault::Changed);
            }
            if !(live.may_go_to(host) && frozen.may_go_to(host)) {
                return Err(Fault::OtherHost);
            }
        }
        Sent::new(frozen, self.value(&frozen.secret, now)?)
    }

    fn value(&self, at: &SecretKey, now: Instant) -> Result<Arc<Value>, Fault> {
        let secrets = self.secrets.read();
        let SecretKey { name, key } = at;
        let secret = secrets.seen(now).ok_or(Fault::NotSeen)?.get(name);
        let values = secret.ok_or_else(|| Fault::NoSecret(name.clone()))?;
        match values.keys.get(key) {
            Some(Ok(value)) => Ok(Arc::clone(value)),
            Some(Err(error)) => Err(Fault::Value(name.clone(), key.clone(), *error)),
            None => Err(Fault::NoKey(name.clone(), key.clone())),
        }
    }

    /// Whether each credential of the cluster could be sent now, by name; `None`: the watches have not shown them yet.
    pub fn health(&self, now: Instant) -> Option<Vec<CredentialHealth>> {
        let definitions = self.definitions.read();
        let mut all: Vec<CredentialHealth> = definitions
            .seen(now)?
            .iter()
            .map(|(name, credential)| self.health_of(name, credential.as_ref(), now))
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Some(all)
    }

    fn health_of(&self, name: &str, credential: Option<&Credential>, now: Instant) -> CredentialHealth {
        let found = match credential {
            Some(credential) => self
                .value(&credential.secret, now)
                .and_then(|value| Sent::new(credential, value)),
            None => Err(Fault::Malformed("it cannot be read")),
        };
        let refused_in = match &found {
            Ok(sent) => self.answers.refused_in(name, sent.value(), now),
            Err(_) => Vec::new(),
        };
        let (reason, message) = match found {
            Ok(_) if refused_in.is_empty() => (HealthReason::Ready, "The gateway has its value.".to_owned()),
            Ok(_) => (
                HealthReason::Rejected,
                "A host answers 401 to requests with its value: it is not, or no more, one that the host takes.".to_owned(),
            ),
            Err(fault) => (fault.reason(), format!("{fault}.")),
        };
        CredentialHealth {
            name: name.to_owned(),
            reason: reason.into(),
            message,
            refused_in,
        }
    }

    /// These are all Secrets.
    pub fn replace_secrets(&self, all: Vec<Values>) {
        let by_name = all.into_iter().map(|values| (values.name.clone(), values));
        self.secrets.write().all = Some(by_name.collect());
    }

    /// A Secret was made or changed.
    pub fn put_secret(&self, values: Values) {
        if let Some(all) = &mut self.secrets.write().all {
            all.insert(values.name.clone(), values);
        }
    }

    /// A Secret is gone.
    pub fn remove_secret(&self, name: &str) {
        if let Some(all) = &mut self.secrets.write().all {
            all.remove(name);
        }
    }

    /// Whether the watch of Secrets is open.
    pub fn set_secrets_open(&self, open: bool) {
        self.secrets.write().open(open);
    }

    /// These are all definitions; one that cannot be read is `None`.
    pub fn replace_definitions(&self, all: Vec<(String, Option<Credential>)>) {
        self.definitions.write().all = Some(all.into_iter().collect());
    }

    /// A definition was made or changed.
    pub fn put_definition(&self, name: String, credential: Option<Credential>) {
        if let Some(all) = &mut self.definitions.write().all {
            all.insert(name, credential);
        }
    }

    /// A definition is gone.
    pub fn remove_definition(&self, name: &str) {
        if let Some(all) = &mut self.definitions.write().all {
            all.remove(name);
        }
    }

    /// Whether the watch of definitions is open.
    pub fn set_definitions_open(&self, open: bool) {
        self.definitions.write().open(open);
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Credentials without a cluster.

    use super::*;
    use cofferdam_policy::dimension::credentials::Injection;

    /// A credential in header `x-api-key`, whose value stands in the Secret `of-<name>`.
    pub(crate) fn credential(name: &str, host: &str) -> Credential {
        Credential {
            name: name.to_owned(),
            hosts: vec![host.parse().unwrap()],
            secret: SecretKey {
                name: format!("of-{name}"),
                key: "token".to_owned(),
            },
            inject: Injection::Header {
                header: "x-api-key".to_owned(),
                scheme: None,
            },
            placeholder: None,
        }
    }

    /// A Secret as a watch gives it.
    pub(crate) fn secret(name: &str, values: &[(&str, &str)]) -> Values {
        let data = values.iter().map(|(key, value)| ((*key).to_owned(), *value));
        let secret = serde_json::json!({"metadata": {"name": name}});
        let mut secret: Secret = serde_json::from_value(secret).unwrap();
        secret.data = Some(
            data.map(|(key, value)| (key, k8s_openapi::ByteString(value.as_bytes().to_vec())))
                .collect(),
        );
        Values::of(secret)
    }

    /// What the watches show of these, open.
    pub(crate) fn store(credentials: &[Credential], secrets: Vec<Values>) -> Credentials {
        let store = Credentials::default();
        let named = credentials
            .iter()
            .map(|credential| (credential.name.clone(), Some(credential.clone())));
        store.replace_definitions(named.collect());
        store.replace_secrets(secrets);
        store.set_definitions_open(true);
        store.set_secrets_open(true);
        store
    }
}

#[cfg(test)]
mod tests;
