//! The files of the certificate authority, mounted from a Secret that others fill, and looked at again and again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::Inspection;
use super::authority::{Authority, AuthorityError};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The key of hosts' certificates is a new one after so long.
const KEY_LASTS: Duration = Duration::from_hours(24);

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

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Nobody has filled the Secret yet.
    #[error("{0} does not exist or is empty: the Secret of the certificate authority is not filled")]
    Missing(PathBuf),
    /// A file cannot be read.
    #[error("{0} cannot be read: {1}")]
    Read(PathBuf, #[source] io::Error),
    /// What they hold is none.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
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

/// Keeps `inspection` at what the directory holds. What cannot be used leaves what was there before.
pub async fn follow(directory: &Path, inspection: &Inspection) {
    let mut known: Option<(Files, Instant)> = None;
    let mut said = String::new();
    loop {
        match look(directory, inspection, known.as_ref()) {
            Ok(Some(files)) => {
                tracing::info!(
                    successor = files.next_certificate.is_some(),
                    "the certificate authority was read"
                );
                known = Some((files, Instant::now()));
                said.clear();
            }
            Ok(None) => {}
            Err(error) => {
                let error = error.to_string();
                if error != said {
                    tracing::warn!(error, "the certificate authority cannot be used");
                    said = error;
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Small files of a memory volume: read in place.
fn look(
    directory: &Path,
    inspection: &Inspection,
    known: Option<&(Files, Instant)>,
) -> Result<Option<Files>, FilesError> {
    let files = Files::read(directory)?;
    if known.is_some_and(|(before, since)| *before == files && since.elapsed() < KEY_LASTS) {
        return Ok(None);
    }
    inspection.put(Authority::read(&files, OffsetDateTime::now_utc())?);
    Ok(Some(files))
}
