//! The Secret with the controller's key for statements: `current.key`, and `keys.json` with the public half of every key
//! that ever was the current one. A private key that is replaced is gone.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use pem::{EncodeConfig, LineEnding};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use cofferdam_wire::keys::{ED25519, PublicKey, PublicKeys, VERSION, key_id, spki};

use crate::inspection::Data;

const KEY: &str = "current.key";
const KEYS: &str = "keys.json";

/// How long one key signs.
const PERIOD: SignedDuration = SignedDuration::from_hours(24 * 90);
/// Keys that are published; the oldest goes first. With one each 90 days these are 31 years.
const KEPT: usize = 128;

/// Why the content cannot be kept up.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The random numbers of the system failed.
    #[error("a key cannot be made")]
    Make,
    /// Another version of this role wrote it.
    #[error("its keys.json has version {0}, of a newer release: install that release again")]
    Newer(u32),
    /// It cannot be written.
    #[error("its keys.json cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// What the Secret has to hold at `now`; nothing if it does.
///
/// # Errors
/// It cannot be kept up.
pub fn kept_up(data: &Data, now: Timestamp) -> Result<Option<Data>, SigningError> {
    let known = published(data)?;
    if let Some(known) = &known
        && has_key(data, &known.current)
        && !is_old(known, now)
    {
        return Ok(None);
    }
    let (pem, public) = make()?;
    let id = key_id(&public);
    let mut keys: Vec<PublicKey> = known.map(|known| known.keys).unwrap_or_default();
    for key in &mut keys {
        key.retired.get_or_insert_with(|| now.to_string());
    }
    keys.insert(
        0,
        PublicKey {
            key_id: id.clone(),
            algorithm: ED25519.to_owned(),
            public_key: in_pem("PUBLIC KEY", &spki(&public)),
            created: now.to_string(),
            retired: None,
        },
    );
    keys.truncate(KEPT);
    let keys = PublicKeys {
        version: VERSION,
        current: id,
        keys,
    };
    Ok(Some(Data::from([
        (KEY.to_owned(), ByteString(pem.into_bytes())),
        (KEYS.to_owned(), ByteString(serde_json::to_vec(&keys)?)),
    ])))
}

/// The public keys that the Secret tells of; none if it tells of none.
///
/// # Errors
/// A newer release wrote them.
pub fn published(data: &Data) -> Result<Option<PublicKeys>, SigningError> {
    let Some(bytes) = data.get(KEYS) else {
        return Ok(None);
    };
    match PublicKeys::parse(&bytes.0) {
        Ok(keys) if keys.version > VERSION => Err(SigningError::Newer(keys.version)),
        Ok(keys) => Ok(Some(keys)),
        Err(error) => {
            tracing::warn!(%error, "the list of public keys cannot be read and begins anew");
            Ok(None)
        }
    }
}

/// Whether the private key is there, and is the one of this id.
fn has_key(data: &Data, id: &str) -> bool {
    let key = || {
        let pem = pem::parse(&data.get(KEY)?.0).ok()?;
        let pair = Ed25519KeyPair::from_pkcs8(pem.contents()).ok()?;
        let public = pair.public_key().as_ref().try_into().ok()?;
        Some(key_id(public))
    };
    key().is_some_and(|found| found == id)
}

fn is_old(known: &PublicKeys, now: Timestamp) -> bool {
    let current = known.keys.iter().find(|key| key.key_id == known.current);
    let created = current.and_then(|key| key.created.parse::<Timestamp>().ok());
    created.is_none_or(|created| now.duration_since(created) >= PERIOD)
}

/// A private key in PEM (PKCS#8), and its public half.
fn make() -> Result<(String, [u8; 32]), SigningError> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| SigningError::Make)?;
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| SigningError::Make)?;
    let public = pair
        .public_key()
        .as_ref()
        .try_into()
        .map_err(|_| SigningError::Make)?;
    let pem = in_pem("PRIVATE KEY", document.as_ref());
    Ok((pem, public))
}

fn in_pem(kind: &str, bytes: &[u8]) -> String {
    let lines = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&pem::Pem::new(kind, bytes), lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-26T10:00:00Z".parse().unwrap()
    }

    fn keys(data: &Data) -> PublicKeys {
        published(data).unwrap().unwrap()
    }

    #[test]
    fn empty_secret_is_filled_and_a_filled_one_left_alone() {
        let data = kept_up(&Data::new(), now()).unwrap().unwrap();
        let keys = keys(&data);
        assert_eq!(keys.keys.len(), 1);
        assert_eq!(keys.current, keys.keys[0].key_id);
        assert!(
            keys.keys[0]
                .public_key
                .starts_with("-----BEGIN PUBLIC KEY-----\nMCow")
        );
        assert_eq!(
            kept_up(&data, now() + PERIOD - SignedDuration::from_secs(1)).unwrap(),
            None
        );
    }

    #[test]
    fn old_key_is_replaced_and_its_public_half_stays() {
        let first = kept_up(&Data::new(), now()).unwrap().unwrap();
        let second = kept_up(&first, now() + PERIOD).unwrap().unwrap();
        let (before, after) = (keys(&first), keys(&second));
        assert_eq!(after.keys.len(), 2);
        assert_ne!(after.current, before.current);
        assert_eq!(after.keys[1].key_id, before.current);
        assert_eq!(after.keys[1].public_key, before.keys[0].public_key);
        assert_eq!(after.keys[1].retired, Some((now() + PERIOD).to_string()));
        assert_eq!(after.keys[0].retired, None);
        let third = kept_up(&second, now() + PERIOD * 2).unwrap().unwrap();
        assert_eq!(keys(&third).keys[2].retired, after.keys[1].retired);
    }

    #[test]
    fn a_lost_or_foreign_private_key_is_replaced_and_the_list_goes_on() {
        let first = kept_up(&Data::new(), now()).unwrap().unwrap();
        let other = kept_up(&Data::new(), now()).unwrap().unwrap();
        let mut lost = first.clone();
        lost.remove(KEY);
        let mut foreign = first.clone();
        foreign.insert(KEY.to_owned(), other[KEY].clone());
        for data in [lost, foreign] {
            let healed = kept_up(&data, now()).unwrap().unwrap();
            assert_eq!(keys(&healed).keys.len(), 2);
            assert_eq!(keys(&healed).keys[1].key_id, keys(&first).current);
            assert!(has_key(&healed, &keys(&healed).current));
        }
    }

    #[test]
    fn what_a_newer_release_wrote_is_left_alone() {
        let mut data = kept_up(&Data::new(), now()).unwrap().unwrap();
        data.insert(
            KEYS.to_owned(),
            ByteString(br#"{"version":2,"current":"","keys":[]}"#.to_vec()),
        );
        assert!(matches!(kept_up(&data, now()), Err(SigningError::Newer(2))));
    }
}
