//! Certificates as strict clients judge them, and files that cannot be used.

use super::authority::{Authority, AuthorityError};
use super::files::{Files, FilesError};
use super::testing::{CaOptions, ca, files};
use super::*;
use rstest::rstest;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

fn authority(files: &Files) -> Result<Authority, AuthorityError> {
    Authority::read(files, OffsetDateTime::now_utc())
}

fn inspection(files: &Files) -> Inspection {
    let inspection = Inspection::new(Bytes::from_static(b"extra\n")).unwrap();
    inspection.put(authority(files).unwrap());
    inspection
}

#[test]
fn a_minted_certificate_has_what_strict_clients_ask_for() {
    let files = files(&ca(CaOptions::default()), None);
    let authority = authority(&files).unwrap();
    let minted = authority.mint(&host("a.internet.test")).unwrap();
    let (_, read) = X509Certificate::from_der(minted.end_entity_cert().unwrap()).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(&files.current_certificate).unwrap();
    let signer = pem.parse_x509().unwrap();
    let extension = |found: fn(&ParsedExtension<'_>) -> Option<String>| {
        let all = |certificate: &X509Certificate<'_>| {
            let parsed = certificate
                .extensions()
                .iter()
                .map(|one| one.parsed_extension().clone());
            parsed.filter_map(|one| found(&one)).collect::<Vec<_>>()
        };
        (all(&read), all(&signer))
    };
    let key_id = extension(|one| match one {
        ParsedExtension::AuthorityKeyIdentifier(id) => {
            Some(format!("{:?}", id.key_identifier.as_ref().map(|id| id.0)))
        }
        ParsedExtension::SubjectKeyIdentifier(id) => Some(format!("{:?}", Some(id.0))),
        _ => None,
    });
    assert_eq!(key_id.0.first(), key_id.1.last());
    let usage = extension(|one| match one {
        ParsedExtension::KeyUsage(usage) => Some(usage.to_string()),
        _ => None,
    });
    assert_eq!(usage.0, ["Digital Signature"]);
    let names = extension(|one| match one {
        ParsedExtension::SubjectAlternativeName(names) => Some(format!("{:?}", names.general_names)),
        _ => None,
    });
    assert_eq!(names.0, [r#"[DNSName("a.internet.test")]"#]);
    assert_eq!(read.subject().iter().count(), 0);
    let validity = read.validity();
    let now = OffsetDateTime::now_utc();
    let (from, to) = (
        validity.not_before.to_datetime(),
        validity.not_after.to_datetime(),
    );
    assert!(now - from > time::Duration::minutes(59) && to - now < time::Duration::hours(25));
    assert!(read.raw_serial().len() <= 20);
    let again = authority.mint(&host("a.internet.test")).unwrap();
    let (_, again) = X509Certificate::from_der(again.end_entity_cert().unwrap()).unwrap();
    assert_ne!(read.raw_serial(), again.raw_serial());
}

#[rstest]
#[case("a.internet.test", true)]
#[case("b.internet.test", false)]
fn a_client_that_trusts_the_authority_believes_the_certificate_for_its_host(
    #[case] asked: &'static str,
    #[case] believed: bool,
) {
    let ca = ca(CaOptions::default());
    let minted = authority(&files(&ca, None))
        .unwrap()
        .mint(&host("a.internet.test"))
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(ca.der.clone())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap();
    let name = ServerName::try_from(asked).unwrap();
    let leaf = minted.end_entity_cert().unwrap();
    let verified = rustls::client::danger::ServerCertVerifier::verify_server_cert(
        &*verifier,
        leaf,
        &[],
        &name,
        &[],
        UnixTime::now(),
    );
    assert_eq!(verified.is_ok(), believed);
}

#[rstest]
#[case::expired(CaOptions { from: -20, to: -1, ..CaOptions::default() }, "is valid from")]
#[case::not_yet(CaOptions { from: 1, to: 20, ..CaOptions::default() }, "is valid from")]
#[case::no_authority(CaOptions { is_ca: false, ..CaOptions::default() }, "not that of a certificate authority")]
fn an_authority_that_may_not_sign_is_refused(#[case] options: CaOptions, #[case] expected: &str) {
    let good = ca(CaOptions::default());
    let bad = ca(options);
    let refused = authority(&files(&bad, None)).err().unwrap().to_string();
    assert!(
        refused.contains(expected) && refused.contains("current.crt"),
        "{refused}"
    );
    let refused = authority(&files(&good, Some(&bad))).err().unwrap().to_string();
    assert!(
        refused.contains(expected) && refused.contains("next.crt"),
        "{refused}"
    );
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (one, other) = (ca(CaOptions::default()), ca(CaOptions::default()));
    let mixed = Files {
        current_key: files(&other, None).current_key,
        ..files(&one, None)
    };
    assert!(matches!(authority(&mixed), Err(AuthorityError::AnotherKey)));
    let garbage = Files {
        current_certificate: b"x".to_vec(),
        ..files(&one, None)
    };
    assert!(matches!(
        authority(&garbage),
        Err(AuthorityError::Certificate("current.crt", _))
    ));
}

#[test]
fn files_are_read_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let missing = Files::read(directory.path()).unwrap_err();
    assert!(matches!(missing, FilesError::Missing(_)), "{missing}");
    let written = files(&ca(CaOptions::default()), None);
    std::fs::write(directory.path().join("current.crt"), &written.current_certificate).unwrap();
    assert!(Files::read(directory.path()).is_err());
    std::fs::write(directory.path().join("current.key"), &written.current_key).unwrap();
    std::fs::write(directory.path().join("next.crt"), b"").unwrap();
    assert_eq!(Files::read(directory.path()).unwrap(), written);
}

#[test]
fn a_sandbox_trusts_what_signs_now_and_next_and_is_told_nothing_before() {
    let nobody = Inspection::new(Bytes::from_static(b"extra\n")).unwrap();
    assert!(!nobody.is_ready());
    let denial = nobody.trust().unwrap_err();
    assert_eq!(denial.code, DenialCode::InspectionUnavailable);
    assert!(nobody.mint(&host("a.internet.test")).is_err());
    let (one, two) = (ca(CaOptions::default()), ca(CaOptions::default()));
    let both = inspection(&files(&one, Some(&two)));
    assert!(both.is_ready());
    let trusted = String::from_utf8(both.trust().unwrap().to_vec()).unwrap();
    assert!(trusted.starts_with("extra\n"));
    assert!(trusted.contains(one.pem.trim()) && trusted.contains(two.pem.trim()));
}

#[test]
fn a_certificate_is_minted_once_and_anew_for_another_authority() {
    let inspection = inspection(&files(&ca(CaOptions::default()), None));
    let (a, b) = (host("a.internet.test"), host("b.internet.test"));
    assert!(inspection.known(&a).is_none());
    let first = inspection.mint(&a).unwrap();
    assert!(Arc::ptr_eq(&first, &inspection.known(&a).unwrap()));
    assert!(inspection.known(&b).is_none());
    inspection.put(authority(&files(&ca(CaOptions::default()), None)).unwrap());
    assert!(inspection.known(&a).is_none());
    assert!(!Arc::ptr_eq(&first, &inspection.mint(&a).unwrap()));
}
