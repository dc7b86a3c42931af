//! What the file system said of each file of the base commit when it was checked out. A file of which it still says the same
//! is not read again, so that collecting costs what changed.
//!
//! The record stands in the pristine repository, out of the agent's reach. An agent that sets a file's times back hides
//! nothing but its own change, and where change times can be trusted not even that.

#[cfg(test)]
use std::fs;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Stat, statat};

use super::base::{Base, Mode};
use super::directories::{Directories, c_name, split};
use super::limits::Limits;
use super::refusal::Refusal;
use crate::deadline::Deadline;

/// First bytes of a record.
const MAGIC: &[u8; 8] = b"cffstat1";
/// Bytes of one file in it.
const ENTRY: usize = 40;
/// Longest record that is read: of three million files.
const LONGEST: u64 = 128 * 1024 * 1024;

/// What is compared of a file. Its mode is looked at in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Facts {
    size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
    inode: u64,
}

impl Facts {
    fn of(stat: &Stat) -> Self {
        let nanoseconds = |value| u32::try_from(value).unwrap_or_default();
        Self {
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
            changed: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
            inode: stat.st_ino,
        }
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.size.to_le_bytes())?;
        to.write_all(&self.modified.0.to_le_bytes())?;
        to.write_all(&self.changed.0.to_le_bytes())?;
        to.write_all(&self.modified.1.to_le_bytes())?;
        to.write_all(&self.changed.1.to_le_bytes())?;
        to.write_all(&self.inode.to_le_bytes())
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk()?;
        let (modified, rest) = rest.split_first_chunk()?;
        let (changed, rest) = rest.split_first_chunk()?;
        let (modified_nanos, rest) = rest.split_first_chunk()?;
        let (changed_nanos, rest) = rest.split_first_chunk()?;
        Some(Self {
            size: u64::from_le_bytes(*size),
            modified: (i64::from_le_bytes(*modified), u32::from_le_bytes(*modified_nanos)),
            changed: (i64::from_le_bytes(*changed), u32::from_le_bytes(*changed_nanos)),
            inode: u64::from_le_bytes(*rest.first_chunk()?),
        })
    }
}

/// Where the record of a pristine repository stands.
fn file(pristine: &Path) -> PathBuf {
    pristine.join("cofferdam-stat")
}

/// A file that nobody changes between check-out and collecting. What of it looks another way then cannot be compared of
/// other files either: in some runtimes each container numbers inodes for itself.
fn reference(pristine: &Path) -> io::Result<Facts> {
    Ok(Facts::of(&statat(
        CWD,
        pristine.join("HEAD"),
        AtFlags::SYMLINK_NOFOLLOW,
    )?))
}

/// Records what stands in `tree`, which was checked out a moment ago and which nobody else has seen.
///
/// # Errors
/// The record cannot be written, or the base commit cannot be listed. Without a record every file is read.
pub fn record(pristine: &Path, tree: &Path, deadline: &Deadline) -> Result<(), Refusal> {
    let base = Base::read(pristine, &Limits::default(), deadline)?;
    let root = File::open(tree).map_err(Refusal::Storage)?;
    let path = file(pristine);
    let written = || -> io::Result<BufWriter<File>> {
        let mut to = BufWriter::new(File::create(&path)?);
        to.write_all(MAGIC)?;
        to.write_all(base.tree.as_bytes())?;
        reference(pristine)?.write(&mut to)?;
        // What is written after this moment has this time or a later one.
        to.flush()?;
        let now = Facts::of(&statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW)?);
        now.write(&mut to)?;
        Ok(to)
    };
    let mut to = written().map_err(Refusal::Storage)?;
    let mut directories = Directories::new(root.as_fd());
    for at in 0..base.len() {
        let (directory, name) = split(base.path(at));
        let name = c_name(name)?;
        let facts = match directories.enter(directory)? {
            None => Facts::default(),
            Some(directory) => statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW)
                .map(|stat| Facts::of(&stat))
                .unwrap_or_default(),
        };
        facts.write(&mut to).map_err(Refusal::Storage)?;
    }
    to.flush().map_err(Refusal::Storage)
}

/// What was recorded.
#[derive(Debug, Default)]
pub struct Known {
    of_this_commit: bool,
    entries: Vec<u8>,
    recorded: Facts,
    inodes: bool,
    changes: bool,
}

impl Known {
    /// Reads the record; nothing is known where there is none of this base commit.
    pub fn read(pristine: &Path, base: &Base) -> Self {
        Self::try_read(pristine, base).unwrap_or_default()
    }

