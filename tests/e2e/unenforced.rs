//! The same cluster without its NetworkPolicy engine: the control of every "cannot reach", and the proof that a
//! run notices. Ignored by default; `make e2e` switches the enforcer off and runs them by name.

use cofferdam_api::{Reason, names};
use serde_json::json;

use crate::attacks;
use crate::harness::{BUSYBOX, Ordinary, Space, sandboxed};

#[tokio::test]
#[ignore = "needs `cluster up --no-network-policy`"]
async fn an_ordinary_pod_reaches_all_that_a_sandbox_must_not() {
    let since = jiff::Timestamp::now();
    let space = Space::open("reachable").await;
    let script = attacks::script(&space.client, None).await;
    let ordinary = Ordinary::start(&space, "ordinary", &script, &sandboxed()).await;
    let (address, lines) = ordinary.ended().await;
    let mut wrong = attacks::not_reached(&lines, &[]);
    wrong.extend(attacks::not_at_the_sink(&address, since));
    assert!(wrong.is_empty(), "{wrong:#?}");
    space.close().await;
}

#[tokio::test]
#[ignore = "needs `cluster up --no-network-policy`"]
async fn without_enforcement_the_agent_is_never_started() {
    let space = Space::open("unenforced").await;
    let run = space
        .script("unfenced", BUSYBOX, "sh", "echo started > file\n", json!({}))
        .await;
    let status = run.ends(Reason::EgressNotEnforced).await.status.unwrap();
    let message = status.message.unwrap_or_default();
    // The control of the probes: each of these could be reached here, and none where the fence holds.
    for probe in ["gateway-canary", "api-server"] {
        assert!(message.contains(probe), "{probe} in: {message}");
    }
    assert_eq!(status.agent_start_time, None);
    if let Some(pod) = run.pod().await {
        let agent = pod
            .status
            .and_then(|status| status.container_statuses)
            .unwrap_or_default();
        let started = agent
            .iter()
            .filter(|c| c.name == names::CONTAINER_AGENT)
            .any(|c| c.started == Some(true));
        assert!(!started, "{agent:#?}");
    }
    space.close().await;
}
