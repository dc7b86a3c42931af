//! The agent's copy of a repository: a work tree with a `.git` of its own, made from the pristine repository.
//!
//! Files get the bytes of their blobs, whatever attributes say: no filter runs, no line ending changes. The
//! collector knows untouched files by their bytes, so that they are no change; what it writes has the project's line endings.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use cofferdam_api::CloneOptions;

use super::clone::bytes::{Bytes, TooLarge};
use super::clone::{Cloned, sparse};
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
    /// Its files are too many bytes.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// Where a work tree is made from, and where.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The pristine repository.
    pub pristine: &'a Path,
    /// The directory of the work tree, which exists.
    pub tree: &'a Path,
    /// The remote's address.
    pub url: &'a str,
}

/// Makes the work tree of `cloned`; what stands in its directory is removed.
///
/// # Errors
/// Files cannot be written, are too many bytes, or the commit holds names that no work tree may have.
pub fn make(
    place: &Place<'_>,
    cloned: &Cloned,
    options: &CloneOptions,
    bytes: &Bytes,
    deadline: &Deadline,
) -> Result<(), WorkTreeError> {
    let Place { pristine, tree, url } = *place;
    bytes.add_files(files(pristine, cloned, options, deadline)?)?;
    clear(tree)?;
    let git_dir = tree.join(".git");
    for directory in ["info", "objects", "refs/heads"] {
        fs::create_dir_all(git_dir.join(directory))?;
    }
    fs::write(
        git_dir.join("HEAD"),
        format!("ref: refs/heads/{}\n", cloned.branch),
    )?;
    let mut config = config(url, cloned);
    if !options.sparse.is_empty() {
        config += "[core]\n\tsparseCheckout = true\n\tsparseCheckoutCone = true\n";
        fs::write(
            git_dir.join("info/sparse-checkout"),
            sparse::patterns(&options.sparse),
        )?;
    }
    fs::write(git_dir.join("config"), config)?;
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

/// Bytes of the files that the work tree will have.
fn files(
    pristine: &Path,
    cloned: &Cloned,
    options: &CloneOptions,
    deadline: &Deadline,
) -> Result<u64, GitError> {
    let mut sum = Sum {
        directories: &options.sparse,
        line: Vec::new(),
        bytes: 0,
    };
    let list = ["ls-tree", "-r", "-l", "-z", "--full-tree", &cloned.commit];
    Git::new(pristine).run_into(&list, b"", &mut sum, u64::MAX - 1, deadline)?;
    Ok(sum.bytes)
}

/// Adds up the sizes in a list of `<mode> <type> <id> <size>TAB<path>NUL`, which is never in memory as a whole.
struct Sum<'a> {
    directories: &'a [String],
    line: Vec<u8>,
    bytes: u64,
}

impl Sum<'_> {
    fn count(&mut self) {
        let mut parts = self.line.splitn(2, |byte| *byte == b'\t');
        let (facts, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let size = std::str::from_utf8(facts)
            .ok()
            .and_then(|facts| facts.split_ascii_whitespace().nth(3));
        // A submodule has none.
        let size: u64 = size.and_then(|size| size.parse().ok()).unwrap_or_default();
        if sparse::holds(self.directories, path) {
            self.bytes = self.bytes.saturating_add(size);
        }
        self.line.clear();
    }
}

impl Write for Sum<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        for part in buffer.split_inclusive(|byte| *byte == 0) {
            self.line
                .extend_from_slice(part.strip_suffix(&[0]).unwrap_or(part));
            if part.last() == Some(&0) {
                self.count();
            }
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn references(cloned: &Cloned) -> String {
    let Cloned {
        commit,
        branch,
        remote_branch,
        tolerated: _,
        references,
    } = cloned;
    let mut text = format!("create refs/heads/{branch} {commit}\n");
    let remote = format!("refs/remotes/origin/{branch}");
    if *remote_branch && !references.iter().any(|(name, _)| *name == remote) {
        text.extend(["create ", remote.as_str(), " ", commit.as_str(), "\n"]);
    }
    for (name, id) in references {
        text.extend(["create ", name.as_str(), " ", id.as_str(), "\n"]);
    }
    text
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
pub fn quoted(value: &str) -> String {
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
