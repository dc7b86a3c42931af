//! What of a repository is cloned, and from where its submodules may come.

use cofferdam_api::{Reason, names};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{ATTACKER, BUSYBOX, Run, Space, default_limits};

/// The forge's repository with submodules, cloned in this way.
fn outer(clone: &Value) -> Value {
    json!({"repositories": [
        {"name": "outer", "url": "https://git.internet.test/outer.git", "access": "ReadWrite", "clone": clone}]})
}

async fn message(run: &Run, reason: Reason) -> String {
    run.ends_saying(reason).await
}

const WHOLE: &str = "set -e
cd /workspace/outer
test -f lib/fruit.txt && test -f deep/README.md && test -f deep/second/README.md
test -f .git/packed-refs -o -f .git/refs/remotes/origin/other
test -f src/app/a && test -f src/other/b
echo changed >README.md; echo changed >lib/fruit.txt; echo changed >deep/second/README.md
";

const SPARSE: &str = "set -e
cd /workspace/outer
test -f src/app/a && test ! -e src/other
echo changed >src/app/a
";

const DIRECT: &str = "set -e
cd /workspace/outer
test -f lib/fruit.txt && test -f deep/README.md
test -z \"$(ls -A deep/second)\"
";

const NOTHING: &str = "set -e
cd /workspace/outer
test -z \"$(ls -A lib)\" && test -z \"$(ls -A deep)\"
test ! -e .git/refs/remotes/origin/other
";

#[rstest]
#[case::whole(
    "whole",
    json!({"depth": 0, "branches": "All", "submodules": "Recursive"}),
    WHOLE,
    &["outer 1", "deep/second 1", "lib 1"]
)]
#[case::direct("direct", json!({"submodules": "Direct"}), DIRECT, &["outer 0"])]
#[case::sparse("sparse", json!({"sparse": ["src/app"]}), SPARSE, &["outer 1"])]
#[case::by_itself("itself", json!({}), NOTHING, &["outer 0"])]
#[tokio::test]
async fn what_is_asked_for_is_there_and_what_is_changed_arrives(
    #[case] name: &str,
    #[case] clone: Value,
    #[case] script: &str,
    #[case] patches: &[&str],
) {
    let space = Space::open(&format!("clone-{name}")).await;
    let run = space.script(name, BUSYBOX, "sh", script, outer(&clone)).await;
    let outputs = run.ends(Reason::Completed).await.status.unwrap().outputs;
    let made = outputs.unwrap().patches;
    let shown: Vec<String> = made
        .iter()
        .map(|patch| {
            format!(
                "{} {}",
                patch.submodule.as_ref().unwrap_or(&patch.repository),
                patch.files
            )
        })
        .collect();
    assert_eq!(shown, patches);
    for patch in &made {
        let submodule = patch.submodule.as_ref();
        let name = submodule.map_or_else(
            || patch.repository.clone(),
            |path| format!("{}/{path}", patch.repository),
        );
        let bytes = run.patch_of(&name).await;
        assert_eq!(names::digest(&bytes), patch.digest, "{name}");
    }
    space.close().await;
}

/// A grant of the repository is none of its submodules, and every layer's counts.
#[tokio::test]
async fn a_submodule_that_no_policy_grants_is_not_cloned() {
    let space = Space::open_bare("clone-ungranted").await;
    let mut limits = default_limits();
    let rule = |name: &str| {
        let url = format!("https://git.internet.test/{name}.git");
        json!({"name": name, "url": url, "addresses": ["203.0.113.10/32"]})
    };
    limits["repositories"]["clone"] = json!([rule("outer"), rule("two-first")]);
    space.policy("default", limits.clone()).await;
    let more = outer(&json!({"submodules": "Direct"}));
    let run = space.script("some", BUSYBOX, "sh", "true\n", more.clone()).await;
    let message = message(&run, Reason::CloneRefused).await;
    assert!(
        message.contains(
            "submodule deep: https://git.internet.test/inner.git is not granted by SandboxPolicy/default"
        ),
        "{message}"
    );

    // The control: with it granted, and the submodules of submodules left alone, the same run completes.
    limits["repositories"]["clone"] = json!([rule("outer"), rule("two-first"), rule("inner")]);
    space.policy("wider", limits).await;
    let mut wider = more;
    wider["policyRef"] = json!({"name": "wider"});
    let run = space.script("all", BUSYBOX, "sh", "true\n", wider).await;
    run.ends(Reason::Completed).await;
    space.close().await;
}

#[tokio::test]
async fn clones_above_their_ceiling_are_given_up() {
    let space = Space::open_bare("clone-bytes").await;
    let mut limits = default_limits();
    limits["maxCloneBytes"] = json!(64);
    space.policy("default", limits).await;
    let run = space
        .script("large", BUSYBOX, "sh", "true\n", outer(&json!({})))
        .await;
    let message = message(&run, Reason::CloneRefused).await;
    assert!(
        message.contains("more than 64 bytes") && message.contains("limits.maxCloneBytes"),
        "{message}"
    );
    assert_eq!(run.get().await.status.unwrap().agent_start_time, None);
    space.close().await;
}

/// The forge tells its references and then nothing more. The run's time to start is the one clock, and `prepare` says what it
/// was spent on before the controller can only say that it is over.
#[tokio::test]
async fn a_server_that_falls_silent_is_named() {
    let space = Space::open("clone-silent").await;
    let url = "https://git.internet.test/silent/two-first.git";
    let silent = json!({"startDeadlineSeconds": 60, "repositories": [{"name": "work", "url": url}]});
    let run = space
        .script("silent", BUSYBOX, "sh", "true\n", silent.clone())
        .await;
    let message = message(&run, Reason::CloneFailed).await;
    let words = format!("repository work: {url}: git fetch did not end in the time that a run has to start");
    assert!(message.contains(&words), "{message}");
    // The control: the same server, which tells its objects too.
    let mut sound = silent;
    sound["repositories"][0]["url"] = json!("https://git.internet.test/two-first.git");
    let run = space.script("sound", BUSYBOX, "sh", "true\n", sound).await;
    run.ends(Reason::Completed).await;
    space.close().await;
}

/// Git of before 2.32 does not know `GIT_CONFIG_SYSTEM`, and has only HOME. The root of the work tree belongs to root.
const COMMITS: &str = "set -e
cd /workspace/work
echo more >>README.md
env -u GIT_CONFIG_SYSTEM git commit -qam more
env -u HOME git log --format=%an -1
git init -q nested
env -u GIT_CONFIG_SYSTEM git -C nested commit -q --allow-empty -m nested
# The control: without both git refuses.
! env -u GIT_CONFIG_SYSTEM HOME=/tmp git status 2>/tmp/said
grep -q 'dubious ownership' /tmp/said
";

#[tokio::test]
async fn git_of_any_age_works_in_the_work_tree() {
    let space = Space::open("clone-git-user").await;
    let run = space.script("user", ATTACKER, "bash", COMMITS, json!({})).await;
    run.ends(Reason::Completed).await;
    space.close().await;
}
