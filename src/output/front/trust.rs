//! Whom to believe about who asks: what the API server publishes in `kube-system/extension-apiserver-authentication`.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// Why nobody can be believed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The ConfigMap cannot be read.
    #[error(
        "ConfigMap {NAMESPACE}/{NAME} cannot be read: {0}; this account needs the Role extension-apiserver-authentication-reader there"
    )]
    Unreadable(Box<kube::Error>),
    /// The API server has no front proxy.
    #[error(
        "ConfigMap {NAMESPACE}/{NAME} has no {0}: set the API server's flags --requestheader-…, else it can tell no extension who asks"
    )]
    Absent(&'static str),
    /// A value is not what it is meant to be.
    #[error("{0} of ConfigMap {NAMESPACE}/{NAME} cannot be read: {1}")]
    Malformed(&'static str, String),
    /// Everybody with a certificate of that authority would be believed.
    #[error(
        "requestheader-allowed-names is empty: whoever has a certificate of that authority could say to be anybody; \
         name the front proxy in the API server's flag --requestheader-allowed-names"
    )]
    AnyName,
}

/// Whom to believe.
#[derive(Clone)]
pub struct Trust {
    authority: String,
    verifier: Arc<dyn ClientCertVerifier>,
    /// Common names of front proxies; at least one.
    pub names: Vec<String>,
    /// Headers that name the user, in small letters.
    pub users: Vec<String>,
    /// Headers that name groups.
    pub groups: Vec<String>,
    /// Headers that hold the user's uid.
    pub uids: Vec<String>,
    /// Prefixes of headers that hold more about the user.
    pub extras: Vec<String>,
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            authority,
            verifier: _,
            names,
            users,
            groups,
            uids,
            extras,
        } = self;
        *authority == other.authority
            && *names == other.names
            && *users == other.users
            && *groups == other.groups
            && *uids == other.uids
            && *extras == other.extras
    }
}

impl Trust {
    /// Verifies certificates of clients; a connection without one is let in, and nobody is believed on it.
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }
}

/// Reads whom to believe.
///
/// # Errors
/// Nobody can be believed, or everybody would be.
pub async fn read(client: &Client) -> Result<Trust, TrustError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let map = api
        .get(NAME)
        .await
        .map_err(|error| TrustError::Unreadable(Box::new(error)))?;
    parse(&map.data.unwrap_or_default())
}

/// Reads the ConfigMap's data.
///
/// # Errors
/// Nobody can be believed, or everybody would be.
pub fn parse(data: &BTreeMap<String, String>) -> Result<Trust, TrustError> {
    const AUTHORITY: &str = "requestheader-client-ca-file";
    let authority = data
        .get(AUTHORITY)
        .filter(|pem| !pem.trim().is_empty())
        .ok_or(TrustError::Absent(AUTHORITY))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        let certificate = certificate.map_err(|error| TrustError::Malformed(AUTHORITY, error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| TrustError::Malformed(AUTHORITY, error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
        .allow_unauthenticated()
        .build()
        .map_err(|error| TrustError::Malformed(AUTHORITY, error.to_string()))?;
    let names = list(data, "requestheader-allowed-names")?;
    // An empty name is no name.
    if names.is_empty() || names.iter().any(String::is_empty) {
        return Err(TrustError::AnyName);
    }
    let headers = |name: &'static str| -> Result<Vec<String>, TrustError> {
        Ok(list(data, name)?
            .iter()
            .map(|header| header.to_ascii_lowercase())
            .collect())
    };
    let users = headers("requestheader-username-headers")?;
    if users.is_empty() {
        return Err(TrustError::Absent("requestheader-username-headers"));
    }
    Ok(Trust {
        authority: authority.clone(),
        verifier,
        names,
        users,
        groups: headers("requestheader-group-headers")?,
        uids: headers("requestheader-uid-headers")?,
        extras: headers("requestheader-extra-headers-prefix")?,
    })
}

fn list(data: &BTreeMap<String, String>, name: &'static str) -> Result<Vec<String>, TrustError> {
    match data.get(name).map(|text| text.trim()) {
        None | Some("") => Ok(Vec::new()),
        Some(text) => serde_json::from_str::<Option<Vec<String>>>(text)
            .map(Option::unwrap_or_default)
            .map_err(|error| TrustError::Malformed(name, error.to_string())),
    }
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
