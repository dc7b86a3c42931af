//! Hostile work trees, made by an agent under gVisor: what the sidecar collects there equals, by digest, what the
//! same walker collects from the same tree on plain Linux, where `tests/walker.rs` proves it exact.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cofferdam_api::{CloneOptions, Reason};
use cofferdam_runner::clone::bytes::Bytes;
use cofferdam_runner::clone::{Transport, clone};
use cofferdam_runner::collect::limits::Limits;
use cofferdam_runner::collect::{Collection, collect};
use cofferdam_runner::deadline::Deadline;
use cofferdam_runner::work_tree;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{ATTACKER, BUSYBOX, Run, Space, repository};

const MAKE: &str = include_str!("../fixtures/hostile/make.sh");

/// What a command of the tree would print into the log of whichever of our containers ran it.
const EXECUTED: &str = "a-command-of-the-tree-ran";

/// What the corpus runs: `touch`, and then a line into the log of the container that ran it.
fn marker() -> String {
    format!("/tmp/marker && echo {EXECUTED} >/proc/1/fd/1")
}

fn name(kind: &str) -> String {
    kind.replace('_', "-")
}

/// Starts a run with one repository for each kind, and has its agent make each tree hostile in its way.
async fn run_with(space: &Space, run: &str, kinds: &[&str]) -> Run {
    let task = space.prompt(run, MAKE).await;
    let repositories: Vec<Value> = kinds
        .iter()
        .map(|kind| repository(&name(kind), "hostile", "ReadWrite"))
        .collect();
    let script = format!(
        "set -e; export MARKER='{}'; \
         for kind in {}; do cd /workspace/$(echo $kind | tr _ -); sh /cofferdam/prompt $kind; done",
        marker(),
        kinds.join(" ")
    );
    let spec = json!({
        "task": task,
        "agent": {"image": BUSYBOX, "command": ["sh", "-c", script]},
        "repositories": repositories,
    });
    space.run(run, spec).await
}

/// Digest of the patch that the walker makes of the same tree here.
fn here(kind: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let (tree, pristine) = (
        directory.path().join("tree"),
        directory.path().join("pristine.git"),
    );
    std::fs::create_dir(&tree).unwrap();
    let transport = Transport {
        proxy: None,
        certificates: None,
        protocols: "file",
    };
    let deadline = Deadline::after(Duration::from_mins(1));
    let state = std::env::var("COFFERDAM_STATE").unwrap_or_else(|_| "/var/tmp/cofferdam".into());
    let forge = PathBuf::from(state).join("internet/git/hostile.git");
    let cloned = clone(
        &format!("file://{}", forge.display()),
        None,
        &CloneOptions::default(),
        &pristine,
        &transport,
        &deadline,
    )
    .unwrap();
    work_tree::make(
        &work_tree::Place {
            pristine: &pristine,
            tree: &tree,
            url: "https://git.internet.test/hostile.git",
        },
        &cloned,
        &CloneOptions::default(),
        &Bytes::new(u64::MAX),
        &deadline,
    )
    .unwrap();
    let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("tests/fixtures/hostile/make.sh");
    let made = Command::new(script)
        .arg(kind)
        .current_dir(&tree)
        .env("MARKER", marker())
        .status();
    assert!(made.unwrap().success(), "{kind}");
    let collection = Collection::new(pristine, tree, directory.path().join("scratch"));
    collect(&collection, &Limits::default(), &deadline)
        .unwrap()
        .unwrap()
        .facts
        .digest
}

#[rstest]
#[case::configuration("hostile-configuration", &["nothing", "nested_fsmonitor", "own_config", "own_hooks", "info_exclude", "index_garbage", "index_tampered", "no_git"])]
#[case::attributes("hostile-attributes", &["attributes_filter", "attributes_encoding", "attributes_eol", "attributes_nodiff", "attributes_export", "gitignore_hides", "lfs_pointer", "ignored_files"])]
#[case::links("hostile-links", &["symlinks_out", "symlink_loops", "symlink_for_directory", "symlink_for_file", "gitfile", "symlinked_git", "long_symlink", "hardlink_inside"])]
#[case::repositories("hostile-repositories", &["submodule_touched", "submodule_removed", "submodule_to_file", "repository_inside", "gitmodules_evil", "alternates", "replaced_objects", "git_files_as_directories"])]
#[case::files("hostile-files", &["odd_names", "file_to_directory", "directory_to_file", "modes", "renames", "binary", "empty_directories", "delete_all"])]
#[case::contents("hostile-contents", &["case_collision", "no_final_newline", "patch_in_content"])]
#[tokio::test]
async fn what_is_collected_under_gvisor_is_what_was_made(#[case] run_name: &str, #[case] kinds: &[&str]) {
    let space = Space::open(run_name).await;
    let run = run_with(&space, run_name, kinds).await;
    let status = run.ends(Reason::Completed).await.status.unwrap();
    let patches = status.outputs.expect("patches").patches;
    for kind in kinds {
        let patch = patches
            .iter()
            .find(|patch| patch.repository == name(kind))
            .expect(kind);
        assert_eq!(patch.digest, here(kind), "{kind}");
    }
    for container in ["prepare", "sidecar"] {
        let printed = run.log(container).await;
        assert!(
            !printed.lines().any(|line| line.trim() == EXECUTED),
            "{container} ran a command of a tree"
        );
    }
    space.close().await;
}

