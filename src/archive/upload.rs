//! Receiving a run's one upload: streamed to the volume, verified, committed by its receipt.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::fs;
use tokio::io::AsyncWriteExt;

use super::durable::{DiskError, TEMPORARY, make_directory, sync_directory, write_file};
use super::error::StoreError;
use super::store::{Store, patch_file};
use cofferdam_wire::output::{MANIFEST_LIMIT, OutputManifest, PatchManifest, Receipt, UPLOAD_LIMIT, VERSION};

/// Longest silence within an upload.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// Patches of one upload; a run has at most 8 repositories, and 24 patches of submodules.
const PATCHES_LIMIT: usize = 64;

/// Why an upload was not received.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The run has its receipt.
    #[error("the run's output was received already")]
    Second,
    /// Another upload of the run is under way; it may still break off.
    #[error("the run's output is being received")]
    Busy,
    /// More than [`UPLOAD_LIMIT`].
    #[error("the upload is larger than 64 MiB")]
    TooLarge,
    /// The manifest is not one, or the bytes are not what it says.
    #[error("{0}")]
    Mismatch(String),
    /// The upload ended early or fell silent.
    #[error("the upload broke off: {0}")]
    Broken(String),
    /// The volume.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<std::io::Error> for UploadError {
    fn from(error: std::io::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Receives the upload of `run` (`namespace/name`) from `chunks`.
pub async fn receive(
    store: &Store,
    run_uid: &str,
    run: &str,
    chunks: impl Stream<Item = Result<Bytes, String>> + Unpin,
) -> Result<Receipt, UploadError> {
    let directory = store.directory(run_uid)?;
    let known = store.run(run_uid)?;
    let _one_at_a_time = known.upload.try_lock().map_err(|_| UploadError::Busy)?;
    if store.receipt(run_uid)?.is_some() {
        return Err(UploadError::Second);
    }
    if store.is_sealed(run_uid)? {
        return Err(StoreError::Sealed.into());
    }
    store.has_room_for_output(0)?;
    store.settled(make_directory(&directory))?;
    let staged = Staged::make(&directory).await?;
    let mut body = Body::new(chunks);
    let manifest = read_manifest(&mut body).await?;
    let announced = manifest.patches.iter().map(|patch| patch.bytes).sum();
    store.has_room_for_output(announced)?;
    for patch in &manifest.patches {
        store_patch(store, &staged.0, patch, &mut body).await?;
    }
    if !body.has_ended().await? {
        return Err(UploadError::Mismatch(
            "more bytes than the manifest says".to_owned(),
        ));
    }
    let receipt = Receipt {
        version: VERSION,
        run_uid: run_uid.to_owned(),
        received_at: jiff::Timestamp::now().to_string(),
        manifest,
    };
    commit(store, &directory, staged, run, &receipt).await?;
    store.note_name(run, run_uid);
    Ok(receipt)
}

/// A directory for what is not complete; it goes with the upload that made it.
struct Staged(PathBuf);

impl Staged {
    async fn make(directory: &Path) -> std::io::Result<Self> {
        let path = directory.join(format!("{TEMPORARY}patches"));
        match fs::remove_dir_all(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir(&path).await?;
        Ok(Self(path))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a commit there is nothing of this name any more.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The patches go into place first, the receipt last: only it makes them count.
async fn commit(
    store: &Store,
    directory: &Path,
    staged: Staged,
    run: &str,
    receipt: &Receipt,
) -> Result<(), UploadError> {
    let document = serde_json::to_vec_pretty(receipt).map_err(StoreError::from)?;
    let (directory, run) = (directory.to_owned(), run.to_owned());
    let work = move || {
        let patches = directory.join("patches");
        // From an upload that ended between here and its receipt.
        match std::fs::remove_dir_all(&patches) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        sync_directory(&staged.0)?;
        std::fs::rename(&staged.0, &patches)?;
        sync_directory(&directory)?;
        write_file(&directory, "run", run.as_bytes())?;
        write_file(&directory, "receipt.json", &document)
    };
    let done = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| UploadError::Broken(error.to_string()))?;
    Ok(store.settled(done)?)
}

async fn read_manifest<S>(body: &mut Body<S>) -> Result<OutputManifest, UploadError>
where
    S: Stream<Item = Result<Bytes, String>> + Unpin,
{
    let line = body.line(MANIFEST_LIMIT).await?;
    let manifest: OutputManifest = serde_json::from_slice(&line)
        .map_err(|error| UploadError::Mismatch(format!("the manifest cannot be read: {error}")))?;
    if manifest.version != VERSION {
        return Err(UploadError::Mismatch(format!(
            "the manifest's version is {}",
            manifest.version
        )));
    }
    let mut names = HashSet::new();
    for patch in &manifest.patches {
        let name = patch.name();
        patch_file(&name)?;
        if !names.insert(name) {
            return Err(UploadError::Mismatch("two patches have one name".to_owned()));
        }
    }
    let total = manifest
        .patches
        .iter()
        .try_fold(0u64, |sum, patch| sum.checked_add(patch.bytes));
    if manifest.patches.len() > PATCHES_LIMIT || total.is_none_or(|total| total > UPLOAD_LIMIT) {
        return Err(UploadError::TooLarge);
    }
    Ok(manifest)
}

async fn store_patch<S>(
    store: &Store,
    directory: &Path,
    patch: &PatchManifest,
    body: &mut Body<S>,
) -> Result<(), UploadError>
where
    S: Stream<Item = Result<Bytes, String>> + Unpin,
{
    let mut file = fs::File::create(directory.join(patch_file(&patch.name())?)).await?;
    let mut hash = Sha256::new();
    let mut missing = patch.bytes;
    while missing > 0 {
        let chunk = body.at_most(missing).await?;
        missing -= chunk.len() as u64;
        hash.update(&chunk);
        file.write_all(&chunk).await?;
    }
    store.settled(file.sync_all().await.map_err(DiskError::Unsynced))?;
    let mut digest = String::from("sha256:");
    for byte in hash.finalize() {
        // Writing to a String cannot fail.
        let _ = write!(digest, "{byte:02x}");
    }
    if digest == patch.digest {
        Ok(())
    } else {
        let name = patch.name();
        Err(UploadError::Mismatch(format!(
            "the patch of {name} has digest {digest}"
        )))
    }
}

/// The bytes of an upload, asked for piece by piece.
struct Body<S> {
    chunks: S,
    buffer: BytesMut,
}

impl<S: Stream<Item = Result<Bytes, String>> + Unpin> Body<S> {
    fn new(chunks: S) -> Self {
        Self {
            chunks,
            buffer: BytesMut::new(),
        }
    }

    /// Takes one more chunk into the buffer; `false` at the end.
    async fn fill(&mut self) -> Result<bool, UploadError> {
        match tokio::time::timeout(SILENCE_LIMIT, self.chunks.next()).await {
            Err(_) => Err(UploadError::Broken("silence for 30 s".to_owned())),
            Ok(None) => Ok(false),
            Ok(Some(Err(error))) => Err(UploadError::Broken(error)),
            Ok(Some(Ok(chunk))) => {
                self.buffer.extend_from_slice(&chunk);
                Ok(true)
            }
        }
    }

    /// The first line without its end.
    async fn line(&mut self, limit: usize) -> Result<Bytes, UploadError> {
        loop {
            if let Some(position) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(position).freeze();
                let _line_feed = self.buffer.split_to(1);
                return if line.len() > limit {
                    Err(UploadError::TooLarge)
                } else {
                    Ok(line)
                };
            }
            if self.buffer.len() > limit {
                return Err(UploadError::TooLarge);
            }
            if !self.fill().await? {
                return Err(UploadError::Mismatch("there is no manifest".to_owned()));
            }
        }
    }

    /// Some bytes, at most `limit`, at least one.
    async fn at_most(&mut self, limit: u64) -> Result<Bytes, UploadError> {
        while self.buffer.is_empty() {
            if !self.fill().await? {
                return Err(UploadError::Mismatch(
                    "fewer bytes than the manifest says".to_owned(),
                ));
            }
        }
        let length = usize::try_from(limit)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len());
        Ok(self.buffer.split_to(length).freeze())
    }

    async fn has_ended(&mut self) -> Result<bool, UploadError> {
        while self.buffer.is_empty() {
            if !self.fill().await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
#[path = "upload/tests.rs"]
mod tests;
