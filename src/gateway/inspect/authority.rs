//! The certificate authority that signs for hosts, and the certificates that it mints. Pure but for the clock and chance.

use std::sync::Arc;

use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::files::Files;
use cofferdam_policy::pattern::host::Host;

/// A certificate counts from before it is minted, for clocks that are slow.
const BEFORE: Duration = Duration::HOUR;
/// And so long afterwards. Nobody can revoke it.
const LIFETIME: Duration = Duration::DAY;

/// Why files are no certificate authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Not certificates.
    #[error("{0} holds no certificate in PEM: {1}")]
    Certificate(&'static str, String),
    /// Not a key.
    #[error("current.key holds no private key in PKCS#8 PEM that can be used: {0}")]
    Key(rcgen::Error),
    /// The key of another certificate.
    #[error("current.key is not the key of the first certificate in current.crt")]
    AnotherKey,
    /// May not sign.
    #[error("the first certificate in {0} is not that of a certificate authority")]
    NotAnAuthority(&'static str),
    /// Not a time in which it may sign.
    #[error("the certificate in {file} is valid from {from} to {to}, and now is {now}")]
    Time {
        /// The file.
        file: &'static str,
        /// Begin.
        from: String,
        /// End.
        to: String,
        /// Now, by this node's clock.
        now: String,
    },
    /// No key for the certificates of hosts.
    #[error("no key for certificates: {0}")]
    LeafKey(String),
}

/// Why there is no certificate for a host.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The library refuses.
    #[error(transparent)]
    Signing(#[from] rcgen::Error),
    /// The kernel gives no random number.
    #[error("no random number: {0}")]
    Random(getrandom::Error),
}

/// Signs certificates for hosts. All of them have one key, so that each costs one signature.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// What is sent behind a host's certificate, where the authority has one above it.
    above: Vec<CertificateDer<'static>>,
    key: KeyPair,
    signing: Arc<dyn SigningKey>,
    from: OffsetDateTime,
    to: OffsetDateTime,
    trusted: Vec<u8>,
}

impl Authority {
    /// The authority that the files hold.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn read(files: &Files, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        let current = certificates("current.crt", &files.current_certificate)?;
        let key = std::str::from_utf8(&files.current_key)
            .map_err(|_| rcgen::Error::CouldNotParseKeyPair)
            .and_then(KeyPair::from_pem)
            .map_err(AuthorityError::Key)?;
        let Some(first) = current.first() else {
            return Err(AuthorityError::Certificate(
                "current.crt",
                "it is empty".to_owned(),
            ));
        };
        let (from, to) = authority_in_time("current.crt", first, now, Some(&key))?;
        let mut trusted = files.current_certificate.clone();
        if let Some(next) = &files.next_certificate {
            if let Some(certificate) = certificates("next.crt", next)?.first() {
                authority_in_time("next.crt", certificate, now, None)?;
            }
            trusted.push(b'\n');
            trusted.extend_from_slice(next);
        }
        let issuer = Issuer::from_ca_cert_der(first, key).map_err(AuthorityError::Key)?;
        let leaf = |error: String| AuthorityError::LeafKey(error);
        let key = KeyPair::generate().map_err(|error| leaf(error.to_string()))?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing =
            rustls::crypto::ring::sign::any_ecdsa_type(&der).map_err(|error| leaf(error.to_string()))?;
        let above = if current.len() > 1 { current } else { Vec::new() };
        Ok(Self {
            issuer,
            above,
            key,
            signing,
            from,
            to,
            trusted,
        })
    }

    /// Whether now is in the time of its certificate.
    pub fn is_current(&self) -> bool {
        (self.from..=self.to).contains(&OffsetDateTime::now_utc())
    }

    /// The certificates that sandboxes are to trust, PEM: this authority's and its successor's.
    pub fn trusted(&self) -> &[u8] {
        &self.trusted
    }

    /// A certificate for `host`, with its key. It has what strict clients ask for: the authority's key identifier, its
    /// own usage, and a serial number that no other has.
    ///
    /// # Errors
    /// See [`MintError`].
    pub fn mint(&self, host: &Host) -> Result<CertifiedKey, MintError> {
        let now = OffsetDateTime::now_utc();
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.subject_alt_names = vec![SanType::DnsName(host.as_str().try_into()?)];
        parameters.not_before = now - BEFORE;
        parameters.not_after = now + LIFETIME;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        parameters.serial_number = Some(serial()?);
        let certificate = parameters.signed_by(&self.key, &self.issuer)?;
        let mut chain = vec![certificate.der().clone()];
        chain.extend_from_slice(&self.above);
        Ok(CertifiedKey::new(chain, Arc::clone(&self.signing)))
    }
}

/// A positive number of 128 bits.
fn serial() -> Result<SerialNumber, MintError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(MintError::Random)?;
    let [first, ..] = &mut bytes;
    *first = *first & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn certificates(file: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| AuthorityError::Certificate(file, error.to_string()))?;
    if all.is_empty() {
        return Err(AuthorityError::Certificate(file, "it is empty".to_owned()));
    }
    Ok(all)
}

/// From when to when the certificate may sign, which is to be now.
fn authority_in_time(
    file: &'static str,
    certificate: &CertificateDer<'_>,
    now: OffsetDateTime,
    key: Option<&KeyPair>,
) -> Result<(OffsetDateTime, OffsetDateTime), AuthorityError> {
    let (_, read) = X509Certificate::from_der(certificate)
        .map_err(|error| AuthorityError::Certificate(file, error.to_string()))?;
    if !read.is_ca() {
        return Err(AuthorityError::NotAnAuthority(file));
    }
    if key.is_some_and(|key| key.subject_public_key_info() != read.public_key().raw) {
        return Err(AuthorityError::AnotherKey);
    }
    let validity = read.validity();
    let (from, to) = (
        validity.not_before.to_datetime(),
        validity.not_after.to_datetime(),
    );
    if (from..=to).contains(&now) {
        Ok((from, to))
    } else {
        Err(AuthorityError::Time {
            file,
            from: from.to_string(),
            to: to.to_string(),
            now: now.to_string(),
        })
    }
}
