//! From the entries of a work tree to a patch: an index, a tree, a difference, all in the pristine repository.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::base::{Base, Oid, hex};
use super::found::Found;
use super::limits::Limits;
use super::refusal::Refusal;
use super::tracked::Change;
use crate::deadline::Deadline;
use crate::git::{Git, GitError};

/// Output of commands that say little.
const SMALL: u64 = 64 * 1024;
/// Lines of statistics: a path and two numbers for each changed file.
const STATISTICS_LIMIT: u64 = 512 * 1024 * 1024;

/// What every comparison is asked with: the whole content of binary files, full names, no configuration's ideas.
const DIFFERENCE: &[&str] = &[
    "diff-tree",
    "-r",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--no-renames",
    "--no-relative",
    "--ignore-submodules=none",
    "--submodule=short",
];

/// A patch in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its size.
    pub bytes: u64,
    /// `sha256:…`.
    pub digest: String,
    /// Files that it touches.
    pub files: u32,
    /// Lines that it adds.
    pub insertions: u32,
    /// Lines that it removes.
    pub deletions: u32,
}

/// A new file or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    /// Path within the tree.
    pub path: Vec<u8>,
    /// What stands there.
    pub found: Found,
    /// Its size in bytes; nothing of a link.
    pub size: u64,
}

/// What is to become of the base commit.
#[derive(Clone, Copy, Debug)]
pub struct Changes<'a> {
    /// What it is.
    pub base: &'a Base,
    /// Its files that changed.
    pub tracked: &'a [Change],
    /// New files.
    pub new: &'a [New],
}

impl Changes<'_> {
    /// What each path is to hold; nothing where there is to be none.
    fn entries(&self) -> impl Iterator<Item = (&[u8], Option<Found>)> {
        let tracked = self
            .tracked
            .iter()
            .map(|change| (self.base.path(change.at), change.to));
        let new = self.new.iter().map(|new| (new.path.as_slice(), Some(new.found)));
        tracked.chain(new)
    }
}

/// A patch, and what git did not take into it.
#[derive(Debug)]
pub struct Written {
    /// The patch.
    pub facts: Facts,
    /// New paths that git refuses.
    pub refused: Vec<Vec<u8>>,
}

/// Writes the patch of `changes` into the file `into`, next to which the index is made.
pub fn write(
    pristine: &Path,
    changes: Changes<'_>,
    into: &Path,
    limits: &Limits,
    deadline: &Deadline,
) -> Result<Written, Refusal> {
    let git = Git::new(pristine).variable("GIT_INDEX_FILE", into.with_extension("index"));
    let base = changes.base;
    let (tree, refused) = write_tree(&git, changes, deadline)?;
    let mut output = Digested::create(into).map_err(Refusal::Storage)?;
    if tree != base.tree {
        let mut arguments = DIFFERENCE.to_vec();
        arguments.extend(["-p", "--binary", "--full-index"]);
        arguments.extend(["--src-prefix=a/", "--dst-prefix=b/", &base.tree, &tree]);
        git.run_into(&arguments, b"", &mut output, limits.patch_bytes, deadline)
            .map_err(|error| match error {
                GitError::TooLong { limit, .. } => Refusal::PatchTooLarge(limit),
                error => error.into(),
            })?;
    }
    let (bytes, digest) = output.finish().map_err(Refusal::Storage)?;
    let (files, insertions, deletions) = statistics(&git, base, &tree, deadline)?;
    let facts = Facts {
        bytes,
        digest,
        files,
        insertions,
        deletions,
    };
    Ok(Written { facts, refused })
}

/// The tree of the base commit with `changes`, and the new paths that git did not take into it.
fn write_tree(
    git: &Git,
    changes: Changes<'_>,
    deadline: &Deadline,
) -> Result<(String, Vec<Vec<u8>>), Refusal> {
    let base = changes.base;
    if changes.entries().next().is_none() {
        return Ok((base.tree.clone(), Vec::new()));
    }
    let mut lines = Vec::new();
    let mut line = |mode: &str, oid: &Oid, path: &[u8]| {
        lines.extend_from_slice(format!("{mode} {} 0\t", hex(oid)).as_bytes());
        lines.extend_from_slice(path);
        lines.push(0);
    };
    // What goes comes first, so that it is in the way of nothing that comes.
    for (path, _) in changes.entries().filter(|(_, found)| found.is_none()) {
        line("0", &Oid::default(), path);
    }
    for (path, found) in changes.entries() {
        if let Some(Found { mode, oid, .. }) = found {
            line(mode.as_str(), &oid, path);
        }
    }
    git.run(&["read-tree", &base.tree], b"", SMALL, deadline)?;
    git.run(&["update-index", "-z", "--index-info"], &lines, SMALL, deadline)?;
    drop(lines);
    let tree = git.run(&["write-tree"], b"", SMALL, deadline)?;
    let tree = String::from_utf8_lossy(&tree).trim_end().to_owned();
    let refused = not_taken(git, changes, &tree, deadline)?;
    Ok((tree, refused))
}

