//! Offline verification of ServiceAccount tokens against the API server's published keys.
//!
//! A token only says who asks. That its pod still lives is for the caller to know: an offline check cannot see it.

#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use parking_lot::RwLock;
use serde::Deserialize;
use tokio::sync::Mutex;

/// Longest token that is looked at, in bytes; the API server's are about 1 KiB.
const TOKEN_LIMIT: usize = 8 * 1024;
/// Seconds that this clock and the API server's may differ.
const CLOCK_SKEW_SECONDS: u64 = 10;
/// At most one read of the keys in this time, however many unknown key ids are shown to us.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// Keys are read again when they are older, so that a key that was withdrawn stops being trusted.
const KEYS_MAX_AGE: Duration = Duration::from_mins(10);

/// Why a token is not believed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not a token of the form that the API server issues.
    #[error("the token is malformed: {0}")]
    Malformed(String),
    /// Signature, issuer or audience are wrong.
    #[error("the token is not valid here: {0}")]
    Invalid(String),
    /// Outside of its time.
    #[error("the token is outside of its time of validity")]
    Expired,
    /// The signing keys could not be read, so nothing can be verified.
    #[error("the cluster's signing keys cannot be read: {0}")]
    KeysUnavailable(String),
}

/// What a verified token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `system:serviceaccount:<namespace>:<name>`.
    pub username: String,
    /// Namespace of the ServiceAccount, and of the pod if there is one.
    pub namespace: String,
    /// Name of the ServiceAccount.
    pub service_account: String,
    /// The pod that the token is bound to.
    pub pod: Option<PodIdentity>,
    /// The token's one audience.
    pub audience: String,
}

/// The pod that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PodIdentity {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

/// The issuer and its keys as the API server publishes them.
#[derive(Clone, Debug)]
pub struct Published {
    /// `iss` of every token.
    pub issuer: String,
    /// The public keys.
    pub keys: JwkSet,
}

/// Where the keys come from.
pub trait KeySource: Send + Sync {
    /// Reads issuer and keys; the error is for people.
    fn read(&self) -> BoxFuture<'_, Result<Published, String>>;
}

/// Reads the keys from the API server's discovery documents.
pub struct ClusterKeys(pub kube::Client);

impl KeySource for ClusterKeys {
    fn read(&self) -> BoxFuture<'_, Result<Published, String>> {
        Box::pin(async move {
            #[derive(Deserialize)]
            struct Discovery {
                issuer: String,
            }
            let discovery: Discovery = self.get("/.well-known/openid-configuration").await?;
            let keys: JwkSet = self.get("/openid/v1/jwks").await?;
            Ok(Published {
                issuer: discovery.issuer,
                keys,
            })
        })
    }
}

impl ClusterKeys {
    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let request = http::Request::get(path)
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        let text = self
            .0
            .request_text(request)
            .await
            .map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))
    }
}

struct Keys {
    issuer: String,
    by_id: HashMap<String, (DecodingKey, Algorithm)>,
    read_at: Instant,
}

/// Verifies tokens; cheap to share.
pub struct Verifier {
    source: Box<dyn KeySource>,
    keys: RwLock<Option<Arc<Keys>>>,
    last_attempt: Mutex<Option<Instant>>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audiences,
    exp: u64,
    nbf: Option<u64>,
    #[serde(rename = "kubernetes.io")]
    kubernetes: KubernetesClaims,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct KubernetesClaims {
    namespace: String,
    pod: Option<PodIdentity>,
    serviceaccount: ServiceAccountClaim,
}

#[derive(Deserialize)]
struct ServiceAccountClaim {
    name: String,
}

impl Verifier {
    /// A verifier that reads its keys from `source` when the first token comes.
    pub fn new(source: impl KeySource + 'static) -> Self {
        Self {
            source: Box::new(source),
            keys: RwLock::new(None),
            last_attempt: Mutex::new(None),
        }
    }

