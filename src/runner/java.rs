//! A store of trusted certificates as JVMs read it: JKS, the format that every version knows and reads without a password.

use sha1_checked::{Digest, Sha1};

/// What a store begins with, and its version.
const BEGIN: [u8; 8] = [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2];
/// An entry that is a trusted certificate.
const TRUSTED: u32 = 2;
/// The password that JVMs' own stores have. It protects nothing and is given by clients that insist on one.
const PASSWORD: &str = "changeit";
/// Goes between the password and the store into its digest.
const SALT: &[u8] = b"Mighty Aphrodite";

/// A store of these certificates, in DER.
pub fn key_store<'a>(certificates: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut count: u32 = 0;
    for certificate in certificates {
        let Ok(length) = u32::try_from(certificate.len()) else {
            continue;
        };
        entries.extend_from_slice(&TRUSTED.to_be_bytes());
        put_text(&mut entries, &format!("cofferdam-{count}"));
        // When it came to be trusted, which nobody asks.
        entries.extend_from_slice(&0_u64.to_be_bytes());
        put_text(&mut entries, "X.509");
        entries.extend_from_slice(&length.to_be_bytes());
        entries.extend_from_slice(certificate);
        count += 1;
    }
    let mut store = BEGIN.to_vec();
    store.extend_from_slice(&count.to_be_bytes());
    store.extend_from_slice(&entries);
    let mut digest = Sha1::new();
    for unit in PASSWORD.encode_utf16() {
        digest.update(unit.to_be_bytes());
    }
    digest.update(SALT);
    digest.update(&store);
    store.extend_from_slice(&digest.finalize());
    store
}

/// A short text of ASCII behind its length.
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(0);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `keytool -list` of JDK 17 reads a store of this form, with 144 certificates, and refuses it with another password.
    #[test]
    fn a_store_is_laid_out_as_keytool_reads_it() {
        let store = key_store([&b"one"[..], b"two!"].into_iter());
        let mut expected = BEGIN.to_vec();
        expected.extend_from_slice(&[0, 0, 0, 2]);
        for (alias, certificate) in [("cofferdam-0", &b"one"[..]), ("cofferdam-1", b"two!")] {
            expected.extend_from_slice(&[0, 0, 0, 2, 0, 11]);
            expected.extend_from_slice(alias.as_bytes());
            expected.extend_from_slice(&[0; 8]);
            expected.extend_from_slice(b"\0\x05X.509");
            expected.extend_from_slice(&[0, 0, 0, u8::try_from(certificate.len()).unwrap()]);
            expected.extend_from_slice(certificate);
        }
        expected.extend_from_slice(&[
            0x8b, 0x3c, 0x32, 0x0f, 0x78, 0x11, 0x8f, 0xa2, 0x38, 0xe6, 0x7a, 0x87, 0x61, 0xe9, 0xfe, 0xc5,
            0xdf, 0x7c, 0x59, 0xd4,
        ]);
        assert_eq!(store, expected);
    }
}
