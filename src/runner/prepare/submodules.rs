//! Clones the submodules of a commit into its work tree, each held to what every policy layer lets be cloned.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use cofferdam_api::{CloneOptions, CloneSubmodules};
use cofferdam_policy::pattern::repository::RepositoryUrl;

use super::large_files;
use super::shared::{Failed, Shared, refusing};
use crate::clone::submodules::{self, Declared};
use crate::clone::{BASE, clone};
use crate::collect::{stat, submodules as collected};
use crate::git::{Git, GitError};
use crate::text::escape;
use crate::work_tree;

/// Submodules of one repository of the run, theirs included.
const MOST: usize = 100;
/// How deep submodules of submodules go.
const DEEPEST: usize = 5;
/// Longest `.gitmodules`, and longest answer about one path.
const LIST_LIMIT: u64 = 1024 * 1024;

/// A repository whose submodules are cloned.
pub struct Parent<'a> {
    /// Its pristine repository.
    pub pristine: &'a Path,
    /// Its work tree.
    pub tree: &'a Path,
    /// Its address.
    pub url: &'a str,
    /// What it is called in messages: the repository's name, and the paths below it.
    pub shown: &'a str,
}

/// The submodules of one repository of the run.
pub struct Submodules<'a> {
    shared: &'a Shared,
    options: &'a CloneOptions,
    /// Where their pristine repositories go.
    directory: PathBuf,
    /// The work tree of the repository of the run, where its changes are collected.
    collected: Option<PathBuf>,
    cloned: usize,
    /// Checks that their history fails and that were let pass.
    pub tolerated: Vec<String>,
}

impl<'a> Submodules<'a> {
    /// Their pristine repositories go below `directory`; what is changed in the work tree `collected` is collected.
    pub fn new(
        shared: &'a Shared,
        options: &'a CloneOptions,
        directory: PathBuf,
        collected: Option<PathBuf>,
    ) -> Self {
        Self {
            shared,
            options,
            directory,
            collected,
            cloned: 0,
            tolerated: Vec::new(),
        }
    }

    /// Clones those of `parent`, and theirs where that is asked for.
    pub fn of(&mut self, parent: &Parent<'_>, depth: usize) -> Result<(), Failed> {
        let url =
            RepositoryUrl::parse(parent.url).map_err(|error| refused(parent.shown, &error.to_string()))?;
        let git = Git::new(parent.pristine);
        for declared in self
            .declared(&git)
            .map_err(|error| passing(parent.shown, &error))?
        {
            let commit = self
                .commit(&git, &declared)
                .map_err(|error| passing(parent.shown, &error))?;
            // Without an entry in the tree it is a leftover of `.gitmodules`, without a directory it is outside of what a
            // sparse work tree holds.
            let held = parent.tree.join(&declared.path).is_dir();
            if let (Some(commit), true) = (commit, held) {
                let shown = format!("{}, submodule {}", parent.shown, escape(declared.path.as_bytes()));
                let address = submodules::address(&declared.url, &url)
                    .map_err(|error| refused(&shown, &error.to_string()))?;
                self.one(parent, &declared, &address, &commit, &shown, depth)?;
            }
        }
        Ok(())
    }

    fn one(
        &mut self,
        parent: &Parent<'_>,
        declared: &Declared,
        address: &RepositoryUrl,
        commit: &str,
        shown: &str,
        depth: usize,
    ) -> Result<(), Failed> {
        if self.cloned >= MOST || depth > DEEPEST {
            let bounds = format!("more than {MOST} submodules, or nested more than {DEEPEST} deep");
            return Err(refused(shown, &bounds));
        }
        if let Some(layer) = refusing(&self.shared.grants, address) {
            let why = format!(
                "{address} is not granted by {layer} (limits.repositories.clone): ask the owner of it to add it, or set \
                 clone.submodules to None"
            );
            return Err(refused(shown, &why));
        }
        let pristine = self.directory.join(format!("{}.git", self.cloned));
        self.cloned += 1;
        let options = CloneOptions {
            sparse: Vec::new(),
            ..self.options.clone()
        };
        let what = format!("{shown}: {address}");
        let cloned = clone(
            address.as_str(),
            Some(commit),
            &options,
            &pristine,
            &self.shared.transport,
            &self.shared.deadline,
        )
        .map_err(|error| Failed::of_clone(&what, &error))?;
        let tree = parent.tree.join(&declared.path);
        let place = work_tree::Place {
            pristine: &pristine,
            tree: &tree,
            url: address.as_str(),
        };
        work_tree::make(
            &place,
            &cloned,
            &options,
            &self.shared.bytes,
            &self.shared.deadline,
        )
        .map_err(|error| passing(shown, &error))?;
        large_files::in_work_tree(&options, &place, self.shared)
            .map_err(|error| Failed::of_large_files(&what, &error))?;
        register(parent.tree, declared, address).map_err(|error| passing(shown, &error))?;
        self.note(&pristine, &tree)
            .map_err(|error| passing(shown, &error))?;
        self.tolerated.extend(cloned.tolerated);
        if self.options.submodules == CloneSubmodules::Recursive {
            let next = Parent {
                pristine: &pristine,
                tree: &tree,
                url: address.as_str(),
                shown,
            };
            self.of(&next, depth + 1)?;
        }
        Ok(())
    }