/// Git drops a path that it does not like with no more than a line of complaint; a patch without a change of the base
/// commit's own files would be wrong.
fn not_taken(
    git: &Git,
    changes: Changes<'_>,
    tree: &str,
    deadline: &Deadline,
) -> Result<Vec<Vec<u8>>, Refusal> {
    let mut arguments = DIFFERENCE.to_vec();
    arguments.extend(["--name-only", "-z", &changes.base.tree, tree]);
    let listed = git.run(&arguments, b"", STATISTICS_LIMIT, deadline)?;
    let taken: HashSet<&[u8]> = listed.split(|byte| *byte == 0).collect();
    let tracked = changes.tracked.iter().filter(|change| change.to.is_some());
    if let Some(path) = tracked
        .map(|change| changes.base.path(change.at))
        .find(|path| !taken.contains(path))
    {
        return Err(Refusal::PathRefused(Refusal::shown(path)));
    }
    let new = changes.new.iter().map(|new| &new.path);
    Ok(new
        .filter(|path| !taken.contains(path.as_slice()))
        .cloned()
        .collect())
}

fn statistics(git: &Git, base: &Base, tree: &str, deadline: &Deadline) -> Result<(u32, u32, u32), Refusal> {
    if tree == base.tree {
        return Ok((0, 0, 0));
    }
    let mut arguments = DIFFERENCE.to_vec();
    arguments.extend(["--numstat", "-z", &base.tree, tree]);
    let output = git.run(&arguments, b"", STATISTICS_LIMIT, deadline)?;
    let mut totals = (0u32, 0u32, 0u32);
    for record in output
        .split(|byte| *byte == 0)
        .filter(|record| !record.is_empty())
    {
        let mut fields = record.splitn(3, |byte| *byte == b'\t').map(count);
        totals.0 = totals.0.saturating_add(1);
        totals.1 = totals.1.saturating_add(fields.next().unwrap_or_default());
        totals.2 = totals.2.saturating_add(fields.next().unwrap_or_default());
    }
    Ok(totals)
}

/// A number of lines; binary files have none.
fn count(field: &[u8]) -> u32 {
    std::str::from_utf8(field)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// A file whose digest is known once it is written.
struct Digested {
    file: BufWriter<File>,
    digest: Sha256,
    bytes: u64,
}

impl Digested {
    fn create(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            file: BufWriter::new(File::create(path)?),
            digest: Sha256::new(),
            bytes: 0,
        })
    }

    fn finish(mut self) -> std::io::Result<(u64, String)> {
        use std::fmt::Write as _;
        self.file.flush()?;
        let mut text = String::from("sha256:");
        for byte in self.digest.finalize() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Ok((self.bytes, text))
    }
}

impl Write for Digested {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.digest.update(buffer.get(..written).unwrap_or_default());
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::base::Mode;
    use crate::collect::objects::Objects;
    use crate::testing::sh;
    use std::time::Duration;

    #[test]
    fn a_path_that_git_would_drop_in_silence_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.git");
        sh(
            directory.path(),
            "git init -q --bare x.git; cd x.git
             git update-ref refs/cofferdam/base $(git commit-tree -m base $(git mktree </dev/null))",
        );
        let git = Git::new(&path).variable("GIT_INDEX_FILE", directory.path().join("index"));
        let deadline = Deadline::after(Duration::from_secs(30));
        let mut objects = Objects::new(path.join("objects"));
        let oid = objects.write(&mut b"x".as_slice(), 1).unwrap();
        objects.finish().unwrap();
        let base = Base::read(&path, &Limits::default(), &deadline).unwrap();
        let refused = |paths: &[&str]| {
            let new: Vec<New> = paths
                .iter()
                .map(|path| New {
                    path: path.as_bytes().to_vec(),
                    found: Found {
                        mode: Mode::File,
                        oid,
                        links: None,
                    },
                    size: 1,
                })
                .collect();
            let changes = Changes {
                base: &base,
                tracked: &[],
                new: &new,
            };
            let (_, refused) = write_tree(&git, changes, &deadline).unwrap();
            refused
        };
        assert!(refused(&["a", "b/c\nd"]).is_empty());
        assert_eq!(refused(&["a", "b/.GIT/c"]), [b"b/.GIT/c"]);
        assert_eq!(refused(&["a/git~1", "b"]), [b"a/git~1"]);
    }
}
