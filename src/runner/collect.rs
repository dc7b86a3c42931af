//! Makes a patch of a work tree without ever running git on it: a bounded walker reads plain files, and git's
//! plumbing works on their contents in the pristine repository, which no agent has touched.
//!
//! The files of the base commit come first. Then new files, the newest first; one that cannot be in the patch is left
//! out and named ([`left_out`]).

mod attributes;
pub mod base;
mod content;
mod directories;
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
mod worktree;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode as Permissions, OFlags, open};

use self::attributes::Attributes;
use self::base::Base;
use self::content::Reader;
use self::directories::{Directories, c_name, split};
use self::ignores::Ignores;
use self::left_out::{LeftOut, Reason};
use self::limits::Limits;
use self::newest::{Candidate, Newest};
pub use self::patch::Facts;
use self::patch::{Changes, New, Written};
use self::refusal::Refusal;
use self::stat::Known;
use self::tracked::Tracked;
use self::untracked::Search;
use super::deadline::Deadline;
use cofferdam_wire::runner::Exclude;

/// How often a patch that is too large is made anew with half of the new files' bytes, before it is made without any.
const HALVINGS: u32 = 4;

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

/// One collection under way.
struct Work<'a> {
    collection: &'a Collection,
    limits: &'a Limits,
    reading: &'a Deadline,
    base: &'a Base,
    root: BorrowedFd<'a>,
    reader: Reader<'a>,
    left_out: LeftOut,
    complete: bool,
}

impl Work<'_> {
    /// New files, the newest first.
    fn new_files(&mut self) -> Result<Vec<New>, Refusal> {
        let Collection {
            pristine,
            tree,
            scratch,
            exclude,
            within,
            apart,
            ..
        } = self.collection;
        let rules = scratch.join("rules");
        fs::create_dir(&rules).map_err(Refusal::Storage)?;
        let ignores = match Ignores::start(pristine, self.base, exclude, &rules, self.reading) {
            Err(Refusal::TimedOut) => {
                self.complete = false;
                return Ok(Vec::new());
            }
            started => started?,
        };
        let worktrees = tree.join(OsStr::from_bytes(within)).join(".git/worktrees");
        let search = Search {
            base: self.base,
            ignores,
            limits: self.limits,
            deadline: self.reading,
            left_out: &mut self.left_out,
            worktrees: worktrees.as_os_str().as_bytes(),
            apart,
            newest: Newest::new(self.limits),
            seen: 0,
        };
        let (candidates, complete) = search.run(self.root)?;
        self.complete &= complete;
        self.read(candidates)
    }

    /// Reads new files as long as there is time.
    fn read(&mut self, candidates: Vec<Candidate>) -> Result<Vec<New>, Refusal> {
        let mut directories = Directories::new(self.root);
        let mut new = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            if self.reading.passed() {
                self.complete = false;
                break;
            }
            match read_one(&mut directories, &mut self.reader, &candidate) {
                Ok(found) => {
                    self.reading.progress();
                    new.extend(found);
                }
                Err(Refusal::TimedOut) => {
                    self.complete = false;
                    break;
                }
                Err(refusal) => match refusal.costs_the_path() {
                    Some(reason) => self.left_out.note(reason, &candidate.path),
                    None => return Err(refusal),
                },
            }
        }
        Ok(new)
    }

    /// Drops new files that have a name outside of the tree.
    fn without_links_out(&mut self, changes: &[tracked::Change], new: Vec<New>) -> Result<Vec<New>, Refusal> {
        let found = changes.iter().filter_map(|change| change.to.as_ref());
        let found = found.chain(new.iter().map(|new| &new.found));
        let outside = links::outside(self.root, found, self.limits, self.reading);
        let leads_out =
            |found: &content::Found| found.links.is_some_and(|links| outside.contains(&links.file));
        if let Some(change) = changes
            .iter()
            .find(|change| change.to.as_ref().is_some_and(leads_out))
        {
            return Err(Refusal::HardLink(Refusal::shown(self.base.path(change.at))));
        }
        let (gone, kept): (Vec<New>, Vec<New>) = new.into_iter().partition(|new| leads_out(&new.found));
        for new in gone {
            self.left_out.note(Reason::HardLink, &new.path);
        }
        Ok(kept)
    }

    /// Writes the patch; where it is too large, with fewer of the new files.
    fn write(
        &mut self,
        tracked: &[tracked::Change],
        mut new: Vec<New>,
        file: &Path,
        deadline: &Deadline,
    ) -> Result<Facts, Refusal> {
        let mut halvings = 0;
        loop {
            let changes = Changes {
                base: self.base,
                tracked,
                new: &new,
            };
            match patch::write(&self.collection.pristine, changes, file, self.limits, deadline) {
                Ok(Written { facts, refused }) => {
                    for path in refused {
                        self.left_out.note(Reason::PathRefused, &path);
                    }
                    return Ok(facts);
                }
                Err(Refusal::PatchTooLarge(_)) if !new.is_empty() => {
                    let room = match halvings {
                        HALVINGS => 0,
                        halvings => self.limits.patch_bytes >> halvings,
                    };
                    halvings += 1;
                    for new in too_many(&mut new, room) {
                        self.left_out.note(Reason::PatchTooLarge, &new.path);
                    }
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }
}

/// Takes from `new`, which has the newest first, what does not fit into `room` bytes.
fn too_many(new: &mut Vec<New>, mut room: u64) -> Vec<New> {
    let (kept, gone) = std::mem::take(new).into_iter().partition(|new| {
        let fits = new.size < room;
        if fits {
            room -= new.size;
        }
        fits
    });
    *new = kept;
    gone
}

/// Files that were never checked out, and whose directory is a new file now.
fn given_way<'a>(
    base: &'a Base,
    known: &'a Known,
    new: &'a [New],
) -> impl Iterator<Item = tracked::Change> + 'a {
    let below = new.iter().flat_map(|new| base.below(&new.path));
    let absent = below.filter(|at| known.was_absent(*at));
    absent.map(|at| tracked::Change { at, to: None })
}

/// A new file; nothing if it is gone.
fn read_one(
    directories: &mut Directories<'_>,
    reader: &mut Reader<'_>,
    candidate: &Candidate,
) -> Result<Option<New>, Refusal> {
    let path = &candidate.path;
    let (directory, name) = split(path);
    let Some(directory) = directories.enter(directory)? else {
        return Ok(None);
    };
    let name = c_name(name)?;
    let before = reader.bytes();
    let found = if candidate.link {
        reader.symlink(directory, &name, path, None)?
    } else {
        reader.file(directory, &name, path, None)?
    };
    Ok(found.map(|found| New {
        path: path.clone(),
        found,
        size: reader.bytes() - before,
    }))
}

fn renew(directory: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(directory),
    }
}
