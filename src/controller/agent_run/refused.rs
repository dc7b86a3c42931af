//! What a refused run costs, from what the reconciler goes by: one status, and no look that nothing asks for.

use jiff::Timestamp;
use rstest::rstest;
use serde_json::json;

use super::decide::{Decision, Facts, decide};
use super::housekeeping::{self, Chore, PolicyTtl};
use super::status;
use crate::testing::{self, at};
use cofferdam_api::{AgentRun, ClusterSandboxPolicy, Reason};

/// What a look comes to.
#[derive(Debug, PartialEq)]
enum Look {
    /// The terminal status is written; its coming back asks for the next look.
    Ends(Reason),
    /// Nothing, until the run's time to live is over.
    Sleeps,
    /// The run is deleted.
    Deletes,
}

/// Looks at the run as `reconcile` does, until it is gone: nothing of it but its status ever changes.
fn life(mut run: AgentRun, facts: &Facts, mut now: Timestamp) -> Vec<Look> {
    let mut looks = Vec::new();
    while looks.len() < 10 {
        if !run.is_finished() {
            let Decision::End(verdict) = decide(&run, facts, now) else {
                panic!("the run is refused")
            };
            run.status = Some(status::refused(&run, &verdict, now));
            looks.push(Look::Ends(verdict.reason));
            continue;
        }
        assert_eq!(
            status::observed_again(&run),
            None,
            "nothing is left to be written"
        );
        match housekeeping::next(&run, None, false, PolicyTtl::default(), now) {
            Chore::Sleep(rest) => {
                now = now.checked_add(rest).unwrap();
                looks.push(Look::Sleeps);
            }
            Chore::DeleteRun => {
                looks.push(Look::Deletes);
                break;
            }
            Chore::DeleteJob => panic!("there is none"),
        }
    }
    looks
}

fn mistaken() -> Facts {
    let closed: ClusterSandboxPolicy = serde_json::from_value(json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "ClusterSandboxPolicy", "metadata": {"name": "closed"},
        "spec": {"namespaceSelector": {}, "limits": {"egress": {"mode": "DenyAll"}}},
    }))
    .unwrap();
    Facts {
        cluster_policies: Ok(vec![closed]),
        ..testing::facts()
    }
}

#[rstest]
#[case::image(testing::facts(), "elsewhere.example/agent:v1", Reason::ImageDenied)]
#[case::mistake(mistaken(), "images.example/agent:v1", Reason::PolicyDenied)]
#[case::unreadable(
    Facts { cluster_policies: Err("ClusterSandboxPolicy/odd cannot be read".to_owned()), ..testing::facts() },
    "images.example/agent:v1",
    Reason::PolicyDenied
)]
#[case::no_policy(Facts { policy: None, ..testing::facts() }, "images.example/agent:v1", Reason::PolicyMissing)]
#[case::no_runtime(
    Facts { runtime_classes: Vec::new(), ..testing::facts() },
    "images.example/agent:v1",
    Reason::RuntimeUnavailable
)]
fn a_refused_run_is_looked_at_three_times_in_all_and_written_once(
    #[case] facts: Facts,
    #[case] image: &str,
    #[case] reason: Reason,
) {
    let mut run = testing::run();
    run.spec.agent.image = image.to_owned();
    // What may only come later was waited for by then.
    let looks = life(run, &facts, at(31));
    assert_eq!(looks, [Look::Ends(reason), Look::Sleeps, Look::Deletes]);
}

#[test]
fn a_look_that_comes_before_the_status_does_says_the_same_and_is_written_to_no_effect() {
    let mut run = testing::run();
    run.spec.agent.image = "elsewhere.example/agent:v1".to_owned();
    let end = |now| match decide(&run, &testing::facts(), now) {
        Decision::End(verdict) => verdict,
        other => panic!("{other:?}"),
    };
    // Both writes carry the resourceVersion that was looked at, so the API server takes the first alone.
    assert_eq!(end(at(0)), end(at(1)));
    assert_eq!(
        status::refused(&run, &end(at(0)), at(0)),
        status::refused(&run, &end(at(1)), at(0))
    );
    assert!(run.metadata.resource_version.is_some());
}
