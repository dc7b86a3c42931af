//! Manifests that tests change in one place.

use serde_json::{Value, json};

/// A run that uses every field but `requestedBy`, which a cluster holds to whoever creates the run.
pub fn run() -> Value {
    json!({
        "apiVersion": "cofferdam.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": "fix-login", "namespace": "team-a"},
        "spec": {
            "policyRef": {"name": "strict"},
            "task": {"prompt": "Fix the login form."},
            "agent": {
                "image": "ghcr.io/team-a/agent:2.1",
                "command": ["run"],
                "args": ["--fast"],
                "env": [{"name": "EDITOR", "value": "true"}, {"name": "LANG", "value": "C.UTF-8"}],
            },
            "repositories": [
                {"name": "app", "url": "https://github.com/team-a/app", "ref": "main", "access": "ReadWrite"},
                {"name": "docs", "url": "https://git.example.com:8443/docs.git", "path": "manual",
                 "clone": {"depth": 0, "branches": "All", "sparse": ["src/app", "docs"], "submodules": "Recursive"}},
            ],
            "egress": {"mode": "AllowList", "rules": [
                {"name": "model", "hosts": ["api.example.com", "*.cdn.example.com"], "ports": [443, 8443]},
            ]},
            "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "2", "memory": "4Gi"}},
            "schedulingProfileName": "batch",
            "onBehalfOf": "Zoë (issue #7)",
            "startDeadlineSeconds": 300,
            "activeDeadlineSeconds": 1800,
            "ttlSecondsAfterFinished": 0,
        },
    })
}

/// A cluster policy that uses every field.
pub fn cluster_policy() -> Value {
    json!({
        "apiVersion": "cofferdam.dev/v1alpha1",
        "kind": "ClusterSandboxPolicy",
        "metadata": {"name": "baseline"},
        "spec": {
            "namespaceSelector": {
                "matchLabels": {"tier": "agents"},
                "matchExpressions": [{"key": "stage", "operator": "In", "values": ["test"]}],
            },
            "limits": limits(),
            "agentProfiles": [agent_profile()],
        },
    })
}

/// An image by its digest.
fn pinned() -> String {
    format!("ghcr.io/team-a/claude-code@sha256:{}", "0".repeat(64))
}

fn agent_profile() -> Value {
    json!({
        "name": "claude-code", "description": "Claude Code with the large model", "image": pinned(),
        "command": ["claude"], "args": ["--print"], "env": [{"name": "MODEL", "value": "large"}],
        "egress": {"mode": "AllowList", "rules": [{"name": "model", "hosts": ["api.example.com"]}]},
    })
}

/// A namespace's policy that uses every field.
pub fn policy() -> Value {
    json!({
        "apiVersion": "cofferdam.dev/v1alpha1",
        "kind": "SandboxPolicy",
        "metadata": {"name": "strict", "namespace": "team-a"},
        "spec": {
            "limits": limits(),
            "defaults": {
                "resources": {"limits": {"memory": "2Gi"}},
                "startDeadlineSeconds": 100,
                "activeDeadlineSeconds": 1000,
                "ttlSecondsAfterFinished": 3600,
            },
            "schedulingProfiles": [scheduling_profile(), {"name": "default", "disruption": "Allow"}],
            "agentProfiles": [agent_profile(), {"name": "plain", "image": pinned()}],
            "imagePullSecrets": [{"name": "registry.pull"}, {"name": "mirror"}],
        },
    })
}

fn scheduling_profile() -> Value {
    let runs = json!({"matchExpressions": [{"key": "cofferdam.dev/run", "operator": "Exists"}]});
    let near = json!({
        "topologyKey": "kubernetes.io/hostname", "labelSelector": runs, "namespaceSelector": {}, "namespaces": ["team-b"],
        "matchLabelKeys": ["cofferdam.dev/policy-hash"], "mismatchLabelKeys": ["cofferdam.dev/run"],
    });
    let term = json!({"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["8"]}]});
    json!({
        "name": "batch",
        "nodeSelector": {"pool": "sandboxes"},
        "tolerations": [{"key": "sandboxes", "operator": "Equal", "value": "only", "effect": "NoExecute", "tolerationSeconds": 60}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    term, {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["node-1.example"]}]},
                ]},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": term}],
            },
            "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [near]},
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": near}]},
        },
        "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": runs,
            "matchLabelKeys": ["cofferdam.dev/policy-hash"], "nodeAffinityPolicy": "Honor", "nodeTaintsPolicy": "Ignore",
        }],
        "priorityClassName": "low.priority",
        "disruption": "Avoid",
        "queueName": "agents",
    })
}

