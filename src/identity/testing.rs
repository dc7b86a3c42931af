//! A key pair and a source of keys for the tests of everything that reads tokens.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::missing_panics_doc)]

use super::{Algorithm, Arc, BoxFuture, JwkSet, KeySource, Published, now};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

/// Issues tokens as the API server does.
pub struct Issuer {
    key: EncodingKey,
    /// What it publishes.
    pub keys: JwkSet,
}

/// Issuer that every token here names.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

impl Issuer {
    /// A new key pair whose key id is `id`.
    pub fn new(id: &str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let point = pair.public_key_raw();
        let encode = |bytes: &[u8]| base64url(bytes);
        let keys = serde_json::from_value(json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id,
            "x": encode(&point[1..33]), "y": encode(&point[33..65]),
        }]}))
        .unwrap();
        Self {
            key: EncodingKey::from_ec_der(&pair.serialize_der()),
            keys,
        }
    }

    /// A token with these claims, signed with ES256.
    pub fn sign(&self, claims: &Value) -> String {
        let id = self.keys.keys[0].common.key_id.clone();
        let header = Header {
            kid: id,
            ..Header::new(Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    /// A token of a pod of ServiceAccount `account`, good for an hour from now.
    pub fn pod_token(&self, audience: &str, namespace: &str, account: &str, pod: (&str, &str)) -> String {
        self.sign(&claims(audience, namespace, account, pod))
    }
}

/// Claims of a token that is bound to a pod, `(name, uid)`, and expires in an hour.
pub fn claims(audience: &str, namespace: &str, account: &str, pod: (&str, &str)) -> Value {
    json!({
        "iss": ISSUER, "aud": [audience], "exp": now() + 3600, "nbf": now(),
        "sub": format!("system:serviceaccount:{namespace}:{account}"),
        "kubernetes.io": {
            "namespace": namespace, "serviceaccount": {"name": account, "uid": "sa-uid"},
            "pod": {"name": pod.0, "uid": pod.1},
        },
    })
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let word =
                chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            (0..=chunk.len()).map(move |index| ALPHABET[(word >> (18 - 6 * index) & 63) as usize] as char)
        })
        .collect()
}

/// Hands out what it was made with, and counts.
#[derive(Clone)]
pub struct FixedKeys(pub Arc<parking_lot::Mutex<(JwkSet, usize)>>);

impl FixedKeys {
    /// The keys of `issuer`, not read yet.
    pub fn of(issuer: &Issuer) -> Self {
        Self(Arc::new(parking_lot::Mutex::new((issuer.keys.clone(), 0))))
    }
}

impl KeySource for FixedKeys {
    fn read(&self) -> BoxFuture<'_, Result<Published, String>> {
        Box::pin(async {
            let mut state = self.0.lock();
            state.1 += 1;
            Ok(Published {
                issuer: ISSUER.to_owned(),
                keys: state.0.clone(),
            })
        })
    }
}
