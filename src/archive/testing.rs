//! A real archive on a caller's listener, for tests of what calls it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use cofferdam_identity::Verifier;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::server::{Archive, serve as serve_archive};
use crate::store::Store;

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
