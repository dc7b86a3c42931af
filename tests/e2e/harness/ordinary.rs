//! An ordinary pod: what anybody may make beside a sandbox. It runs the same script as an agent, and shows what the
//! script sees where the protection under test is not there.

use std::time::Duration;

use futures::AsyncReadExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{LogParams, PostParams};
use serde_json::{Value, json};

use super::{ATTACKER, Space, merge, until};

/// Longest time that an ordinary pod may take.
const LIMIT: Duration = Duration::from_mins(3);

/// A pod under gVisor, as restricted as pod security asks and no more, with no label of Cofferdam's.
pub fn sandboxed() -> Value {
    json!({
        "runtimeClassName": "gvisor",
        "automountServiceAccountToken": false,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
    })
}

/// A pod that nothing confines: root, privileged, on the node's own kernel, with a token for the API server.
pub fn unconfined() -> Value {
    json!({
        "automountServiceAccountToken": true,
        "containers": [{
            "securityContext": {"privileged": true, "runAsUser": 0},
            "env": [{"name": "TOKEN", "value": "eyJhbGciOi"}],
        }],
    })
}

/// An ordinary pod.
pub struct Ordinary<'a> {
    space: &'a Space,
    name: &'static str,
}

impl<'a> Ordinary<'a> {
    /// Starts a pod of this shape that runs a Python script in its home. The script writes `./result`.
    pub async fn start(space: &'a Space, name: &'static str, script: &str, shape: &Value) -> Self {
        let map = json!({"metadata": {"name": name}, "data": {"prompt": script}});
        space
            .api::<ConfigMap>()
            .create(&PostParams::default(), &serde_json::from_value(map).unwrap())
            .await
            .expect("a script's ConfigMap");
        let mut spec = shape.clone();
        merge(
            &mut spec,
            &json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "volumes": [
                {"name": "script", "configMap": {"name": name}},
                {"name": "tmp", "emptyDir": {}},
                {"name": "home", "emptyDir": {}},
                {"name": "contract", "emptyDir": {}},
            ]}),
        );
        merge(
            &mut spec["containers"][0],
            &json!({
                "name": "ordinary", "image": ATTACKER, "imagePullPolicy": "Never", "workingDir": "/home/agent",
                "command": ["sh", "-c", "python3 /script/prompt >&2; cat /home/agent/result"],
                "volumeMounts": [
                    {"name": "script", "mountPath": "/script"},
                    {"name": "tmp", "mountPath": "/tmp"},
                    {"name": "home", "mountPath": "/home/agent"},
                    {"name": "contract", "mountPath": "/cofferdam"},
                ],
            }),
        );
        let pod = json!({"metadata": {"name": name}, "spec": spec});
        space
            .api::<Pod>()
            .create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
            .await
            .expect("an ordinary pod");
        Self { space, name }
    }

    /// Waits for its success; gives its address and the lines that it wrote.
    pub async fn ended(&self) -> (String, Vec<String>) {
        let pods = self.space.api::<Pod>();
        let what = format!("the ordinary pod {} ends", self.name);
        let address = until(&what, LIMIT, || async {
            let status = pods.get(self.name).await.unwrap().status.unwrap_or_default();
            match (status.phase.as_deref(), &status.pod_ip) {
                (Some("Succeeded"), Some(address)) => Ok(address.clone()),
                _ => Err(status),
            }
        })
        .await;
        let params = LogParams::default();
        let mut stream = pods.log_stream(self.name, &params).await.expect("its log");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.expect("its whole log");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (address, text.lines().map(str::to_owned).collect())
    }
}
