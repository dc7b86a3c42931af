//! Whether a remote's branches and tags lead to a commit, and what its full id is.

use std::path::Path;

use super::remote::Remote;
use super::{CloneError, EVERYTHING, SMALL, Transport, line, prepare_git};
use crate::git::GitError;

/// The full id of the one commit that `id` begins, among those that the remote's branches and tags lead to. Looks at
/// commits without their files, in a repository of its own beside `pristine` that is gone afterwards: what is left for
/// the agent is never one that lacks objects.
pub fn commit(
    remote: &Remote<'_>,
    id: &str,
    pristine: &Path,
    transport: &Transport,
) -> Result<String, CloneError> {
    let beside = pristine.with_extension("commits");
    let found = look(remote, id, &beside, transport);
    std::fs::remove_dir_all(&beside)?;
    found
}

fn look(remote: &Remote<'_>, id: &str, beside: &Path, transport: &Transport) -> Result<String, CloneError> {
    let git = prepare_git(beside, transport, remote.deadline)?;
    let commits = Remote { git: &git, ..*remote };
    // A server that knows no filter sends the files, too.
    commits.fetch(&["--filter=tree:0"], &EVERYTHING)?;
    let lookup = format!("{id}^{{commit}}");
    match git.run(&["rev-parse", "--verify", &lookup], b"", SMALL, remote.deadline) {
        Ok(printed) => line(&printed),
        Err(GitError::Failed { stderr, .. }) if contains(&stderr, "is ambiguous") => {
            Err(CloneError::Ambiguous(id.to_owned()))
        }
        Err(GitError::Failed { .. }) => Err(CloneError::NoCommit(id.to_owned())),
        Err(error) => Err(error.into()),
    }
}

fn contains(stderr: &[u8], words: &str) -> bool {
    String::from_utf8_lossy(stderr).contains(words)
}
