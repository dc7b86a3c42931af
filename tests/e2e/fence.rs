//! The standing fence: healed, kept while a pod needs it, and not widened by what stood there before.

use std::time::Duration;

use cofferdam_api::{LiveReason, Reason, names};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::guard::Who;
use crate::harness::{
    ATTACKER, BUSYBOX, Ordinary, Run, Space, default_limits, is_true, restricted, sandboxed, until,
};

const LIMIT: Duration = Duration::from_mins(1);

/// Waits for a fence of another uid than `gone`, and gives it.
async fn another_fence(space: &Space, gone: Option<&str>) -> NetworkPolicy {
    let fences: Api<NetworkPolicy> = space.api();
    until("the fence is back", LIMIT, || async {
        match fences.get_opt(names::FENCE).await.expect("fences can be read") {
            Some(fence) if fence.metadata.uid.as_deref() != gone => Ok(fence),
            other => Err(other.map(|fence| fence.metadata)),
        }
    })
    .await
}

/// Deletes the fence as the only one whom the guard lets: Kubernetes' own namespace-controller.
async fn delete_fence(space: &Space) {
    let client = Who::Kubernetes("namespace-controller").client().await;
    let fences: Api<NetworkPolicy> = Api::namespaced(client, &space.name);
    let deleted = fences.delete(names::FENCE, &DeleteParams::default()).await;
    deleted
        .map(drop)
        .expect("the guard lets the namespace-controller");
}

#[tokio::test]
async fn a_fence_that_goes_is_made_anew_and_stays_while_a_pod_is_there() {
    let space = Space::open("healing").await;
    let first = another_fence(&space, None).await;
    delete_fence(&space).await;
    let second = another_fence(&space, first.metadata.uid.as_deref()).await;
    assert_eq!(second.spec, first.spec);

    let run = space.script("kept", BUSYBOX, "sh", "sleep 12\n", json!({})).await;
    run.in_phase("Running").await;
    delete_fence(&space).await;
    space.label(names::LABEL_SANDBOX, None).await;
    let kept = second.metadata.uid.as_deref();
    until("the agent ends behind its fence", LIMIT, || async {
        let fence = space.api::<NetworkPolicy>().get_opt(names::FENCE).await;
        let fence = fence.expect("fences can be read");
        // Read after the fence: if it runs now, it ran when the fence was looked for.
        let pod = run.pod().await.and_then(|pod| pod.status);
        let phase = pod.and_then(|status| status.phase).unwrap_or_default();
        if phase != "Running" {
            return Ok(());
        }
        let fence = fence.expect("the fence stays while the pod runs").metadata;
        assert_eq!(
            fence.uid.as_deref(),
            kept,
            "it is the same one, in whatever haste it was to be removed"
        );
        Err(fence)
    })
    .await;
    run.ends(Reason::Completed).await;
    let fences: Api<NetworkPolicy> = space.api();
    until(
        "the fence of a namespace without sandboxes is gone",
        LIMIT,
        || async {
            match fences.get_opt(names::FENCE).await.expect("fences can be read") {
                None => Ok(()),
                Some(left) => Err(left.metadata),
            }
        },
    )
    .await;
    space.close().await;
}

fn widening() -> NetworkPolicy {
    let policy: Value = json!({"metadata": {"name": "let-all-out"}, "spec": {
        "podSelector": {}, "policyTypes": ["Egress"], "egress": [{}],
    }});
    serde_json::from_value(policy).unwrap()
}

/// Opts the namespace in, and makes a run in it, which is held for `reason` with a message that names `what`.
async fn held_once_opted_in(space: &Space, reason: LiveReason, what: &str) -> Run {
    space
        .label(names::LABEL_SANDBOX, Some(names::SANDBOX_ENABLED))
        .await;
    space.fenced().await;
    space.policy("default", default_limits()).await;
    let run = space.script("held", BUSYBOX, "sh", "true\n", json!({})).await;
    let held = until("the run is held", LIMIT, || async {
        let run = run.get().await;
        let status = run.status.clone().unwrap_or_default();
        if status.reason.as_deref() == Some(reason.as_str()) {
            Ok(run)
        } else {
            Err(status)
        }
    })
    .await;
    assert!(!is_true(&held, "Stalled"), "{:#?}", held.status);
    let message = held.status.unwrap_or_default().message.unwrap_or_default();
    assert!(message.contains(what), "{message}");
    assert!(run.jobs().await.is_empty());
    run
}

