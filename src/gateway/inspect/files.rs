//! The files of the certificate authority, mounted from a Secret that others fill.

use std::io;
use std::path::{Path, PathBuf};

/// What the directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate that signs, and those above it where it has any, PEM.
    pub current_certificate: Vec<u8>,
    /// Its key, PEM.
    pub current_key: Vec<u8>,
    /// The certificate that will sign next, PEM.
    pub next_certificate: Option<Vec<u8>>,
}

/// Why they cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Nobody has filled the Secret yet.
    #[error("{0} does not exist or is empty: the Secret of the certificate authority is not filled")]
    Missing(PathBuf),
    /// A file cannot be read.
    #[error("{0} cannot be read: {1}")]
    Read(PathBuf, #[source] io::Error),
}

impl Files {
    /// Reads the directory.
    ///
    /// # Errors
    /// A file is missing or cannot be read.
    pub fn read(directory: &Path) -> Result<Self, FilesError> {
        // The kubelet changes all files of a volume at once, by where this link points.
        let linked = directory.join("..data");
        let directory = linked.canonicalize().unwrap_or_else(|_| directory.to_owned());
        let read = |name: &str| {
            let path = directory.join(name);
            match std::fs::read(&path) {
                Ok(bytes) if bytes.is_empty() => Ok(None),
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(FilesError::Read(path, error)),
            }
        };
        let needed = |name: &str| read(name)?.ok_or_else(|| FilesError::Missing(directory.join(name)));
        Ok(Self {
            current_certificate: needed("current.crt")?,
            current_key: needed("current.key")?,
            next_certificate: read("next.crt")?,
        })
    }
}