#[rstest]
#[case("upper_git", "DotGitAlias")]
#[case("short_git", "DotGitAlias")]
#[case("invisible_git", "DotGitAlias")]
#[case("trailing_git", "DotGitAlias")]
#[case("nested_upper_git", "DotGitAlias")]
#[case("gitmodules_symlink", "SymlinkedGitFile")]
#[tokio::test]
async fn what_would_make_a_patch_dangerous_is_refused_by_its_code(
    #[case] kind: &str,
    #[case] expected: &str,
) {
    let space = Space::open(&format!("refused-{}", name(kind))).await;
    // The control stands beside it: an honest tree of the same run is collected.
    let run = run_with(&space, "refused", &["nothing", kind]).await;
    let status = run.ends(Reason::CollectFailed).await.status.unwrap();
    let message = status.message.unwrap_or_default();
    assert!(
        message.contains(expected) && message.contains(&name(kind)),
        "{message}"
    );
    let patches = status.outputs.expect("the honest tree's patch").patches;
    assert_eq!(
        patches
            .iter()
            .map(|patch| patch.repository.as_str())
            .collect::<Vec<_>>(),
        ["nothing"]
    );
    space.close().await;
}

/// New paths that cannot be collected cost themselves: each tree has a change that arrives, and the status names the rest.
#[tokio::test]
async fn what_cannot_be_collected_is_left_out_and_named() {
    let kinds = [
        ("deep_nesting", "TooDeep"),
        ("long_path", "PathTooLong"),
        ("sparse_terabyte", "FileTooLarge"),
        ("empty_directories", "EmptyDirectory"),
        ("nested_fsmonitor", "NestedRepository"),
        ("submodule_touched", "Submodule"),
    ];
    let space = Space::open("hostile-left-out").await;
    let names: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
    let run = run_with(&space, "left-out", &names).await;
    let status = run.ends(Reason::Completed).await.status.unwrap();
    let patches = status.outputs.expect("patches").patches;
    for (kind, reason) in kinds {
        let patch = patches.iter().find(|patch| patch.repository == name(kind));
        let left_out = patch.and_then(|patch| patch.left_out.as_ref()).expect(kind);
        assert_eq!(
            (left_out.count, left_out.paths.len()),
            (1, 1),
            "{kind}: {left_out:?}"
        );
        assert_eq!(left_out.paths[0].reason, reason, "{kind}");
    }
    space.close().await;
}

/// So many files are more than a patch takes, and under gVisor more than the time suffices for: either is said, and the
/// change of a tracked file is in the patch.
#[tokio::test]
async fn of_too_many_new_files_the_tracked_changes_come_first() {
    let space = Space::open("hostile-many").await;
    let task = space.prompt("many", MAKE).await;
    let script = "cd /workspace/many; echo a line by the agent >>README; sh /cofferdam/prompt many_files";
    let spec = json!({
        "task": task,
        "agent": {"image": BUSYBOX, "command": ["sh", "-c", script]},
        "repositories": [repository("many", "hostile", "ReadWrite")],
    });
    let run = space.run("many", spec).await;
    let ended = run.ended().await;
    assert_eq!(run.added("README").await, ["a line by the agent"]);
    let patch = &ended.status.unwrap().outputs.expect("patches").patches[0];
    let counted = patch.left_out.as_ref().is_some_and(|left_out| left_out.count > 0);
    assert!(
        counted || patch.completeness == cofferdam_api::Completeness::Partial,
        "{patch:?}"
    );
    space.close().await;
}

/// What an agent cannot bring before the walker, and what becomes of its attempt. `tests/walker.rs` has these on plain
/// Linux.
///
/// | kind | why it does not arrive |
/// |---|---|
/// | FIFO, socket | gVisor keeps both in the memory of the agent's own mount; the sidecar mounts the same directory itself |
/// | device | making one needs a capability, and the agent has none |
/// | hard link out of the tree | each work tree is a mount of its own, and links do not cross mounts |
const IN_VAIN: &[(&str, &str, &str)] = &[
    ("fifo", "mkfifo dir/fifo && test -p dir/fifo", "made"),
    (
        "socket",
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"bound\")' && test -S bound",
        "made",
    ),
    ("device", "mknod zero c 1 5", "refused"),
    (
        "linked",
        "echo x > /tmp/outside && ln /tmp/outside inside",
        "refused",
    ),
    ("cross-linked", "ln ../fifo/README inside", "refused"),
];

#[tokio::test]
async fn what_the_sandbox_keeps_from_the_walker_changes_nothing() {
    let space = Space::open("hostile-in-vain").await;
    let lines = IN_VAIN.iter().map(|(kind, attempt, _)| {
        format!("cd /workspace/{kind}; if {attempt}; then echo {kind}: made; else echo {kind}: refused; fi")
    });
    let script = format!("{{\n{}\n}} >> result\n", lines.collect::<Vec<_>>().join("\n"));
    let trees = IN_VAIN
        .iter()
        .map(|(kind, ..)| repository(kind, "hostile", "ReadWrite"));
    let mut repositories = vec![repository("outcomes", "two-first", "ReadWrite")];
    repositories.extend(trees);
    let more = json!({"repositories": repositories});
    let run = space.script("in-vain", ATTACKER, "bash", &script, more).await;
    let status = run.ends(Reason::Completed).await.status.unwrap();
    let outcomes: Vec<String> = IN_VAIN
        .iter()
        .map(|(kind, _, outcome)| format!("{kind}: {outcome}"))
        .collect();
    assert_eq!(run.added("result").await, outcomes);
    // The control: of the same run, the file that says so is collected.
    for patch in status.outputs.expect("patches").patches {
        let files = i32::from(patch.repository == "outcomes");
        assert_eq!(patch.files, files, "{patch:?}");
    }
    space.close().await;
}
