//! A remote, its clone, a work tree, and what the collector makes of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cofferdam_api::CloneOptions;
use cofferdam_runner::clone::bytes::Bytes;
use cofferdam_runner::clone::{Transport, clone};
use cofferdam_runner::collect::limits::Limits;
use cofferdam_runner::collect::refusal::Refusal;
use cofferdam_runner::collect::{Collection, Patch, collect, stat};
use cofferdam_runner::deadline::Deadline;
use cofferdam_runner::testing::sh;
use cofferdam_runner::work_tree;
use cofferdam_wire::runner::Exclude;

/// No tree may take longer.
pub const BOUND: Duration = Duration::from_mins(5);

/// Content of a tree by path: mode as git spells it, and bytes.
pub type Content = BTreeMap<Vec<u8>, (&'static str, Vec<u8>)>;

/// A remote, its pristine clone, and the agent's work tree.
pub struct World {
    directory: tempfile::TempDir,
    /// What is not collected beside what rules ignore.
    pub exclude: Exclude,
    /// How it was cloned.
    pub options: CloneOptions,
    /// Where in the work tree of another repository it stands; empty: nowhere.
    within: &'static str,
}

impl World {
    /// With the base commit that hostile trees are made of.
    pub fn new() -> Self {
        Self::with_base(&fixture("base.sh").display().to_string())
    }

    /// With the base commit that `script` makes.
    pub fn with_base(script: &str) -> Self {
        Self::cloned(script, CloneOptions::default())
    }

    /// With the base commit that hostile trees are made of, as a submodule of another repository.
    pub fn in_another() -> Self {
        let script = fixture("base.sh").display().to_string();
        Self::at(&script, CloneOptions::default(), "vendor/deep/sub")
    }

    /// With the base commit that hostile trees are made of, all of whose directories are in a sparse work tree.
    pub fn sparse() -> Self {
        let script = fixture("base.sh").display().to_string();
        let options = CloneOptions {
            sparse: ["bin", "build", "dir", "lfs", "sub"].map(str::to_owned).to_vec(),
            ..CloneOptions::default()
        };
        Self::at(&script, options, "")
    }

    /// Whether it is neither a submodule nor sparse.
    pub fn is_ordinary(&self) -> bool {
        self.within.is_empty() && self.options.sparse.is_empty()
    }

    /// With the base commit that `script` makes, cloned so.
    pub fn cloned(script: &str, options: CloneOptions) -> Self {
        Self::at(script, options, "")
    }

    fn at(script: &str, options: CloneOptions, within: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        sh(root, &format!("git init -q -b main remote; cd remote; {script}"));
        let world = Self {
            directory,
            exclude: Exclude::default(),
            options,
            within,
        };
        fs::create_dir_all(world.tree()).unwrap();
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
            &world.options,
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
            &world.options,
            &Bytes::new(u64::MAX),
            &deadline,
        )
        .unwrap();
        stat::record(&world.pristine(), &world.tree(), &deadline).unwrap();
        world
    }

    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    pub fn tree(&self) -> PathBuf {
        let mut tree = self.root().join("tree");
        tree.extend(self.within.split('/').filter(|part| !part.is_empty()));
        tree
    }

    pub fn pristine(&self) -> PathBuf {
        self.root().join("pristine.git")
    }

    pub fn marker(&self) -> PathBuf {
        self.root().join("marker")
    }

    pub fn make(&self, kind: &str) {
        let status = Command::new(fixture("make.sh"))
            .arg(kind)
            .current_dir(self.tree())
            .env("MARKER", self.marker())
            .status()
            .unwrap();
        assert!(status.success(), "{kind}");
    }

    pub fn collect_with(&self, limits: &Limits, live: bool) -> Result<Patch, Refusal> {
        let started = Instant::now();
        let collection = Collection {
            live,
            exclude: self.exclude.clone(),
            sparse: !self.options.sparse.is_empty(),
            within: self.within.as_bytes().to_vec(),
            ..Collection::new(
                self.pristine(),
                self.root().join("tree"),
                self.root().join("scratch"),
            )
        };
        let patch = collect(&collection, limits, &Deadline::after(BOUND));
        let patch = patch.map(|patch| patch.unwrap());
        assert!(started.elapsed() < BOUND, "{:?}", started.elapsed());
        assert!(!self.marker().exists(), "a command of the tree was executed");
        patch
    }

    pub fn collect(&self) -> Result<Patch, Refusal> {
        self.collect_with(&Limits::default(), false)
    }

    /// What the base commit becomes when `patch` is applied to it, by git, in a repository of its own.
    pub fn applied(&self, patch: &Patch) -> Content {
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

    /// Runs a script in the work tree, as an agent would; returns what it printed.
    pub fn run(&self, script: &str) -> String {
        sh(&self.tree(), script)
    }

    /// What a patch touches: status and path.
    pub fn touched(&self, patch: &Patch) -> Vec<String> {
        self.applied(patch);
        let listed = sh(
            self.root(),
            "GIT_INDEX_FILE=$PWD/applied.index git --git-dir=applied.git diff --cached --no-renames --name-status -z main",
        );
        let mut fields = listed.split_terminator('\0');
        let mut touched = Vec::new();
        while let (Some(status), Some(path)) = (fields.next(), fields.next()) {
            touched.push(format!("{status} {path}"));
        }
        touched
    }

    /// What stands in the work tree, read plainly: the test knows what it made.
    pub fn standing(&self) -> Content {
        let mut content = Content::new();
        read(&self.tree(), b"", &mut content);
        content
    }

    /// The patch is exact: applied to the base commit it gives what stands in the tree without what is at or below one
    /// of `absent`.
    pub fn assert_exact(&self, patch: &Patch, absent: &[&str]) {
        self.assert_exact_but(patch, absent, |_| {});
    }

    /// [`World::assert_exact`] of a tree of which the patch has something else than its bytes.
    pub fn assert_exact_but(&self, patch: &Patch, absent: &[&str], change: impl FnOnce(&mut Content)) {
        let mut expected = self.standing();
        change(&mut expected);
        for path in absent {
            let before = expected.len();
            expected.retain(|standing, _| {
                standing
                    .strip_prefix(path.as_bytes())
                    .is_none_or(|rest| !rest.is_empty() && rest[0] != b'/')
            });
            assert!(expected.len() < before, "{path} was not made");
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
        if path.len() > 3840 {
            // The system takes no longer paths.
            content.insert(path, ("too long", Vec::new()));
            continue;
        }
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
        } else if !metadata.is_file() {
            content.insert(path, ("special", Vec::new()));
        } else if metadata.len() > 1_000_000_000 {
            content.insert(path, ("sparse", Vec::new()));
        } else {
            let executable = metadata.mode() & 0o100 != 0;
            let mode = if executable { "100755" } else { "100644" };
            content.insert(path, (mode, fs::read(entry.path()).unwrap()));
        }
    }
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .join("tests/fixtures/hostile")
        .join(name)
}

/// The code of a refusal; `exact` for a patch.
pub fn code(result: &Result<Patch, Refusal>) -> &'static str {
    match result {
        Ok(_) => "exact",
        Err(refusal) => refusal.code(),
    }
}

/// What a patch names as left out.
pub fn named(patch: &Patch) -> Vec<(String, &'static str)> {
    let listed = patch.left_out.listed();
    listed
        .map(|(path, reason)| (path.to_owned(), reason.as_str()))
        .collect()
}
