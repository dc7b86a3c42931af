//! The base commit: what every file of the work tree is compared with.

use std::io::Write;
use std::ops::Range;
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

/// All entries of the base commit in git's order, packed: a large repository has hundreds of thousands.
#[derive(Debug)]
pub struct Base {
    /// Full commit id.
    pub commit: String,
    /// Id of its tree.
    pub tree: String,
    entries: Vec<BaseEntry>,
    /// Where the path of each entry ends in `paths`.
    ends: Vec<u32>,
    paths: Vec<u8>,
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
        let tree = id(&format!("{BASE}^{{tree}}"))?;
        let mut base = Self {
            commit: id(&format!("{BASE}^{{commit}}"))?,
            tree: tree.clone(),
            entries: Vec::new(),
            ends: Vec::new(),
            paths: Vec::new(),
        };
        let mut list = Records {
            line: Vec::new(),
            take: |record: &[u8]| base.push(record),
        };
        git.run_into(
            &["ls-tree", "-r", "-l", "-z", "--full-tree", &tree],
            b"",
            &mut list,
            limits.base_list_bytes,
            deadline,
        )?;
        base.in_order().then_some(base).ok_or_else(unreadable)
    }

    fn push(&mut self, record: &[u8]) -> std::io::Result<()> {
        let odd = || std::io::Error::other("git's list of the base commit cannot be read");
        let (path, entry) = parse(record).ok_or_else(odd)?;
        self.paths.extend_from_slice(path);
        self.ends
            .push(u32::try_from(self.paths.len()).map_err(|_| odd())?);
        self.entries.push(entry);
        Ok(())
    }

    /// Paths are looked up by halving, so they must be in order; git checks that of every tree that it fetches.
    fn in_order(&self) -> bool {
        (1..self.len()).all(|at| self.path(at - 1) < self.path(at))
    }

    /// How many entries there are.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The path of the entry with this number; empty beyond the last.
    pub fn path(&self, at: usize) -> &[u8] {
        let end = |at: usize| self.ends.get(at).map_or(self.paths.len(), |end| *end as usize);
        let start = at.checked_sub(1).map_or(0, end);
        self.paths.get(start..end(at)).unwrap_or_default()
    }

    /// The entry with this number.
    pub fn entry(&self, at: usize) -> Option<BaseEntry> {
        self.entries.get(at).copied()
    }

    /// The entry at `path`.
    pub fn get(&self, path: &[u8]) -> Option<BaseEntry> {
        let at = self.first_from(path);
        self.entry(at).filter(|_| self.path(at) == path)
    }

    /// Whether any entry stands below the directory `path`.
    pub fn has_below(&self, path: &[u8]) -> bool {
        !self.below(path).is_empty()
    }

    /// The numbers of all entries below the directory `path`.
    pub fn below(&self, path: &[u8]) -> Range<usize> {
        let mut prefix = path.to_vec();
        prefix.push(b'/');
        let start = self.first_from(&prefix);
        // What follows the slash in ASCII: behind everything below the directory.
        prefix.pop();
        prefix.push(b'0');
        start..self.first_from(&prefix)
    }

    /// The number of the first entry that is not before `path`.
    fn first_from(&self, path: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.path(middle) < path {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The files of the base commit that hold ignore rules.
    pub fn ignore_files(&self) -> impl Iterator<Item = (&[u8], BaseEntry)> {
        self.entries
            .iter()
            .enumerate()
            .map(|(at, entry)| (self.path(at), *entry))
            .filter(|(path, entry)| {
                matches!(entry.mode, Mode::File | Mode::Executable)
                    && path.rsplit(|byte| *byte == b'/').next() == Some(b".gitignore".as_slice())
            })
    }
}

/// Hands on records that end in NUL one by one.
struct Records<F> {
    line: Vec<u8>,
    take: F,
}

impl<F: FnMut(&[u8]) -> std::io::Result<()>> Write for Records<F> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        for part in buffer.split_inclusive(|byte| *byte == 0) {
            self.line
                .extend_from_slice(part.strip_suffix(&[0]).unwrap_or(part));
            if part.last() == Some(&0) {
                (self.take)(&self.line)?;
                self.line.clear();
            }
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn unreadable() -> Refusal {
    Refusal::Storage(std::io::Error::other(
        "git's list of the base commit cannot be read",
    ))
}

/// `<mode> <type> <oid> <padded size>TAB<path>`.
fn parse(record: &[u8]) -> Option<(&[u8], BaseEntry)> {
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
    Some((path.get(1..)?, BaseEntry { mode, oid, size }))
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
