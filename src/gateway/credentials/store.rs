//! The values of the credentials' namespace and the definitions of the cluster, as the watches show them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use parking_lot::{Mutex, RwLock};
use zeroize::Zeroizing;

use super::answers::Answers;
use super::app::fault::AppFault;
use super::app::jwt::{AppKey, KeyError};
use super::fault::Fault;
use super::sent::Sent;
use super::value::{Value, ValueError};
use cofferdam_policy::dimension::credentials::{Credential, SecretKey};
use cofferdam_policy::pattern::host::Host;
use cofferdam_wire::credential::{CredentialHealth, HealthReason};

/// For so long values are used after their watch has ended: what is read anew may be another value.
const STALE_AFTER: Duration = Duration::from_secs(30);

/// For so long the key of an App counts as refused, unless it is changed.
const REJECTED_LASTS: Duration = Duration::from_mins(5);
/// What a private key in PEM has.
const PEM: &[u8] = b"PRIVATE KEY-----";

/// The values of one Secret.
pub struct Values {
    name: String,
    keys: BTreeMap<String, Kept>,
}

/// The value of one key.
enum Kept {
    /// A word, which is sent as it is.
    Word(Result<Arc<Value>, ValueError>),
    /// A private key, with which tokens are asked for.
    Key(Result<Arc<AppKey>, KeyError>),
}

impl Kept {
    fn of(bytes: Vec<u8>) -> Self {
        let bytes = Zeroizing::new(bytes);
        if bytes.windows(PEM.len()).any(|part| part == PEM) {
            Self::Key(AppKey::read(&bytes).map(Arc::new))
        } else {
            Self::Word(Value::read(bytes.to_vec()).map(Arc::new))
        }
    }
}

/// What a credential is made of now.
pub enum Found {
    /// The header with its value.
    Sent(Sent),
    /// The private key of its App.
    Key(Arc<AppKey>),
}

impl Values {
    /// Takes the values out of a Secret.
    pub fn of(secret: Secret) -> Self {
        let name = secret.name_any();
        let data = secret.data.unwrap_or_default().into_iter();
        Self {
            name,
            keys: data.map(|(key, bytes)| (key, Kept::of(bytes.0))).collect(),
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
    /// The keys of Apps that GitHub did not take, by the names of the credentials.
    rejected: Mutex<HashMap<String, (Weak<AppKey>, Instant)>>,
    secrets: RwLock<Watched<Values>>,
    definitions: RwLock<Watched<Option<Credential>>>,
}

impl Credentials {
    /// The credential of a frozen policy as it is sent to `host` now.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn find(&self, frozen: &Credential, host: &Host, now: Instant) -> Result<Found, Fault> {
        {
            let definitions = self.definitions.read();
            let defined = definitions.seen(now).ok_or(Fault::NotSeen)?.get(&frozen.name);
            let live = match defined {
                Some(Some(live)) => live,
                Some(None) => return Err(Fault::Malformed("it cannot be read")),
                None => return Err(Fault::Gone),
            };
            if !live.is_sent_as(frozen) {
                return Err(Fault::Changed);
            }
            if !(live.may_go_to(host) && frozen.may_go_to(host)) {
                return Err(Fault::OtherHost);
            }
        }
        self.made_of(frozen, now)
    }

    /// What a definition is made of.
    fn made_of(&self, credential: &Credential, now: Instant) -> Result<Found, Fault> {
        let at = &credential.secret;
        let odd = |error| Fault::Value(at.name.clone(), at.key.clone(), error);
        let bad = |error| Fault::Key(at.name.clone(), at.key.clone(), error);
        let secrets = self.secrets.read();
        let kept = kept(&secrets, at, now)?;
        match (kept, &credential.app) {
            (Kept::Word(word), None) => {
                let value = word.as_ref().map_err(|error| odd(*error))?;
                Ok(Found::Sent(Sent::new(credential, Arc::clone(value))?))
            }
            (Kept::Key(key), Some(_)) => {
                let key = key.as_ref().map_err(|error| bad(*error))?;
                if self.is_rejected(&credential.name, key, now) {
                    return Err(AppFault::Rejected.into());
                }
                Ok(Found::Key(Arc::clone(key)))
            }
            (Kept::Key(_), None) => Err(odd(ValueError::OddByte)),
            (Kept::Word(_), Some(_)) => Err(bad(KeyError::NotPem)),
        }
    }

    /// Notes that GitHub does not take the signature of this key. It depends on nothing that a run says.
    pub fn note_rejected(&self, credential: &str, key: &Arc<AppKey>, now: Instant) {
        let mut all = self.rejected.lock();
        all.insert(credential.to_owned(), (Arc::downgrade(key), now));
    }

    fn is_rejected(&self, credential: &str, key: &Arc<AppKey>, now: Instant) -> bool {
        let all = self.rejected.lock();
        all.get(credential).is_some_and(|(rejected, at)| {
            let is_it = std::ptr::eq(rejected.as_ptr(), Arc::as_ptr(key));
            is_it && now.saturating_duration_since(*at) < REJECTED_LASTS
        })
    }
}

/// What stands at a key of a Secret.
fn kept<'a>(secrets: &'a Watched<Values>, at: &SecretKey, now: Instant) -> Result<&'a Kept, Fault> {
    let SecretKey { name, key } = at;
    let secret = secrets.seen(now).ok_or(Fault::NotSeen)?.get(name);
    let values = secret.ok_or_else(|| Fault::NoSecret(name.clone()))?;
    let kept = values.keys.get(key);
    kept.ok_or_else(|| Fault::NoKey(name.clone(), key.clone()))
}

impl Credentials {
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
            Some(credential) => self.made_of(credential, now),
            None => Err(Fault::Malformed("it cannot be read")),
        };
        let refused_in = match &found {
            Ok(Found::Sent(sent)) => self.answers.refused_in(name, sent.value(), now),
            Ok(Found::Key(_)) | Err(_) => Vec::new(),
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
            app: None,
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
