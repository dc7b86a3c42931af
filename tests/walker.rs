//! Hostile work trees against the collector: each is made into a patch that is exact, or refused by a code; no
//! command that a tree names is ever executed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cofferdam_api::CloneOptions;
use cofferdam_runner::clone::bytes::Bytes;
use cofferdam_runner::clone::{Transport, clone};
use cofferdam_runner::collect::limits::Limits;
use cofferdam_runner::collect::refusal::Refusal;
use cofferdam_runner::collect::{Collection, Patch, collect};
use cofferdam_runner::deadline::Deadline;
use cofferdam_runner::work_tree;
use rstest::rstest;

/// No tree may take longer.
const BOUND: Duration = Duration::from_secs(20);

/// Content of a tree by path: mode as git spells it, and bytes.
type Content = BTreeMap<Vec<u8>, (&'static str, Vec<u8>)>;

/// A remote, its pristine clone, and the agent's work tree.
struct World {
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let base = fixture("base.sh");
        sh(
            root,
            &format!("git init -q -b main remote; cd remote; {}", base.display()),
        );
        let world = Self { directory };
        fs::create_dir(world.tree()).unwrap();
        let transport = Transport {
            proxy: None,
            certificates: None,
            protocols: "file",
        };
        let url = format!("file://{}/remote", world.root().display());
        let deadline = Deadline::after(BOUND);
        let cloned = clone(
            &url,
            None,
            &CloneOptions::default(),
            &world.pristine(),
            &transport,
            &deadline,
        )
        .unwrap();
        work_tree::make(
            &work_tree::Place {
                pristine: &world.pristine(),
                tree: &world.tree(),
                url: "https://git.test/app",
            },
            &cloned,
            &CloneOptions::default(),
            &Bytes::new(u64::MAX),
            &deadline,
        )
        .unwrap();
        world
    }

    fn root(&self) -> &Path {
        self.directory.path()
    }

    fn tree(&self) -> PathBuf {
        self.root().join("tree")
    }

    fn pristine(&self) -> PathBuf {
        self.root().join("pristine.git")
    }

    fn marker(&self) -> PathBuf {
        self.root().join("marker")
    }

    fn make(&self, kind: &str) {
        let status = Command::new(fixture("make.sh"))
            .arg(kind)
            .current_dir(self.tree())
            .env("MARKER", self.marker())
            .status()
            .unwrap();
        assert!(status.success(), "{kind}");
    }

    fn collect_with(&self, limits: &Limits, live: bool) -> Result<Patch, Refusal> {
        let started = Instant::now();
        let collection = Collection {
            pristine: self.pristine(),
            tree: self.tree(),
            scratch: self.root().join("scratch"),
            live,
        };
        let patch = collect(&collection, limits, &Deadline::after(BOUND));
        assert!(started.elapsed() < BOUND, "{:?}", started.elapsed());
        assert!(!self.marker().exists(), "a command of the tree was executed");
        patch
    }

    fn collect(&self) -> Result<Patch, Refusal> {
        self.collect_with(&Limits::default(), false)
    }

    /// What the base commit becomes when `patch` is applied to it, by git, in a repository of its own.
    fn applied(&self, patch: &Patch) -> Content {
        let root = self.root();
        sh(root, "rm -rf applied.git; git clone -q --bare remote applied.git");
        let git = |arguments: &[&str], input: &[u8]| {
            let mut child = Command::new("git")
                .args(arguments)
                .env("GIT_DIR", root.join("applied.git"))
                .env("GIT_INDEX_FILE", root.join("applied.index"))
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::inherit())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let input = input.to_vec();
            let writer = std::thread::spawn(move || stdin.write_all(&input));
            let output = child.wait_with_output().unwrap();
            writer.join().unwrap().unwrap();
            assert!(output.status.success(), "git {arguments:?}");
            output.stdout
        };
        git(&["read-tree", "main"], b"");
        if patch.facts.bytes > 0 {
            let file = patch.file.to_str().unwrap();
            git(&["apply", "--cached", "--whitespace=nowarn", file], b"");
        }
        let listed = git(&["ls-files", "-s", "-z"], b"");
        let mut content = Content::new();
        for record in listed
            .split(|byte| *byte == 0)
            .filter(|record| !record.is_empty())
        {
            let tab = record.iter().position(|byte| *byte == b'\t').unwrap();
            let facts: Vec<&str> = std::str::from_utf8(&record[..tab]).unwrap().split(' ').collect();
            let (mode, bytes) = match facts[0] {
                "160000" => ("160000", facts[1].as_bytes().to_vec()),
                mode => (
                    ["100644", "100755", "120000"]
                        .into_iter()
                        .find(|known| *known == mode)
                        .unwrap(),
                    git(&["cat-file", "blob", facts[1]], b""),
                ),
            };
            content.insert(record[tab + 1..].to_vec(), (mode, bytes));
        }
        content
    }

    /// What stands in the work tree, read plainly: the test knows what it made.
    fn standing(&self) -> Content {
        let mut content = Content::new();
        read(&self.tree(), b"", &mut content);
        content
    }

    /// The patch is exact: applied to the base commit it gives what stands in the tree without `left_out`.
    fn assert_exact(&self, patch: &Patch, left_out: &[&str]) {
        let mut expected = self.standing();
        for path in left_out {
            assert!(expected.remove(path.as_bytes()).is_some(), "{path} was not made");
        }
        let applied = self.applied(patch);
        for (path, standing) in &expected {
            assert_eq!(applied.get(path), Some(standing), "{}", path.escape_ascii());
        }
        for path in applied.keys() {
            assert!(
                expected.contains_key(path),
                "{} does not stand in the tree",
                path.escape_ascii()
            );
        }
    }
}

