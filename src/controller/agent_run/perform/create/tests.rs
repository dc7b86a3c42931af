//! A run that starts while its frozen policy is swept, in every order of their requests, against an API server of
//! two kinds in memory.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::*;
use crate::sweep::remove;
use crate::testing;

#[derive(Default)]
struct Server {
    objects: HashMap<String, Value>,
    version: u64,
    deletions: usize,
}

impl Server {
    fn answer(&mut self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        let failure = |code: u16, reason: &str| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
                "message": reason, "code": code});
            (code, status)
        };
        if *method == Method::POST {
            let key = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
            if self.objects.contains_key(&key) {
                return failure(409, "AlreadyExists");
            }
            self.version += 1;
            let mut stored = body.clone();
            stored["metadata"]["uid"] = json!(format!("uid-{}", self.version));
            stored["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.objects.insert(key, stored.clone());
            return (201, stored);
        }
        if path == "/apis/batch/v1/jobs" {
            let jobs: Vec<&Value> = self
                .objects
                .values()
                .filter(|object| object["kind"] == "Job")
                .collect();
            return (
                200,
                json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": jobs}),
            );
        }
        let Some(found) = self.objects.get(path).cloned() else {
            return failure(404, "NotFound");
        };
        if *method == Method::DELETE {
            assert_eq!(
                body["preconditions"]["resourceVersion"],
                found["metadata"]["resourceVersion"]
            );
            assert_eq!(body["preconditions"]["uid"], found["metadata"]["uid"]);
            self.objects.remove(path);
            self.deletions += 1;
        }
        (200, found)
    }
}

/// A client each of whose requests waits for a turn.
fn client(server: &Arc<Mutex<Server>>, turns: &Arc<Semaphore>) -> Client {
    let (server, turns) = (Arc::clone(server), Arc::clone(turns));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (server, turns) = (Arc::clone(&server), Arc::clone(&turns));
        async move {
            turns.acquire().await.unwrap().forget();
            let (head, body) = request.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&bytes).unwrap_or_default();
            let (code, answer) = server.lock().answer(&head.method, head.uri.path(), &body);
            let answer = Response::builder()
                .status(code)
                .body(Body::from(answer.to_string().into_bytes()));
            Ok::<_, Infallible>(answer.unwrap())
        }
    });
    Client::new(service, "unused")
}

/// Lets everything that can go on go on.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Longest sequence of requests of either side.
const REQUESTS: u32 = 5;

#[tokio::test]
async fn a_job_that_is_there_has_its_policy_whatever_a_sweep_does_meanwhile() {
    let (mut swept, mut spared) = (0, 0);
    for order in 0..1_u32 << (2 * REQUESTS) {
        if order.count_ones() != REQUESTS {
            continue;
        }
        let server = Arc::new(Mutex::new(Server::default()));
        let policy = testing::workload(&testing::run()).frozen_policy;
        let path = "/api/v1/namespaces/operator-space/configmaps";
        let body = serde_json::to_value(&policy).unwrap();
        server.lock().answer(&Method::POST, path, &body);
        let turns = [(), ()].map(|()| Arc::new(Semaphore::new(0)));
        let [starting, sweeping] = [0, 1].map(|side| client(&server, &turns[side]));
        let name = policy.name_any();
        let start = tokio::spawn(async move {
            let run = testing::run();
            create(&starting, &run, testing::workload(&run)).await.unwrap();
        });
        let sweep = tokio::spawn(async move { remove(&sweeping, "operator-space", &name).await.unwrap() });
        for turn in 0..2 * REQUESTS {
            turns[(order >> turn & 1) as usize].add_permits(1);
            settle().await;
        }
        start.await.unwrap();
        sweep.await.unwrap();
        let server = server.lock();
        assert!(
            server
                .objects
                .contains_key(&format!("{path}/{}", policy.name_any())),
            "order {order:010b}: the Job has no policy"
        );
        assert!(server.objects.values().any(|object| object["kind"] == "Job"));
        swept += usize::from(server.deletions > 0);
        spared += usize::from(server.deletions == 0);
    }
    // The race was there, and so was its absence.
    assert!(swept > 20 && spared > 20, "{swept} {spared}");
}

#[tokio::test]
async fn a_policy_that_nothing_refers_to_is_deleted() {
    let server = Arc::new(Mutex::new(Server::default()));
    let sweeping = client(&server, &Arc::new(Semaphore::new(100)));
    let policy = testing::workload(&testing::run()).frozen_policy;
    let path = "/api/v1/namespaces/operator-space/configmaps";
    let body = serde_json::to_value(&policy).unwrap();
    server.lock().answer(&Method::POST, path, &body);
    assert!(
        remove(&sweeping, "operator-space", &policy.name_any())
            .await
            .unwrap()
    );
    assert!(server.lock().objects.is_empty());
    assert!(
        !remove(&sweeping, "operator-space", &policy.name_any())
            .await
            .unwrap()
    );
}
