use super::rows::{Shape, table};
use super::*;
use serde_json::json;

fn run(name: &str, phase: &str, reason: &str) -> Run {
    let condition = match phase {
        "Succeeded" => ("Complete", "True"),
        "Failed" => ("Failed", "True"),
        "Queued" => ("Ready", "False"),
        _ => ("Reconciling", "True"),
    };
    Run::from(json!({
        "metadata": {"name": name, "namespace": "team-a", "uid": name, "creationTimestamp": "2026-11-26T10:00:00Z"},
        "spec": {"task": {"prompt": "p"}, "agent": {"image": "agent:1"}, "requestedBy": {"username": "anna"}},
        "status": {"phase": phase, "reason": reason, "agentStartTime": "2026-11-26T10:01:00Z",
            "outputs": {"patches": [{"repository": "a", "digest": "d", "bytes": 1, "files": 1, "insertions": 12, "deletions": 3, "snapshot": "Final"}]},
            "conditions": [{"type": condition.0, "status": condition.1, "reason": reason, "message": "", "lastTransitionTime": "2026-11-26T10:00:00Z"}]},
    }))
}

fn shown(runs: &[Run], shape: Shape) -> String {
    table(
        runs,
        runs,
        shape,
        "2026-11-26T10:05:00Z".parse().unwrap(),
        Paint::Plain,
    )
}

#[test]
fn a_list_has_places_patches_and_times() {
    let mut queued = run("second", "Queued", "Queued");
    queued.value["status"].as_object_mut().unwrap().remove("outputs");
    queued.value["status"]
        .as_object_mut()
        .unwrap()
        .remove("agentStartTime");
    let queued = Run::from(queued.value);
    let runs = [
        run("done", "Succeeded", "Completed"),
        run("first", "Queued", "Queued"),
        queued,
        Run::from(
            json!({"metadata": {"name": "of-another-version", "namespace": "team-a"}, "spec": {"later": 1}}),
        ),
    ];
    insta::assert_snapshot!(shown(&runs, Shape::default()), @r"
    NAME                 PHASE        REASON      PLACE   PATCH    TOOK   AGE
    done                 Succeeded    Completed   -       +12 -3   4m     5m
    first                Queued       Queued      1/2     +12 -3   4m     5m
    second               Queued       Queued      2/2     -        -      5m
    of-another-version   Unreadable   -           -       -        -      -
    ");
    let wide = shown(
        &runs,
        Shape {
            wide: true,
            namespaces: true,
        },
    );
    assert!(
        wide.lines().all(|line| line.split_whitespace().count() >= 14),
        "{wide}"
    );
}

/// Definitions of before the upgrade know fewer fields that select.
#[tokio::test]
async fn what_an_older_cluster_does_not_select_is_selected_here() {
    let (client, log) = crate::testing::server(|key| {
        if key.contains("requestedBy") {
            return crate::testing::failure(
                400,
                "BadRequest",
                "field label not supported: spec.requestedBy.username",
            );
        }
        (
            200,
            json!({"metadata": {"resourceVersion": "7"}, "items": [run("a", "Running", "Running").value]}),
        )
    });
    let filters = Filters::default().with_me(Some("bert".to_owned()));
    let scope = Scope::Namespace("team-a".to_owned());
    let (selection, listed) = listed(&client, scope, &filters).await.unwrap();
    assert_eq!(
        (selection.fields, listed.runs.len(), log.lock().len()),
        (None, 1, 2)
    );
    assert!(!filters.fits(&listed.runs[0]));
}

#[test]
fn names_are_those_of_kubectl() {
    let runs = [
        run("a", "Running", "Running"),
        Run::from(json!({"metadata": {"name": "b"}})),
    ];
    assert_eq!(
        names(&runs),
        "agentrun.cofferdam.dev/a\nagentrun.cofferdam.dev/b\n"
    );
    let gone = super::rows::gone(&runs[1], Shape::default(), Paint::Plain);
    assert_eq!(
        gone.lines()
            .nth(1)
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>(),
        ["b", "Gone", "-", "-", "-", "-", "-"]
    );
}