#[tokio::test]
async fn a_policy_that_stood_there_before_and_widens_holds_every_run() {
    let space = Space::open_with("foreign-policy", &restricted()).await;
    let policies: Api<NetworkPolicy> = space.api();
    // Before the namespace opts in, its NetworkPolicies are its own affair.
    let made = policies.create(&PostParams::default(), &widening()).await;
    made.expect("the guard does not judge this namespace yet");
    let run = held_once_opted_in(&space, LiveReason::FenceWidened, "let-all-out").await;
    // The control: without that policy the same run starts.
    let deleted = policies.delete("let-all-out", &DeleteParams::default()).await;
    deleted.map(drop).expect("an admin deletes it");
    run.ends(Reason::Completed).await;
    space.close().await;
}

#[tokio::test]
async fn a_service_that_stood_there_before_and_selects_sandboxes_holds_every_run() {
    let space = Space::open_with("foreign-service", &restricted()).await;
    let services: Api<Service> = space.api();
    let door = json!({"metadata": {"name": "door"}, "spec": {
        "selector": {"cofferdam.dev/run": "held"}, "ports": [{"port": 80, "targetPort": 8000}],
    }});
    let made = services
        .create(&PostParams::default(), &serde_json::from_value(door).unwrap())
        .await;
    made.expect("the guard does not judge this namespace yet");
    let run = held_once_opted_in(&space, LiveReason::SandboxSelected, "Service door").await;
    // The control: without that Service the same run starts.
    let deleted = services.delete("door", &DeleteParams::default()).await;
    deleted.map(drop).expect("an admin deletes it");
    run.ends(Reason::Completed).await;
    space.close().await;
}

/// An agent that would take connections, and says so.
const LISTENS: &str = "import socket
server = socket.create_server(('', 8080))
print('listening', flush=True)
while True:
    server.accept()
    open('accepted', 'w').write('by somebody')
";
/// An ordinary server that takes as many connections as there are pods that try.
const SERVES: &str = "import socket
server = socket.create_server(('', 8080))
for _ in range(2):
    server.accept()
open('result', 'w').write('served')
";
/// The ordinary server comes first, and may still be starting: a pod that runs has not always begun to listen.
const DIALS: &str = "import json, socket, time
said = []
for name, host, port in json.loads('@@TARGETS@@'):
    for left in reversed(range(30 if name == 'ordinary' else 1)):
        try:
            socket.create_connection((host, port), timeout=3).close()
            said.append(name)
            break
        except ConnectionRefusedError:
            if not left:
                said.append(name + ' refused')
            time.sleep(1)
        except OSError:
            break
open('result', 'w').write(json.dumps(said))
";

/// The fence holds inwards: no pod beside a sandbox, and none of another namespace, dials into it, neither where its agent
/// listens nor where the sidecar answers the kubelet.
#[tokio::test]
async fn no_pod_dials_into_a_sandbox() {
    let space = Space::open("fence-inwards").await;
    let elsewhere = Space::open_with("fence-inwards-beside", &restricted()).await;
    let run = space
        .script("listens", ATTACKER, "python3", LISTENS, json!({}))
        .await;
    run.in_phase("Running").await;
    let sandbox = run.address().await;
    let server = Ordinary::start(&space, "serves", SERVES, &sandboxed()).await;
    let ordinary = until(
        "the ordinary server has an address",
        Duration::from_mins(1),
        || async {
            let status = space
                .api::<Pod>()
                .get("serves")
                .await
                .expect("it is there")
                .status;
            match status.as_ref().and_then(|status| status.pod_ip.clone()) {
                Some(address)
                    if status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running") =>
                {
                    Ok(address)
                }
                _ => Err(status),
            }
        },
    )
    .await;
    let targets = json!([
        ["ordinary", ordinary, 8080],
        ["agent", sandbox, 8080],
        ["sidecar", sandbox, 3130]
    ]);
    let script = DIALS.replace("@@TARGETS@@", &targets.to_string());
    for (space, name) in [(&space, "dials"), (&elsewhere, "dials-from-beside")] {
        let dials = Ordinary::start(space, name, &script, &sandboxed()).await;
        let (_, said) = dials.ended().await;
        // The control is the ordinary server, which is reached.
        assert_eq!(said, ["[\"ordinary\"]"], "{name}");
    }
    assert_eq!(server.ended().await.1, ["served"]);
    run.change(json!({"cancel": "KeepWork"}))
        .await
        .expect("cancel may be set");
    let outputs = run.ends(Reason::Cancelled).await.status.unwrap().outputs;
    let files: i32 = outputs
        .iter()
        .flat_map(|outputs| &outputs.patches)
        .map(|patch| patch.files)
        .sum();
    assert_eq!(files, 0, "the agent took a connection");
    space.close().await;
    elsewhere.close().await;
}
