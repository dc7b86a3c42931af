//! TLS to the hosts outside, verified as a browser would: public roots and the installation's own, names, times.

use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::denial::Denial;
use crate::inspect::{HANDSHAKE_TIMEOUT, HTTP1};
use cofferdam_policy::pattern::host::Host;
use cofferdam_wire::denial::DenialCode;

/// The installation's additional CAs are none.
#[derive(Debug, thiserror::Error)]
#[error("the additional CAs cannot be used: {0}")]
pub struct RootsError(String);

/// Speaks TLS to hosts.
pub struct UpstreamTls(Arc<ClientConfig>);

impl UpstreamTls {
    /// Trusts the public roots that are built in, and `trusted_ca`, PEM.
    ///
    /// # Errors
    /// `trusted_ca` holds what is no CA certificate.
    pub fn new(trusted_ca: &[u8]) -> Result<Self, RootsError> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        for certificate in CertificateDer::pem_slice_iter(trusted_ca) {
            let certificate = certificate.map_err(|error| RootsError(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| RootsError(error.to_string()))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| RootsError(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![HTTP1.to_vec()];
        // A ticket that one run was given would tell the host that another one comes from the same gateway.
        config.resumption = Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }

    /// TLS with `host` over `stream`.
    ///
    /// # Errors
    /// It does not come about, or the host's certificate is not to be believed.
    pub async fn connect<I: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &Host,
        stream: I,
    ) -> Result<TlsStream<I>, Denial> {
        let name = ServerName::try_from(host.as_str().to_owned())
            .map_err(|_| Denial::new(DenialCode::HostInvalid, "the host is no name that TLS knows"))?;
        let connecting = TlsConnector::from(Arc::clone(&self.0)).connect(name, stream);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await {
            Ok(connected) => connected.map_err(|error| failed(host, &error)),
            Err(_) => Err(Denial::new(
                DenialCode::UpstreamTimeout,
                format!("{host} did not finish its TLS handshake in 10 s"),
            )),
        }
    }
}

fn failed(host: &Host, error: &io::Error) -> Denial {
    use CertificateError as Certificate;
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    let code = match tls {
        Some(rustls::Error::InvalidCertificate(why)) => match why {
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. } => DenialCode::UpstreamCertificateExpired,
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                DenialCode::UpstreamCertificateMismatch
            }
            _ => DenialCode::UpstreamCertificateUntrusted,
        },
        _ => DenialCode::UpstreamTlsFailed,
    };
    Denial::new(code, format!("no TLS with {host}: {error}"))
}
