//! More trees of each kind that once lost work: each kind has five and more, beside the one in `trees` that it is named for.

use cofferdam_api::CloneOptions;
use rstest::rstest;

use crate::trees::Tree;
use crate::world::World;

/// A base commit with two files, and rules for what is built.
const BASE: &str = "mkdir src; echo one >a; echo one >b; echo one >src/m; printf '/target/\n*.log\n' >.gitignore; git add .; git commit -qm base";

const fn tree(
    script: &'static str,
    patch: &'static [&'static str],
    left_out: &'static [(&'static str, &'static str)],
    ignored: u64,
) -> Tree {
    of(BASE, script, patch, left_out, ignored)
}

const fn of(
    base: &'static str,
    script: &'static str,
    patch: &'static [&'static str],
    left_out: &'static [(&'static str, &'static str)],
    ignored: u64,
) -> Tree {
    Tree {
        base,
        script,
        patch,
        left_out,
        ignored,
    }
}

#[rstest]
#[case::all_names_ignored(&tree(
    "mkdir -p target/deps; echo r >target/deps/lib; ln target/deps/lib target/lib; echo two >a", &["M a"], &[], 1))]
#[case::tracked_files_joined(&tree("rm b; ln a b; echo more >>a", &["M a", "M b"], &[], 0))]
#[case::tracked_files_joined_unchanged(&tree("rm b; ln a b", &[], &[], 0))]
#[case::of_a_cache_outside_ignored(&tree("mkdir target; echo c >../cached; ln ../cached target/c; echo two >a", &["M a"], &[], 1))]
#[case::of_a_cache_outside(&tree(
    "mkdir -p out/deep; echo c >../cached; ln ../cached out/deep/c; echo d >out/deep/d; echo two >a",
    &["M a", "A out/deep/d"], &[("HardLink", "out/deep/c")], 0))]
#[case::three_names(&tree("echo n >n1; ln n1 src/n2; ln n1 .git/n3", &["A n1", "A src/n2"], &[], 0))]
#[case::of_an_ignored_and_a_new_name(&tree("mkdir target; echo n >target/n; ln target/n n", &["A n"], &[], 1))]
fn a_file_with_several_names(#[case] expected: &Tree) {
    expected.check();
}

#[rstest]
#[case::added_to_a_file_of_the_commit(&tree(
    "echo dist/ >>.gitignore; mkdir dist; echo d >dist/d; echo two >a", &["M .gitignore", "M a"], &[("IgnoredByNewRule", "dist")], 0))]
#[case::everything_but_one(&tree(
    "mkdir pkg; printf '*\n!keep\n' >pkg/.gitignore; echo k >pkg/keep; echo d >pkg/drop",
    &["A pkg/keep"], &[("IgnoredByNewRule", "pkg/.gitignore"), ("IgnoredByNewRule", "pkg/drop")], 0))]
#[case::of_a_tracked_file(&tree("echo /a >>.gitignore; echo two >a", &["M .gitignore", "M a"], &[], 0))]
#[case::in_gits_own_directory(&tree("mkdir -p .git/info; echo new >>.git/info/exclude; echo n >new", &["A new"], &[], 0))]
#[case::in_a_file_that_the_configuration_names(&tree(
    "git config core.excludesFile \"$PWD/src/rules\"; echo '*' >src/rules; echo n >new", &["A new", "A src/rules"], &[], 0))]
#[case::for_a_directory_with_an_exception(&tree(
    "printf 'gen/*\n!gen/kept/\n' >src/.gitignore; mkdir -p src/gen/kept src/gen/other; echo k >src/gen/kept/k; echo o >src/gen/other/o",
    &["A src/.gitignore", "A src/gen/kept/k"], &[("IgnoredByNewRule", "src/gen/other")], 0))]
#[case::in_a_link(&tree("ln -s a src/.gitignore; echo n >src/n", &["A src/.gitignore", "A src/n"], &[], 0))]
fn rules_that_the_agent_makes(#[case] expected: &Tree) {
    expected.check();
}

#[rstest]
#[case::beside_the_repository(&tree("git worktree add -q ../beside -b x; echo two >a", &["M a"], &[], 0))]
#[case::that_was_moved(&tree(
    "git worktree add -q wt/one -b x; git worktree move wt/one wt/two; echo two >a",
    &["M a"], &[("LinkedWorktree", "wt/two")], 0))]
#[case::whose_records_are_gone(&tree(
    "git worktree add -q wt -b x; rm -r .git/worktrees; echo two >a", &["M a"], &[("LinkedWorktree", "wt")], 0))]
#[case::by_a_relative_path(&tree(
    "git worktree add -q deep/wt -b x; echo 'gitdir: ../../.git/worktrees/wt' >deep/wt/.git; echo two >a",
    &["M a"], &[("LinkedWorktree", "deep/wt")], 0))]
