//! Who asks, as the front proxy says. Pure.

use std::collections::BTreeMap;

use http::HeaderMap;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::trust::Trust;

/// A user in the words of the API server's authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// Uid, where the API server tells it (from 1.32 on).
    pub uid: Option<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// More, such as the scopes of a token.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Why nobody is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// The connection shows no certificate.
    #[error("this API is reached through the API server, which shows a certificate; there is none")]
    NoCertificate,
    /// The certificate is no front proxy's.
    #[error("this API is reached through the API server; the certificate names somebody else")]
    OtherName,
    /// The front proxy does not say who asks.
    #[error("the API server does not say who asks")]
    NoUser,
    /// A header is no text.
    #[error("a header that says who asks is no text")]
    Malformed,
}

/// Whether the certificate, which was verified, is a front proxy's.
///
/// # Errors
/// It is not.
pub fn proxy(certificates: Option<&[CertificateDer<'_>]>, trust: &Trust) -> Result<(), Stranger> {
    let first = certificates
        .and_then(<[_]>::first)
        .ok_or(Stranger::NoCertificate)?;
    let (_, certificate) = X509Certificate::from_der(first).map_err(|_| Stranger::OtherName)?;
    let mut names = certificate.subject().iter_common_name();
    // Of two names nobody knows which counts.
    let (Some(name), None) = (names.next(), names.next()) else {
        return Err(Stranger::OtherName);
    };
    let name = name.as_str().map_err(|_| Stranger::OtherName)?;
    if trust.names.iter().any(|allowed| allowed == name) {
        Ok(())
    } else {
        Err(Stranger::OtherName)
    }
}

/// Who asks. Only for requests of a front proxy.
///
/// # Errors
/// Nobody is named.
pub fn user(headers: &HeaderMap, trust: &Trust) -> Result<User, Stranger> {
    let values = |names: &[String]| -> Result<Vec<String>, Stranger> {
        let mut found = Vec::new();
        for name in names {
            for value in headers.get_all(name) {
                let text = std::str::from_utf8(value.as_bytes()).map_err(|_| Stranger::Malformed)?;
                found.push(text.to_owned());
            }
        }
        Ok(found)
    };
    let name = values(&trust.users)?
        .into_iter()
        .find(|name| !name.is_empty())
        .ok_or(Stranger::NoUser)?;
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (header, value) in headers {
        let key = trust
            .extras
            .iter()
            .find_map(|prefix| header.as_str().strip_prefix(prefix.as_str()));
        if let Some(key) = key {
            let text = std::str::from_utf8(value.as_bytes()).map_err(|_| Stranger::Malformed)?;
            extra.entry(unescape(key)).or_default().push(text.to_owned());
        }
    }
    Ok(User {
        name,
        uid: values(&trust.uids)?.into_iter().find(|uid| !uid.is_empty()),
        groups: values(&trust.groups)?,
        extra,
    })
}

/// A key as it was before it became part of a header's name: `%2f` is a slash.
fn unescape(key: &str) -> String {
    // What decodes to no text stays as it is, as in the API server.
    percent_encoding::percent_decode_str(key)
        .decode_utf8()
        .map_or_else(|_| key.to_owned(), std::borrow::Cow::into_owned)
}
