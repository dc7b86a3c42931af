//! The Secret with the serving certificate of the role `output`: `tls.crt`, `tls.key`, and in `ca.crt` what its one client,
//! the API server, is to trust.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};

use cofferdam_api::names;

use crate::certificate::{CertificateError, server};
use crate::inspection::Data;

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// The authorities of this certificate and of the one before: a role that has not read the change is trusted on.
pub const AUTHORITIES: &str = "ca.crt";
const RENEWAL: &str = "renewal.json";
/// Version of [`Renewal`].
const VERSION: u32 = 1;

/// How long a certificate is used.
const PERIOD: SignedDuration = SignedDuration::from_hours(24 * 30);
/// How long it is valid: long enough for an installation whose role `keys` is away for a while.
const LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 90);

/// Why the content cannot be kept up.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// No certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Another version of this role wrote it.
    #[error(
        "its renewal.json has version {0}, of a newer release: install that release again, or empty the Secret"
    )]
    Newer(u32),
    /// It cannot be written.
    #[error("its renewal.json cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// What this role has to know of the certificate beside it.
#[derive(Serialize, Deserialize)]
struct Renewal {
    version: u32,
    /// Of certificate, key and authorities: what is not as this role wrote it is not used.
    digest: String,
    hosts: Vec<String>,
    made: Timestamp,
    expires: Timestamp,
    /// The authority of this certificate.
    authority: String,
}

/// What the Secret has to hold at `now` for a server of these names; nothing if it does.
///
/// # Errors
/// It cannot be kept up.
pub fn kept_up(data: &Data, hosts: &[String], now: Timestamp) -> Result<Option<Data>, ServingError> {
    let known = read(data)?;
    if let Some(known) = &known
        && known.hosts == hosts
        && now.duration_since(known.made) < PERIOD
    {
        return Ok(None);
    }
    let made = server("Cofferdam output", hosts, now, LIFETIME)?;
    let former = known.filter(|known| known.expires > now);
    let former = former.map(|known| known.authority).unwrap_or_default();
    let mut data: Data = [
        (CERTIFICATE, made.pair.certificate),
        (KEY, made.pair.key),
        (AUTHORITIES, format!("{}{former}", made.authority)),
    ]
    .map(|(file, text)| (file.to_owned(), ByteString(text.into_bytes())))
    .into();
    let renewal = Renewal {
        version: VERSION,
        digest: digest(&data),
        hosts: hosts.to_vec(),
        made: now,
        expires: made.expires,
        authority: made.authority,
    };
    data.insert(RENEWAL.to_owned(), ByteString(serde_json::to_vec(&renewal)?));
    Ok(Some(data))
}

fn read(data: &Data) -> Result<Option<Renewal>, ServingError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let bytes = data.get(RENEWAL).map_or(&[][..], |bytes| &bytes.0);
    if let Ok(Version { version }) = serde_json::from_slice(bytes)
        && version > VERSION
    {
        return Err(ServingError::Newer(version));
    }
    let renewal = serde_json::from_slice::<Renewal>(bytes).ok();
    Ok(renewal.filter(|renewal| renewal.digest == digest(data)))
}

fn digest(data: &Data) -> String {
    let files = [CERTIFICATE, KEY, AUTHORITIES].map(|file| data.get(file).map_or(&[][..], |file| &file.0));
    names::digest(&files.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Pair;
    use crate::certificate::tests::handshake;

    const HOST: &str = "cofferdam-output.operator-space.svc";

    fn hosts() -> Vec<String> {
        vec![HOST.to_owned()]
    }

    fn text(data: &Data, file: &str) -> String {
        String::from_utf8(data[file].0.clone()).unwrap()
    }

    fn pair(data: &Data) -> Pair {
        Pair {
            certificate: text(data, CERTIFICATE),
            key: text(data, KEY),
        }
    }

    #[test]
    fn empty_secret_is_filled_and_a_filled_one_left_alone_for_its_time() {
        let now = Timestamp::now();
        let data = kept_up(&Data::new(), &hosts(), now).unwrap().unwrap();
        let (taken, said) = handshake(&text(&data, AUTHORITIES), &pair(&data), HOST);
        assert!(taken, "{said}");
        let (taken, said) = handshake(
            &text(&data, AUTHORITIES),
            &pair(&data),
            "other.operator-space.svc",
        );
        assert!(!taken && said.contains("Hostname mismatch"), "{said}");
        let second = SignedDuration::from_secs(1);
        assert_eq!(kept_up(&data, &hosts(), now + PERIOD - second).unwrap(), None);
        assert!(kept_up(&data, &hosts(), now + PERIOD).unwrap().is_some());
        assert!(
            kept_up(&data, &["another.svc".to_owned()], now)
                .unwrap()
                .is_some()
        );
    }

    /// The API server trusts both, whichever of them the role has read.
    #[test]
    fn both_certificates_are_trusted_after_a_renewal() {
        // A certificate has to be valid when it is shown.
        let before = Timestamp::now() - PERIOD;
        let first = kept_up(&Data::new(), &hosts(), before).unwrap().unwrap();
        let second = kept_up(&first, &hosts(), before + PERIOD).unwrap().unwrap();
        for data in [&first, &second] {
            let (taken, said) = handshake(&text(&second, AUTHORITIES), &pair(data), HOST);
            assert!(taken, "{said}");
        }
        assert!(!handshake(&text(&first, AUTHORITIES), &pair(&second), HOST).0);
        // The authority before the last is not kept.
        let third = kept_up(&second, &hosts(), before + PERIOD * 2).unwrap().unwrap();
        assert!(!handshake(&text(&third, AUTHORITIES), &pair(&first), HOST).0);
    }

    #[test]
    fn what_is_not_as_it_was_written_is_made_anew_and_not_trusted_on() {
        let now = Timestamp::now();
        let good = kept_up(&Data::new(), &hosts(), now).unwrap().unwrap();
        let mut spoilt = good.clone();
        let theirs = kept_up(&Data::new(), &hosts(), now).unwrap().unwrap();
        spoilt.insert(AUTHORITIES.to_owned(), theirs[AUTHORITIES].clone());
        let healed = kept_up(&spoilt, &hosts(), now).unwrap().unwrap();
        assert!(!handshake(&text(&healed, AUTHORITIES), &pair(&theirs), HOST).0);
        let mut newer = good;
        newer.insert(RENEWAL.to_owned(), ByteString(br#"{"version":2}"#.to_vec()));
        assert!(matches!(
            kept_up(&newer, &hosts(), now),
            Err(ServingError::Newer(2))
        ));
    }
}
