//! The output API and the command, as a plain user with `edit` has them: from a run to its patch, and what nobody else gets.

mod attacks;
pub mod down;
mod reused;
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
    let kept = |name: &str| std::fs::read_to_string(directory.path().join("kept").join(name)).unwrap();
    let bundle: serde_json::Value = serde_json::from_str(&kept("statement.sigstore.json")).unwrap();
    let envelope: serde_json::Value = serde_json::from_str(&kept("statement.dsse.json")).unwrap();
    assert_eq!(bundle["dsseEnvelope"], envelope);
    assert!(kept("statement.pub").starts_with("-----BEGIN PUBLIC KEY-----"));
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

/// A template of the namespace.
const TEMPLATE: &str = "apiVersion: cofferdam.dev/v1alpha1\nkind: AgentRun\nmetadata:\n  name: from-template\nspec:\n  task:\n    \
    prompt: echo $(params.word) > new-file\n  agent:\n    image: cofferdam.test/busybox:dev\n    command: [sh, /cofferdam/prompt]\n  \
    repositories:\n  - name: work\n    url: $(params.repository)\n    access: ReadWrite\n";

#[tokio::test]
async fn a_template_is_filled_and_its_run_is_found_by_what_it_was_made_of() {
    let space = Space::open("command-finds").await;
    let kim = Someone::with_edit(&space, "command-finds-kim").await;
    let nowhere = Path::new("/");
    let url = repository("work", "two-first", "ReadWrite")["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let manifest = format!("--from-literal=agentrun.yaml={TEMPLATE}");
    let repository = format!("--from-literal=repository={url}");
    let (code, _, told) = kim
        .kubectl(&["create", "configmap", "fix", &manifest, &repository])
        .await;
    assert_eq!(code, 0, "{told}");
    let (code, _, told) = kim.says(&["run", "--template", "fix"], "", nowhere).await;
    assert!(code == 2 && told.contains("wants a value of word"), "{told}");
    let (code, said, told) = kim
        .says(
            &["run", "--template", "fix", "--param", "word=changed"],
            "",
            nowhere,
        )
        .await;
    assert_eq!(
        (code, said.as_str()),
        (0, "agentrun.cofferdam.dev/from-template\n"),
        "{told}"
    );
    let (_, patch, told) = kim.says(&["diff", "from-template"], "", nowhere).await;
    assert!(patch.contains("+changed"), "{patch}{told}");

    let field = async |path: &str| {
        let template = format!("jsonpath={{{path}}}");
        let (code, said, told) = kim
            .says(&["describe", "from-template", "-o", &template], "", nowhere)
            .await;
        assert_eq!(code, 0, "{told}");
        said.trim().to_owned()
    };
    assert!(field(".metadata.annotations").await.contains("fix@sha256:"));
    let user = field(".spec.requestedBy.username").await;
    let hash = field(".status.resolved.policyHash").await;
    let commit = field(".status.resolved.repositories[0].commit").await;
    for (filter, found) in [
        (&["--requester", &user][..], true),
        (&["--requester", "nobody"], false),
        (&["--policy-hash", &hash], true),
        (&["--policy-hash", &hash[..10]], true),
        (&["--policy-hash", &hash.chars().rev().collect::<String>()], false),
        (&["--commit", &commit[..7]], true),
        (&["--commit", "0000000"], false),
        (&["--image", "cofferdam.test/busybox"], true),
        (&["--image", "cofferdam.test/busy"], false),
        (
            &["--field-selector", "spec.agent.image=cofferdam.test/busybox:dev"],
            true,
        ),
        (
            &["--field-selector", "spec.agent.image=cofferdam.test/busybox"],
            false,
        ),
    ] {
        let (code, said, told) = kim
            .says(&[&["list", "-o", "name"], filter].concat(), "", nowhere)
            .await;
        assert_eq!(
            (code, said.contains("/from-template")),
            (0, found),
            "{filter:?}: {said}{told}"
        );
    }

    let (code, _, told) = kim
        .says(&["rerun", "from-template", "--name", "again"], "", nowhere)
        .await;
    assert!(
        code == 0 && told.contains("as those of AgentRun from-template"),
        "{code}: {told}"
    );
    let (code, events, told) = kim
        .says(&["audit", "show", "from-template", "-o", "ocsf"], "", nowhere)
        .await;
    assert_eq!(code, 0, "{told}");
    let events: Vec<serde_json::Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let requests = events.iter().filter(|event| event["class_uid"] == 4002);
    let of_kim = |event: &&serde_json::Value| event["actor"]["user"]["name"] == user.as_str();
    assert!(
        requests.clone().count() > 0 && requests.clone().all(|event| of_kim(&event)),
        "{events:?}"
    );
    space.close().await;
}
