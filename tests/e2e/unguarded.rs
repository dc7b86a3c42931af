//! The cluster without one of its guards: no run starts, and each says which guard is missing. Ignored by default,
//! for the guards are the whole cluster's; `make e2e` runs it alone, by name.

use std::time::Duration;

use cofferdam_api::{LiveReason, Reason};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::harness::{BUSYBOX, OPERATOR_NAMESPACE, Space, is_true, until};

/// Every guard that the controller proves: four by dry runs, two by reading.
const PROVEN: [&str; 6] = [
    "pods",
    "jobs",
    "networkpolicies",
    "serviceaccounts",
    "connect",
    "status",
];

/// A proof is made every 30 s, and every 5 s where it failed.
const NOTICED: Duration = Duration::from_mins(1);

async fn last_lines_of_the_controller(client: &kube::Client) -> String {
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
    let ours = kube::api::ListParams::default().labels("app.kubernetes.io/component=controller");
    let pod = pods.list(&ours).await.expect("pods").items.remove(0);
    let params = kube::api::LogParams {
        since_seconds: Some(90),
        ..kube::api::LogParams::default()
    };
    pods.logs(&pod.metadata.name.unwrap_or_default(), &params)
        .await
        .expect("its log")
}

#[tokio::test]
#[ignore = "takes guards from the whole cluster"]
async fn without_a_guard_no_run_starts() {
    let space = Space::open("unguarded").await;
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(space.client.clone());
    let mut away: Option<ValidatingAdmissionPolicyBinding> = None;
    let mut held = Vec::new();
    for guard in PROVEN {
        let name = format!("cofferdam-guard-{guard}");
        let mut binding = bindings.get(&name).await.expect("the guard is bound");
        bindings
            .delete(&name, &DeleteParams::default())
            .await
            .map(drop)
            .expect("an admin unbinds it");
        // The one before comes back only now, so that the controller never sees all of them.
        restore(&bindings, away.take()).await;
        until(&format!("the controller misses {name}"), NOTICED, || async {
            let log = last_lines_of_the_controller(&space.client).await;
            let told = |line: &&str| line.contains("no run starts") && line.contains(&name);
            log.lines()
                .any(|line| told(&line))
                .then_some(())
                .ok_or(log.lines().last().map(str::to_owned))
        })
        .await;
        let run = space.script(guard, BUSYBOX, "sh", "true\n", json!({})).await;
        let told = until(&format!("a run without {name} is told"), NOTICED, || async {
            let run = run.get().await;
            let status = run.status.clone().unwrap_or_default();
            let right = status.reason.as_deref() == Some(LiveReason::GuardNotReady.as_str())
                && status
                    .message
                    .as_deref()
                    .is_some_and(|message| message.contains(&name));
            if right { Ok(run) } else { Err(status) }
        })
        .await;
        assert!(!is_true(&told, "Stalled"), "{:#?}", told.status);
        assert!(run.jobs().await.is_empty(), "a Job without {name}");
        binding.metadata.resource_version = None;
        binding.metadata.uid = None;
        away = Some(binding);
        held.push(run);
    }
    // The control: with all guards back the same runs start.
    restore(&bindings, away.take()).await;
    for run in held {
        run.ends(Reason::Completed).await;
    }
    space.close().await;
}

async fn restore(
    bindings: &Api<ValidatingAdmissionPolicyBinding>,
    away: Option<ValidatingAdmissionPolicyBinding>,
) {
    if let Some(binding) = away {
        let made = bindings.create(&PostParams::default(), &binding).await;
        made.map(drop).expect("the guard is bound again");
    }
}
