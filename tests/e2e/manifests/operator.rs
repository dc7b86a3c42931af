//! The operator's own pods: whether they lived through it.

use std::collections::BTreeMap;
use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, Client};

use crate::harness::OPERATOR_NAMESPACE;

/// The operator's pods at a time.
pub struct Operator {
    restarts: BTreeMap<String, i32>,
    at: Instant,
}

impl Operator {
    /// As they are now.
    pub async fn look(client: &Client) -> Self {
        let pods: Api<Pod> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
        let pods = pods
            .list(&ListParams::default())
            .await
            .expect("the operator's pods");
        let restarts = pods.items.into_iter().map(|pod| {
            let statuses = pod.status.and_then(|status| status.container_statuses);
            let count = statuses.iter().flatten().map(|status| status.restart_count).sum();
            (pod.metadata.name.unwrap_or_default(), count)
        });
        let restarts: BTreeMap<String, i32> = restarts.collect();
        assert!(
            restarts.len() >= 3,
            "controller, gateway and archive: {restarts:?}"
        );
        Self {
            restarts,
            at: Instant::now(),
        }
    }

    /// What happened to them since.
    pub async fn since(&self, client: &Client) -> Vec<String> {
        let now = Self::look(client).await.restarts;
        let mut failures = Vec::new();
        if now != self.restarts {
            failures.push(format!("the operator's pods: {:?} became {now:?}", self.restarts));
        }
        let pods: Api<Pod> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
        let params = LogParams {
            since_seconds: i64::try_from(self.at.elapsed().as_secs()).ok(),
            ..LogParams::default()
        };
        for name in now.keys() {
            let log = pods.logs(name, &params).await.expect("its log");
            let panics = log.lines().filter(|line| line.contains("panicked at"));
            failures.extend(panics.map(|line| format!("{name}: {line}")));
        }
        failures
    }
}