    fn try_read(pristine: &Path, base: &Base) -> Option<Self> {
        let mut bytes = Vec::new();
        let file = File::open(file(pristine)).ok()?;
        file.take(LONGEST).read_to_end(&mut bytes).ok()?;
        let tree = MAGIC.len()..MAGIC.len() + base.tree.len();
        if !bytes.starts_with(MAGIC) || bytes.get(tree.clone())? != base.tree.as_bytes() {
            return None;
        }
        let then = Facts::read(bytes.get(tree.end..)?)?;
        let recorded = Facts::read(bytes.get(tree.end + ENTRY..)?)?;
        let entries = bytes.split_off(tree.end + 2 * ENTRY);
        let now = reference(pristine).ok()?;
        (entries.len() == base.len() * ENTRY).then_some(Self {
            of_this_commit: true,
            entries,
            recorded,
            inodes: now.inode == then.inode,
            changes: now.changed == then.changed,
        })
    }

    /// Whether anything is known.
    pub const fn is_of_this_commit(&self) -> bool {
        self.of_this_commit
    }

    /// Whether the file of the entry `at` was not there when the work tree was made, as those outside of a sparse one.
    pub fn was_absent(&self, at: usize) -> bool {
        let known = self.entries.get(at * ENTRY..).and_then(Facts::read);
        known.is_some_and(|known| known == Facts::default())
    }

    /// Whether the entry `at` of the base commit still has the content that was checked out.
    pub fn unchanged(&self, at: usize, mode: Mode, stat: &Stat) -> bool {
        let Some(known) = self.entries.get(at * ENTRY..).and_then(Facts::read) else {
            return false;
        };
        let now = Facts::of(stat);
        // What was written in the very moment of the record could have been written again in it.
        let telling =
            mode != Mode::Gitlink && known != Facts::default() && known.modified < self.recorded.modified;
        telling
            && known.size == now.size
            && known.modified == now.modified
            && (!self.inodes || known.inode == now.inode)
            && (!self.changes || known.changed == now.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clone::{Transport, clone};
    use crate::testing::sh;
    use cofferdam_api::CloneOptions;
    use std::time::Duration;

    /// A repository with one file, checked out, and recorded a moment after the file's time.
    fn recorded(directory: &Path) -> (PathBuf, Base, Known) {
        let pristine = directory.join("p.git");
        let deadline = Deadline::after(Duration::from_secs(30));
        sh(
            directory,
            "git init -q -b main r; cd r; echo one >a; git add .; git commit -qm base; mkdir ../t
             echo one >../t/a; touch -d 2020-01-01 ../t/a",
        );
        let transport = Transport {
            proxy: None,
            certificates: None,
            protocols: "file",
        };
        let url = format!("file://{}/r", directory.display());
        clone(
            &url,
            None,
            &CloneOptions::default(),
            &pristine,
            &transport,
            &deadline,
        )
        .unwrap();
        record(&pristine, &directory.join("t"), &deadline).unwrap();
        let base = Base::read(&pristine, &Limits::default(), &deadline).unwrap();
        let known = Known::read(&pristine, &base);
        (pristine, base, known)
    }

    #[test]
    fn what_the_file_system_says_decides() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let (pristine, base, mut known) = recorded(root);
        let unchanged = |known: &Known| {
            let stat = statat(CWD, root.join("t/a"), AtFlags::SYMLINK_NOFOLLOW).unwrap();
            known.unchanged(0, Mode::File, &stat)
        };
        assert!(known.inodes && known.changes);
        assert!(unchanged(&known));
        // Other content of the same size, with its time set back: the change time gives it away.
        sh(root, "echo two >t/a; touch -d 2020-01-01 t/a");
        assert!(!unchanged(&known));
        known.changes = false;
        assert!(
            unchanged(&known),
            "the control: without change times it is not seen"
        );
        sh(root, "echo two >t/b; touch -d 2020-01-01 t/b; mv t/b t/a");
        assert!(!unchanged(&known), "another file");
        known.inodes = false;
        assert!(unchanged(&known));
        sh(root, "echo more >t/a; touch -d 2020-01-01 t/a");
        assert!(!unchanged(&known), "another size");
        // Of another commit nothing is known, nor without a record.
        let other = Base::read(
            &pristine,
            &Limits::default(),
            &Deadline::after(Duration::from_secs(30)),
        );
        let mut other = other.unwrap();
        assert!(!Known::read(&pristine, &other).entries.is_empty());
        other.tree = "0".repeat(40);
        assert!(Known::read(&pristine, &other).entries.is_empty());
        fs::remove_file(file(&pristine)).unwrap();
        assert!(Known::read(&pristine, &base).entries.is_empty());
    }

    #[test]
    fn what_was_written_in_the_moment_of_the_record_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let (_, _, mut known) = recorded(directory.path());
        let stat = statat(CWD, directory.path().join("t/a"), AtFlags::SYMLINK_NOFOLLOW).unwrap();
        assert!(known.unchanged(0, Mode::File, &stat));
        known.recorded.modified = Facts::of(&stat).modified;
        assert!(!known.unchanged(0, Mode::File, &stat));
    }
}
