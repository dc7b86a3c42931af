//! The agent's copy of a repository: a work tree with a `.git` of its own, made from the pristine repository.
//!
//! Files get the bytes of their blobs, whatever attributes say: no filter runs, no line ending changes. The
//! collector compares bytes, too, so that what the agent did not touch is no change.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::clone::Cloned;
use super::deadline::Deadline;
use super::git::{Git, GitError};

/// Output of commands that say little.
const SMALL: u64 = 64 * 1024;
/// Deepest directory of a pristine repository's objects: `objects/pack/…`.
const OBJECTS_DEPTH: usize = 4;

/// Overrides every attribute that changes bytes on their way into a work tree. It stays there for the agent's own
/// git, which would otherwise see changes where there are none.
const ATTRIBUTES: &str = "# Files here hold the bytes of their blobs.\n\
    * -text !eol !crlf -ident -filter !working-tree-encoding\n";

/// Why a work tree could not be made.
#[derive(Debug, thiserror::Error)]
pub enum WorkTreeError {
    /// Files.
    #[error("the work tree cannot be written: {0}")]
    Io(#[from] io::Error),
    /// Git.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// Makes the work tree of `cloned` in `tree`, a directory that exists; what stands in it is removed.
///
/// # Errors
/// Files cannot be written, or the commit holds names that no work tree may have.
pub fn make(
    pristine: &Path,
    tree: &Path,
    url: &str,
    cloned: &Cloned,
    deadline: &Deadline,
) -> Result<(), WorkTreeError> {
    clear(tree)?;
    let git_dir = tree.join(".git");
    for directory in ["info", "objects", "refs/heads"] {
        fs::create_dir_all(git_dir.join(directory))?;
    }
    fs::write(
        git_dir.join("HEAD"),
        format!("ref: refs/heads/{}\n", cloned.branch),
    )?;
    fs::write(git_dir.join("config"), config(url, cloned))?;
    fs::write(git_dir.join("info/attributes"), ATTRIBUTES)?;
    copy_objects(&pristine.join("objects"), &git_dir.join("objects"), OBJECTS_DEPTH)?;
    let shallow = pristine.join("shallow");
    if shallow.exists() {
        fs::copy(shallow, git_dir.join("shallow"))?;
    }
    let git = Git::new(&git_dir).work_tree(tree);
    git.run(
        &["update-ref", "--stdin"],
        references(cloned).as_bytes(),
        SMALL,
        deadline,
    )?;
    git.run(&["read-tree", "-m", "-u", "HEAD"], b"", SMALL, deadline)?;
    Ok(())
}

fn references(cloned: &Cloned) -> String {
    let Cloned { commit, branch, .. } = cloned;
    let local = format!("create refs/heads/{branch} {commit}\n");
    if cloned.remote_branch {
        local + &format!("create refs/remotes/origin/{branch} {commit}\n")
    } else {
        local
    }
}

fn config(url: &str, cloned: &Cloned) -> String {
    let remote = format!(
        "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n\
         [remote \"origin\"]\n\turl = {}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n",
        quoted(url)
    );
    if !cloned.remote_branch {
        return remote;
    }
    let branch = quoted(&cloned.branch);
    let full = quoted(&format!("refs/heads/{}", cloned.branch));
    remote + &format!("[branch {branch}]\n\tremote = origin\n\tmerge = {full}\n")
}

/// A value or a subsection as git's configuration spells it. Control characters do not get here: neither URL nor
/// branch may hold any.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Empties a directory that is itself a mount.
fn clear(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Copies files, never links: the agent may write to its copy.
fn copy_objects(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    if depth == 0 {
        return Err(io::Error::other("a repository's objects are nested too deep"));
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_objects(&entry.path(), &target, depth - 1)?;
        } else if kind.is_file() {
            copy_file(&entry.path(), &target)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut target = File::create_new(to)?;
    io::copy(&mut File::open(from)?, &mut target)?;
    target.flush()
}

#[cfg(test)]
mod tests;
