//! The public keys of an installation, by which anybody verifies its statements.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Version of [`PublicKeys`].
pub const VERSION: u32 = 1;
/// The one algorithm so far (RFC 8032).
pub const ED25519: &str = "Ed25519";

/// What comes before an Ed25519 key in its `SubjectPublicKeyInfo` (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Every key that signs or ever signed for an installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicKeys {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// Id of the key that signs now.
    pub current: String,
    /// All of them, newest first.
    pub keys: Vec<PublicKey>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicKey {
    /// [`key_id`] of it.
    pub key_id: String,
    /// [`ED25519`].
    pub algorithm: String,
    /// `SubjectPublicKeyInfo` in PEM.
    pub public_key: String,
    /// RFC 3339 time since when it signs.
    pub created: String,
    /// RFC 3339 time since when it signs no more. What it signed stays verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<String>,
}

impl PublicKeys {
    /// Reads the document.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// The `SubjectPublicKeyInfo` of an Ed25519 key, in DER.
pub fn spki(public: &[u8; 32]) -> Vec<u8> {
    [&SPKI_PREFIX[..], &public[..]].concat()
}

/// The id of an Ed25519 key: lower-case hexadecimal SHA-256 of its `SubjectPublicKeyInfo`.
pub fn key_id(public: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(spki(public));
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 8410, section 10.1; the id by `openssl pkey -pubin -outform DER | sha256sum`.
    #[test]
    fn ids_are_hashes_of_what_openssl_writes() {
        let public = [
            0x19, 0xbf, 0x44, 0x09, 0x69, 0x84, 0xcd, 0xfe, 0x85, 0x41, 0xba, 0xc1, 0x67, 0xdc, 0x3b, 0x96,
            0xc8, 0x50, 0x86, 0xaa, 0x30, 0xb6, 0xb6, 0xcb, 0x0c, 0x5c, 0x38, 0xad, 0x70, 0x31, 0x66, 0xe1,
        ];
        assert_eq!(
            key_id(&public),
            "a1e9156054e04fac899ae9f275132cdc07a5dbc4ea2c2ad3a1ffc6e0d253681f"
        );
    }
}
