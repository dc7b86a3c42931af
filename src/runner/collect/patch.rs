//! From the entries of a work tree to a patch: an index, a tree, a difference, all in the pristine repository.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::base::{Base, hex};
use super::limits::Limits;
use super::refusal::Refusal;
use super::walk::Entry;
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

/// Writes the patch from `base` to `entries` into the file `into`, next to which the index is made.
pub fn write(
    pristine: &Path,
    base: &Base,
    entries: &[Entry],
    into: &Path,
    limits: &Limits,
    deadline: &Deadline,
) -> Result<Facts, Refusal> {
    let git = Git::new(pristine).variable("GIT_INDEX_FILE", into.with_extension("index"));
    let tree = write_tree(&git, entries, deadline)?;
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
    Ok(Facts {
        bytes,
        digest,
        files,
        insertions,
        deletions,
    })
}

/// The tree of `entries`; the index is written in one go, by paths that end in NUL.
fn write_tree(git: &Git, entries: &[Entry], deadline: &Deadline) -> Result<String, Refusal> {
    let mut lines = Vec::new();
    for Entry { path, mode, oid } in entries {
        lines.extend_from_slice(format!("{} {} 0\t", mode.as_str(), hex(oid)).as_bytes());
        lines.extend_from_slice(path);
        lines.push(0);
    }
    git.run(&["read-tree", "--empty"], b"", SMALL, deadline)?;
    git.run(&["update-index", "-z", "--index-info"], &lines, SMALL, deadline)?;
    all_taken(git, entries, deadline)?;
    let tree = git.run(&["write-tree"], b"", SMALL, deadline)?;
    Ok(String::from_utf8_lossy(&tree).trim_end().to_owned())
}

/// Git drops a path that it does not like with no more than a line of complaint; a patch without it would be
/// wrong.
fn all_taken(git: &Git, entries: &[Entry], deadline: &Deadline) -> Result<(), Refusal> {
    let listed = git.run(&["ls-files", "-z"], b"", STATISTICS_LIMIT, deadline)?;
    let mut taken = listed.split(|byte| *byte == 0);
    match entries
        .iter()
        .find(|entry| taken.next() != Some(entry.path.as_slice()))
    {
        Some(entry) => Err(Refusal::PathRefused(Refusal::shown(&entry.path))),
        None => Ok(()),
    }
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
    use std::time::Duration;

    #[test]
    fn a_path_that_git_would_drop_in_silence_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.git");
        let git = Git::new(&path).variable("GIT_INDEX_FILE", directory.path().join("index"));
        let deadline = Deadline::after(Duration::from_secs(30));
        git.run(&["init", "-q", "--bare", "--template="], b"", 1000, &deadline)
            .unwrap();
        let oid = Objects::new(path.join("objects"))
            .write(&mut b"x".as_slice(), 1)
            .unwrap();
        let entry = |path: &str| Entry {
            path: path.as_bytes().to_vec(),
            mode: Mode::File,
            oid,
        };
        assert!(write_tree(&git, &[entry("a"), entry("b/c\nd")], &deadline).is_ok());
        for entries in [
            vec![entry("a"), entry("b/.GIT/c")],
            vec![entry("a/git~1"), entry("b")],
        ] {
            let refusal = write_tree(&git, &entries, &deadline).unwrap_err();
            assert_eq!(refusal.code(), "PathRefused");
        }
    }
}
