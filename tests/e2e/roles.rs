//! What each role reaches: the chart's `NetworkPolicies`, tried from pods that have the labels of a role and nothing else of it.
//! They are never ready, so that no Service sends anything to them.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::AsyncReadExt as _;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::{DeleteParams, LogParams, PostParams};
use serde_json::json;

use crate::harness::{ATTACKER, OPERATOR_NAMESPACE, client, until};

/// What each role is to reach, and a pod of the operator's namespace that is none of them.
const TABLE: [(&str, &[&str]); 6] = [
    ("controller", &["API server", "DNS", "archive"]),
    ("gateway", &["API server", "DNS", "archive", "internet"]),
    ("archive", &["API server"]),
    ("output", &["API server", "DNS", "archive"]),
    ("keys", &["API server"]),
    ("none", &[]),
];

const SCRIPT: &str = "import json, socket, sys
for name, host, port in json.loads(sys.argv[1]):
    try:
        socket.create_connection((host, port), timeout=3).close()
    except ConnectionRefusedError:
        pass
    except OSError:
        continue
    print(name, flush=True)
";

/// Everything that some role reaches, and what none of them is to.
async fn targets() -> serde_json::Value {
    let services: Api<Service> = Api::namespaced(client().await, OPERATOR_NAMESPACE);
    let address = async |name: &str| {
        let service = services.get(name).await.expect("a Service of the chart");
        service
            .spec
            .and_then(|spec| spec.cluster_ip)
            .expect("its address")
    };
    json!([
        ["API server", "10.96.0.1", 443],
        ["DNS", "10.96.0.10", 53],
        ["archive", address("cofferdam-archive").await, 8080],
        ["gateway", address("cofferdam-gateway").await, 3128],
        ["output API", address("cofferdam-output").await, 443],
        ["kubelet", "10.10.0.1", 10250],
        ["internet", "203.0.113.30", 443],
    ])
}

/// Names of what a pod with the labels of this role reaches.
async fn reached(pods: &Api<Pod>, role: &str, targets: &str) -> BTreeSet<String> {
    let name = format!("e2e-role-{role}");
    let pod = json!({
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "cofferdam", "app.kubernetes.io/component": role}},
        "spec": {
            "restartPolicy": "Never", "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "tries", "image": ATTACKER, "imagePullPolicy": "Never", "command": ["python3", "-c", SCRIPT, targets],
                "readinessProbe": {"exec": {"command": ["false"]}},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    });
    let pod = serde_json::from_value(pod).expect("a pod");
    pods.create(&PostParams::default(), &pod)
        .await
        .map(drop)
        .expect("an admin makes it");
    until(
        &format!("{name} has tried all"),
        Duration::from_mins(3),
        || async {
            let status = pods
                .get(&name)
                .await
                .expect("the pod is there")
                .status
                .unwrap_or_default();
            match status.phase.as_deref() {
                Some("Succeeded") => Ok(()),
                _ => Err(status),
            }
        },
    )
    .await;
    let mut said = String::new();
    let mut log = pods
        .log_stream(&name, &LogParams::default())
        .await
        .expect("its log");
    log.read_to_string(&mut said).await.expect("all of it");
    said.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn each_role_reaches_what_its_table_says_and_nothing_else() {
    let pods: Api<Pod> = Api::namespaced(client().await, OPERATOR_NAMESPACE);
    let forget = async || {
        for (role, _) in TABLE {
            let name = format!("e2e-role-{role}");
            // What an earlier run of this test left, or this one made.
            drop(pods.delete(&name, &DeleteParams::default()).await);
            until(&format!("{name} is gone"), Duration::from_mins(1), || async {
                match pods.get_opt(&name).await.expect("pods can be read") {
                    None => Ok(()),
                    Some(pod) => Err(pod.status),
                }
            })
            .await;
        }
    };
    forget().await;
    let targets = targets().await.to_string();
    let seen = TABLE.map(|(role, _)| reached(&pods, role, &targets));
    let seen = futures::future::join_all(seen).await;
    forget().await;
    let wanted = TABLE.map(|(_, names)| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    });
    for ((role, _), (seen, wanted)) in TABLE.iter().zip(seen.into_iter().zip(wanted)) {
        assert_eq!(seen, wanted, "{role}");
    }
}
