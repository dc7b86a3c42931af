//! One collection under way: which new files there are, which of them can be in the patch, and how much finds place.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::base::Base;
use super::content::Reader;
use super::directories::{Directories, c_name, split};
use super::found::Found;
use super::ignores::Ignores;
use super::left_out::{LeftOut, Reason};
use super::limits::Limits;
use super::newest::{Candidate, Newest};
use super::patch::{self, Changes, Facts, New, Written};
use super::refusal::Refusal;
use super::stat::Known;
use super::tracked::Change;
use super::untracked::Search;
use super::{Collection, links};
use crate::deadline::Deadline;

/// How often a patch that is too large is made anew with half of the new files' bytes, before it is made without any.
const HALVINGS: u32 = 4;

/// One collection under way.
pub struct Work<'a> {
    /// What is collected.
    pub collection: &'a Collection,
    /// Bounds.
    pub limits: &'a Limits,
    /// When reading ends.
    pub reading: &'a Deadline,
    /// The commit.
    pub base: &'a Base,
    /// The work tree.
    pub root: BorrowedFd<'a>,
    /// Reads contents.
    pub reader: Reader<'a>,
    /// What is not in the patch.
    pub left_out: LeftOut,
    /// Whether all of the tree was looked at so far.
    pub complete: bool,
}

impl Work<'_> {
    /// New files, the newest first.
    pub fn new_files(&mut self) -> Result<Vec<New>, Refusal> {
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
    pub fn without_links_out(&mut self, changes: &[Change], new: Vec<New>) -> Result<Vec<New>, Refusal> {
        let found = changes.iter().filter_map(|change| change.to.as_ref());
        let found = found.chain(new.iter().map(|new| &new.found));
        let outside = links::outside(self.root, found, self.limits, self.reading);
        let leads_out = |found: &Found| found.links.is_some_and(|links| outside.contains(&links.file));
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
    pub fn write(
        &mut self,
        tracked: &[Change],
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
pub fn given_way<'a>(base: &'a Base, known: &'a Known, new: &'a [New]) -> impl Iterator<Item = Change> + 'a {
    let below = new.iter().flat_map(|new| base.below(&new.path));
    let absent = below.filter(|at| known.was_absent(*at));
    absent.map(|at| Change { at, to: None })
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