#[case::that_is_none(&tree(
    "mkdir lib; echo 'gitdir: ../.git/modules/lib' >lib/.git; echo l >lib/l", &["A lib/l"],
    &[("NestedRepository", "lib/.git")], 0))]
#[case::in_an_ignored_directory(&tree("git worktree add -q target/wt -b x; echo two >a", &["M a"], &[], 1))]
#[case::of_a_worktree(&tree(
    "git worktree add -q wt -b x; git -C wt worktree add -q inner -b y; echo two >a", &["M a"], &[("LinkedWorktree", "wt")], 0))]
fn a_linked_work_tree(#[case] expected: &Tree) {
    expected.check();
}

#[rstest]
#[case::a_pipe_beside_files(&tree(
    "mkdir -p run/deep; mkfifo run/deep/p; echo f >run/deep/f", &["A run/deep/f"], &[("SpecialFile", "run/deep/p")], 0))]
#[case::a_directory_of_nothing_else(&tree("mkdir run; mkfifo run/p; echo two >a", &["M a"], &[("SpecialFile", "run/p")], 0))]
#[case::a_pipe_that_is_ignored(&tree("mkfifo x.log; echo two >a", &["M a"], &[], 1))]
#[case::a_link_to_a_pipe(&tree("mkfifo target.log; ln -s target.log link", &["A link"], &[], 1))]
#[case::in_the_place_of_a_directory(&tree("rm -r src; mkfifo src; echo two >a", &["M a", "D src/m"], &[("SpecialFile", "src")], 0))]
#[case::beside_a_file_that_went(&tree("rm b; mkfifo c", &["D b"], &[("SpecialFile", "c")], 0))]
#[case::a_socket_in_a_directory_of_the_commit(&tree(
    "cd src; python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('s.sock')\"; echo two >m",
    &["M src/m"], &[("SpecialFile", "src/s.sock")], 0))]
fn what_is_no_file(#[case] expected: &Tree) {
    expected.check();
}

/// Attributes for everything, for scripts, and against binary files.
const ENDINGS: &str =
    "printf '* text=auto\n*.sh text eol=lf\n*.bin -text\n*.win text eol=crlf\n' >.gitattributes
    printf 'one\n' >a; printf 'one\n' >run.sh; printf 'one\n' >x.bin; printf 'one\n' >w.win
    git -c core.autocrlf=false add .; git commit -qm base";

#[rstest]
#[case::only_the_endings(&of(ENDINGS, "printf 'one\\r\\n' >a; printf 'one\\r\\n' >run.sh; printf 'one\\r\\n' >w.win", &[], &[], 0))]
#[case::of_a_binary_file(&of(ENDINGS, "printf 'one\\r\\n' >x.bin", &["M x.bin"], &[], 0))]
#[case::of_a_new_file_and_of_none(&of(ENDINGS, "printf 'n\\r\\n' >n; printf 'one\\r\\n' >a", &["A n"], &[], 0))]
#[case::attributes_taken_away(&of(
    ENDINGS, "rm .gitattributes; printf 'one\\r\\n' >a", &["D .gitattributes", "M a"], &[], 0))]
#[case::attributes_in_a_directory(&of(
    ENDINGS, "mkdir d; echo '* -text' >d/.gitattributes; printf 'n\\r\\n' >d/n; printf 'one\\r\\n' >a",
    &["A d/.gitattributes", "A d/n"], &[], 0))]
#[case::a_setting_of_the_clone(&of(
    "printf 'one\n' >a; git add .; git commit -qm base", "git config core.autocrlf true; printf 'one\\r\\n' >a", &["M a"], &[], 0))]
fn line_endings(#[case] expected: &Tree) {
    expected.check();
}

#[rstest]
#[case::of_python(&tree(
    "mkdir -p src/__pycache__ .ruff_cache; : >src/__pycache__/m.cpython-312.pyc; : >src/x.pyo; : >.ruff_cache/y; echo two >a", &["M a"],
    &[], 3))]
#[case::of_editors(&tree("echo s >.a.swp; echo s >.a.swo; echo t >a~; echo l >.#a; echo two >b", &["M b"], &[], 4))]
#[case::that_looks_like_it(&tree("echo s >a.swp.txt; echo t >'~'; echo p >pycache; echo d >DS_Store", &[
    "A DS_Store", "A a.swp.txt", "A pycache", "A ~"], &[], 0))]
#[case::of_agents(&tree(
    "mkdir -p .claude .aider.tags.cache.v4; echo '{}' >.claude/settings.local.json; echo h >.aider.chat.history.md
     echo t >.aider.tags.cache.v4/t; echo c >.claude/agents.md", &["A .claude/agents.md"], &[], 3))]
