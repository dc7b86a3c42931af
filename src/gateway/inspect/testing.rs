//! Certificate authorities for tests.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};

use super::files::Files;

/// A certificate authority.
pub(crate) struct Ca {
    pub(crate) pem: String,
    pub(crate) key: String,
    pub(crate) der: Vec<u8>,
}

/// What it is like.
#[derive(Clone, Copy)]
pub(crate) struct CaOptions {
    /// Days from now.
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) is_ca: bool,
}

impl Default for CaOptions {
    fn default() -> Self {
        Self {
            from: -1,
            to: 10,
            is_ca: true,
        }
    }
}

pub(crate) fn ca(options: CaOptions) -> Ca {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    parameters
        .distinguished_name
        .push(DnType::CommonName, "test authority");
    if options.is_ca {
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    }
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = OffsetDateTime::now_utc();
    parameters.not_before = now + Duration::days(options.from);
    parameters.not_after = now + Duration::days(options.to);
    let certificate = parameters.self_signed(&key).unwrap();
    Ca {
        pem: certificate.pem(),
        key: key.serialize_pem(),
        der: certificate.der().to_vec(),
    }
}

/// The files of an authority and its successor.
pub(crate) fn files(current: &Ca, next: Option<&Ca>) -> Files {
    Files {
        current_certificate: current.pem.clone().into_bytes(),
        current_key: current.key.clone().into_bytes(),
        next_certificate: next.map(|next| next.pem.clone().into_bytes()),
    }
}
