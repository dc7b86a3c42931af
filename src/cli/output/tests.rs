//! The aggregated API as a function, with connections that break.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::stream;
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::json;

use super::*;
use crate::failure::Exit;

/// What the server does with the bytes from `from` on.
#[derive(Clone, Copy)]
enum Breaks {
    Never,
    /// After so many bytes, each time.
    After(usize),
    /// The connection ends as if all were there.
    Silently,
    /// Each byte is another one.
    Altered,
}

fn server(patch: Vec<u8>, breaks: Breaks) -> (Client, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let patch = patch.clone();
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            let query: Vec<(String, String)> =
                form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
                    .into_owned()
                    .collect();
            let from = query
                .iter()
                .find(|(name, _)| name == "from")
                .map_or(0, |(_, from)| from.parse().unwrap());
            let rest = patch[from..].to_vec();
            let (pieces, broken) = match breaks {
                Breaks::Never => (rest, false),
                Breaks::After(length) => {
                    let broken = rest.len() > length;
                    (rest.into_iter().take(length).collect(), broken)
                }
                Breaks::Silently => (rest.into_iter().take(5).collect(), false),
                Breaks::Altered => (rest.iter().map(|byte| byte ^ 1).collect(), false),
            };
            let mut parts: Vec<Result<Bytes, std::io::Error>> = vec![Ok(Bytes::from(pieces))];
            if broken {
                parts.push(Err(std::io::Error::other("connection reset")));
            }
            let body = http_body_util::StreamBody::new(stream::iter(
                parts.into_iter().map(|part| part.map(hyper::body::Frame::data)),
            ));
            Ok::<_, std::convert::Infallible>(
                Response::builder()
                    .header("cofferdam-digest", cofferdam_api::names::digest(&patch))
                    .body(body)
                    .unwrap(),
            )
        }
    });
    (Client::new(service, "x"), asked)
}

fn manifest(patch: &[u8]) -> cofferdam_wire::output::PatchManifest {
    serde_json::from_value(json!({"repository": "app", "baseCommit": "c", "bytes": patch.len(), "digest": cofferdam_api::names::digest(patch),
        "files": 1, "insertions": 1, "deletions": 0, "snapshot": "Final"}))
    .unwrap()
}

async fn fetched(breaks: Breaks) -> (Result<Vec<u8>, Failure>, usize) {
    let patch: Vec<u8> = (0..100).collect();
    let (client, asked) = server(patch.clone(), breaks);
    let output = Output::new(client, "team-a", "fix", None);
    let got = match output.patch(&manifest(&patch)).await {
        Ok(mut spool) => spool.read(),
        Err(failure) => Err(failure),
    };
    if let Ok(bytes) = &got {
        assert_eq!(bytes, &patch);
    }
    (got, asked.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_patch_that_breaks_off_is_taken_up_where_it_broke() {
    assert_eq!(fetched(Breaks::Never).await.1, 1);
    let (got, asked) = fetched(Breaks::After(30)).await;
    assert_eq!((got.is_ok(), asked), (true, 4));
    let (got, asked) = fetched(Breaks::Silently).await;
    assert_eq!((got.is_ok(), asked), (true, 20));
}

#[tokio::test]
async fn what_does_not_come_whole_is_not_handed_on() {
    for breaks in [Breaks::After(0), Breaks::Altered] {
        let (got, _) = fetched(breaks).await;
        assert_eq!(got.unwrap_err().exit(), Exit::CannotTell);
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let status = |code: u16, message: &str| {
        json!({"kind": "Status", "apiVersion": "v1", "code": code, "message": message, "reason": "x"})
            .to_string()
    };
    for (code, body, exit, words) in [
        (
            404,
            status(404, "there is no AgentRun"),
            Exit::NotFound,
            "there is no AgentRun",
        ),
        (
            404,
            "404 page not found\n".to_owned(),
            Exit::CannotTell,
            "output.enabled",
        ),
        (403, status(403, "you may not"), Exit::CannotTell, "you may not"),
        (
            503,
            "service unavailable".to_owned(),
            Exit::CannotTell,
            "service unavailable",
        ),
        (500, "\u{1b}[2J".to_owned(), Exit::CannotTell, "\u{1b}"),
    ] {
        let service = tower::service_fn(move |_: Request<Body>| {
            let body = body.clone();
            async move {
                Ok::<_, std::convert::Infallible>(
                    Response::builder()
                        .status(code)
                        .body(Body::from(body.into_bytes()))
                        .unwrap(),
                )
            }
        });
        let output = Output::new(
            Client::new(service, "x"),
            "team-a",
            "fix",
            Some("0b-1".to_owned()),
        );
        let failure = output.summary().await.unwrap_err();
        assert_eq!(failure.exit(), exit, "{failure}");
        assert!(failure.to_string().contains(words), "{failure}");
    }
}

#[test]
fn of_several_patches_one_has_to_be_named() {
    let summary = |names: &[&str]| -> RunSummary {
        let patches: Vec<_> = names
            .iter()
            .map(|name| json!({"repository": name, "baseCommit": "c", "bytes": 1, "digest": "d", "files": 1, "insertions": 1, "deletions": 0, "snapshot": "Final"}))
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "a", "kind": "k", "metadata": {"name": "fix", "namespace": "team-a", "uid": "u"},
            "record": {"version": 1, "requests": 0, "deniedRequests": 0, "lastDenied": [], "isolationLost": null,
                "receipt": {"version": 1, "runUid": "u", "receivedAt": "t", "manifest": {"version": 1, "stopped": null, "refused": [], "patches": patches}}},
        }))
        .unwrap()
    };
    let of = |names: &[&str], wanted: Option<&str>| {
        which_patch(&summary(names), wanted)
            .map(|patch| patch.repository.clone())
            .map_err(|failure| failure.exit())
    };
    assert_eq!(of(&["app"], None), Ok("app".to_owned()));
    assert_eq!(of(&["app", "lib"], Some("lib")), Ok("lib".to_owned()));
    let mut of_submodule = summary(&["app", "app"]);
    of_submodule.record.receipt.as_mut().unwrap().manifest.patches[1].submodule =
        Some("vendor/lib".to_owned());
    let chosen = which_patch(&of_submodule, Some("app/vendor/lib")).unwrap();
    assert_eq!(chosen.submodule.as_deref(), Some("vendor/lib"));
    assert_eq!(which_patch(&of_submodule, Some("app")).unwrap().submodule, None);
    assert_eq!(of(&["app", "lib"], None), Err(Exit::CannotTell));
    assert_eq!(of(&["app"], Some("lib")), Err(Exit::NotFound));
    assert_eq!(of(&[], None), Err(Exit::NotFound));
}
