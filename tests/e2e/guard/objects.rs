//! Objects as a user, a forger or the controller would write them.

use serde_json::{Value, json};

use crate::harness::OPERATOR_NAMESPACE;

/// Sets the value at `path` (`/a/b/0/c`), making objects on the way.
pub fn with(object: &Value, path: &str, value: Value) -> Value {
    let mut changed = object.clone();
    let mut place = &mut changed;
    for part in path.split('/').skip(1) {
        let part = part.replace("~1", "/");
        place = match part.parse::<usize>() {
            Ok(index) if place.is_array() => &mut place[index],
            _ => &mut place[part],
        };
    }
    *place = value;
    changed
}

fn restricted() -> Value {
    json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}})
}

/// A pod of anybody, under restricted pod security, that never finds a node.
pub fn ordinary_pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {
            "nodeSelector": {"cofferdam.test/nowhere": "true"},
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "web", "image": "cofferdam.test/busybox:dev", "securityContext": restricted()}],
        },
    })
}

/// A suspended run with a prompt of one byte.
pub fn suspended_run(name: &str) -> Value {
    json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun", "metadata": {"name": name},
        "spec": {"suspend": true, "task": {"prompt": "x"}, "agent": {"image": "cofferdam.test/busybox:dev"}},
    })
}

/// A Job of anybody.
pub fn ordinary_job(name: &str) -> Value {
    let mut spec = ordinary_pod("unused")["spec"].clone();
    spec["restartPolicy"] = json!("Never");
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"template": {"metadata": {"labels": {"app": "web"}}, "spec": spec}},
    })
}

fn token(name: &str, audience: &str) -> Value {
    let source =
        json!({"serviceAccountToken": {"audience": audience, "expirationSeconds": 600, "path": "token"}});
    json!({"name": name, "projected": {"sources": [source]}})
}

/// A Job as the controller makes it, except that its pod never finds a node.
pub fn sandbox_job(name: &str) -> Value {
    let labels = json!({
        "cofferdam.dev/run": "held", "cofferdam.dev/run-uid": "0b7c9f3e-0000-4000-8000-000000000000",
        "cofferdam.dev/policy-hash": "hash",
    });
    let ours = |name: &str, token: &str| {
        json!({
            "name": name, "image": "cofferdam.test/busybox:dev", "securityContext": restricted(),
            "volumeMounts": [{"name": token, "mountPath": "/var/run/cofferdam", "readOnly": true}],
        })
    };
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "template": {
                "metadata": {"labels": labels, "annotations": {"cofferdam.dev/pod-digest": "sha256:0"}},
                "spec": {
                    "nodeSelector": {"cofferdam.test/nowhere": "true"},
                    "runtimeClassName": "gvisor",
                    "serviceAccountName": "cofferdam-sandbox",
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "restartPolicy": "Never",
                    "securityContext": {
                        "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "initContainers": [ours("prepare", "token-prepare")],
                    "containers": [ours("sidecar", "token-sidecar"), {
                        "name": "agent", "image": "cofferdam.test/busybox:dev", "securityContext": restricted(),
                        "resources": {"requests": {"memory": "16Mi"}, "limits": {"memory": "64Mi"}},
                        "volumeMounts": [{"name": "home", "mountPath": "/home/agent"}],
                    }],
                    "volumes": [
                        token("token-prepare", "cofferdam-prepare"),
                        token("token-sidecar", "cofferdam-egress"),
                        {"name": "home", "emptyDir": {}},
                        {"name": "input", "configMap": {"name": "prompt", "optional": true}},
                    ],
                },
            },
        },
    })
}

/// A pod as the job-controller makes it for a Job of ours.
pub fn sandbox_pod(job: &str) -> Value {
    let template = sandbox_job(job)["spec"]["template"].clone();
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
    pod["metadata"]["name"] = json!(format!("{job}-x7k2p"));
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": "5e0d3a52-0000-4000-8000-000000000000",
        "controller": true, "blockOwnerDeletion": true,
    }]);
    pod
}

/// The fence.
pub fn fence() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "cofferdam-fence", "finalizers": ["cofferdam.dev/fence"]},
        "spec": {
            "podSelector": {"matchExpressions": [{"key": "cofferdam.dev/run", "operator": "Exists"}]},
            "policyTypes": ["Ingress", "Egress"],
            "egress": [{
                "ports": [{"protocol": "TCP", "port": 3128}],
                "to": [{
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": OPERATOR_NAMESPACE}},
                    "podSelector": {"matchLabels": {
                        "app.kubernetes.io/component": "gateway", "app.kubernetes.io/name": "cofferdam",
                    }},
                }],
            }],
        },
    })
}

/// A NetworkPolicy that lets the pods of `selector` ask DNS.
pub fn allow_dns(name: &str, selector: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name},
        "spec": {
            "podSelector": selector,
            "policyTypes": ["Egress"],
            "egress": [{"ports": [{"protocol": "UDP", "port": 53}]}],
        },
    })
}

/// The account of sandbox pods.
pub fn sandbox_account() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "cofferdam-sandbox"},
        "automountServiceAccountToken": false,
    })
}

/// Binds the user of these tests to the cluster's own role `edit`.
pub fn edit_binding() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "guard-edit"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "guard-edit"}],
    })
}

/// Lets the user of these tests run agents under every policy of the namespace.
pub fn use_binding() -> Value {
    let mut binding = edit_binding();
    binding["metadata"]["name"] = json!("guard-use");
    binding["roleRef"]["name"] = json!("cofferdam-user");
    binding
}
