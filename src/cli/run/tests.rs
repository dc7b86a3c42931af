use super::build::{Asked, slug};
use super::ended::{exit, said};
use super::line::{Beside, line};
use super::*;
use crate::testing::{failure, server};
use clap::Parser as _;
use cofferdam_api::queue::Place;
use cofferdam_text::is_hidden;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::Value;

fn asked(words: &[&str]) -> Asked {
    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        asked: Asked,
    }
    Program::try_parse_from([&["run"], words].concat()).unwrap().asked
}

#[test]
fn flags_make_a_run() {
    let asked = asked(&[
        "--image",
        "agent:1",
        "--repo",
        "app=https://git.test/app@feature/x",
        "--read-only-repo",
        "lib=https://git.test/lib",
        "--policy",
        "strict",
        "--env",
        "A=b=c",
        "--active-deadline",
        "60",
        "--name",
        "fix",
        "-l",
        "team=a",
        "--",
        "mini",
        "--yolo",
    ]);
    let built = asked.build(Some("Fix it."), Some("team-a"), None).unwrap();
    insta::assert_json_snapshot!(serde_json::to_value(&built.run).unwrap());
    assert_eq!(built.prompt, None);
}

#[test]
fn a_profile_takes_the_place_of_image_and_command() {
    let spec = asked(&["--profile", "claude-code", "--env", "A=b"])
        .build(Some("Fix it."), None, None)
        .unwrap()
        .run
        .spec;
    assert_eq!(
        (
            spec.agent_profile.as_deref(),
            spec.agent.image.as_deref(),
            spec.agent.env.len()
        ),
        (Some("claude-code"), None, 1)
    );
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/agentrun.yaml");
    let spec = asked(&["-f", example, "--profile", "claude-code"])
        .build(None, None, None)
        .unwrap()
        .run
        .spec;
    assert_eq!(
        (
            spec.agent_profile.as_deref(),
            spec.agent.image,
            spec.agent.command,
            spec.agent.args
        ),
        (Some("claude-code"), None, Vec::new(), Vec::new())
    );
}

#[test]
fn a_long_prompt_stands_in_a_config_map_under_its_digest() {
    let text = "x".repeat(2049);
    let built = asked(&["--image", "i", "--name", "fix"])
        .build(Some(&text), None, None)
        .unwrap();
    let source = built
        .run
        .spec
        .task
        .prompt_from
        .clone()
        .unwrap()
        .config_map_key_ref;
    assert_eq!(
        (source.name.as_str(), source.digest),
        ("fix-prompt", cofferdam_api::names::digest(text.as_bytes()))
    );
    let map = built.prompt.unwrap();
    assert_eq!(map.data.unwrap()["prompt"], text);
    let inline = asked(&["--image", "i"])
        .build(Some(&text[..2048]), None, None)
        .unwrap();
    assert_eq!(
        (inline.prompt, inline.run.spec.task.prompt.unwrap().len()),
        (None, 2048)
    );
}

#[rstest]
#[case(&[], Some("p"))]
#[case(&["--image", "i"], None)]
#[case(&["--profile", "p"], None)]
#[case(&["--image", "i"], Some(""))]
#[case(&["-f", "/nonexistent"], None)]
fn what_is_missing_is_said(#[case] words: &[&str], #[case] prompt: Option<&str>) {
    assert_eq!(
        asked(words).build(prompt, None, None).unwrap_err().exit(),
        Exit::CannotTell
    );
}

#[test]
fn a_manifest_is_changed_by_what_the_flags_say() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/agentrun.yaml");
    let built = asked(&[
        "-f",
        example,
        "--name",
        "other",
        "--repo",
        "app=https://git.test/fork",
    ])
    .build(Some("Do else."), None, None)
    .unwrap();
    let spec = &built.run.spec;
    assert_eq!(
        (built.run.metadata.name.as_deref(), spec.task.prompt.as_deref()),
        (Some("other"), Some("Do else."))
    );
    assert_eq!(
        spec.repositories
            .iter()
            .filter(|repository| repository.name == "app")
            .count(),
        1
    );
    assert_eq!(spec.repositories.last().unwrap().url, "https://git.test/fork");
    assert!(
        asked(&["-f", example]).build(None, Some("team-b"), None).is_err(),
        "it is of team-a"
    );
}

#[rstest]
#[case("The login form gives up after one second.", "the-login-form-gives-up")]
#[case("Fix\u{1b}[2J ../x", "fix-2j-x")]
#[case("\u{e4}\u{f6}", "run")]
#[case("supercalifragilisticexpialidocious", "run")]
fn names_come_from_prompts(#[case] prompt: &str, #[case] name: &str) {
    assert_eq!(slug(prompt), name);
    let built = asked(&["--image", "i"]).build(Some(prompt), None, None).unwrap();
    let full = built.run.metadata.name.unwrap();
    assert!(
        full.starts_with(&format!("{name}-")) && full.len() == name.len() + 6,
        "{full}"
    );
}

