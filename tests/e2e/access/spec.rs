//! The ceiling of these tests, and a run within it.

use serde_json::{Value, json};

use crate::harness::merge;

/// Digest of the one image that may be named by it.
pub const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// What the namespace's policy `default` allows.
pub fn limits() -> Value {
    json!({
        "runtime": {"classes": ["gvisor"]},
        "images": {"mode": "AllowList", "allowed": [
            "cofferdam.test/team/*", "cofferdam.test/busybox:dev", format!("cofferdam.test/pinned@{DIGEST}"),
            "docker.io/library/python", "ghcr.io/team/*", "cofferdam.test/cofferdam-runner"]},
        "repositories": {"mode": "AllowList", "read": [
            {"name": "forge", "url": "https://git.internet.test/team/*", "addresses": ["203.0.113.10/32"]}]},
        "egress": {"mode": "AllowList", "rules": [
            {"name": "allowed", "hosts": ["allowed.internet.test"], "addresses": ["203.0.113.30/32"],
             "ports": [80, 443], "tls": "Tunnel"}]},
        "maxResources": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "4Gi"},
        "maxTTLSeconds": 3600,
        "requester": "Optional",
    })
}

/// A run within the ceiling, with these changes.
pub fn run(change: &Value) -> Value {
    let mut spec = json!({
        "task": {"prompt": "nothing"},
        "agent": {"image": "cofferdam.test/team/agent:1"},
    });
    merge(&mut spec, change);
    spec
}
