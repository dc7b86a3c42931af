//! An API server that is a function of method and path, for the tests of what asks one.

use std::sync::Arc;

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// What was asked, as `METHOD /path?query`, with the body that was sent.
pub type Log = Arc<Mutex<Vec<(String, Value)>>>;

/// A client of a server that answers each request by `answer`, and what was asked of it.
pub fn server(answer: impl Fn(&str) -> (u16, Value) + Send + Sync + 'static) -> (Client, Log) {
    let log = Log::default();
    let (answer, asked) = (Arc::new(answer), Arc::clone(&log));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked));
        async move {
            let key = format!("{} {}", request.method(), request.uri());
            let sent = request.into_body().collect_bytes().await.unwrap();
            asked
                .lock()
                .push((key.clone(), serde_json::from_slice(&sent).unwrap_or_default()));
            let (code, body) = answer(&key);
            let body = Body::from(body.to_string().into_bytes());
            Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    (Client::new(service, "elsewhere"), log)
}

/// A `Status` of the API server.
pub fn failure(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message});
    (code, status)
}

/// A run.
pub fn run(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun",
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}"), "creationTimestamp": "2026-11-26T10:00:00Z"},
        "spec": {"task": {"prompt": "p"}, "agent": {"image": "i"}},
    })
}
