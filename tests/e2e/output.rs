//! The output API and the command, as a plain user with `edit` has them: from a run to its patch, and what nobody else gets.

mod attacks;
mod down;
mod user;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cofferdam_api::AgentRun;
use kube::api::DeleteParams;

use crate::harness::{BUSYBOX, Space, repository, until};
use user::{Someone, git};

/// A clone of the repository that runs of these tests work on.
fn checkout(directory: &Path) {
    let state = std::env::var("COFFERDAM_STATE").unwrap_or_else(|_| "/var/tmp/cofferdam".into());
    let forge = Path::new(&state).join("internet/git/two-first.git");
    let cloned = Command::new("git")
        .args(["clone", "--quiet"])
        .arg(forge)
        .arg(directory)
        .status();
    assert!(cloned.expect("git runs").success());
}

/// Starts an agent that changes its repository, and follows it to its end.
async fn run(someone: &Someone, name: &str, script: &str) -> (i32, String, String) {
    let url = repository("work", "two-first", "ReadWrite")["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let repo = format!("work={url}");
    let flags = [
        "run",
        "-",
        "--image",
        BUSYBOX,
        "--name",
        name,
        "--repo",
        &repo,
        "--",
        "sh",
        "/cofferdam/prompt",
    ];
    someone.says(&flags, script, Path::new("/")).await
}

#[tokio::test]
async fn a_plain_user_gets_from_a_prompt_to_a_verified_patch() {
    let space = Space::open("command").await;
    let kim = Someone::with_edit(&space, "command-kim").await;
    let (code, name, told) = run(
        &kim,
        "changes-a-file",
        "echo changed > new-file\nprintf '\\033[2J' > odd\n",
    )
    .await;
    assert_eq!(
        (code, name.as_str()),
        (0, "agentrun.cofferdam.dev/changes-a-file\n"),
        "{told}"
    );
    assert!(told.contains("Completed") && !told.contains('\u{1b}'), "{told}");

    let directory = tempfile::tempdir().unwrap();
    checkout(directory.path());
    // As a shell does it: kubectl cofferdam diff | git apply.
    let (code, patch, told) = kim.says(&["diff"], "", directory.path()).await;
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("as you named none"), "{told}");
    assert!(patch.contains("\u{1b}[2J"), "a pipe gets the bytes as they are");
    git(directory.path(), &["apply"], &patch);
    assert_eq!(
        std::fs::read_to_string(directory.path().join("new-file")).unwrap(),
        "changed\n"
    );
    git(directory.path(), &["clean", "-fdq"], "");

    let (code, _, told) = kim.says(&["apply", "changes-a-file"], "", directory.path()).await;
    assert_eq!(code, 0, "{told}");
    assert_eq!(
        std::fs::read_to_string(directory.path().join("new-file")).unwrap(),
        "changed\n"
    );

    let (code, said, told) = kim
        .says(
            &["verify", "changes-a-file", "--checkout", "."],
            "",
            directory.path(),
        )
        .await;
    assert_eq!(code, 0, "{said}{told}");
    assert!(
        said.contains("patch of work on its base: it applies to"),
        "{said}"
    );
    let (code, _, told) = kim
        .says(
            &["audit", "export", "changes-a-file", "-d", "kept"],
            "",
            directory.path(),
        )
        .await;
    assert_eq!(code, 0, "{told}");
    let (code, said, _) = kim
        .says(
            &["verify", "--export", "kept", "-o", "jsonpath={.verdict}"],
            "",
            directory.path(),
        )
        .await;
    assert_eq!((code, said.as_str()), (0, "Holds"));
    let records = directory.path().join("kept/records.jsonl");
    let mut spoiled = std::fs::read(&records).unwrap();
    spoiled[40] ^= 1;
    std::fs::write(&records, spoiled).unwrap();
    let (code, said, _) = kim
        .says(&["verify", "--export", "kept"], "", directory.path())
        .await;
    assert_eq!(code, 1, "{said}");

    // When the object is gone, the archive still knows the name.
    let api = space.api::<AgentRun>();
    api.delete("changes-a-file", &DeleteParams::default())
        .await
        .unwrap();
    until("the object is gone", Duration::from_mins(1), || async {
        match api.get_opt("changes-a-file").await.unwrap() {
            None => Ok(()),
            Some(run) => Err(run.metadata),
        }
    })
    .await;
    let (code, again, told) = kim.says(&["diff", "changes-a-file"], "", directory.path()).await;
    assert_eq!((code, again == patch), (0, true), "{told}");
    let (code, _, told) = kim.says(&["diff", "never-was"], "", directory.path()).await;
    assert_eq!(code, 3, "{told}");
    space.close().await;
}

#[tokio::test]
async fn exit_codes_say_how_a_run_ended_and_what_was_refused() {
    let space = Space::open("command-ends").await;
    let kim = Someone::with_edit(&space, "command-ends-kim").await;
    let (code, _, told) = run(&kim, "fails", "exit 3\n").await;
    assert_eq!(code, 10, "{told}");
    let (code, said, told) = kim.says(&["describe", "fails"], "", Path::new("/")).await;
    assert_eq!(code, 0, "{told}");
    assert!(
        said.contains("the agent's exit code was 3") && said.contains("Next"),
        "{said}"
    );
    let (code, _, told) = kim.says(&["cancel", "fails"], "", Path::new("/")).await;
    assert_eq!(code, 1, "it is over: {told}");
    let (code, _, told) = kim
        .says(
            &["run", "x", "--image", "foreign.test/agent:1", "--name", "refused"],
            "",
            Path::new("/"),
        )
        .await;
    assert_eq!(code, 12, "{told}");
    let (code, said, _) = kim
        .says(&["list", "--mine", "-o", "name"], "", Path::new("/"))
        .await;
    assert_eq!((code, said.lines().count()), (0, 2), "{said}");
    let (code, said, _) = kim.says(&["doctor"], "", Path::new("/")).await;
    // She may not read the operator's namespace, which is said; nothing is wrong.
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("patches and records can be read") && !said.contains("WRONG"),
        "{said}"
    );
    space.close().await;
}