    /// Verifies `token` at `now` (seconds since the epoch); its audience must be exactly one of `audiences`.
    pub async fn verify(&self, token: &str, audiences: &[&str], now: u64) -> Result<Identity, TokenError> {
        if token.len() > TOKEN_LIMIT {
            return Err(TokenError::Malformed("longer than 8 KiB".to_owned()));
        }
        let header =
            jsonwebtoken::decode_header(token).map_err(|error| TokenError::Malformed(error.to_string()))?;
        let id = header
            .kid
            .ok_or_else(|| TokenError::Malformed("no key id".to_owned()))?;
        let keys = self.keys_with(&id).await?;
        let (key, algorithm) = keys.by_id.get(&id).ok_or_else(|| {
            TokenError::Invalid("signed with a key that the cluster does not publish".to_owned())
        })?;
        // The key decides the algorithm. Time, issuer and audience are judged below, stricter than the library would.
        let mut validation = Validation::new(*algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &validation)
            .map_err(|error| TokenError::Invalid(error.to_string()))?
            .claims;
        judge(claims, &keys.issuer, audiences, now)
    }

    async fn keys_with(&self, id: &str) -> Result<Arc<Keys>, TokenError> {
        if let Some(keys) = self.current()
            && keys.by_id.contains_key(id)
            && keys.read_at.elapsed() < KEYS_MAX_AGE
        {
            return Ok(keys);
        }
        let mut last = self.last_attempt.lock().await;
        let due = last.is_none_or(|at| at.elapsed() >= REFRESH_INTERVAL);
        if !due {
            return self.current().ok_or_else(|| {
                TokenError::KeysUnavailable("they are read again in some seconds".to_owned())
            });
        }
        *last = Some(Instant::now());
        match self.source.read().await {
            Ok(published) => {
                let keys = Arc::new(Keys::from(published));
                *self.keys.write() = Some(Arc::clone(&keys));
                Ok(keys)
            }
            // Old keys stay good while the API server is away: the pods' view closes the exit soon after anyway.
            Err(error) => self.current().ok_or(TokenError::KeysUnavailable(error)),
        }
    }

    fn current(&self) -> Option<Arc<Keys>> {
        self.keys.read().clone()
    }
}

impl From<Published> for Keys {
    fn from(published: Published) -> Self {
        let by_id = published.keys.keys.iter().filter_map(usable).collect();
        Self {
            issuer: published.issuer,
            by_id,
            read_at: Instant::now(),
        }
    }
}

/// Only the two kinds of key with which Kubernetes signs in practice.
fn usable(jwk: &Jwk) -> Option<(String, (DecodingKey, Algorithm))> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => Algorithm::ES256,
        _ => return None,
    };
    let id = jwk.common.key_id.clone()?;
    Some((id, (DecodingKey::from_jwk(jwk).ok()?, algorithm)))
}

fn judge(claims: Claims, issuer: &str, audiences: &[&str], now: u64) -> Result<Identity, TokenError> {
    if claims.iss != issuer {
        return Err(TokenError::Invalid("it comes from another issuer".to_owned()));
    }
    let audience = match claims.aud {
        Audiences::One(audience) => Some(audience),
        Audiences::Many(mut list) => list.pop().filter(|_| list.is_empty()),
    };
    let audience = audience
        .filter(|audience| audiences.contains(&audience.as_str()))
        .ok_or_else(|| TokenError::Invalid("it is meant for another audience".to_owned()))?;
    let started = claims
        .nbf
        .is_none_or(|not_before| not_before <= now.saturating_add(CLOCK_SKEW_SECONDS));
    if !started || claims.exp.saturating_add(CLOCK_SKEW_SECONDS) <= now {
        return Err(TokenError::Expired);
    }
    let identity = Identity {
        username: claims.sub,
        namespace: claims.kubernetes.namespace,
        service_account: claims.kubernetes.serviceaccount.name,
        pod: claims.kubernetes.pod,
        audience,
    };
    let named = format!(
        "system:serviceaccount:{}:{}",
        identity.namespace, identity.service_account
    );
    if identity.username != named {
        return Err(TokenError::Invalid(
            "its subject is not its ServiceAccount".to_owned(),
        ));
    }
    Ok(identity)
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
