//! Collects the work trees of a run, each repository's and those of its submodules, into one output.

use std::path::PathBuf;

use crate::collect::limits::Limits;
use crate::collect::refusal::Refusal;
use crate::collect::submodules::{self, Submodule};
use crate::collect::{Collection, Patch, collect};
use crate::deadline::Deadline;
use crate::paths::Paths;
use crate::text::escape;
use cofferdam_api::{Access, Completeness, Reason, Snapshot};
use cofferdam_wire::output::{
    CollectRefusal, LEFT_OUT_PATHS, LeftOut, LeftOutPath, MANIFEST_LIMIT, OutputManifest, PatchManifest,
    REFUSALS, SUBMODULE_PATCHES, UPLOAD_LIMIT, VERSION,
};
use cofferdam_wire::runner::RepositorySpec;

/// Why a submodule with work in it has no patch where others have theirs.
const NO_PLACE: &str = "Submodule";

/// What was collected.
#[derive(Debug)]
pub struct Output {
    /// Its first line.
    pub manifest: OutputManifest,
    /// The patches, in the manifest's order.
    pub files: Vec<PathBuf>,
}

/// Collects all repositories that the agent may write to.
pub fn collect_all(
    repositories: &[RepositorySpec],
    paths: &Paths,
    snapshot: Snapshot,
    stopped: Option<Reason>,
    deadline: &Deadline,
) -> Output {
    let mut work = Work {
        paths,
        snapshot,
        limits: Limits {
            patch_bytes: UPLOAD_LIMIT - MANIFEST_LIMIT as u64,
            ..Limits::default()
        },
        output: Output {
            manifest: OutputManifest {
                version: VERSION,
                patches: Vec::new(),
                stopped,
                refused: Vec::new(),
            },
            files: Vec::new(),
        },
    };
    let collected = repositories
        .iter()
        .filter(|each| each.access == Access::ReadWrite);
    let collected: Vec<(&RepositorySpec, Vec<Submodule>)> = collected
        .map(|repository| (repository, work.submodules(repository)))
        .collect();
    // One large tree leaves time for the others; what a small one does not need is theirs. All submodules of a repository
    // are one part.
    let parts = collected.len() + collected.iter().filter(|(_, below)| !below.is_empty()).count();
    let mut waiting = u32::try_from(parts).unwrap_or(u32::MAX);
    let mut share = || {
        let share = deadline.share_of(waiting);
        waiting = waiting.saturating_sub(1);
        share
    };
    for (repository, below) in &collected {
        work.repository(repository, below, &share());
    }
    for (repository, below) in collected.iter().filter(|(_, below)| !below.is_empty()) {
        work.all_submodules(repository, below, &share());
    }
    work.output
}

/// Work trees that are being collected.
struct Work<'a> {
    paths: &'a Paths,
    snapshot: Snapshot,
    limits: Limits,
    output: Output,
}

