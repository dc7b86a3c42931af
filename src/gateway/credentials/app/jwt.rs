//! The word by which a GitHub App says who it is: a JWT that its private key signs (RS256).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use zeroize::Zeroizing;

/// Seconds by which our clock may be ahead of GitHub's.
const BACK: i64 = 60;
/// Seconds from now until its end. GitHub takes none that ends more than ten minutes ahead of its clock.
const LASTS: i64 = 9 * 60;

/// The private key of an App. It cannot be printed.
pub struct AppKey(RsaKeyPair);

/// What is wrong with a private key. None of it tells the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM.
    #[error("it is no private key in PEM, as GitHub gives one when it is made")]
    NotPem,
    /// Another kind of key, or one that is too short.
    #[error("it is no RSA key of 2048 bits or more")]
    NotRsa,
    /// The signature did not come about.
    #[error("it does not sign")]
    Unsigned,
}

impl AppKey {
    /// Reads a key in PEM, PKCS#1 as GitHub gives it or PKCS#8 as other tools write it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(pem: &[u8]) -> Result<Self, KeyError> {
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| KeyError::NotPem)?;
        let pair = match &key {
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            _ => return Err(KeyError::NotRsa),
        };
        pair.map(Self).map_err(|_| KeyError::NotRsa)
    }

    /// The JWT of the App with this id at `now`, seconds of the Unix clock.
    ///
    /// # Errors
    /// The signature does not come about.
    pub fn jwt(&self, app: i64, now: i64) -> Result<Zeroizing<String>, KeyError> {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
        let claims = json!({"iat": now - BACK, "exp": now + LASTS, "iss": app.to_string()});
        let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
        let mut text = Zeroizing::new(format!("{header}.{claims}"));
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                text.as_bytes(),
                &mut signature,
            )
            .map_err(|_| KeyError::Unsigned)?;
        text.push('.');
        text.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(text)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A key that was made for tests and opens nothing.

    /// As GitHub gives keys.
    pub(crate) const PKCS1: &[u8] = include_bytes!("../../../../tests/fixtures/github/app.pem");
    /// The same as other tools write keys.
    pub(crate) const PKCS8: &[u8] = include_bytes!("../../../../tests/fixtures/github/app-pkcs8.pem");
}

#[cfg(test)]
mod tests {
    use super::testing::{PKCS1, PKCS8};
    use super::*;
    use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use rstest::rstest;
    use serde_json::Value;

    #[rstest]
    #[case(PKCS1)]
    #[case(PKCS8)]
    fn the_word_of_an_app_is_signed_and_short_lived(#[case] pem: &[u8]) {
        let key = AppKey::read(pem).ok().unwrap();
        let jwt = key.jwt(4711, 1_800_000_000).unwrap();
        let parts: Vec<&str> = jwt.split('.').collect();
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let claims: Value = serde_json::from_slice(&decoded(parts[1])).unwrap();
        assert_eq!(
            claims,
            json!({"iss": "4711", "iat": 1_799_999_940, "exp": 1_800_000_540}),
            "a minute back, and not ten ahead"
        );
        let header: Value = serde_json::from_slice(&decoded(parts[0])).unwrap();
        assert_eq!(header, json!({"alg": "RS256", "typ": "JWT"}));
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.0.public_key().as_ref());
        let signed = format!("{}.{}", parts[0], parts[1]);
        assert!(public.verify(signed.as_bytes(), &decoded(parts[2])).is_ok());
        let other = signed.replace('.', ".x");
        assert!(public.verify(other.as_bytes(), &decoded(parts[2])).is_err());
    }

    #[rstest]
    #[case(b"ghp_word", KeyError::NotPem)]
    #[case(
        b"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n",
        KeyError::NotRsa
    )]
    #[case(include_bytes!("../../../../tests/fixtures/github/short.pem"), KeyError::NotRsa)]
    #[case(include_bytes!("../../../../tests/fixtures/github/elliptic.pem"), KeyError::NotRsa)]
    fn what_no_app_has_is_refused(#[case] pem: &[u8], #[case] error: KeyError) {
        assert_eq!(AppKey::read(pem).err(), Some(error));
    }
}
