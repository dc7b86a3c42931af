use serde_json::{Value, json};

use super::*;
use crate::testing::{Answer, scripted};

fn run(name: &str, version: u32) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "team-a", "uid": format!("uid-{name}"), "resourceVersion": version.to_string()},
        "spec": {"task": {"prompt": "p"}, "agent": {"image": "i"}},
    })
}

fn page(version: u32, items: &[Value]) -> Answer {
    Answer::Json(
        200,
        json!({"metadata": {"resourceVersion": version.to_string()}, "items": items}),
    )
}

fn event(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}

fn status(code: u16) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "code": code, "reason": "x", "message": "too old"})
}

fn selection() -> Selection {
    Selection {
        scope: Scope::Namespace("team-a".to_owned()),
        labels: Some("team=a".to_owned()),
        fields: Some("status.phase=Running".to_owned()),
    }
}

/// `+name version` for what is, `-name` for what is gone.
async fn seen(changes: &mut Changes, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..count {
        seen.push(match changes.next().await.unwrap() {
            Change::Is(run) => format!("+{} {}", run.metadata("name"), run.metadata("resourceVersion")),
            Change::Gone(run) => format!("-{}", run.metadata("name")),
        });
    }
    seen
}

fn listed() -> Listed {
    Listed {
        runs: vec![
            Run::from(run("a", 5)),
            Run::from(run("b", 6)),
            Run::from(run("c", 7)),
        ],
        resource_version: "9".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_or_breaks_goes_on_from_the_last_version_that_was_seen() {
    let (client, log) = scripted([
        Answer::Ends(vec![event("MODIFIED", &run("a", 10))]),
        Answer::Breaks(vec![event("DELETED", &run("b", 11))]),
        Answer::Json(503, status(503)),
        Answer::Unreachable,
        Answer::Ends(vec![
            json!({"type": "BOOKMARK", "object": {"apiVersion": "v1", "kind": "AgentRun", "metadata": {"resourceVersion": "20"}}}),
        ]),
        Answer::Ends(vec![event("ADDED", &run("d", 21))]),
    ]);
    let mut changes = Changes::after(client, selection(), &listed());
    assert_eq!(seen(&mut changes, 3).await, ["+a 10", "-b", "+d 21"]);
    let versions: Vec<String> = log
        .lock()
        .iter()
        .map(|(key, _)| parameter(key, "resourceVersion"))
        .collect();
    assert_eq!(versions, ["9", "10", "11", "11", "11", "20"]);
    for (key, _) in log.lock().iter() {
        assert_eq!(parameter(key, "labelSelector"), "team=a");
        assert_eq!(parameter(key, "fieldSelector"), "status.phase=Running");
    }
}

fn parameter(key: &str, name: &str) -> String {
    let query = key.split_once('?').map_or("", |(_, query)| query);
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// 410 comes as an event of a watch that stands, and as the answer to one that is opened.
#[tokio::test(start_paused = true)]
async fn what_the_api_server_forgot_is_listed_and_only_what_changed_is_told() {
    for forgotten in [
        Answer::Ends(vec![json!({"type": "ERROR", "object": status(410)})]),
        Answer::Json(410, status(410)),
    ] {
        let (client, log) = scripted([
            forgotten,
            page(40, &[run("a", 5), run("c", 30), run("d", 31)]),
            Answer::Ends(vec![event("MODIFIED", &run("a", 41))]),
        ]);
        let mut changes = Changes::after(client, selection(), &listed());
        assert_eq!(seen(&mut changes, 4).await, ["-b", "+c 30", "+d 31", "+a 41"]);
        let log = log.lock();
        assert!(
            !log[1].0.contains("watch=true") && log[1].0.contains("fieldSelector=status.phase%3DRunning")
        );
        assert_eq!(parameter(&log[2].0, "resourceVersion"), "40");
    }
}

#[tokio::test(start_paused = true)]
async fn one_run_is_looked_at_first_and_another_of_its_name_is_not_it() {
    let first: AgentRun = serde_json::from_value(run("a", 1)).unwrap();
    let mut other = run("a", 60);
    other["metadata"]["uid"] = json!("another");
    let (client, log) = scripted([
        page(8, &[run("a", 8)]),
        Answer::Json(410, status(410)),
        page(60, &[other]),
    ]);
    let mut changes = Changes::of(client, "team-a".to_owned(), &first);
    assert_eq!(seen(&mut changes, 3).await, ["+a 8", "-a", "+a 60"]);
    assert_eq!(parameter(&log.lock()[0].0, "fieldSelector"), "metadata.name=a");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_said_at_once_and_silence_after_some_tries() {
    for (answer, asked) in [(403, 1), (401, 1), (404, 1), (500, TRIES), (429, TRIES)] {
        let (client, log) = scripted(std::iter::repeat_n(Answer::Json(answer, status(answer)), 20));
        let mut changes = Changes::after(client, selection(), &listed());
        let failure = changes.next().await.unwrap_err();
        assert!(
            matches!(failure, Failure::Api { code: Some(code), .. } if code == answer),
            "{failure}"
        );
        assert_eq!(log.lock().len(), asked as usize, "{answer}");
    }
    let (client, log) = scripted(std::iter::repeat_n(Answer::Unreachable, 20));
    assert!(
        Changes::after(client, selection(), &listed())
            .next()
            .await
            .is_err()
    );
    assert_eq!(log.lock().len(), TRIES as usize);
}

/// A server that closes each watch at once is asked once a second.
#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_at_once_is_not_opened_as_fast_as_it_ends() {
    let (client, log) = scripted(std::iter::repeat_n(Answer::Ends(Vec::new()), 100));
    let mut changes = Changes::after(client, selection(), &listed());
    assert!(
        tokio::time::timeout(Duration::from_millis(20_500), changes.next())
            .await
            .is_err()
    );
    assert_eq!(log.lock().len(), 21);
}

/// Proxies end what is quiet: a watch that stood for a while before it broke is opened again without end, and one that breaks
/// at once is not.
#[tokio::test(start_paused = true)]
async fn a_watch_that_stood_before_it_broke_is_opened_again_without_end() {
    for (stands, ends) in [(60, false), (1, true)] {
        let answers = std::iter::repeat_n(
            Answer::BreaksAfter(Duration::from_secs(stands)),
            3 * TRIES as usize,
        );
        let (client, log) = scripted(answers);
        let mut changes = Changes::after(client, selection(), &listed());
        let seen = tokio::time::timeout(Duration::from_hours(2), changes.next()).await;
        assert_eq!(seen.is_ok(), ends, "after {stands} s");
        let asked = if ends { TRIES } else { 3 * TRIES + 1 };
        assert_eq!(log.lock().len(), asked as usize, "after {stands} s");
    }
}