/// Reads all but what is called `.git`; a directory at the submodule's place is the submodule.
fn read(directory: &Path, prefix: &[u8], content: &mut Content) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_vec();
        if name == b".git" {
            continue;
        }
        let path = [prefix, &name].concat();
        let metadata = fs::symlink_metadata(entry.path()).unwrap();
        if metadata.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap().into_os_string().into_vec();
            content.insert(path, ("120000", target));
        } else if metadata.is_dir() && path == b"sub" {
            content.insert(
                path,
                ("160000", b"1234567890123456789012345678901234567890".to_vec()),
            );
        } else if metadata.is_dir() {
            read(&entry.path(), &[path.as_slice(), b"/"].concat(), content);
        } else {
            let executable = metadata.mode() & 0o100 != 0;
            let mode = if executable { "100755" } else { "100644" };
            content.insert(path, (mode, fs::read(entry.path()).unwrap()));
        }
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .join("tests/fixtures/hostile")
        .join(name)
}

fn sh(directory: &Path, script: &str) {
    let status = Command::new("sh")
        .args(["-ec", script])
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_NAME", "a")
        .env("GIT_AUTHOR_EMAIL", "a@b.invalid")
        .env("GIT_COMMITTER_NAME", "a")
        .env("GIT_COMMITTER_EMAIL", "a@b.invalid")
        .status()
        .unwrap();
    assert!(status.success(), "{script}");
}

fn code(result: &Result<Patch, Refusal>) -> &'static str {
    match result {
        Ok(_) => "exact",
        Err(refusal) => refusal.code(),
    }
}

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
    ("deep_nesting", "TooDeep"),
    ("long_path", "PathTooLong"),
    ("many_files", "TooManyFiles"),
    ("sparse_terabyte", "FileTooLarge"),
    ("fifo", "SpecialFile"),
    ("hardlink_inside", "exact"),
    ("hardlink_outside", "HardLink"),
    ("ignored_files", "exact"),
    ("case_collision", "exact"),
    ("long_symlink", "exact"),
    ("git_files_as_directories", "exact"),
    ("no_final_newline", "exact"),
    ("patch_in_content", "exact"),
];