#[case::that_is_tracked(&of(
    "mkdir __pycache__; echo 1 >__pycache__/kept; echo 1 >note~; git add -f .; git commit -qm base",
    "echo 2 >__pycache__/kept; echo 2 >note~; echo 2 >__pycache__/new", &["M __pycache__/kept", "M note~"], &[], 1))]
#[case::that_the_project_wants(&of(
    "printf '!*.pyc\n!.idea/\n' >.gitignore; git add .; git commit -qm base",
    "echo c >m.pyc; mkdir .idea; echo i >.idea/modules.xml; echo s >.DS_Store", &["A .idea/modules.xml", "A m.pyc"], &[], 1))]
fn litter(#[case] expected: &Tree) {
    expected.check();
}

/// A pointer of Git LFS.
const POINTER: &str = "printf 'version https://git-lfs.github.com/spec/v1\\noid sha256:%064d\\nsize 5\\n' 7";

#[rstest]
#[case::a_new_pointer("POINTER >n.bin", 0)]
#[case::content_in_a_directory_with_rules_of_its_own(
    "mkdir d; echo '*.raw filter=lfs' >d/.gitattributes; echo r >d/x.raw",
    1
)]
#[case::a_kind_that_the_agent_tracks(
    "echo '*.iso filter=lfs diff=lfs merge=lfs -text' >>.gitattributes; echo i >x.iso",
    1
)]
#[case::a_kind_that_it_tracks_no_longer(": >.gitattributes; echo c >m.bin; echo n >n.bin", 0)]
#[case::by_a_macro(
    "printf '[attr]large filter=lfs -text\\n*.dat large\\n' >.gitattributes; echo d >x.dat",
    1
)]
#[case::an_empty_file(": >n.bin", 0)]
#[case::content_in_the_place_of_a_pointer("echo content >m.bin; echo content >n.bin", 2)]
#[case::another_filter("echo '*.enc filter=git-crypt' >>.gitattributes; echo e >x.enc", 0)]
#[case::content_that_is_ignored("echo '*.bin' >.gitignore; echo n >n.bin", 0)]
fn files_for_git_lfs(#[case] script: &str, #[case] counted: u64) {
    let base = format!(
        "echo '*.bin filter=lfs diff=lfs merge=lfs -text' >.gitattributes; {POINTER} >m.bin; git add .; git commit -qm base"
    );
    let world = World::with_base(&base);
    world.run(&script.replace("POINTER", POINTER));
    let patch = world.collect().unwrap();
    assert_eq!(patch.lfs_files, counted);
    if !script.contains("ignored") && !script.contains(".gitignore") {
        world.assert_exact(&patch, &[]);
    }
}

/// What is outside of a sparse work tree did not change, unless the agent puts something there.
#[rstest]
#[case::nothing("true", &[])]
#[case::within("echo two >src/m; rm src/deep/d; echo n >src/n", &["D src/deep/d", "M src/m", "A src/n"])]
#[case::above("echo two >a", &["M a"])]
#[case::all_of_it_wanted_after_all("git sparse-checkout disable", &[])]
#[case::the_same_put_there("mkdir docs; echo one >docs/x", &[])]
#[case::something_else_put_there("mkdir docs; echo two >docs/x", &["M docs/x"])]
#[case::something_new_put_there("mkdir docs other; echo n >docs/n; echo n >other/n", &["A docs/n", "A other/n"])]
#[case::a_file_in_the_place_of_a_directory("echo f >docs", &["A docs", "D docs/x", "D docs/y/z"])]
#[case::what_is_within_taken_away("rm -r src", &["D src/deep/d", "D src/m"])]
fn sparse_work_trees(#[case] script: &str, #[case] expected: &[&str]) {
    let options = CloneOptions {
        sparse: vec!["src".to_owned()],
        ..CloneOptions::default()
    };
    let base = "mkdir -p src/deep docs/y; for f in a src/m src/deep/d docs/x docs/y/z; do echo one >$f; done; git add .
        git commit -qm base";
    let world = World::cloned(base, options);
    assert!(!world.tree().join("docs").exists() && world.tree().join("src/deep/d").exists());
    world.run(script);
    let patch = world.collect().unwrap();
    assert_eq!(world.touched(&patch), expected);
    assert_eq!(patch.left_out.count, 0);
}

/// Without the record of what was checked out, everything outside would pass for deleted.
#[test]
fn a_sparse_work_tree_without_its_record_is_refused() {
    let options = CloneOptions {
        sparse: vec!["src".to_owned()],
        ..CloneOptions::default()
    };
    let world = World::cloned(BASE, options);
    std::fs::remove_file(world.pristine().join("cofferdam-stat")).unwrap();
    assert_eq!(world.collect().unwrap_err().code(), "StorageFailed");
}
