//! What people see with plain `kubectl`: columns, short names, what can be selected by and waited for, and the story that
//! the events of a run tell.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use cofferdam_api::Reason;
use serde_json::json;

use crate::harness::{ATTACKER, BUSYBOX, Run, Space, until};

const SOON: Duration = Duration::from_mins(1);
/// What is waited for has happened already.
const AT_ONCE: &str = "--timeout=10s";

/// `kubectl` of the cluster's own version.
fn kubectl(arguments: &[&str]) -> Output {
    let state = std::env::var("COFFERDAM_STATE").unwrap_or_else(|_| "/var/tmp/cofferdam".into());
    let program = PathBuf::from(state).join("bin/kubectl");
    let output = Command::new(&program).args(arguments).output();
    output.unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

/// What it prints, which has to be a success.
fn shown(arguments: &[&str]) -> String {
    let output = kubectl(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// What it prints in the namespace, by words.
fn table(space: &Space, arguments: &[&str]) -> Vec<Vec<String>> {
    let mut all = vec!["-n", space.name.as_str(), "get"];
    all.extend(arguments);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    shown(&all).lines().map(words).collect()
}

/// The first words of every line.
fn names(table: &[Vec<String>]) -> Vec<&str> {
    table
        .iter()
        .filter_map(|line| line.first())
        .map(String::as_str)
        .collect()
}

/// Whether a line begins with these words.
fn has(table: &[Vec<String>], words: &[&str]) -> bool {
    table
        .iter()
        .any(|line| line.len() >= words.len() && line.iter().zip(words).all(|(word, wanted)| word == wanted))
}

/// A run that completes, and one whose image no layer grants.
async fn two_runs(space: &Space) -> (Run, Run) {
    let named = json!({"policyRef": {"name": "default"}});
    let done = space.script("done", BUSYBOX, "sh", "true\n", named).await;
    let spec = json!({
        "policyRef": {"name": "default"}, "task": {"prompt": "nothing"}, "agent": {"image": "elsewhere.test/agent:1"},
    });
    let refused = space.run("refused", spec).await;
    refused.ends(Reason::ImageDenied).await;
    done.ends(Reason::Completed).await;
    (done, refused)
}

#[tokio::test]
async fn a_list_says_how_runs_stand_and_is_narrowed_by_it() {
    let space = Space::open("view-runs").await;
    let (done, _) = two_runs(&space).await;
    let status = done.get().await.status.unwrap_or_default();
    let job = status.workload.expect("it had a Job").name;

    let listed = table(&space, &["agr"]);
    assert_eq!(listed[0], ["NAME", "PHASE", "REASON", "POLICY", "AGE"]);
    assert!(
        has(&listed, &["done", "Succeeded", "Completed", "default"]),
        "{listed:?}"
    );
    assert!(
        has(&listed, &["refused", "Failed", "ImageDenied", "default"]),
        "{listed:?}"
    );
    let wide = table(&space, &["agentruns", "-o", "wide"]);
    assert_eq!(
        wide[0][5..],
        [
            "RUNTIME",
            "WORKLOAD",
            "PROFILE",
            "REQUESTER",
            "STARTED",
            "COMPLETED",
            "MESSAGE"
        ]
    );
    let line = wide.iter().find(|line| line[0] == "done").expect("it is listed");
    assert_eq!(line[5..7], ["gvisor".to_owned(), job]);

    for (selector, selected) in [
        ("status.phase=Succeeded", vec!["done"]),
        ("status.phase=Failed", vec!["refused"]),
        ("status.phase!=Failed", vec!["done"]),
        ("status.reason=ImageDenied", vec!["refused"]),
        (
            "spec.policyRef.name=default,status.reason=Completed",
            vec!["done"],
        ),
        ("spec.policyRef.name=another", vec![]),
    ] {
        let listed = table(&space, &["agr", "--no-headers", "--field-selector", selector]);
        assert_eq!(names(&listed), selected, "{selector}");
    }
    // The control: what is not selectable is refused, not taken for no restriction.
    let unknown = kubectl(&[
        "-n",
        &space.name,
        "get",
        "agr",
        "--field-selector",
        "spec.task.prompt=nothing",
    ]);
    assert!(!unknown.status.success(), "{unknown:?}");
    space.close().await;
}

#[tokio::test]
async fn a_script_can_wait_for_the_end_of_a_run() {
    let space = Space::open("view-wait").await;
    two_runs(&space).await;
    let wait = |what: &str, run: &str| kubectl(&["-n", &space.name, "wait", AT_ONCE, what, run]);
    for (what, run) in [
        ("--for=condition=Complete", "agr/done"),
        ("--for=condition=Ready", "agr/done"),
        ("--for=condition=Failed", "agr/refused"),
        ("--for=jsonpath={.status.reason}=ImageDenied", "agr/refused"),
    ] {
        let output = wait(what, run);
        assert!(output.status.success(), "{what} {run}: {output:?}");
    }
    // The control: it does not say so of everything.
    for (what, run) in [
        ("--for=condition=Complete", "agr/refused"),
        ("--for=condition=Failed", "agr/done"),
    ] {
        let output = kubectl(&["-n", &space.name, "wait", "--timeout=1s", what, run]);
        assert!(!output.status.success(), "{what} {run}: {output:?}");
    }
    space.close().await;
}

#[tokio::test]
async fn policies_have_short_names_and_say_what_they_allow() {
    let space = Space::open("view-policies").await;
    let columns = [
        "NAME",
        "READY",
        "REASON",
        "AGE",
        "RUNTIME",
        "IMAGES",
        "REPOSITORIES",
        "EGRESS",
    ];
    until("the policy is ready", SOON, || async {
        let listed = table(&space, &["sbp"]);
        assert_eq!(listed[0], columns);
        match listed.get(1) {
            Some(row) if row[1] == "True" => {
                assert_eq!(row[5..], ["AllowList"; 3]);
                assert!(row[0] == "default" && row[4].contains("gvisor"), "{row:?}");
                Ok(())
            }
            _ => Err(listed),
        }
    })
    .await;
    // The ceiling that `make install` applies says nothing of images, repositories and hosts.
    let ceilings = table(&space, &["csbp"]);
    assert_eq!(ceilings[0], columns);
    assert!(names(&ceilings).contains(&"default"), "{ceilings:?}");
    let everything = table(&space, &["cofferdam", "--no-headers"]);
    assert!(
        names(&everything).contains(&"sandboxpolicy.cofferdam.dev/default"),
        "{everything:?}"
    );
    space.close().await;
}

/// Kind and reason of a run's events in the order in which they were told, once the last of them is this one.
async fn story(run: &Run, last: &str) -> Vec<(String, String)> {
    until(
        &format!("the story of {} ends with {last}", run.name),
        SOON,
        || async {
            let events = run.events().await;
            assert!(
                events
                    .iter()
                    .all(|event| event.note.as_deref().is_some_and(|note| !note.is_empty())),
                "{events:#?}"
            );
            let told: Vec<(String, String)> = events
                .into_iter()
                .map(|event| (event.type_.unwrap_or_default(), event.reason.unwrap_or_default()))
                .collect();
            match told.last() {
                Some((_, reason)) if reason == last => Ok(told),
                _ => Err(told),
            }
        },
    )
    .await
}

fn told(events: &[(&str, &str)]) -> Vec<(String, String)> {
    events
        .iter()
        .map(|(kind, reason)| ((*kind).to_owned(), (*reason).to_owned()))
        .collect()
}

#[tokio::test]
async fn the_events_of_a_run_tell_its_story() {
    let space = Space::open("view-story").await;
    let (done, refused) = two_runs(&space).await;
    // The end of each is told once, and nothing where there is nothing to tell.
    assert_eq!(story(&done, "Completed").await, told(&[("Normal", "Completed")]));
    assert_eq!(
        story(&refused, "ImageDenied").await,
        told(&[("Warning", "ImageDenied")])
    );

    let asks = "curl -s -o /dev/null https://denied.internet.test/ || true\n";
    let denied = space.script("denied", ATTACKER, "bash", asks, json!({})).await;
    denied.ends(Reason::Completed).await;
    assert_eq!(
        story(&denied, "Completed").await,
        told(&[("Warning", "Denied"), ("Normal", "Completed")])
    );

    let endless = "while :; do sleep 1; done\n";
    let cancelled = space.script("cancelled", BUSYBOX, "sh", endless, json!({})).await;
    cancelled.in_phase("Running").await;
    let change = cancelled.change(json!({"cancel": "KeepWork"})).await;
    change.map(drop).expect("cancel may be set");
    cancelled.ends(Reason::Cancelled).await;
    assert_eq!(
        story(&cancelled, "Cancelled").await,
        told(&[("Warning", "StoppingCancelled"), ("Warning", "Cancelled")])
    );

    // What `describe` shows: the same events, and what the status says.
    for (run, reason) in [("done", "Completed"), ("refused", "ImageDenied")] {
        let described = shown(&["-n", &space.name, "describe", "agentrun", run]);
        let (status, events) = described.split_once("\nEvents:").expect("events");
        assert!(status.contains(reason), "{described}");
        assert!(
            events
                .lines()
                .any(|line| line.split_whitespace().nth(1) == Some(reason)),
            "{described}"
        );
    }
    space.close().await;
}
