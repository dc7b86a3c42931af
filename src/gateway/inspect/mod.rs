//! TLS that ends at the gateway: the installation's certificate authority, a certificate for each host, the handshake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moka::sync::Cache;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::SingleCertAndKey;
use rustls::{AlertDescription, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::denial::Denial;
use cofferdam_policy::pattern::host::Host;
use cofferdam_wire::denial::DenialCode;

use self::authority::Authority;

pub mod authority;
pub mod files;
pub mod follow;

/// Longest time for a handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The one protocol within TLS. HTTP/2 is not spoken, so no client may choose it.
pub const HTTP1: &[u8] = b"http/1.1";
/// Hosts whose certificates are kept.
const HOSTS: u64 = 4096;
/// For so long: half of a certificate's life.
const KEPT_FOR: Duration = Duration::from_hours(12);

/// Ends the TLS of clients whose requests have to be read.
pub struct Inspection {
    authority: Mutex<Option<Arc<Authority>>>,
    configs: Cache<Host, Arc<ServerConfig>>,
    tickets: Arc<dyn ProducesTickets>,
    provider: Arc<CryptoProvider>,
    /// CAs that sandboxes trust besides the public ones and the installation's own, PEM.
    trusted_ca: Bytes,
}

impl Inspection {
    /// Without an authority yet.
    ///
    /// # Errors
    /// The kernel gives no random number.
    pub fn new(trusted_ca: Bytes) -> Result<Self, rustls::Error> {
        Ok(Self {
            authority: Mutex::default(),
            configs: Cache::builder()
                .max_capacity(HOSTS)
                .time_to_live(KEPT_FOR)
                .build(),
            // Clients open many short connections: with a ticket the next one needs no signature.
            tickets: rustls::crypto::ring::Ticketer::new()?,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            trusted_ca,
        })
    }

    /// From now on certificates are signed by `authority`.
    pub fn put(&self, authority: Authority) {
        *self.authority.lock() = Some(Arc::new(authority));
        // One that is signed by the authority before and kept after this does no harm: runs trust both.
        self.configs.invalidate_all();
    }

    /// Whether there is an authority whose certificate is in its time.
    pub fn is_ready(&self) -> bool {
        self.authority.lock().as_ref().is_some_and(|ca| ca.is_current())
    }

    /// What a sandbox trusts besides the public CAs, PEM.
    ///
    /// # Errors
    /// There is no authority: a sandbox that does not trust it could not reach inspected hosts.
    pub fn trust(&self) -> Result<Bytes, Denial> {
        let authority = self.authority()?;
        Ok([&self.trusted_ca[..], b"\n", authority.trusted()].concat().into())
    }

    /// How the gateway speaks TLS as `host`, where there is a certificate for it already.
    pub fn known(&self, host: &Host) -> Option<Arc<ServerConfig>> {
        self.configs.get(host)
    }

    /// How the gateway speaks TLS as `host`, with a new certificate.
    ///
    /// # Errors
    /// There is no usable authority.
    pub fn mint(&self, host: &Host) -> Result<Arc<ServerConfig>, Denial> {
        let authority = self.authority()?;
        let certified = authority
            .mint(host)
            .map_err(|error| unavailable(format!("no certificate for {host}: {error}")))?;
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unavailable(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![HTTP1.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::clone(&self.tickets);
        let config = Arc::new(config);
        self.configs.insert(host.clone(), Arc::clone(&config));
        Ok(config)
    }

    fn authority(&self) -> Result<Arc<Authority>, Denial> {
        let known = self.authority.lock().clone().filter(|ca| ca.is_current());
        known.ok_or_else(|| {
            unavailable("the installation's certificate authority is missing or out of its time")
        })
    }
}

fn unavailable(message: impl Into<std::borrow::Cow<'static, str>>) -> Denial {
    Denial::new(DenialCode::InspectionUnavailable, message)
}

/// The client's TLS, ended here.
///
/// # Errors
/// It does not come about; the client has had an alert where it can be told.
pub async fn accept<I: AsyncRead + AsyncWrite + Unpin>(
    config: Arc<ServerConfig>,
    stream: I,
) -> Result<TlsStream<I>, Denial> {
    let accepting = TlsAcceptor::from(config).accept(stream);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting).await {
        Ok(accepted) => accepted.map_err(|error| client_failed(&error)),
        Err(_) => Err(Denial::new(
            DenialCode::ClientTlsFailed,
            "the client did not finish its TLS handshake in 10 s",
        )),
    }
}

fn client_failed(error: &io::Error) -> Denial {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    match tls {
        Some(rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            // It trusts another authority of this name.
            | AlertDescription::DecryptError,
        )) => Denial::new(
            DenialCode::CaNotTrusted,
            format!("the client refused the gateway's certificate: {error}"),
        ),
        Some(_) => Denial::new(DenialCode::ClientTlsFailed, error.to_string()),
        None => Denial::new(
            DenialCode::ClientTlsFailed,
            format!("the client broke its TLS handshake off: {error}"),
        ),
    }
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests;
