//! Trees that an agent made to deceive.

use std::process::Command;

use cofferdam_runner::collect::Patch;
use cofferdam_runner::collect::limits::Limits;
use rstest::rstest;

use crate::world::{World, code, fixture, named};

/// What becomes of each kind of make.sh.
const KINDS: &[(&str, &str)] = &[
    ("nothing", "exact"),
    ("nested_fsmonitor", "exact"),
    ("own_config", "exact"),
    ("own_hooks", "exact"),
    ("attributes_filter", "exact"),
    ("attributes_encoding", "exact"),
    ("attributes_eol", "exact"),
    ("attributes_nodiff", "exact"),
    ("attributes_export", "exact"),
    ("gitignore_hides", "exact"),
    ("info_exclude", "exact"),
    ("symlinks_out", "exact"),
    ("symlink_loops", "exact"),
    ("symlink_for_directory", "exact"),
    ("symlink_for_file", "exact"),
    ("gitfile", "exact"),
    ("symlinked_git", "exact"),
    ("no_git", "exact"),
    ("odd_names", "exact"),
    ("upper_git", "DotGitAlias"),
    ("short_git", "DotGitAlias"),
    ("invisible_git", "DotGitAlias"),
    ("trailing_git", "DotGitAlias"),
    ("nested_upper_git", "DotGitAlias"),
    ("submodule_touched", "exact"),
    ("submodule_removed", "exact"),
    ("submodule_to_file", "exact"),
    ("repository_inside", "exact"),
    ("gitmodules_evil", "exact"),
    ("gitmodules_symlink", "SymlinkedGitFile"),
    ("file_to_directory", "exact"),
    ("directory_to_file", "exact"),
    ("modes", "exact"),
    ("renames", "exact"),
    ("binary", "exact"),
    ("empty_directories", "exact"),
    ("delete_all", "exact"),
    ("lfs_pointer", "exact"),
    ("index_garbage", "exact"),
    ("index_tampered", "exact"),
    ("alternates", "exact"),
    ("replaced_objects", "exact"),
    ("deep_nesting", "exact"),
    ("long_path", "exact"),
    ("many_files", "exact"),
    ("sparse_terabyte", "exact"),
    ("fifo", "exact"),
    ("hardlink_inside", "exact"),
    ("hardlink_outside", "exact"),
    ("ignored_files", "exact"),
    ("case_collision", "exact"),
    ("long_symlink", "exact"),
    ("git_files_as_directories", "exact"),
    ("no_final_newline", "exact"),
    ("patch_in_content", "exact"),
];

/// What the base commit's rules leave out.
fn ignored(kind: &str) -> &'static [&'static str] {
    match kind {
        "ignored_files" => &[
            "build/new",
            "build/deep",
            "node/build",
            "a.log",
            "dir/b.log",
            "dir/local",
        ],
        _ => &[],
    }
}

/// What is named as left out, and why.
fn left_out(kind: &str) -> Vec<(String, &'static str)> {
    let one = |path: &str, reason| vec![(path.to_owned(), reason)];
    match kind {
        "nested_fsmonitor" => one("nested/.git", "NestedRepository"),
        "gitfile" | "symlinked_git" => one("away/.git", "NestedRepository"),
        "repository_inside" => one("inner/.git", "NestedRepository"),
        "submodule_touched" => one("sub", "Submodule"),
        "empty_directories" => one("empty/one/two", "EmptyDirectory"),
        "deep_nesting" => one(&vec!["d"; 65].join("/"), "TooDeep"),
        "long_path" => one(&long_path(), "PathTooLong"),
        "gitignore_hides" => ["dir/new", "new"]
            .map(|path| (path.to_owned(), "IgnoredByNewRule"))
            .to_vec(),
        "sparse_terabyte" => one("sparse", "FileTooLarge"),
        "fifo" => one("dir/fifo", "SpecialFile"),
        "hardlink_outside" => one("inside", "HardLink"),
        _ => Vec::new(),
    }
}

