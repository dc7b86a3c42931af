//! What a run asks to reach only narrows: read from the frozen policy that the gateway decides by.

use std::time::Duration;

use cofferdam_api::names::{FROZEN_POLICY_KEY, LABEL_POLICY_HASH, frozen_policy_name};
use cofferdam_policy::frozen::FrozenPolicy;
use cofferdam_policy::pattern::host::Host;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::{Value, json};

use super::spec::{limits, run};
use super::world::World;
use crate::harness::{OPERATOR_NAMESPACE, Run, until};

const ALLOWED: (&str, u16) = ("allowed.internet.test", 443);

async fn frozen(world: &World, run: &Run) -> FrozenPolicy {
    let job = until("an admitted run has a Job", Duration::from_mins(1), || async {
        match world.job(run).await {
            Some(job) => Ok(job),
            None => Err(run.get().await.status),
        }
    })
    .await;
    let labels = job.metadata.labels.unwrap_or_default();
    let maps: Api<ConfigMap> = Api::namespaced(world.space.client.clone(), OPERATOR_NAMESPACE);
    let map = maps
        .get(&frozen_policy_name(&labels[LABEL_POLICY_HASH]))
        .await
        .expect("the frozen policy");
    FrozenPolicy::parse(&map.data.unwrap_or_default()[FROZEN_POLICY_KEY])
        .expect("the frozen policy is canonical")
}

fn reaches(frozen: &FrozenPolicy, (host, port): (&str, u16)) -> bool {
    let host = Host::parse(host).expect("a host");
    frozen.agent_route(&host, port).is_allowed()
}

#[tokio::test]
async fn no_ask_for_egress_reaches_more_than_the_policies_grant() {
    let world = World::open("access-egress", limits()).await;
    let ask = |hosts: &[&str], ports: &[u16]| json!({"egress": {"mode": "AllowList", "rules": [{"name": "out", "hosts": hosts, "ports": ports}]}});
    let clone = json!({"repositories": [{"name": "work", "url": "https://git.internet.test/team/app"}]});
    // What, the ask, and what it must not reach though it asks for it.
    let attempts: Vec<(&str, Value, (&str, u16))> = vec![
        (
            "a wildcard around what is granted",
            ask(&["*.internet.test"], &[443]),
            ("other.internet.test", 443),
        ),
        (
            "another port of it",
            ask(&[ALLOWED.0], &[22, 443]),
            (ALLOWED.0, 22),
        ),
        (
            "a host beside it",
            ask(&[ALLOWED.0, "sink.evil.test"], &[443]),
            ("sink.evil.test", 443),
        ),
        (
            "the cluster's own names",
            ask(&[ALLOWED.0, "kubernetes.default.svc"], &[443]),
            ("kubernetes.default.svc", 443),
        ),
        (
            "the forge that was cloned from",
            clone,
            ("git.internet.test", 443),
        ),
        ("no ask at all", json!({}), ("other.internet.test", 443)),
    ];
    let mut failures = Vec::new();
    for (index, (what, spec, beyond)) in attempts.iter().enumerate() {
        let created = world
            .run(&format!("egress-{index}"), &run(spec))
            .await
            .expect("the run is well formed");
        let frozen = frozen(&world, &created).await;
        // The control: what the ask and the policies have in common is open.
        if reaches(&frozen, *beyond) || !reaches(&frozen, ALLOWED) {
            failures.push(format!("{what}: {}", frozen.to_json()));
        }
    }
    world.close().await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