/// What the base commit's rules leave out.
fn left_out(kind: &str) -> &'static [&'static str] {
    match kind {
        "ignored_files" => &[
            "build/new",
            "build/deep/new",
            "node/build/new",
            "a.log",
            "dir/b.log",
            "dir/local",
        ],
        _ => &[],
    }
}

#[rstest]
#[case(0)]
#[case(1)]
#[case(2)]
#[case(3)]
fn each_kind_is_exact_or_refused_by_its_code(#[case] part: usize) {
    for (kind, expected) in KINDS.iter().skip(part).step_by(4) {
        let world = World::new();
        world.make(kind);
        let result = world.collect();
        assert_eq!(code(&result), *expected, "{kind}: {result:?}");
        if let Ok(patch) = result {
            world.assert_exact(&patch, left_out(kind));
        }
    }
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

#[test]
fn a_socket_and_a_device_are_refused() {
    let world = World::new();
    let _listener = std::os::unix::net::UnixListener::bind(world.tree().join("socket")).unwrap();
    let refusal = world.collect().unwrap_err();
    assert_eq!(
        refusal.to_string().split(';').next().unwrap(),
        "socket is a socket"
    );

    let world = World::new();
    let made = Command::new("mknod")
        .args(["zero", "c", "1", "5"])
        .current_dir(world.tree())
        .status()
        .unwrap();
    // Making a device needs root; CI has it.
    if made.success() {
        assert_eq!(code(&world.collect()), "SpecialFile");
    }
}

#[test]
fn what_the_base_commit_ignores_may_be_of_any_kind_and_number() {
    let world = World::new();
    sh(
        &world.tree(),
        "mkfifo a.log; mkdir -p build/.GIT; truncate -s 1T build/sparse; ln README build/link; rm build/link
         cd build; n=0; while [ $n -lt 3000 ]; do : >$n; n=$((n + 1)); done",
    );
    let limits = Limits {
        added_files: 10,
        ..Limits::default()
    };
    assert_eq!(world.collect_with(&limits, false).unwrap().facts.bytes, 0);
}

#[test]
fn totals_are_bounded() {
    let limits = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    };
    for (limits, expected) in [
        (limits(|limits| limits.total_bytes = 2500), "TreeTooLarge"),
        (limits(|limits| limits.patch_bytes = 2500), "PatchTooLarge"),
        (limits(|limits| limits.added_files = 2), "TooManyFiles"),
        (limits(|limits| limits.entries = 5), "TooManyEntries"),
        (limits(|limits| limits.file_bytes = 999), "FileTooLarge"),
        (limits(|limits| limits.path_bytes = 12), "PathTooLong"),
        (limits(|_| {}), "exact"),
    ] {
        let world = World::new();
        for name in ["one", "two", "three-is-longer"] {
            fs::write(world.tree().join(name), vec![b'x'; 1000]).unwrap();
        }
        assert_eq!(code(&world.collect_with(&limits, false)), expected);
    }
}

#[test]
fn the_deadline_is_kept() {
    let world = World::new();
    world.make("many_files");
    let collection = Collection {
        pristine: world.pristine(),
        tree: world.tree(),
        scratch: world.root().join("scratch"),
        live: false,
    };
    let limits = Limits {
        added_files: 1_000_000,
        ..Limits::default()
    };
    let started = Instant::now();
    let result = collect(&collection, &limits, &Deadline::after(Duration::from_millis(700)));
    assert_eq!(code(&result), "TimedOut");
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
}

