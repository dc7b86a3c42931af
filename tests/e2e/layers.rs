//! A policy of the cluster and one of the namespace, met on a real cluster: the strictest wins, and says who it is.
//! The control of each refusal is the same ask under the namespace's policy alone, in [`crate::runs`].

use cofferdam_api::{Reason, names};
use serde_json::json;

use crate::harness::{ATTACKER, BUSYBOX, Space, ceiling, default_limits, forget_ceiling, restricted};

const LAYER: &str = "e2e-narrow";
const LABEL: &str = "cofferdam.test/layer";

#[tokio::test]
async fn a_cluster_policy_takes_away_what_the_namespaces_policy_grants() {
    let mut labels = restricted();
    labels[names::LABEL_SANDBOX] = json!(names::SANDBOX_ENABLED);
    labels[LABEL] = json!("narrow");
    let space = Space::open_with("layers", &labels).await;
    space.fenced().await;
    let narrow = json!({
        "images": {"mode": "AllowList", "allowed": [ATTACKER]},
        "egress": {"mode": "AllowList", "rules": [
            {"name": "tls-only", "hosts": ["allowed.internet.test"], "addresses": ["203.0.113.30/32"],
             "ports": [443], "tls": "Tunnel"}]},
    });
    ceiling(
        &space.client,
        LAYER,
        json!({"matchLabels": {LABEL: "narrow"}}),
        narrow,
    )
    .await;
    space.policy("default", default_limits()).await;

    let script = "for url in https://allowed.internet.test/ http://allowed.internet.test/; do\n\
        curl -s -o /dev/null -w \"%{http_code}\\n\" $url; done > result\n";
    let run = space
        .script("narrowed", ATTACKER, "bash", script, json!({}))
        .await;
    let refused = space.script("unnamed", BUSYBOX, "sh", "true\n", json!({})).await;
    let status = refused.ends(Reason::ImageDenied).await.status.unwrap();
    let message = status.message.unwrap_or_default();
    assert!(message.contains(LAYER), "the layer in: {message}");
    assert!(refused.jobs().await.is_empty());

    let status = run.ends(Reason::Completed).await.status.unwrap();
    // Both layers name the one, and only the namespace's names the other.
    assert_eq!(run.added("result").await, ["200", "403"]);
    assert_eq!(status.last_denied[0].code, "PortNotAllowed");
    let notes = run.event_notes("Denied").await;
    assert!(
        notes.iter().any(|note| note.contains(LAYER)),
        "the layer in: {notes:?}"
    );
    let policies = status.resolved.expect("what the asks came to").policies;
    assert!(policies.iter().any(|policy| policy.name == LAYER), "{policies:?}");
    assert!(
        policies.iter().any(|policy| policy.kind == "SandboxPolicy"),
        "{policies:?}"
    );

    forget_ceiling(&space.client, LAYER).await;
    space.close().await;
}
