//! Files of Git LFS: a forge that serves their contents by the real protocol, on its own host or on another one.

use cofferdam_api::Reason;
use serde_json::{Value, json};

use crate::harness::{ATTACKER, Run, Space, default_limits};

/// The forge's repository `name`, with its files of Git LFS as `lfs` says.
fn with(name: &str, lfs: &str) -> Value {
    json!({"repositories": [
        {"name": "work", "url": format!("https://git.internet.test/{name}.git"), "access": "ReadWrite", "clone": {"lfs": lfs}}]})
}

/// Files and the patch of a run whose agent appends a line to one of the large files.
async fn changed(run: &Run) -> (i32, Option<i64>) {
    let outputs = run.ends(Reason::Completed).await.status.unwrap().outputs;
    let patch = outputs.unwrap().patches.remove(0);
    (patch.files, patch.lfs_files)
}

const CONTENTS: &str = "set -e
cd /workspace/work
for file in models/one.bin two.bin; do
  test \"$(stat -c %s $file)\" = 3000000
  head -n 1 $file | grep -qx 'a line that git does not keep'
done
test -x two.bin && test ! -x models/one.bin
# No attribute speaks of it.
grep -q '^oid sha256:' pointer.txt
test -z \"$(git status --porcelain)\"
test ! -e .git/lfs
";

/// The control: nothing is fetched that is not asked for.
const POINTERS: &str = "set -e
cd /workspace/work
for file in models/one.bin two.bin pointer.txt; do grep -q '^size 3000000' $file; done
test -z \"$(git status --porcelain)\"
";

#[tokio::test]
async fn contents_are_there_where_they_are_asked_for_and_what_is_changed_arrives() {
    let space = Space::open("lfs").await;
    let files = with("large", "Files");
    let untouched = space
        .script("untouched", ATTACKER, "bash", CONTENTS, files.clone())
        .await;
    let change = format!("{CONTENTS}echo more >>models/one.bin\n");
    let change = space.script("change", ATTACKER, "bash", &change, files).await;
    let pointers = space
        .script("pointers", ATTACKER, "bash", POINTERS, with("large", "Pointers"))
        .await;
    assert_eq!(changed(&untouched).await, (0, None));
    assert_eq!(changed(&change).await, (1, Some(1)));
    assert!(change.patch().await.contains("models/one.bin"));
    assert_eq!(changed(&pointers).await, (0, None));
    space.close().await;
}

/// A forge may say that its contents are anywhere: each host needs a grant of every layer.
#[tokio::test]
async fn contents_at_a_host_that_no_policy_grants_are_not_fetched() {
    let space = Space::open("lfs-away").await;
    let run = space
        .script("away", ATTACKER, "bash", CONTENTS, with("away", "Files"))
        .await;
    let message = run
        .ends(Reason::CloneRefused)
        .await
        .status
        .unwrap()
        .message
        .unwrap();
    assert!(
        message.contains("its Git LFS files are at allowed.internet.test:443, which is not granted by SandboxPolicy/default"),
        "{message}"
    );

    // The control: with a rule for that host the same run completes.
    let mut limits = default_limits();
    let rules = limits["repositories"]["clone"].as_array_mut().unwrap();
    rules.push(json!({"name": "contents", "url": "https://allowed.internet.test/**", "addresses": ["203.0.113.30/32"]}));
    space.policy("wider", limits).await;
    let mut more = with("away", "Files");
    more["policyRef"] = json!({"name": "wider"});
    let run = space.script("granted", ATTACKER, "bash", CONTENTS, more).await;
    assert_eq!(changed(&run).await, (0, None));
    space.close().await;
}

#[tokio::test]
async fn contents_above_the_ceiling_of_bytes_are_not_asked_for() {
    let space = Space::open_bare("lfs-bytes").await;
    let mut limits = default_limits();
    limits["maxCloneBytes"] = json!(5_000_000);
    space.policy("default", limits).await;
    let run = space
        .script("files", ATTACKER, "bash", CONTENTS, with("large", "Files"))
        .await;
    let message = run
        .ends(Reason::CloneRefused)
        .await
        .status
        .unwrap()
        .message
        .unwrap();
    assert!(message.contains("more than 5000000 bytes"), "{message}");
    // The control: their pointers are few bytes.
    let run = space
        .script("pointers", ATTACKER, "bash", POINTERS, with("large", "Pointers"))
        .await;
    run.ends(Reason::Completed).await;
    space.close().await;
}
