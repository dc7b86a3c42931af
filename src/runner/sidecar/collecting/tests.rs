use std::fs;
use std::path::Path;
use std::time::Duration;

use cofferdam_api::CloneOptions;
use cofferdam_wire::runner::Exclude;
use rstest::rstest;

use super::*;
use crate::clone::bytes::Bytes;
use crate::clone::{Transport, clone};
use crate::collect::stat;
use crate::testing::sh;
use crate::work_tree::{self, Place};

/// A repository `app` with a submodule `vendor/sub`, which has a submodule `deep`, each cloned as `prepare` does.
struct Cloned {
    directory: tempfile::TempDir,
}

impl Cloned {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        sh(
            directory.path(),
            "for r in deep sub app; do git init -q -b main $r; done
             (cd deep; echo d >d.txt; git add .; git commit -qm deep)
             (cd sub; echo s >s.txt; echo '*.log' >.gitignore
              git -c protocol.file.allow=always submodule --quiet add ../deep deep 2>/dev/null; git add .; git commit -qm sub)
             (cd app; echo a >a.txt
              git -c protocol.file.allow=always submodule --quiet add ../sub vendor/sub 2>/dev/null; git add .; git commit -qm app)",
        );
        let cloned = Self { directory };
        let git = cloned.paths().submodules("app");
        cloned.place("app", &cloned.paths().pristine("app"), "");
        for (number, (of, path)) in [("sub", "vendor/sub"), ("deep", "vendor/sub/deep")]
            .iter()
            .enumerate()
        {
            let pristine = git.join(format!("{number}.git"));
            cloned.place(of, &pristine, path);
            submodules::note(&pristine, Path::new(path)).unwrap();
        }
        cloned
    }

    fn place(&self, of: &str, pristine: &Path, path: &str) {
        let deadline = Deadline::after(Duration::from_mins(1));
        let (url, tree) = (
            format!("file://{}/{of}", self.directory.path().display()),
            self.tree().join(path),
        );
        let transport = Transport {
            proxy: None,
            certificates: None,
            protocols: "file",
        };
        fs::create_dir_all(&tree).unwrap();
        let options = CloneOptions::default();
        let cloned = clone(&url, None, &options, pristine, &transport, &deadline).unwrap();
        let place = Place {
            pristine,
            tree: &tree,
            url: &url,
        };
        work_tree::make(&place, &cloned, &options, &Bytes::new(u64::MAX), &deadline).unwrap();
        stat::record(pristine, &tree, &deadline).unwrap();
    }

    fn paths(&self) -> Paths {
        Paths::new(self.directory.path().join("root"))
    }

    fn tree(&self) -> PathBuf {
        self.paths().work_tree("app")
    }

    fn collect(&self) -> Output {
        let repository = RepositorySpec {
            name: "app".to_owned(),
            url: "https://git.test/app".to_owned(),
            reference: None,
            directory: "app".to_owned(),
            access: Access::ReadWrite,
            clone: CloneOptions::default(),
            credential: None,
            exclude: Exclude::default(),
        };
        let deadline = Deadline::after(Duration::from_mins(5));
        collect_all(&[repository], &self.paths(), Snapshot::Final, None, &deadline)
    }
}

/// Submodule, or nothing for the repository itself, and how many files its patch touches.
type Patches = &'static [(&'static str, u32)];