    /// Notes what its work is to be compared with.
    fn note(&self, pristine: &Path, tree: &Path) -> std::io::Result<()> {
        let Some(path) = self
            .collected
            .as_ref()
            .and_then(|root| tree.strip_prefix(root).ok())
        else {
            return Ok(());
        };
        if let Err(error) = stat::record(pristine, tree, &self.shared.deadline) {
            // Collecting reads every file then.
            let path = path.display();
            tracing::warn!(%path, %error, "what the file system says of the files could not be recorded");
        }
        collected::note(pristine, path)
    }

    /// What the commit's `.gitmodules` declares.
    fn declared(&self, git: &Git) -> Result<Vec<Declared>, GitError> {
        let file = format!("{BASE}:.gitmodules");
        let deadline = &self.shared.deadline;
        match git.run(&["cat-file", "-e", &file], b"", LIST_LIMIT, deadline) {
            Err(GitError::Failed { .. }) => return Ok(Vec::new()),
            known => known?,
        };
        let list = ["config", "--blob", &file, "--null", "--list"];
        match git.run(&list, b"", LIST_LIMIT, deadline) {
            // A file that is no configuration declares nothing, as git says of it.
            Err(GitError::Failed { .. }) => Ok(Vec::new()),
            listed => Ok(submodules::read(&listed?)),
        }
    }

    /// The commit that the tree names at a submodule's path.
    fn commit(&self, git: &Git, declared: &Declared) -> Result<Option<String>, GitError> {
        let asked = ["ls-tree", "-z", "--full-tree", BASE, "--", &declared.path];
        let listed = git.run(&asked, b"", LIST_LIMIT, &self.shared.deadline)?;
        let listed = String::from_utf8_lossy(&listed);
        let entry = listed.strip_suffix('\0').unwrap_or(&listed);
        Ok(entry
            .strip_prefix("160000 commit ")
            .and_then(|rest| rest.split_once('\t'))
            .filter(|(_, path)| *path == declared.path)
            .map(|(commit, _)| commit.to_owned()))
    }
}

/// Tells the parent's own git that the submodule is there.
fn register(tree: &Path, declared: &Declared, address: &RepositoryUrl) -> std::io::Result<()> {
    let mut config = fs::OpenOptions::new()
        .append(true)
        .open(tree.join(".git/config"))?;
    if declared.name.contains(char::is_control) {
        return Ok(());
    }
    let name = work_tree::quoted(&declared.name);
    write!(
        config,
        "[submodule {name}]\n\tactive = true\n\turl = {}\n",
        work_tree::quoted(address.as_str())
    )
}

fn refused(shown: &str, why: &str) -> Failed {
    Failed::refused(format_args!("{shown}: {why}"))
}

fn passing(shown: &str, error: &dyn std::fmt::Display) -> Failed {
    Failed::passing(format_args!("{shown}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::shared::Grant;
    use cofferdam_wire::runner::CloneGrant;

    #[test]
    fn every_layer_must_grant_a_submodule() {
        let grant = |layer: &str, urls: &[&str]| {
            Grant::read(&CloneGrant {
                layer: layer.to_owned(),
                urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            })
            .unwrap()
        };
        let url = |text: &str| RepositoryUrl::parse(text).unwrap();
        let grants = [
            grant(
                "ClusterSandboxPolicy/base",
                &["https://a.example/**", "https://b.example/**"],
            ),
            grant("SandboxPolicy/default", &["https://a.example/team/*"]),
        ];
        for (address, refuses) in [
            ("https://a.example/team/lib.git", None),
            ("https://a.example/other/lib", Some("SandboxPolicy/default")),
            ("https://b.example/team/lib", Some("SandboxPolicy/default")),
            ("https://c.example/team/lib", Some("ClusterSandboxPolicy/base")),
        ] {
            assert_eq!(refusing(&grants, &url(address)), refuses, "{address}");
        }
        let nothing = [grant("SandboxPolicy/default", &[])];
        assert_eq!(
            refusing(&nothing, &url("https://a.example/team/lib")),
            Some("SandboxPolicy/default")
        );
    }
}
