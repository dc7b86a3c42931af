//! The ceiling of these tests, and a run within it.

use serde_json::{Value, json};

use crate::harness::{default_limits, merge};

/// Digest of the one image that may be named by it.
pub const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// What the namespace's policy `default` allows.
pub fn limits() -> Value {
    let mut limits = default_limits();
    merge(&mut limits, &team());
    let more = json!({
        "images": {"allowed": [
            "cofferdam.test/team/*", "cofferdam.test/busybox:dev", format!("cofferdam.test/pinned@{DIGEST}"),
            "docker.io/library/python", "ghcr.io/team/*"]},
        "requester": "Optional",
    });
    merge(&mut limits, &more);
    limits
}

/// What a team's policies say otherwise than [`default_limits`].
pub fn team() -> Value {
    json!({
        "repositories": {"clone": [
            {"name": "forge", "url": "https://git.internet.test/team/*", "addresses": ["203.0.113.10/32"]}]},
        "maxResources": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "4Gi"},
        "maxTTLSecondsAfterFinished": 3600,
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
