//! Makes a patch of a work tree without ever running git on it: a bounded walker reads plain files, and git's
//! plumbing works on their contents in the pristine repository, which no agent has touched.

pub mod base;
mod ignores;
pub mod limits;
mod objects;
mod patch;
pub mod refusal;
mod spelling;
mod walk;

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode as Permissions, OFlags, open};

use self::base::Base;
use self::ignores::Ignores;
use self::limits::Limits;
use self::objects::Objects;
pub use self::patch::Facts;
use self::refusal::Refusal;
use self::walk::{Counts, Walk};
use super::deadline::Deadline;

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
}

/// Collects one work tree.
///
/// # Errors
/// The tree holds what cannot be collected, or too much of it; the refusal says what and where.
pub fn collect(collection: &Collection, limits: &Limits, deadline: &Deadline) -> Result<Patch, Refusal> {
    let scratch = &collection.scratch;
    let rules = scratch.join("rules");
    renew(scratch)
        .and_then(|()| fs::create_dir(&rules))
        .map_err(Refusal::Storage)?;
    let base = Base::read(&collection.pristine, limits, deadline)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = open(&collection.tree, flags, Permissions::empty())
        .map_err(|error| Refusal::unreadable(b"", error))?;
    let walk = Walk {
        ignores: Ignores::start(&collection.pristine, &base, rules, deadline)?,
        objects: Objects::new(collection.pristine.join("objects")),
        base: &base,
        limits,
        deadline,
        live: collection.live,
        entries: Vec::with_capacity(base.len()),
        counts: Counts::default(),
    };
    let entries = walk.run(&root)?;
    let file = scratch.join("patch");
    let facts = patch::write(&collection.pristine, &base, &entries, &file, limits, deadline)?;
    Ok(Patch {
        base_commit: base.commit,
        file,
        facts,
    })
}

fn renew(directory: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(directory),
    }
}
