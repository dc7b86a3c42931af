//! What policy makes of a run's pod: where it goes, how its images are pulled, under which kernel and which users.

use std::time::Duration;

use cofferdam_api::Reason;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::{BUSYBOX, Run, Space, default_limits, merge, until};

/// Where containerd's runc stands behind a name that promises more.
const IMPOSTOR: &str = "cofferdam-test-gvisor";

/// A class of the cluster whose handler is runc. Every test applies the same one, and it stays.
async fn impostor(space: &Space) {
    let class = json!({
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": IMPOSTOR}, "handler": "runc",
    });
    Api::<RuntimeClass>::all(space.client.clone())
        .patch(IMPOSTOR, &PatchParams::apply("e2e").force(), &Patch::Apply(class))
        .await
        .expect("an admin makes RuntimeClasses");
}

/// The usual limits with these of `runtime`.
fn under(runtime: &Value) -> Value {
    let mut limits = default_limits();
    merge(&mut limits, &json!({"runtime": runtime}));
    limits
}

async fn start(space: &Space, name: &str, policy: &str, more: &Value) -> Run {
    let mut spec = json!({"policyRef": {"name": policy}});
    merge(&mut spec, more);
    space.script(name, BUSYBOX, "sh", "true\n", spec).await
}

async fn ends(run: &Run, reason: Reason) -> String {
    run.ends_saying(reason).await
}

#[tokio::test]
async fn a_profile_decides_on_which_nodes_a_run_may_start() {
    let space = Space::open_bare("profiles").await;
    let profiles = json!([
        {"name": "nowhere", "nodeSelector": {"cofferdam.test/nowhere": "true"}},
        {
            "name": "anywhere",
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "cofferdam.test/any", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]}]}}},
            "topologySpreadConstraints": [{
                "maxSkew": 5, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchExpressions": [{"key": "cofferdam.dev/run", "operator": "Exists"}]},
                "matchLabelKeys": ["cofferdam.dev/policy-hash"],
            }],
        },
    ]);
    let spec = json!({"limits": default_limits(), "schedulingProfiles": profiles});
    space.policy_of("placed", spec).await;
    let ask = |profile: &str| json!({"schedulingProfileName": profile, "startDeadlineSeconds": 40});
    let lost = start(&space, "lost", "placed", &ask("nowhere")).await;
    // Long before its time is up it says what it waits for.
    let told = until(
        "what the start waits for is told",
        Duration::from_secs(35),
        || async {
            let status = lost.get().await.status.unwrap_or_default();
            if status.reason.as_deref() == Some("Starting") {
                Ok(status)
            } else {
                Err(status)
            }
        },
    )
    .await;
    let message = told.message.unwrap_or_default();
    assert_eq!(told.phase.as_deref(), Some("Pending"));
    assert!(message.starts_with("The pod is not scheduled:"), "{message}");
    let message = ends(&lost, Reason::StartTimeout).await;
    assert!(message.contains("node affinity/selector"), "{message}");
    let mut fits = ask("anywhere");
    merge(&mut fits, &json!({"startDeadlineSeconds": null}));
    let found = start(&space, "found", "placed", &fits).await;
    ends(&found, Reason::Completed).await;
    let unknown = start(&space, "unknown", "placed", &ask("fast-lane")).await;
    let message = ends(&unknown, Reason::PolicyDenied).await;
    assert!(
        message.contains("nowhere") && message.contains("anywhere"),
        "{message}"
    );
    space.close().await;
}

#[tokio::test]
async fn a_runtime_class_that_only_says_gvisor_is_found_out() {
    let space = Space::open_bare("impostor").await;
    impostor(&space).await;
    // Under runc a sandbox reaches its own node here, which is not what is tried.
    let kernel = |class: &str, word: &str| {
        under(&json!({"runtimeClassNames": [class], "kernelCheck": word, "nodeAccess": "Allow"}))
    };
    space.policy("required", kernel(IMPOSTOR, "GVisor")).await;
    space.policy("unchecked", kernel(IMPOSTOR, "None")).await;
    space.policy("genuine", kernel("gvisor", "GVisor")).await;
    let caught = start(&space, "caught", "required", &json!({})).await;
    let message = ends(&caught, Reason::RuntimeUnavailable).await;
    assert!(
        message.contains("not gVisor's") && message.contains("Linux version"),
        "{message}"
    );
    let unseen = start(&space, "unseen", "unchecked", &json!({})).await;
    ends(&unseen, Reason::Completed).await;
    let genuine = start(&space, "genuine", "genuine", &json!({})).await;
    ends(&genuine, Reason::Completed).await;
    space.close().await;
}

/// This cluster's node advertises user namespaces for runsc and cannot make them, and does not advertise them for runc.
#[tokio::test]
async fn a_user_namespace_that_cannot_be_had_is_said() {
    let space = Space::open_bare("userns").await;
    impostor(&space).await;
    let users = |class: &str, word: &str| {
        under(&json!({"runtimeClassNames": [class], "userNamespaces": word, "nodeAccess": "Allow"}))
    };
    space.policy("promised", users("gvisor", "Required")).await;
    space.policy("not-even", users(IMPOSTOR, "Required")).await;
    space.policy("if-any", users(IMPOSTOR, "Preferred")).await;
    let broken = start(&space, "broken", "promised", &json!({})).await;
    let status = broken.ends(Reason::RuntimeUnavailable).await.status.unwrap();
    let message = status.message.unwrap_or_default();
    assert!(message.contains("user namespace"), "{message}");
    // The Job of a run that cannot start is removed; that there was one stays in the status.
    assert!(status.workload.is_some(), "it was tried");
    let refused = start(&space, "refused", "not-even", &json!({})).await;
    let message = ends(&refused, Reason::RuntimeUnavailable).await;
    assert!(
        message.contains("no node advertises user namespaces"),
        "{message}"
    );
    assert!(refused.jobs().await.is_empty());
    let without = start(&space, "without", "if-any", &json!({})).await;
    ends(&without, Reason::Completed).await;
    space.close().await;
}
