use super::*;
use crate::git::git;
use std::path::Path;

fn run(directory: &Path, args: &[&str]) -> String {
    let said = git(directory, args, None).unwrap();
    assert!(said.done, "{args:?}: {}", said.error);
    String::from_utf8(said.out).unwrap().trim().to_owned()
}

struct Place {
    directory: tempfile::TempDir,
    base: String,
    patch: Vec<u8>,
}

/// A checkout, and a patch for it.
fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    run(root, &["init", "-q", "-b", "main"]);
    run(root, &["config", "user.name", "a"]);
    run(root, &["config", "user.email", "a@a.test"]);
    std::fs::write(root.join("file"), "one\ntwo\nthree\n").unwrap();
    run(root, &["add", "."]);
    run(root, &["commit", "-q", "-m", "base"]);
    let base = run(root, &["rev-parse", "HEAD"]);
    std::fs::write(root.join("file"), "one\n2\nthree\n").unwrap();
    let patch = git(root, ["diff"], None).unwrap().out;
    run(root, &["checkout", "-q", "."]);
    Place {
        directory,
        base,
        patch,
    }
}

fn manifest(base: &str) -> PatchManifest {
    serde_json::from_value(serde_json::json!({
        "repository": "app", "baseCommit": base, "bytes": 1, "digest": "d", "files": 1, "insertions": 1, "deletions": 1, "snapshot": "Final",
    }))
    .unwrap()
}

impl Place {
    fn apply(&self, three_way: bool, check: bool) -> Result<(), String> {
        let checkout = Checkout::of(self.directory.path()).unwrap();
        onto(&checkout, &manifest(&self.base), &self.patch, three_way, check).map_err(|failure| {
            assert_eq!(failure.exit(), Exit::No, "{failure}");
            failure.to_string()
        })
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("file")).unwrap()
    }

    fn commit(&self, text: &str) {
        std::fs::write(self.directory.path().join("file"), text).unwrap();
        run(self.directory.path(), &["commit", "-q", "-a", "-m", "more"]);
    }
}

#[test]
fn a_patch_goes_onto_the_commit_that_the_agent_began_with() {
    let place = place();
    place.apply(false, true).unwrap();
    assert_eq!(place.text(), "one\ntwo\nthree\n", "only checked");
    place.apply(false, false).unwrap();
    assert_eq!(place.text(), "one\n2\nthree\n");
}

#[test]
fn a_checkout_that_went_on_takes_it_only_three_ways() {
    let place = place();
    place.commit("zero\none\ntwo\nthree\n");
    assert!(
        place
            .apply(false, false)
            .unwrap_err()
            .contains("merge with --three-way")
    );
    place.apply(true, false).unwrap();
    assert_eq!(place.text(), "zero\none\n2\nthree\n");
}

#[test]
fn a_tree_with_changes_of_its_own_is_left_alone() {
    let place = place();
    std::fs::write(place.directory.path().join("file"), "mine\n").unwrap();
    assert!(
        place
            .apply(true, false)
            .unwrap_err()
            .contains("changes of its own")
    );
    assert_eq!(place.text(), "mine\n");
}

#[test]
fn another_repository_is_told() {
    let (here, mut other) = (place(), place());
    other.commit("other\n");
    other.base = run(other.directory.path(), &["rev-parse", "HEAD"]);
    let checkout = Checkout::of(here.directory.path()).unwrap();
    let failure = onto(&checkout, &manifest(&other.base), &here.patch, true, false).unwrap_err();
    assert!(failure.to_string().contains("does not have commit"), "{failure}");
    for base in ["", "main", "--upload-pack=x", "HEAD", &"A".repeat(40)] {
        let failure = onto(&checkout, &manifest(base), &here.patch, false, false).unwrap_err();
        assert!(failure.to_string().contains("names no commit"), "{failure}");
    }
    assert_eq!(here.text(), "one\ntwo\nthree\n");
}

#[test]
fn a_conflict_is_a_no() {
    let place = place();
    place.commit("one\nzwei\nthree\n");
    assert!(place.apply(true, true).is_err() || place.apply(true, false).is_err());
}

/// The patch is the agent's. Git refuses what leads out of the tree, and this command lets it.
#[test]
fn a_patch_writes_nothing_outside_of_the_checkout() {
    let mut place = place();
    for path in [
        "../outside",
        "/tmp/cofferdam-outside",
        ".git/hooks/post-checkout",
        ".git/config",
    ] {
        place.patch = format!("diff --git a/{path} b/{path}\nnew file mode 100755\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n").into_bytes();
        assert!(place.apply(false, false).is_err(), "{path}");
    }
    assert!(!place.directory.path().join("../outside").exists());
}

#[test]
fn what_is_no_checkout_is_told() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(Checkout::of(directory.path()).unwrap_err().exit(), Exit::No);
}
