//! Certificates and keys in PEM, made by rcgen. Dates are whole days, from yesterday on: clocks differ.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};

use cofferdam_api::names;

/// A certificate and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: String,
}

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The library failed, or the random numbers of the system.
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// The clock says a time that no certificate can name.
    #[error("the clock says {0}, a time that no certificate can name")]
    Clock(Timestamp),
}

/// First and last moment of a certificate that is made at `now` and good for `lifetime`, a day more at each end.
fn dates(now: Timestamp, lifetime: SignedDuration) -> Result<(Date, Date, Timestamp), CertificateError> {
    let day = |time: Timestamp, days: i64| {
        let date = time.to_zoned(TimeZone::UTC).date();
        date.checked_add(days.days())
            .map_err(|_| CertificateError::Clock(time))
    };
    let end = now
        .checked_add(lifetime)
        .map_err(|_| CertificateError::Clock(now))?;
    let (first, last) = (day(now, -1)?, day(end, 1)?);
    let expires = last
        .to_zoned(TimeZone::UTC)
        .map_err(|_| CertificateError::Clock(now))?;
    Ok((first, last, expires.timestamp()))
}

/// Parameters of a certificate that is valid from the first of these dates to the last.
fn valid(first: Date, last: Date) -> CertificateParams {
    let date = |date: Date| {
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        date_time_ymd(date.year().into(), month, day)
    };
    let mut params = CertificateParams::default();
    params.not_before = date(first);
    params.not_after = date(last);
    params.distinguished_name = DistinguishedName::new();
    params
}

/// The key is of P-256, which every client knows. The subject has the key in it: two authorities with one name are mixed
/// up by clients that look for an issuer by name.
///
/// # Errors
/// No certificate was made.
pub fn authority(
    name: &str,
    now: Timestamp,
    lifetime: SignedDuration,
) -> Result<(Pair, Timestamp), CertificateError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let (first, last, expires) = dates(now, lifetime)?;
    let certificate = authority_params(name, &key, first, last).self_signed(&key)?;
    let pair = Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    };
    Ok((pair, expires))
}

fn authority_params(name: &str, key: &KeyPair, first: Date, last: Date) -> CertificateParams {
    let mut params = valid(first, last);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let mark: String = names::short_hash(key.public_key_raw()).chars().take(10).collect();
    let subject = &mut params.distinguished_name;
    subject.push(DnType::OrganizationName, "Cofferdam");
    subject.push(DnType::CommonName, format!("{name} {mark}"));
    params
}

/// A certificate of a server, and the authority that signed it and nothing else: its key is gone when this returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The server's.
    pub pair: Pair,
    /// What its clients trust, in PEM.
    pub authority: String,
    /// When both end.
    pub expires: Timestamp,
}

/// A certificate for a server of these names.
///
/// # Errors
/// No certificate was made.
pub fn server(
    name: &str,
    hosts: &[String],
    now: Timestamp,
    lifetime: SignedDuration,
) -> Result<Server, CertificateError> {
    let (first, last, expires) = dates(now, lifetime)?;
    let (signing, key) = (
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
    );
    let params = authority_params(name, &signing, first, last);
    let authority = params.self_signed(&signing)?.pem();
    let issuer = Issuer::new(params, signing);
    let mut params = valid(first, last);
    for host in hosts {
        params
            .subject_alt_names
            .push(SanType::DnsName(host.as_str().try_into()?));
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Server {
        pair: Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        },
        authority,
        expires,
    })
}

#[cfg(test)]
pub mod tests {
    use std::process::Command;

    use super::*;

    /// A TLS handshake in memory under the strictest rules that a client has.
    const STRICT: &str = "
import ssl, sys
authority, leaf, name = sys.argv[1:]
server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=authority)
client.verify_flags |= ssl.VERIFY_X509_STRICT
server.load_cert_chain(leaf)
a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
ends = [client.wrap_bio(a, b, server_hostname=name), server.wrap_bio(b, a, server_side=True)]
for _ in range(4):
    for end in ends:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            pass
print(ends[0].version())
";

    /// Whether a client that trusts these authorities takes the server's certificate for this name, and what it says.
    pub fn handshake(trusted: &str, presented: &Pair, name: &str) -> (bool, String) {
        let directory = tempfile::tempdir().unwrap();
        let (authorities, server) = (directory.path().join("ca.pem"), directory.path().join("leaf.pem"));
        std::fs::write(&authorities, trusted).unwrap();
        std::fs::write(&server, format!("{}{}", presented.key, presented.certificate)).unwrap();
        let said = Command::new("python3")
            .args(["-c", STRICT])
            .args([&authorities, &server])
            .arg(name)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
        (said.status.success(), text)
    }

    /// A certificate for `host.test` as the gateway makes them.
    fn leaf(signed_by: &Pair) -> Pair {
        let key = KeyPair::from_pem(&signed_by.key).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&signed_by.certificate, key).unwrap();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new(vec!["host.test".to_owned()]).unwrap();
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Pair {
            certificate: params.signed_by(&key, &issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    #[test]
    fn strict_clients_take_what_an_authority_signs_and_no_others() {
        let now = Timestamp::now();
        let make = || authority("a test", now, SignedDuration::from_hours(1)).unwrap().0;
        let (one, other) = (make(), make());
        let (taken, said) = handshake(&one.certificate, &leaf(&one), "host.test");
        assert!(taken && said.contains("TLSv1.3"), "{said}");
        let (taken, said) = handshake(&one.certificate, &leaf(&other), "host.test");
        assert!(!taken && said.contains("CERTIFICATE_VERIFY_FAILED"), "{said}");
        assert_ne!(one, other);
    }

    #[test]
    fn certificates_outlast_their_lifetime() {
        let now: Timestamp = "2026-12-31T23:59:59Z".parse().unwrap();
        let lifetime = SignedDuration::from_hours(24 * 60);
        let (first, last, expires) = dates(now, lifetime).unwrap();
        assert_eq!(
            (first.to_string(), last.to_string()),
            ("2026-12-30".to_owned(), "2027-03-02".to_owned())
        );
        assert_eq!(expires.to_string(), "2027-03-02T00:00:00Z");
        assert!(expires >= now + lifetime);
        assert!(matches!(
            dates(Timestamp::MAX, lifetime),
            Err(CertificateError::Clock(_))
        ));
    }
}
