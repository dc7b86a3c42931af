//! Signs statements with the key that the role `keys` made and the kubelet mounted.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use cofferdam_wire::keys::key_id;
use cofferdam_wire::statement::{Envelope, PAYLOAD_TYPE, Signature, Statement, pae};

/// Why a statement was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The role `keys` has not filled the Secret, or the kubelet has not brought it yet.
    #[error("the signing key {} cannot be read: {source}", path.display())]
    Read {
        /// Where it is mounted.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is no key.
    #[error("{} holds no Ed25519 key in PEM", .0.display())]
    Key(PathBuf),
    /// Serialisation, which does not fail for these types.
    #[error("the statement cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// Signs with the key in a file, which is read anew for each statement: the kubelet renews it.
#[derive(Clone, Debug)]
pub struct Signer(PathBuf);

impl Signer {
    /// A signer with the key in this file.
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Signs a statement.
    ///
    /// # Errors
    /// There is no key.
    pub async fn sign(&self, statement: &Statement) -> Result<Envelope, SignError> {
        let pem = tokio::fs::read(&self.0).await.map_err(|source| SignError::Read {
            path: self.0.clone(),
            source,
        })?;
        let no_key = || SignError::Key(self.0.clone());
        let document = pem::parse(pem).map_err(|_| no_key())?;
        let pair = Ed25519KeyPair::from_pkcs8(document.contents()).map_err(|_| no_key())?;
        let public: &[u8; 32] = pair.public_key().as_ref().try_into().map_err(|_| no_key())?;
        let payload = serde_json::to_vec(statement)?;
        let signature = pair.sign(&pae(PAYLOAD_TYPE, &payload));
        Ok(Envelope {
            payload: STANDARD.encode(&payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![Signature {
                keyid: key_id(public),
                sig: STANDARD.encode(signature),
            }],
        })
    }
}
