//! Makes a patch of a work tree without ever running git on it: a bounded walker reads plain files, and git's
//! plumbing works on their contents in the pristine repository, which no agent has touched.
//!
//! The files of the base commit come first. Then new files, the newest first; one that cannot be in the patch is left
//! out and named ([`left_out`]).

mod attributes;
pub mod base;
mod blob;
mod content;
mod directories;
mod found;
mod ignores;
pub mod left_out;
pub mod limits;
mod line_endings;
mod links;
mod newest;
mod objects;
mod pack;
mod patch;
pub mod refusal;
mod rule_file;
mod spelling;
pub mod stat;
pub mod submodules;
mod tracked;
mod untracked;
mod work;
mod worktree;

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode as Permissions, OFlags, open};

use self::attributes::Attributes;
use self::base::Base;
use self::content::Reader;
use self::directories::Directories;
use self::left_out::LeftOut;
use self::limits::Limits;
pub use self::patch::Facts;
use self::refusal::Refusal;
use self::stat::Known;
use self::tracked::Tracked;
use self::work::{Work, given_way};
use super::deadline::Deadline;
use cofferdam_wire::runner::Exclude;

/// What is collected, and where.
#[derive(Clone, Debug)]
pub struct Collection {
    /// The pristine bare repository.
    pub pristine: PathBuf,
    /// The agent's work tree.
    pub tree: PathBuf,
    /// A directory of ours; made anew.
    pub scratch: PathBuf,
    /// Whether the agent still runs.
    pub live: bool,
    /// What is ignored beside the repository's own rules.
    pub exclude: Exclude,
    /// Whether only some directories of the commit were checked out.
    pub sparse: bool,
    /// Where in the work tree the files of this repository stand; empty, or the path of a submodule.
    pub within: Vec<u8>,
    /// Paths of submodules, as the repository has them, that are collected for themselves.
    pub apart: BTreeSet<Vec<u8>>,
}

impl Collection {
    /// The whole work tree of a repository, once its agent has ended.
    pub fn new(pristine: PathBuf, tree: PathBuf, scratch: PathBuf) -> Self {
        Self {
            pristine,
            tree,
            scratch,
            live: false,
            exclude: Exclude::default(),
            sparse: false,
            within: Vec::new(),
            apart: BTreeSet::new(),
        }
    }
}

/// A patch that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Full id of the commit that it applies to.
    pub base_commit: String,
    /// The file that holds it.
    pub file: PathBuf,
    /// Size, digest, counts.
    pub facts: Facts,
    /// What is not in it.
    pub left_out: LeftOut,
    /// Whether the whole tree was looked at.
    pub complete: bool,
    /// Files that Git LFS is to keep, and whose content is in the patch instead of a pointer.
    pub lfs_files: u64,
}

impl Patch {
    /// Whether anything changed, or may have.
    pub const fn says_something(&self) -> bool {
        self.facts.bytes > 0 || self.left_out.count > 0 || !self.complete
    }
}

/// Collects one work tree; nothing where none of it is there any more, which is a change of the repository that it is a
/// submodule of.
///
/// # Errors
/// A file of the base commit cannot be collected, a name passes for `.git`, or the patch cannot be written; the refusal
/// says what and where.
pub fn collect(
    collection: &Collection,
    limits: &Limits,
    deadline: &Deadline,
) -> Result<Option<Patch>, Refusal> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = open(&collection.tree, flags, Permissions::empty())
        .map_err(|error| Refusal::unreadable(b"", error))?;
    let mut directories = Directories::new(root.as_fd());
    let Some(root) = directories.enter(&collection.within)? else {
        return Ok(None);
    };
    collect_below(root, collection, limits, deadline).map(Some)
}

fn collect_below(
    root: BorrowedFd<'_>,
    collection: &Collection,
    limits: &Limits,
    deadline: &Deadline,
) -> Result<Patch, Refusal> {
    let scratch = &collection.scratch;
    renew(scratch).map_err(Refusal::Storage)?;
    let base = Base::read(&collection.pristine, limits, deadline)?;
    let known = Known::read(&collection.pristine, &base);
    if collection.sparse && !known.is_of_this_commit() {
        // What was never checked out would pass for deleted.
        let lost = "the record of what was checked out is missing";
        return Err(Refusal::Storage(std::io::Error::other(lost)));
    }
    // What is left of the time is for the patch.
    let reading = deadline.first_three_quarters();
    let directory = scratch.join("attributes");
    fs::create_dir(&directory).map_err(Refusal::Storage)?;
    let attributes = Attributes::start(&collection.pristine, root, directory, &reading)?;
    let mut work = Work {
        collection,
        limits,
        reading: &reading,
        base: &base,
        root,
        reader: Reader::new(
            limits,
            &collection.pristine,
            attributes,
            collection.live,
            &reading,
        ),
        left_out: LeftOut::default(),
        complete: true,
    };
    let Tracked {
        mut changes,
        complete,
    } = tracked::walk(work.root, &base, &known, &mut work.reader, work.reading)?;
    work.complete &= complete;
    let new = work.new_files()?;
    let new = work.without_links_out(&changes, new)?;
    if collection.sparse {
        changes.extend(given_way(&base, &known, &new));
    }
    work.reader.finish().map_err(Refusal::Storage)?;
    let file = scratch.join("patch");
    // Reading may have ended because nothing went on.
    deadline.progress();
    let facts = work.write(&changes, new, &file, deadline)?;
    let lfs_files = work.reader.lfs_files();
    let Work {
        left_out, complete, ..
    } = work;
    Ok(Patch {
        base_commit: base.commit,
        file,
        facts,
        left_out,
        complete,
        lfs_files,
    })
}

fn renew(directory: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(directory),
    }
}