/// A file whose writer never rests: refused once the agent has ended (then nobody may write), taken as it was
/// read while the agent lives.
#[test]
fn a_file_that_never_holds_still() {
    let world = World::new();
    let path = world.tree().join("restless");
    fs::write(&path, vec![b'a'; 4_000_000]).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (seen, target) = (Arc::clone(&stop), path.clone());
    let writer = std::thread::spawn(move || {
        let mut file = fs::OpenOptions::new().append(true).open(target).unwrap();
        while !seen.load(Ordering::Relaxed) {
            file.write_all(b"b").unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let last = world.collect_with(&Limits::default(), false);
    let live = world.collect_with(&Limits::default(), true);
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert_eq!(code(&last), "Unstable");
    assert_eq!(code(&live), "exact");
}

/// A path that is a file, a link out, a FIFO and a directory in turn: whatever the walker meets, it reads nothing
/// of what the link leads to and does not hang.
#[test]
fn exchanging_files_for_links_leads_nowhere() {
    let world = World::new();
    let secret = world.root().join("secret");
    fs::write(&secret, "the-secret-outside\n").unwrap();
    let (tree, stop) = (world.tree(), Arc::new(AtomicBool::new(false)));
    sh(&tree, "mkdir flip; echo x >flip/file");
    let (seen, root) = (Arc::clone(&stop), world.root().to_owned());
    let flipper = std::thread::spawn(move || {
        let (path, other) = (tree.join("swap"), tree.join("flip"));
        while !seen.load(Ordering::Relaxed) {
            let _ = fs::remove_file(&path);
            let _ = fs::write(&path, "harmless\n");
            let _ = fs::remove_file(&path);
            let _ = std::os::unix::fs::symlink(root.join("secret"), &path);
            let _ = fs::rename(&other, root.join("aside"));
            let _ = std::os::unix::fs::symlink(&root, &other);
            let _ = fs::remove_file(&other);
            let _ = fs::rename(root.join("aside"), &other);
        }
    });
    for _ in 0..15 {
        match world.collect_with(&Limits::default(), true) {
            Ok(patch) => {
                let text = String::from_utf8(fs::read(&patch.file).unwrap()).unwrap();
                assert!(!text.contains("the-secret-outside"), "{text}");
                assert!(!text.contains("pristine.git"), "{text}");
            }
            Err(refusal) => assert_eq!(refusal.code(), "Unstable", "{refusal}"),
        }
    }
    stop.store(true, Ordering::Relaxed);
    flipper.join().unwrap();
}

/// Root may read everything; without that power, what the agent locks is refused by name.
#[test]
fn what_cannot_be_read_is_refused() {
    for locked in ["README", "dir"] {
        let world = World::new();
        fs::set_permissions(world.tree().join(locked), fs::Permissions::from_mode(0o0)).unwrap();
        let result = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    drop_power_over_files();
                    world.collect()
                })
                .join()
                .unwrap()
        });
        fs::set_permissions(world.tree().join(locked), fs::Permissions::from_mode(0o700)).unwrap();
        let refusal = result.unwrap_err();
        assert_eq!(refusal.code(), "Unreadable");
        assert!(refusal.to_string().contains(locked), "{refusal}");
    }
}

/// Takes from this thread alone root's right to read and enter everything.
fn drop_power_over_files() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut sets = capabilities(None).unwrap();
    sets.effective
        .remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    set_capabilities(None, sets).unwrap();
}

#[test]
fn unchanged_content_is_not_written_again() {
    let world = World::new();
    let objects = || {
        let mut count = 0;
        for entry in fs::read_dir(world.pristine().join("objects")).unwrap() {
            count += fs::read_dir(entry.unwrap().path()).unwrap().count();
        }
        count
    };
    let before = objects();
    let patch = world.collect().unwrap();
    assert_eq!((patch.facts.bytes, patch.facts.files), (0, 0));
    assert_eq!(objects(), before);
    fs::write(world.tree().join("README"), "changed\nand more\n").unwrap();
    let patch = world.collect().unwrap();
    let facts = patch.facts;
    assert_eq!((facts.files, facts.insertions, facts.deletions), (1, 2, 1));
    // The blob and the root's tree.
    assert_eq!(objects(), before + 2);
}
