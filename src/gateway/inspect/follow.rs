//! Looks at the files of the certificate authority again and again.

use std::path::Path;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::Inspection;
use super::authority::{Authority, AuthorityError};
use super::files::{Files, FilesError};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The key of hosts' certificates is a new one after so long.
const KEY_LASTS: Duration = Duration::from_hours(24);

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
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
) -> Result<Option<Files>, Unusable> {
    let files = Files::read(directory)?;
    if known.is_some_and(|(before, since)| *before == files && since.elapsed() < KEY_LASTS) {
        return Ok(None);
    }
    inspection.put(Authority::read(&files, OffsetDateTime::now_utc())?);
    Ok(Some(files))
}
