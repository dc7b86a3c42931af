//! Three layers over one run: the default ceiling, a second one, and the namespace's own policy. `make install` applies
//! the first two over every namespace, so every other end-to-end test runs under them as well.

use std::time::Duration;

use cofferdam_api::{ClusterSandboxPolicy, Reason};
use kube::Api;
use serde_json::json;

use crate::harness::{BUSYBOX, Run, Space, default_limits, merge, until};

const SECOND: &str = "second-ceiling";

/// A run of nothing that asks for this as well.
async fn asks(space: &Space, name: &str, more: serde_json::Value) -> Run {
    space.script(name, BUSYBOX, "sh", "true\n", more).await
}

#[tokio::test]
async fn a_run_is_under_both_ceilings_and_its_namespaces_policy() {
    let space = Space::open("ceilings").await;
    let run = asks(&space, "plain", json!({})).await;
    let status = run.ends(Reason::Completed).await.status.unwrap();
    let policies = status.resolved.expect("what the asks came to").policies;
    let mut names: Vec<String> = policies
        .iter()
        .map(|one| format!("{}/{}", one.kind, one.name))
        .collect();
    names.sort();
    // Other tests' cluster policies select other namespaces.
    assert_eq!(
        names,
        [
            "ClusterSandboxPolicy/default",
            "ClusterSandboxPolicy/second-ceiling",
            "SandboxPolicy/default"
        ]
    );

    // Each of the three is the strictest in something, and says so.
    let mut limits = default_limits();
    merge(
        &mut limits,
        &json!({"maxResources": {"ephemeral-storage": "5Gi"}}),
    );
    space.policy("default", limits).await;
    let most = |resource: &str, amount: &str| {
        let least = if resource == "cpu" { "1" } else { "1Mi" };
        json!({"resources": {"requests": {resource: least}, "limits": {resource: amount}}})
    };
    let narrow = |name: &'static str, resource, above, at, layer| {
        (name, most(resource, above), most(resource, at), layer)
    };
    for (name, above, at, layer) in [
        narrow(
            "cpu",
            "cpu",
            "8001m",
            "8",
            "ClusterSandboxPolicy/default (limits.maxResources.cpu)",
        ),
        narrow(
            "memory",
            "memory",
            "8193Mi",
            "8Gi",
            "ClusterSandboxPolicy/second-ceiling (limits.maxResources.memory)",
        ),
        narrow(
            "disk",
            "ephemeral-storage",
            "6Gi",
            "5Gi",
            "SandboxPolicy/default (limits.maxResources.ephemeral-storage)",
        ),
        (
            "start",
            json!({"startDeadlineSeconds": 1801}),
            json!({"startDeadlineSeconds": 1800}),
            "ClusterSandboxPolicy/second-ceiling (limits.maxStartDeadlineSeconds)",
        ),
    ] {
        let refused = asks(&space, &format!("{name}-above"), above).await;
        let message = refused.ends(Reason::PolicyDenied).await.status.unwrap().message;
        let message = message.unwrap_or_default();
        assert!(message.contains(layer), "{name}: {message}");
        // The control: at the ceiling it is admitted, though the node may lack the room.
        let admitted = asks(&space, &format!("{name}-at"), at).await;
        until(
            &format!("{name} at the ceiling has a Job"),
            Duration::from_mins(1),
            || async {
                if admitted.jobs().await.is_empty() {
                    Err(admitted.get().await.status)
                } else {
                    Ok(())
                }
            },
        )
        .await;
    }
    space.close().await;
}

#[tokio::test]
async fn the_second_ceiling_stands_over_every_namespace() {
    let policies: Api<ClusterSandboxPolicy> = Api::all(crate::harness::client().await);
    let policy = policies.get(SECOND).await.expect("make install applies it");
    let selector = policy.spec.namespace_selector;
    assert!(
        selector.match_labels.is_none() && selector.match_expressions.is_none(),
        "{selector:?}"
    );
    let status = policy.status.unwrap_or_default();
    let ready = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready");
    assert!(ready.is_some_and(|ready| ready.status == "True"), "{ready:?}");
}