fn limits() -> Value {
    json!({
        "runtime": {"runtimeClassNames": ["gvisor", "kata.v2"], "nodeAccess": "Allow", "runAsUser": "PlatformAssigned",
            "userNamespaces": "Preferred", "kernelCheck": "GVisor"},
        "images": {"mode": "AllowList", "digest": "Record", "pullPolicy": "IfNotPresent",
            "vulnerabilities": {"maxSeverity": "High", "onMissingReport": "Allow"}, "allowed": ["ghcr.io/team-a/*", "docker.io/library/alpine:3.20", "registry.example.com:5000/**"]},
        "repositories": {"mode": "AllowList", "clone": [
            {"name": "team", "url": "https://github.com/team-a/*"},
            {"name": "docs", "url": "https://git.example.com:8443/**", "addresses": ["10.20.0.0/16", "fd12::/32"]},
        ]},
        "egress": {"mode": "AllowList", "rules": [
            {"name": "model", "hosts": ["api.example.com"], "tls": "Tunnel"},
            {"name": "inside", "hosts": ["*.corp.example.com", "git.example.com"], "addresses": ["10.20.0.0/16"], "ports": [443, 8443], "tls": "Tunnel"},
            {"name": "issues", "hosts": ["tracker.example.com"], "ports": [80], "methods": ["GET", "POST"],
             "paths": ["/repos/team-a/*/issues", "/simple/**", "/info/refs?service=git-upload-pack"], "tls": "Inspect"},
            {"name": "packages", "preset": "npm", "addresses": ["10.20.0.0/16"]},
            {"name": "proxy", "services": [{"namespace": "models", "name": "litellm", "port": 4000}], "methods": ["POST"],
             "paths": ["/v1/**"], "credential": "litellm", "credentialInClearText": "Deny"},
        ]},
        "tunnels": "Deny",
        "evidence": {"onSinkFailure": "Stop", "keepRecordsDays": 400, "keepPatchesDays": 36500},
        "maxResources": {"cpu": "4", "memory": "16Gi", "ephemeral-storage": "50Gi"},
        "maxStartDeadlineSeconds": 1800,
        "maxActiveDeadlineSeconds": 14400,
        "maxTTLSecondsAfterFinished": 0,
        "maxRunning": 4,
        "maxCloneBytes": 5_368_709_120_i64,
        "retry": "BeforeAgentStart",
        "requester": "Required",
    })
}

/// `manifest` with the value at `pointer` set; the parent must exist.
pub fn with(manifest: &Value, pointer: &str, value: Value) -> Value {
    let mut manifest = manifest.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match manifest
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("nothing at {parent}"))
    {
        Value::Object(fields) => {
            fields.insert(key.to_owned(), value);
        }
        Value::Array(items) => match key {
            "-" => items.push(value),
            index => items[index.parse::<usize>().unwrap()] = value,
        },
        other => panic!("{parent} is {other}"),
    }
    manifest
}

/// `manifest` without the field at `pointer`, which must exist.
pub fn without(manifest: &Value, pointer: &str) -> Value {
    let mut manifest = manifest.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let fields = manifest
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .unwrap();
    assert!(fields.remove(key).is_some(), "nothing at {pointer}");
    manifest
}

/// Digest of some prompt.
pub fn prompt_digest() -> String {
    format!("sha256:{}", "0a".repeat(32))
}

/// The task of a run whose prompt stands in a ConfigMap.
pub fn prompt_from(map: &str, key: &str, digest: &str) -> Value {
    json!({"promptFrom": {"configMapKeyRef": {"name": map, "key": key, "digest": digest}}})
}
