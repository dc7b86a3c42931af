use super::*;
use crate::clone::{Transport, clone};
use crate::testing::sh;
use cofferdam_api::CloneBranches;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Makes a remote by `script` in its work tree, clones it, and makes the agent's copy.
fn made(script: &str) -> Result<tempfile::TempDir, WorkTreeError> {
    made_by(script, &CloneOptions::default(), u64::MAX)
}

fn made_by(script: &str, options: &CloneOptions, limit: u64) -> Result<tempfile::TempDir, WorkTreeError> {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    sh(
        root,
        &format!("git init -q -b 'main' r; cd r; {script}; git commit -qm base; mkdir ../tree"),
    );
    let pristine = root.join("p.git");
    let deadline = Deadline::after(Duration::from_secs(30));
    let transport = Transport {
        proxy: None,
        certificates: None,
        protocols: "file",
    };
    let cloned = clone(
        &format!("file://{}/r", root.display()),
        None,
        options,
        &pristine,
        &transport,
        &deadline,
    )
    .unwrap();
    make(
        &Place {
            pristine: &pristine,
            tree: &root.join("tree"),
            url: "https://git.test/\"odd\"",
        },
        &cloned,
        options,
        &Bytes::new(limit),
        &deadline,
    )?;
    Ok(directory)
}

#[test]
fn the_agents_git_works_in_its_copy() {
    let directory =
        made("echo one >a; printf '#!/bin/sh\\n' >run; chmod +x run; ln -s a link; git add .").unwrap();
    let tree = directory.path().join("tree");
    assert_eq!(sh(&tree, "git status --porcelain -b"), "## main...origin/main\n");
    assert_eq!(
        sh(&tree, "git remote get-url origin"),
        "https://git.test/\"odd\"\n"
    );
    assert_eq!(sh(&tree, "git fsck --full; git log --format=%s"), "base\n");
    assert_eq!(sh(&tree, "readlink link"), "a\n");
    let mode = fs::metadata(tree.join("run")).unwrap().permissions().mode();
    assert_eq!(mode & 0o100, 0o100);
    sh(
        &tree,
        "echo two >>a; git commit -qam more; git checkout -qb other",
    );
    // The copy stands alone: no objects are shared with the pristine repository.
    fs::remove_dir_all(directory.path().join("p.git")).unwrap();
    sh(&tree, "git fsck --full");
}

#[test]
fn files_hold_the_bytes_of_their_blobs_whatever_attributes_say() {
    let directory = made(
        "printf 'a text eol=crlf\\nb ident\\nc working-tree-encoding=UTF-16\\nd filter=lfs\\ne export-subst\\n' \
           >.gitattributes
         for f in a b c d e; do printf '$Id$\\n$Format:%%H$\\n' >$f; done
         for f in a b c d e .gitattributes; do git update-index --add --cacheinfo \
           100644,$(git hash-object -w --no-filters $f),$f; done",
    )
    .unwrap();
    let tree = directory.path().join("tree");
    for file in ["a", "b", "c", "d", "e"] {
        assert_eq!(
            fs::read_to_string(tree.join(file)).unwrap(),
            "$Id$\n$Format:%H$\n",
            "{file}"
        );
    }
    assert_eq!(sh(&tree, "git status --porcelain"), "");
}

const HISTORY: &str = "mkdir -p src/app/deep src/lib docs; for d in . src src/app src/app/deep src/lib docs; do echo one >$d/a; done
    git add .; git commit -qm one; git tag -am v1 v1; git checkout -qb feature/x; echo two >a; git commit -qam two
    git checkout -q main; echo three >a; git add a";

#[test]
fn all_branches_and_tags_are_there_with_the_history_that_is_asked_for() {
    for (depth, commits) in [(1, "1"), (2, "2"), (0, "2")] {
        let options = CloneOptions {
            depth,
            branches: CloneBranches::All,
            ..CloneOptions::default()
        };
        let directory = made_by(HISTORY, &options, u64::MAX).unwrap();
        let tree = directory.path().join("tree");
        assert_eq!(sh(&tree, "git status --porcelain -b"), "## main...origin/main\n");
        assert_eq!(
            sh(&tree, "git rev-list --count HEAD").trim(),
            commits,
            "depth {depth}"
        );
        let names = sh(&tree, "git for-each-ref --format='%(refname)'");
        assert_eq!(
            names,
            "refs/heads/main\nrefs/remotes/origin/feature/x\nrefs/remotes/origin/main\nrefs/tags/v1\n"
        );
        assert_eq!(sh(&tree, "git show origin/feature/x:a v1:a"), "two\none\n");
        sh(&tree, "git fsck --full");
    }
    // The control: by itself there is one branch, with one commit.
    let directory = made(HISTORY).unwrap();
    let tree = directory.path().join("tree");
    assert_eq!(
        sh(&tree, "git for-each-ref --format='%(refname)'"),
        "refs/heads/main\nrefs/remotes/origin/main\n"
    );
    assert_eq!(sh(&tree, "git rev-list --count HEAD"), "1\n");
}

#[test]
fn a_sparse_work_tree_has_the_files_of_its_directories_and_git_agrees() {
    let options = CloneOptions {
        sparse: vec!["src/app".to_owned(), "docs".to_owned()],
        ..CloneOptions::default()
    };
    let directory = made_by(HISTORY, &options, u64::MAX).unwrap();
    let tree = directory.path().join("tree");
    let found = sh(&tree, "find . -name .git -prune -o -type f -print | sort");
    assert_eq!(found, "./a\n./docs/a\n./src/a\n./src/app/a\n./src/app/deep/a\n");
    assert_eq!(sh(&tree, "git status --porcelain"), "");
    assert_eq!(sh(&tree, "git sparse-checkout list | sort"), "docs\nsrc/app\n");
    // Every object is there: the agent can widen its own tree.
    sh(
        &tree,
        "git fsck --full; git sparse-checkout disable; test -f src/lib/a; test -z \"$(git status --porcelain)\"",
    );
}

#[test]
fn a_work_tree_larger_than_its_bound_is_not_written() {
    let script = "head -c 5000 /dev/zero >big; mkdir d; head -c 3000 /dev/zero >d/more; git add .";
    let options = CloneOptions::default();
    assert!(made_by(script, &options, 8000).is_ok());
    let error = made_by(script, &options, 7999).unwrap_err();
    assert!(matches!(error, WorkTreeError::TooLarge(_)), "{error}");
    // What a sparse tree leaves out counts nothing.
    let sparse = CloneOptions {
        sparse: vec!["none".to_owned()],
        ..options
    };
    assert!(made_by(script, &sparse, 5000).is_ok());
}

#[test]
fn a_submodule_is_an_empty_directory() {
    let directory = made(
        "echo '[submodule \"s\"] path = sub' >.gitmodules; git add .gitmodules
         git update-index --add --cacheinfo 160000,1234567890123456789012345678901234567890,sub",
    );
    let directory = directory.unwrap();
    assert_eq!(
        fs::read_dir(directory.path().join("tree/sub")).unwrap().count(),
        0
    );
}

#[test]
fn a_second_try_begins_anew() {
    let directory = made("echo one >a; git add .").unwrap();
    let tree = directory.path().join("tree");
    fs::write(tree.join("left-over"), "x").unwrap();
    clear(&tree).unwrap();
    assert_eq!(fs::read_dir(&tree).unwrap().count(), 0);
}
