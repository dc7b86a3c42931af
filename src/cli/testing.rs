//! An API server that is a function of method and path, for the tests of what asks one.

use std::sync::Arc;
use std::time::Duration;

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

/// What a server of [`scripted`] does with a request.
#[derive(Clone)]
pub enum Answer {
    /// Answers with a document.
    Json(u16, Value),
    /// Sends events, and ends.
    Ends(Vec<Value>),
    /// Sends events, and drops the connection.
    Breaks(Vec<Value>),
    /// Sends nothing for so long, and drops the connection.
    BreaksAfter(Duration),
    /// Takes no connection.
    Unreachable,
}

/// A client of a server that does one thing after the other and then answers nothing, and what was asked of it.
pub fn scripted(answers: impl IntoIterator<Item = Answer>) -> (Client, Log) {
    use futures::{StreamExt as _, stream};
    let log = Log::default();
    let asked = Arc::clone(&log);
    let answers: Arc<Mutex<std::collections::VecDeque<Answer>>> =
        Arc::new(Mutex::new(answers.into_iter().collect()));
    let service = tower::service_fn(move |request: Request<Body>| {
        asked
            .lock()
            .push((format!("{} {}", request.method(), request.uri()), Value::Null));
        let answer = answers.lock().pop_front();
        async move {
            let broken = || std::io::Error::other("connection reset by peer");
            let line = |value: &Value| Ok(hyper::body::Frame::data(bytes::Bytes::from(format!("{value}\n"))));
            let (code, mut frames) = match &answer {
                None => return std::future::pending().await,
                Some(Answer::Unreachable) => return Err(broken()),
                Some(Answer::Json(code, value)) => (*code, vec![line(value)]),
                Some(Answer::Ends(events) | Answer::Breaks(events)) => {
                    (200, events.iter().map(line).collect())
                }
                Some(Answer::BreaksAfter(_)) => (200, Vec::new()),
            };
            if matches!(answer, Some(Answer::Breaks(_) | Answer::BreaksAfter(_))) {
                frames.push(Err(broken()));
            }
            let stands = match answer {
                Some(Answer::BreaksAfter(stands)) => stands,
                _ => Duration::ZERO,
            };
            let frames = stream::once(async move {
                tokio::time::sleep(stands).await;
                stream::iter(frames)
            });
            let frames = frames.flatten();
            let body = http_body_util::StreamBody::new(Box::pin(frames));
            Ok(Response::builder().status(code).body(body).unwrap())
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
