//! A real archive for the tests of what calls it, and its store for measurements.

use std::io;
use std::path::Path;
use std::sync::Arc;

use cofferdam_identity::Verifier;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::server::{Archive, serve as serve_archive};
use crate::store::Store;
use cofferdam_wire::chain::Class;

/// Serves the archive of directory `data` until the future is dropped. Accounts of `namespace` may call it with
/// tokens that `verifier` believes.
///
/// # Errors
/// The directory cannot be opened, or another archive holds it.
pub async fn serve(
    data: &Path,
    verifier: Verifier,
    namespace: &str,
    listener: TcpListener,
) -> io::Result<()> {
    let archive = Archive::new(Arc::new(Store::open(data)?), verifier, namespace.to_owned());
    serve_archive(Arc::new(archive), listener, CancellationToken::new()).await;
    Ok(())
}

/// The store without a network before it, for measurements.
pub struct Direct(Store);

impl Direct {
    /// Opens the files under `data`.
    ///
    /// # Errors
    /// The directory cannot be used, or another archive holds it.
    pub fn open(data: &Path) -> io::Result<Self> {
        Store::open(data).map(Self)
    }

    /// Stores lines of a gateway's records; returns when they are on the disk.
    ///
    /// # Errors
    /// They are not stored; why.
    pub async fn append(&self, run_uid: &str, source: &str, lines: &[u8]) -> Result<(), String> {
        let prepared = self
            .0
            .prepare(run_uid, source.to_owned(), Class::Observed, lines)
            .map_err(|error| error.to_string())?;
        self.0.commit(prepared).await.map_err(|error| error.to_string())
    }

    /// Whether the volume is synced as a whole, which needs a file system of its own.
    pub fn syncs_whole(&self) -> bool {
        self.0.syncs_whole()
    }
}
