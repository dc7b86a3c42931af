//! The base commit: what every file of the work tree is compared with.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;

use super::limits::Limits;
use super::refusal::Refusal;
use crate::clone::BASE;
use crate::deadline::Deadline;
use crate::git::{Git, GitError};

/// Name of an object: SHA-1, the only format that `prepare` clones.
pub type Oid = [u8; 20];
/// Output of commands that say little.
const SMALL: u64 = 64 * 1024;

/// What a tree entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A file.
    File,
    /// A file that can be executed.
    Executable,
    /// A symbolic link.
    Symlink,
    /// A submodule's commit.
    Gitlink,
}

impl Mode {
    /// As git spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "100644",
            Self::Executable => "100755",
            Self::Symlink => "120000",
            Self::Gitlink => "160000",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "120000" => Some(Self::Symlink),
            "160000" => Some(Self::Gitlink),
            "100755" => Some(Self::Executable),
            // Old tools wrote 100664.
            other if other.starts_with("100") => Some(Self::File),
            _ => None,
        }
    }
}

/// An entry of the base commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseEntry {
    /// What it is.
    pub mode: Mode,
    /// Its object.
    pub oid: Oid,
    /// Its size in bytes; none for a submodule.
    pub size: Option<u64>,
}

/// All entries of the base commit by path.
#[derive(Debug)]
pub struct Base {
    /// Full commit id.
    pub commit: String,
    /// Id of its tree.
    pub tree: String,
    entries: BTreeMap<Vec<u8>, BaseEntry>,
}

impl Base {
    /// Reads it from the pristine repository.
    pub fn read(pristine: &Path, limits: &Limits, deadline: &Deadline) -> Result<Self, Refusal> {
        let git = Git::new(pristine);
        let id = |name: &str| -> Result<String, Refusal> {
            let output = git.run(&["rev-parse", "--verify", name], b"", SMALL, deadline)?;
            let text = String::from_utf8_lossy(&output).trim_end().to_owned();
            parse_oid(&text).map(|_| text).ok_or_else(unreadable)
        };
        let commit = id(&format!("{BASE}^{{commit}}"))?;
        let tree = id(&format!("{BASE}^{{tree}}"))?;
        let listed = git.run(
            &["ls-tree", "-r", "-l", "-z", "--full-tree", &tree],
            b"",
            limits.base_list_bytes,
            deadline,
        )?;
        let entries = listed
            .split(|byte| *byte == 0)
            .filter(|record| !record.is_empty())
            .map(|record| parse(record).ok_or_else(unreadable))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            commit,
            tree,
            entries,
        })
    }

    /// The entry at `path`.
    pub fn get(&self, path: &[u8]) -> Option<&BaseEntry> {
        self.entries.get(path)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether any entry stands below the directory `path`.
    pub fn has_below(&self, path: &[u8]) -> bool {
        let mut prefix = path.to_vec();
        prefix.push(b'/');
        self.entries
            .range::<[u8], _>((Bound::Included(prefix.as_slice()), Bound::Unbounded))
            .next()
            .is_some_and(|(path, _)| path.starts_with(&prefix))
    }

    /// The files of the base commit that hold ignore rules.
    pub fn ignore_files(&self) -> impl Iterator<Item = (&[u8], &BaseEntry)> {
        self.entries
            .iter()
            .filter(|(path, entry)| {
                matches!(entry.mode, Mode::File | Mode::Executable)
                    && path.rsplit(|byte| *byte == b'/').next() == Some(b".gitignore".as_slice())
            })
            .map(|(path, entry)| (path.as_slice(), entry))
    }
}

fn unreadable() -> Refusal {
    Refusal::Storage(std::io::Error::other(
        "git's list of the base commit cannot be read",
    ))
}

/// `<mode> <type> <oid> <padded size>TAB<path>`.
fn parse(record: &[u8]) -> Option<(Vec<u8>, BaseEntry)> {
    let tab = record.iter().position(|byte| *byte == b'\t')?;
    let (facts, path) = record.split_at(tab);
    let mut facts = std::str::from_utf8(facts).ok()?.split_ascii_whitespace();
    let mode = Mode::parse(facts.next()?)?;
    let _kind = facts.next()?;
    let oid = parse_oid(facts.next()?)?;
    let size = match facts.next()? {
        "-" => None,
        size => Some(size.parse().ok()?),
    };
    Some((path.get(1..)?.to_vec(), BaseEntry { mode, oid, size }))
}

fn parse_oid(text: &str) -> Option<Oid> {
    let mut oid = Oid::default();
    if text.len() != 40 {
        return None;
    }
    for (byte, pair) in oid.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(oid)
}

/// `oid` in hexadecimal.
pub fn hex(oid: &Oid) -> String {
    use std::fmt::Write as _;
    oid.iter().fold(String::with_capacity(40), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads blobs that are known to be small.
pub fn read_blob(git: &Git, oid: &Oid, limit: u64, deadline: &Deadline) -> Result<Vec<u8>, GitError> {
    git.run(&["cat-file", "blob", &hex(oid)], b"", limit, deadline)
}