fn ended_run(class: Option<&str>, condition: &str) -> AgentRun {
    serde_json::from_value(json!({
        "metadata": {"name": "fix", "creationTimestamp": "2026-11-26T10:00:00Z"},
        "spec": {"task": {"prompt": "p"}, "agent": {"image": "i"}, "activeDeadlineSeconds": 300},
        "status": {"phase": "Failed", "reason": "AgentFailed", "failureClass": class, "message": "it exited with 3\u{1b}[2J",
            "agentStartTime": "2026-11-26T10:00:10Z", "completionTime": "2026-11-26T10:01:10Z",
            "usage": {"allowedRequests": 3, "deniedRequests": 1},
            "outputs": {"patches": [{"repository": "app", "digest": "d", "bytes": 1, "files": 1, "insertions": 2, "deletions": 1, "snapshot": "Final"}]},
            "conditions": [{"type": condition, "status": "True", "reason": "Running", "message": "", "lastTransitionTime": "2026-11-26T10:00:00Z"}]},
    }))
    .unwrap()
}

#[rstest]
#[case(None, "Complete", Some(Exit::Done))]
#[case(Some("Agent"), "Failed", Some(Exit::AgentFailed))]
#[case(Some("Infrastructure"), "Failed", Some(Exit::InfrastructureFailed))]
#[case(Some("Policy"), "Failed", Some(Exit::PolicyRefused))]
#[case(Some("User"), "Failed", Some(Exit::UserEnded))]
#[case(Some("Later"), "Failed", Some(Exit::InfrastructureFailed))]
#[case(Some("Agent"), "Reconciling", None)]
fn exit_codes_say_how_a_run_ended(
    #[case] class: Option<&str>,
    #[case] condition: &str,
    #[case] expected: Option<Exit>,
) {
    assert_eq!(exit(&ended_run(class, condition)), expected);
}

#[test]
fn an_end_is_told_with_what_to_do() {
    insta::assert_snapshot!(said(&ended_run(Some("Agent"), "Failed")));
}

#[test]
fn the_line_says_how_it_stands() {
    let beside = Beside {
        place: Some(Place {
            position: 2,
            length: 5,
        }),
        requests: Some((3, 1)),
    };
    let text = line(
        &ended_run(None, "Reconciling"),
        beside,
        "2026-11-26T10:00:40Z".parse().unwrap(),
    );
    insta::assert_snapshot!(text, @"fix  Failed  (AgentFailed)  place 2 of 5  30s  4m30s left  3 requests, 1 denied");
}

proptest! {
    #[test]
    fn no_word_of_a_status_moves_the_cursor(text in any::<String>()) {
        let mut run = ended_run(Some("Agent"), "Failed");
        let status = run.status.as_mut().unwrap();
        (status.phase, status.reason, status.message) = (Some(text.clone()), Some(text.clone()), Some(text.clone()));
        status.agent_start_time = None;
        status.outputs.as_mut().unwrap().patches[0].repository = text;
        let shown = [said(&run), line(&run, Beside::default(), "2026-11-26T10:00:40Z".parse().unwrap())].concat();
        prop_assert!(shown.chars().all(|character| character == '\n' || !is_hidden(character)), "{shown:?}");
    }
}

#[tokio::test]
async fn the_prompt_is_there_before_the_run_and_goes_with_it() {
    let text = "x".repeat(3000);
    let build = || {
        asked(&["--image", "i", "--name", "fix"])
            .build(Some(&text), None, None)
            .unwrap()
    };
    let (client, log) = server(|key| {
        let run = json!({"metadata": {"name": "fix", "uid": "u1"}, "spec": {"task": {"prompt": "p"}, "agent": {"image": "i"}}});
        (
            201,
            if key.contains("agentruns") {
                run
            } else {
                json!({"metadata": {"name": "fix-prompt"}})
            },
        )
    });
    create(&client, "team-a", build(), false).await.unwrap();
    let asked: Vec<String> = log
        .lock()
        .iter()
        .map(|(key, _)| key.split('?').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        asked,
        [
            "POST /api/v1/namespaces/team-a/configmaps",
            "POST /apis/cofferdam.dev/v1alpha1/namespaces/team-a/agentruns",
            "PATCH /api/v1/namespaces/team-a/configmaps/fix-prompt"
        ]
    );
    assert_eq!(
        log.lock()[2].1.pointer("/metadata/ownerReferences/0/uid"),
        Some(&Value::from("u1"))
    );

    let (client, log) = server(|key| {
        if key.contains("agentruns") {
            failure(403, "Forbidden", "you may not use this policy")
        } else {
            (201, json!({"metadata": {"name": "fix-prompt"}}))
        }
    });
    let failure = create(&client, "team-a", build(), false).await.unwrap_err();
    assert_eq!(failure.exit(), Exit::No);
    assert!(
        log.lock().last().unwrap().0.starts_with("DELETE "),
        "no prompt is left behind"
    );
}