#[rstest]
#[case::untouched("true", &[("", 0)], &[])]
#[case::of_the_repository_alone("echo b >>a.txt", &[("", 1)], &[])]
#[case::changed("echo fixed >vendor/sub/s.txt", &[("", 0), ("vendor/sub", 1)], &[])]
#[case::committed(
    "cd vendor/sub; echo fixed >s.txt; git -c safe.directory='*' commit -qam fix; cd ../..
     git -c safe.directory='*' commit -qam bump",
    &[("", 0), ("vendor/sub", 1)],
    &[]
)]
#[case::new_and_ignored("cd vendor/sub; echo n >new.txt; echo l >x.log", &[("", 0), ("vendor/sub", 1)], &[])]
#[case::of_a_submodule("echo more >>vendor/sub/deep/d.txt", &[("", 0), ("vendor/sub/deep", 1)], &[])]
#[case::of_all_three(
    "echo b >>a.txt; echo b >>vendor/sub/s.txt; rm vendor/sub/deep/d.txt",
    &[("", 1), ("vendor/sub", 1), ("vendor/sub/deep", 1)],
    &[]
)]
#[case::removed("rm -r vendor/sub", &[("", 1)], &[])]
#[case::emptied("rm -rf vendor/sub/* vendor/sub/.g*", &[("", 0), ("vendor/sub", 4)], &[])]
#[case::a_link_in_its_place("rm -r vendor/sub; ln -s ../../../../secret vendor/sub", &[("", 1)], &[])]
#[case::a_link_on_the_way(
    "rm -r vendor; ln -s ../../../secret vendor",
    // The gitlink went, and the link came.
    &[("", 2)],
    &[]
)]
#[case::what_cannot_be_collected("mkfifo vendor/sub/pipe", &[("", 0), ("vendor/sub", 0)], &["pipe SpecialFile"])]
#[case::one_that_the_agent_added(
    "git init -q vendor/other; echo o >vendor/other/o.txt",
    &[("", 1)],
    &["vendor/other/.git NestedRepository"]
)]
fn work_in_submodules_arrives_as_patches_of_their_own(
    #[case] script: &str,
    #[case] expected: Patches,
    #[case] left_out: &[&str],
) {
    let cloned = Cloned::new();
    sh(
        cloned.directory.path(),
        "mkdir -p secret/sub; echo the-secret >secret/sub/s.txt; echo the-secret >secret/s.txt",
    );
    sh(&cloned.tree(), script);
    let Output { manifest, files } = cloned.collect();
    assert_eq!(manifest.refused, []);
    let made: Vec<(&str, u32)> = manifest
        .patches
        .iter()
        .map(|patch| (patch.submodule.as_deref().unwrap_or_default(), patch.files))
        .collect();
    assert_eq!(made, expected);
    let named: Vec<String> = manifest
        .patches
        .iter()
        .filter_map(|patch| patch.left_out.as_ref())
        .flat_map(|left_out| &left_out.paths)
        .map(|each| format!("{} {}", each.path, each.reason))
        .collect();
    assert_eq!(named, left_out);
    for (patch, file) in manifest.patches.iter().zip(&files) {
        let text = fs::read_to_string(file).unwrap();
        assert!(!text.contains("the-secret"), "{text}");
        // It applies to the commit that the repository names there.
        let of = patch
            .submodule
            .as_deref()
            .and_then(|place| place.rsplit('/').next())
            .unwrap_or("app");
        let check = format!(
            "git -C {of} apply --check --cached --allow-empty {}",
            file.display()
        );
        sh(cloned.directory.path(), &check);
        assert_eq!(
            patch.base_commit,
            sh(&cloned.directory.path().join(of), "git rev-parse HEAD").trim()
        );
    }
    // Each has a name of its own, under which the archive keeps it.
    let names: std::collections::HashSet<String> = manifest.patches.iter().map(PatchManifest::name).collect();
    assert_eq!(names.len(), files.len());
}

#[test]
fn what_refuses_a_submodule_names_it_and_costs_the_others_nothing() {
    let cloned = Cloned::new();
    sh(
        &cloned.tree(),
        "echo b >>a.txt; mkdir vendor/sub/.GIT; echo b >>vendor/sub/deep/d.txt",
    );
    let Output { manifest, .. } = cloned.collect();
    let [refused] = manifest.refused.as_slice() else {
        panic!("{:?}", manifest.refused);
    };
    assert_eq!(
        (refused.repository.as_str(), refused.code.as_str()),
        ("app", "DotGitAlias")
    );
    assert!(
        refused.message.starts_with("in submodule vendor/sub: "),
        "{}",
        refused.message
    );
    let made: Vec<Option<&str>> = manifest
        .patches
        .iter()
        .map(|patch| patch.submodule.as_deref())
        .collect();
    assert_eq!(made, [None, Some("vendor/sub/deep")]);
}
