//! The sidecar's last work: patches, one upload, and the same patches in the container's log.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::StatusCode;
use tokio::fs::File;
use tokio::time::{Instant, sleep};
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use super::collecting::collect_all;
use crate::control::{Control, ControlError};
use crate::deadline::Deadline;
use crate::paths::Paths;
use cofferdam_api::{Completeness, Reason, Snapshot};
use cofferdam_service::client::Body;
use cofferdam_wire::output::{COLLECT_BUDGET, LeftOut, LeftOutPath, PatchManifest, UPLOAD_BUDGET};
use cofferdam_wire::runner::RepositorySpec;

/// How long nothing may go on while work trees are read.
const COLLECT_PATIENCE: Duration = Duration::from_secs(20);
/// How long they may take once the kubelet asks for the end: of the 15 s that a spot node gives, the rest is for the upload.
const COLLECT_AT_THE_END: Duration = Duration::from_secs(8);
/// How long one try may take.
const TRY: Duration = Duration::from_secs(15);
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes of patches that are printed; the kubelet keeps 10 MiB of a log.
const PRINT_LIMIT: u64 = 5 * 1024 * 1024;

/// Why there is no receipt.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The gateway did not take the upload.
    #[error("the output could not be handed over: {0}")]
    Upload(#[source] ControlError),
    /// Our own volumes.
    #[error("the output cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The manifest.
    #[error("the manifest cannot be written: {0}")]
    Manifest(#[from] serde_json::Error),
    /// A defect.
    #[error("collecting broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

pub use super::collecting::Output;

/// Collects all repositories that the agent may write to, in less time once `terminated`.
///
/// # Errors
/// Only defects: what a work tree holds makes refusals within the output.
pub async fn snapshot(
    repositories: &[RepositorySpec],
    paths: &Paths,
    snapshot: Snapshot,
    stopped: Option<Reason>,
    terminated: &CancellationToken,
) -> Result<Output, OutputError> {
    let (repositories, paths) = (repositories.to_vec(), paths.clone());
    let deadline = Deadline::after(COLLECT_BUDGET).with_patience(COLLECT_PATIENCE);
    let watched = deadline.clone();
    let collecting =
        tokio::task::spawn_blocking(move || collect_all(&repositories, &paths, snapshot, stopped, &deadline));
    tokio::pin!(collecting);
    tokio::select! {
        output = &mut collecting => return Ok(output?),
        () = terminated.cancelled() => watched.cut_to(COLLECT_AT_THE_END),
    }
    Ok(collecting.await?)
}

/// Hands the output over, once; what may pass by itself is tried again. That there is an upload already is a
/// success: it can only be an earlier try of this very call whose answer was lost.
///
/// # Errors
/// There is no receipt.
pub async fn upload(control: &Control, output: &Output) -> Result<(), OutputError> {
    let end = Instant::now() + UPLOAD_BUDGET;
    loop {
        let error = match control.output(body(output).await?, TRY).await {
            Ok(()) => return Ok(()),
            Err(error) if error.status() == Some(StatusCode::CONFLICT) => return Ok(()),
            Err(error) => error,
        };
        if !error.passes() || Instant::now() + PAUSE >= end {
            return Err(OutputError::Upload(error));
        }
        tracing::debug!(%error, "the upload is tried again");
        sleep(PAUSE).await;
    }
}

/// The manifest's line, then the patches.
async fn body(output: &Output) -> Result<Body, OutputError> {
    let mut line = serde_json::to_vec(&output.manifest)?;
    line.push(b'\n');
    let mut files = Vec::new();
    for file in &output.files {
        files.push(ReaderStream::new(File::open(file).await?));
    }
    let manifest = stream::iter([Ok::<Bytes, io::Error>(line.into())]);
    Ok(Body::stream(manifest.chain(stream::iter(files).flatten())))
}

/// Prints the patches between lines that begin with `#`, which `git apply` passes over, so that it can be given
/// the whole log.
///
/// # Errors
/// The log or a patch cannot be used.
pub fn print(output: &Output, to: &mut impl Write) -> io::Result<()> {
    let mut left = PRINT_LIMIT;
    for (patch, file) in output.manifest.patches.iter().zip(&output.files) {
        let PatchManifest {
            base_commit,
            bytes,
            digest,
            left_out,
            completeness,
            lfs_files,
            ..
        } = patch;
        let of = shown(patch);
        if *completeness == Completeness::Partial {
            writeln!(
                to,
                "# cofferdam: the patch of {of} is partial: the work tree was not looked at to its end"
            )?;
        }
        if *lfs_files > 0 {
            writeln!(
                to,
                "# cofferdam: in the patch of {of} {lfs_files} file(s) have the content that Git LFS is to keep"
            )?;
        }
        print_left_out(&of, left_out.as_ref(), to)?;
        if *bytes > left {
            writeln!(
                to,
                "# cofferdam: the patch of {of} is at the archive only; it has {bytes} bytes"
            )?;
            continue;
        }
        left -= bytes;
        writeln!(
            to,
            "# cofferdam: patch of {of} for commit {base_commit}: {bytes} bytes, {digest}"
        )?;
        io::copy(&mut std::fs::File::open(file)?, to)?;
        writeln!(to, "# cofferdam: end of the patch of {of}")?;
    }
    for refusal in &output.manifest.refused {
        writeln!(
            to,
            "# cofferdam: repository {} was not collected: {}: {}",
            refusal.repository, refusal.code, refusal.message
        )?;
    }
    to.flush()
}

/// What a patch is of.
fn shown(patch: &PatchManifest) -> String {
    match &patch.submodule {
        None => format!("repository {}", patch.repository),
        Some(place) => format!("repository {}, submodule {place}", patch.repository),
    }
}

/// Names what is not in a patch.
fn print_left_out(of: &str, left_out: Option<&LeftOut>, to: &mut impl Write) -> io::Result<()> {
    let Some(LeftOut { count, paths, .. }) = left_out else {
        return Ok(());
    };
    for LeftOutPath { path, reason } in paths {
        writeln!(
            to,
            "# cofferdam: left out of the patch of {of}: {path} ({reason})"
        )?;
    }
    let more = count.saturating_sub(paths.len() as u64);
    if more > 0 {
        writeln!(
            to,
            "# cofferdam: left out of the patch of {of}: {more} more path(s)"
        )?;
    }
    Ok(())
}