impl Work<'_> {
    /// Submodules that `prepare` cloned.
    fn submodules(&mut self, repository: &RepositorySpec) -> Vec<Submodule> {
        submodules::list(&self.paths.submodules(&repository.name)).unwrap_or_else(|error| {
            let message = format!("its submodules cannot be collected: {error}");
            self.refuse(&repository.name, "StorageFailed", message);
            Vec::new()
        })
    }

    fn repository(&mut self, repository: &RepositorySpec, below: &[Submodule], deadline: &Deadline) {
        let pristine = self.paths.pristine(&repository.name);
        let apart = below.iter().map(|each| each.path.clone());
        let collection = Collection {
            sparse: !repository.clone.sparse.is_empty(),
            apart: apart.collect(),
            ..self.collection(repository, pristine)
        };
        match collect(&collection, &self.limits, deadline) {
            Ok(Some(patch)) => self.take(repository, None, patch, LEFT_OUT_PATHS),
            // The root of the work tree is a mount, which nobody can take away.
            Ok(None) => {}
            Err(refusal) => self.refuse(&repository.name, refusal.code(), refusal.to_string()),
        }
    }

    fn all_submodules(&mut self, repository: &RepositorySpec, below: &[Submodule], deadline: &Deadline) {
        let mut waiting = u32::try_from(below.len()).unwrap_or(u32::MAX);
        for submodule in below {
            let deadline = deadline.share_of(waiting);
            waiting = waiting.saturating_sub(1);
            let collection = Collection {
                within: submodule.path.clone(),
                apart: submodule.below(below).collect(),
                ..self.collection(repository, submodule.pristine.clone())
            };
            let place = String::from_utf8_lossy(&submodule.path).into_owned();
            match collect(&collection, &self.limits, &deadline) {
                Ok(Some(patch)) if patch.says_something() => self.submodule(repository, place, patch),
                Ok(_) => {}
                Err(refusal) => self.refuse(&repository.name, refusal.code(), in_submodule(&place, &refusal)),
            }
        }
    }

    /// The patch of a submodule in which something changed, as long as there is place for one.
    fn submodule(&mut self, repository: &RepositorySpec, place: String, patch: Patch) {
        let patches = &self.output.manifest.patches;
        if patches.iter().filter(|patch| patch.submodule.is_some()).count() >= SUBMODULE_PATCHES {
            return self.leave_out(repository, &place);
        }
        let of_this = patches.iter().filter(|patch| patch.repository == repository.name);
        let listed: usize = of_this
            .filter_map(|patch| patch.left_out.as_ref())
            .map(|left_out| left_out.paths.len())
            .sum();
        self.take(
            repository,
            Some(place),
            patch,
            LEFT_OUT_PATHS.saturating_sub(listed),
        );
    }

    /// Names a submodule as left out of its repository's patch.
    fn leave_out(&mut self, repository: &RepositorySpec, place: &str) {
        let mut patches = self.output.manifest.patches.iter_mut();
        if let Some(patch) = patches.find(|patch| patch.repository == repository.name) {
            let left_out = patch.left_out.get_or_insert_default();
            left_out.count += 1;
            if left_out.paths.len() < LEFT_OUT_PATHS {
                left_out.paths.push(LeftOutPath {
                    path: escape(place.as_bytes()),
                    reason: NO_PLACE.to_owned(),
                });
            }
        }
    }

    fn collection(&self, repository: &RepositorySpec, pristine: PathBuf) -> Collection {
        let number = self.output.files.len();
        let scratch = format!("{}-{number}", repository.name);
        let scratch = self.paths.scratch().join("collect").join(scratch);
        let tree = self.paths.work_tree(&repository.directory);
        Collection {
            live: self.snapshot == Snapshot::Live,
            exclude: repository.exclude.clone(),
            ..Collection::new(pristine, tree, scratch)
        }
    }

    /// Takes a patch, of whose left-out paths `listed` are listed.
    fn take(&mut self, repository: &RepositorySpec, submodule: Option<String>, patch: Patch, listed: usize) {
        self.limits.patch_bytes = self.limits.patch_bytes.saturating_sub(patch.facts.bytes);
        let entry = entry(&repository.name, submodule, &patch, self.snapshot, listed);
        self.output.manifest.patches.push(entry);
        self.output.files.push(patch.file);
    }

    fn refuse(&mut self, repository: &str, code: &str, message: String) {
        let refused = &mut self.output.manifest.refused;
        if refused.len() < REFUSALS {
            refused.push(CollectRefusal {
                repository: repository.to_owned(),
                code: code.to_owned(),
                message,
            });
        }
    }
}

fn in_submodule(path: &str, refusal: &Refusal) -> String {
    format!("in submodule {}: {refusal}", escape(path.as_bytes()))
}

fn entry(
    repository: &str,
    submodule: Option<String>,
    patch: &Patch,
    snapshot: Snapshot,
    listed: usize,
) -> PatchManifest {
    PatchManifest {
        repository: repository.to_owned(),
        submodule,
        base_commit: patch.base_commit.clone(),
        bytes: patch.facts.bytes,
        digest: patch.facts.digest.clone(),
        files: patch.facts.files,
        insertions: patch.facts.insertions,
        deletions: patch.facts.deletions,
        snapshot,
        completeness: if patch.complete {
            Completeness::Complete
        } else {
            Completeness::Partial
        },
        lfs_files: patch.lfs_files,
        left_out: (!patch.left_out.is_empty()).then(|| LeftOut {
            count: patch.left_out.count,
            ignored: patch.left_out.ignored,
            paths: patch
                .left_out
                .listed()
                .take(listed)
                .map(|(left, reason)| LeftOutPath {
                    path: left.to_owned(),
                    reason: reason.as_str().to_owned(),
                })
                .collect(),
        }),
    }
}

#[cfg(test)]
mod tests;
