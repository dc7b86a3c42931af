//! Fetches the contents of Git LFS files where a run asks for them.

use super::shared::{Shared, refusing_host};
use crate::lfs::LfsError;
use crate::lfs::files::fetch;
use crate::work_tree::Place;
use cofferdam_api::{CloneLfs, CloneOptions};

/// Puts the contents in the places of their pointers, in a work tree as it was checked out.
pub fn in_work_tree(options: &CloneOptions, repository: &Place<'_>, shared: &Shared) -> Result<(), LfsError> {
    if options.lfs == CloneLfs::Pointers {
        return Ok(());
    }
    let granted = |host: &str, port: u16| match refusing_host(&shared.grants, host, port) {
        None => Ok(()),
        Some(layer) => Err(layer.to_owned()),
    };
    let files = fetch(
        repository,
        &shared.transport,
        &shared.bytes,
        granted,
        &shared.deadline,
    )?;
    tracing::info!(url = repository.url, files, "files of Git LFS are there");
    Ok(())
}
