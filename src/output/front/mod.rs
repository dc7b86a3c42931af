//! The front proxy: only the API server may say who asks, and it proves by a certificate that it is the API server.

pub mod caller;
pub mod listen;
pub mod trust;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cofferdam_service::serve::Readiness;
use kube::Client;
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use trust::Trust;

/// How often the certificate's files are looked at.
const FILES: Duration = Duration::from_secs(5);
/// How often it is asked whom to believe, in turns of [`FILES`].
const TRUST_TURNS: u32 = 12;

/// Whom this role believes, and the certificate that it shows.
pub struct Front {
    trust: RwLock<Arc<Trust>>,
    tls: PathBuf,
    config: RwLock<Option<Arc<Shown>>>,
}

/// What a connection is opened with.
pub struct Shown {
    /// The files as they were read.
    files: (Vec<u8>, Vec<u8>),
    /// Whom it believes.
    pub trust: Arc<Trust>,
    /// For rustls.
    pub tls: Arc<ServerConfig>,
}

/// Why no certificate can be shown.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{0} cannot be read: {1}")]
    File(PathBuf, std::io::Error),
    #[error("the certificate cannot be read: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("the certificate cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

impl Front {
    /// Shows nothing before [`Front::refresh`].
    pub fn new(trust: Trust, tls: PathBuf) -> Self {
        Self {
            trust: RwLock::new(Arc::new(trust)),
            tls,
            config: RwLock::new(None),
        }
    }

    /// What the next connection is opened with; none: there is no certificate yet.
    pub fn shown(&self) -> Option<Arc<Shown>> {
        self.config.read().clone()
    }

    /// Whether a connection that was opened with `trust` may go on.
    pub fn still_believes(&self, trust: &Arc<Trust>) -> bool {
        Arc::ptr_eq(&self.trust.read(), trust)
    }

    /// Believes whom `trust` names from now on.
    pub fn believe(&self, trust: Trust) {
        let mut current = self.trust.write();
        if **current != trust {
            tracing::info!("whom the API server's front proxy is believed by has changed");
            *current = Arc::new(trust);
        }
    }

    /// Reads the files, and makes a new configuration if they or the trust have changed.
    ///
    /// # Errors
    /// There is no certificate that can be used; the one before is kept.
    pub fn refresh(&self) -> Result<(), CertificateError> {
        let read = |name: &str| {
            let path = self.tls.join(name);
            std::fs::read(&path).map_err(|error| CertificateError::File(path, error))
        };
        let files = (read("tls.crt")?, read("tls.key")?);
        let trust = Arc::clone(&self.trust.read());
        let is_current = |shown: &Arc<Shown>| shown.files == files && Arc::ptr_eq(&shown.trust, &trust);
        if self.config.read().as_ref().is_some_and(is_current) {
            return Ok(());
        }
        let chain = CertificateDer::pem_slice_iter(&files.0).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&files.1)?;
        let mut tls = ServerConfig::builder()
            .with_client_cert_verifier(trust.verifier())
            .with_single_cert(chain, key)?;
        // Only HTTP/1.1 is spoken here.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        *self.config.write() = Some(Arc::new(Shown {
            files,
            trust,
            tls: Arc::new(tls),
        }));
        tracing::info!("a certificate was read");
        Ok(())
    }
}

/// Keeps certificate and trust as they are meant to be, for ever. Ready: there is a certificate.
pub async fn follow(front: Arc<Front>, client: Client, readiness: Readiness) {
    let mut turn = 0_u32;
    let mut said = String::new();
    loop {
        turn = turn.wrapping_add(1);
        if turn.is_multiple_of(TRUST_TURNS) {
            match trust::read(&client).await {
                Ok(trust) => front.believe(trust),
                // Whom it believed it goes on to believe: the API server, which says so, is away.
                Err(error) => tracing::warn!(%error, "whom to believe could not be read again"),
            }
        }
        let refreshed = front.refresh();
        readiness.set(front.shown().is_some());
        let says = refreshed.err().map(|error| error.to_string()).unwrap_or_default();
        if says != said && !says.is_empty() {
            tracing::warn!(
                error = says,
                "the certificate was not read; the role `keys` fills its Secret"
            );
        }
        said = says;
        tokio::time::sleep(FILES).await;
    }
}