/// The first directory of the kind `long_path` whose path is too long.
fn long_path() -> String {
    let mut path = "inner".to_owned();
    while path.len() <= Limits::default().path_bytes {
        path = format!("{path}/{:0240}", 0);
    }
    path
}

/// A path as it is named.
fn cut(path: &str) -> String {
    match path.char_indices().nth(120) {
        None => path.to_owned(),
        Some(_) => path.chars().take(119).chain(['…']).collect(),
    }
}

#[rstest]
#[case(0)]
#[case(1)]
#[case(2)]
#[case(3)]
fn each_kind_is_exact_or_refused_by_its_code(
    #[case] part: usize,
    #[values(World::new, World::in_another, World::sparse)] world: fn() -> World,
) {
    for (kind, expected) in KINDS.iter().skip(part).step_by(4) {
        let world = world();
        if *kind == "many_files" && !world.is_ordinary() {
            // Its 100,000 files take long, and are the same in every kind of work tree.
            continue;
        }
        world.make(kind);
        let result = world.collect();
        assert_eq!(code(&result), *expected, "{kind}: {result:?}");
        let Ok(patch) = result else { continue };
        assert!(patch.complete, "{kind}");
        assert_eq!(patch.left_out.ignored > 0, *kind == "ignored_files", "{kind}");
        if *kind == "many_files" {
            half_of_the_files_are_in(&patch);
            continue;
        }
        let left_out = left_out(kind);
        let shown: Vec<(String, &str)> = left_out
            .iter()
            .map(|(path, reason)| (cut(path), *reason))
            .collect();
        assert_eq!(named(&patch), shown, "{kind}");
        assert_eq!(patch.left_out.count, left_out.len() as u64, "{kind}");
        // The test's own list of what stands there has neither directories nor what is called `.git` nor what stands
        // in a submodule.
        let standing = [
            "TooDeep",
            "PathTooLong",
            "FileTooLarge",
            "SpecialFile",
            "HardLink",
            "IgnoredByNewRule",
        ];
        let absent: Vec<&str> = left_out
            .iter()
            .filter(|(_, reason)| standing.contains(reason))
            .map(|(path, _)| path.as_str())
            .chain(ignored(kind).iter().copied())
            .collect();
        world.assert_exact_but(&patch, &absent, |expected| {
            // The agent's attributes want line feeds.
            if *kind == "attributes_eol" {
                let readme = b"one\ntwo\n$Id: forged $\n".to_vec();
                expected.insert(b"README".to_vec(), ("100644", readme));
            }
        });
    }
}

/// Of 100,000 new files, as many are in the patch as may be, and the others are counted.
fn half_of_the_files_are_in(patch: &Patch) {
    assert_eq!(patch.facts.files, 50_000);
    assert_eq!(patch.left_out.count, 50_000);
    assert_eq!(named(patch).len(), 10);
    assert!(
        named(patch)
            .iter()
            .all(|(path, reason)| path.starts_with("many/") && *reason == "TooManyFiles")
    );
}

#[test]
fn the_table_has_every_kind_of_the_script() {
    let listed = Command::new(fixture("make.sh"))
        .arg("list")
        .output()
        .unwrap()
        .stdout;
    let listed: Vec<&str> = std::str::from_utf8(&listed).unwrap().lines().collect();
    let known: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(listed, known);
    assert!(known.len() >= 25);
}

/// The corpus is dangerous: git in the tree does execute what it names. Without this the tests above prove little.
#[test]
fn the_corpus_is_live_ammunition() {
    for kind in ["nested_fsmonitor", "own_config", "attributes_filter"] {
        let world = World::new();
        world.make(kind);
        let directory = if kind == "nested_fsmonitor" {
            world.tree().join("nested")
        } else {
            world.tree()
        };
        // How it ends does not matter: many of these commands break git's own work.
        let _ = Command::new("git")
            .args(["status"])
            .current_dir(directory)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(world.marker().exists(), "{kind}");
    }
}
