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

fn args(line: &[&str]) -> Args {
    use clap::Parser as _;
    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        flags: Flags,
        #[command(flatten)]
        args: Args,
    }
    Program::try_parse_from([&["list"], line].concat()).unwrap().args
}

#[test]
fn what_the_api_server_can_select_it_selects() {
    assert_eq!(args(&[]).fields(), None);
    assert!(!args(&["--mine"]).is_narrowed());
    let narrowed = args(&[
        "--phase",
        "Running",
        "--policy",
        "strict",
        "--field-selector",
        "metadata.name=x",
    ]);
    assert_eq!(
        narrowed.fields().as_deref(),
        Some("status.phase=Running,spec.policyRef.name=strict,metadata.name=x")
    );
}

#[test]
fn mine_are_those_that_i_asked_for() {
    let runs = vec![
        run("a", "Running", "Running"),
        Run::from(json!({"metadata": {"name": "b"}})),
    ];
    assert_eq!(of(runs.clone(), Some("anna")).len(), 1);
    assert_eq!(of(runs.clone(), Some("bert")).len(), 0);
    assert_eq!(of(runs.clone(), None).len(), 2);
    assert_eq!(
        names(&runs),
        "agentrun.cofferdam.dev/a\nagentrun.cofferdam.dev/b\n"
    );
}
