//! The role behind a front proxy, before a real archive.

use rstest::rstest;
use serde_json::json;

use crate::testing::{Authority, NAMESPACE_UID, OTHER_UID, UID, World, patch};
use cofferdam_wire::chain::verify::{Expected, verify};
use cofferdam_wire::output_api::{RunSummary, path};
use http::Method;

fn of(part: &str) -> String {
    path("team-a", "fix", part)
}

fn reason(body: &[u8]) -> String {
    let status: serde_json::Value = serde_json::from_slice(body).unwrap();
    assert_eq!(
        (status["kind"].as_str(), status["apiVersion"].as_str()),
        (Some("Status"), Some("v1"))
    );
    status["reason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_patch_comes_as_it_went_in_and_from_any_byte_on() {
    let world = World::start().await;
    let bytes = patch(700_000);
    world.output(UID, "team-a/fix", &[("app", bytes.clone())]).await;
    let (status, headers, body) = world.get("anna", &of("patch")).await;
    assert_eq!((status, body == bytes), (200, true));
    assert_eq!(headers["cofferdam-digest"], cofferdam_api::names::digest(&bytes));
    assert_eq!(
        (&headers["cofferdam-run-uid"], &headers["cofferdam-base-commit"]),
        (&UID.parse().unwrap(), &"c0ffee".parse().unwrap())
    );
    let (_, _, rest) = world.get("anna", &format!("{}?from=699999", of("patch"))).await;
    assert_eq!(rest, bytes[699_999..]);
}

#[tokio::test]
async fn records_verify_and_a_summary_says_where_they_end() {
    let world = World::start().await;
    world.record(UID, 1).await;
    world.record(UID, 2).await;
    let (status, headers, body) = world.get("anna", &of("records")).await;
    assert_eq!(status, 200);
    let head = verify(UID, &body, Expected::Nothing).unwrap().head;
    assert_eq!(
        serde_json::from_slice::<cofferdam_wire::chain::Head>(headers["cofferdam-head"].as_bytes()).unwrap(),
        head
    );
    assert_eq!(headers["cofferdam-complete"], "true");
    let (_, _, summary) = world.get("anna", &of("summary")).await;
    let summary: RunSummary = serde_json::from_slice(&summary).unwrap();
    assert_eq!(
        (summary.metadata.uid.as_str(), summary.record.chain.unwrap().head),
        (UID, Some(head))
    );
}

#[tokio::test]
async fn who_follows_gets_what_comes_until_the_run_is_over() {
    let world = World::start().await;
    *world.object.lock() = Some(false);
    world.record(UID, 1).await;
    let url = format!("{}?follow=true", of("records"));
    let following = world.get("anna", &url);
    let going_on = async {
        // Not before the request was let through.
        while world.reviews.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        world.record(UID, 2).await;
        *world.object.lock() = Some(true);
    };
    let ((status, headers, body), ()) = tokio::join!(following, going_on);
    assert_eq!((status, headers.contains_key("cofferdam-complete")), (200, false));
    assert_eq!(verify(UID, &body, Expected::Nothing).unwrap().head.seq, 2);
    let (_, headers, rest) = world.get("anna", &format!("{url}&from={}", body.len())).await;
    assert_eq!(
        (rest.len(), headers.contains_key("cofferdam-complete")),
        (0, true)
    );
}

#[tokio::test]
async fn runs_that_are_gone_are_read_by_name_and_told_apart_by_uid() {
    let world = World::start().await;
    world
        .output(OTHER_UID, "team-a/fix", &[("app", b"old".to_vec())])
        .await;
    world.output(UID, "team-a/fix", &[("app", b"new".to_vec())]).await;
    let text = async |query: &str| {
        let (status, _, body) = world.get("anna", &format!("{}{query}", of("patch"))).await;
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    assert_eq!(text("").await, (200, "new".to_owned()));
    assert_eq!(text(&format!("?uid={OTHER_UID}")).await, (200, "old".to_owned()));
    *world.object.lock() = None;
    assert_eq!(text("").await, (200, "new".to_owned()), "the newest");
    assert_eq!(text(&format!("?uid={OTHER_UID}")).await.0, 200);
    assert_eq!(text("?uid=0b7c9f3e-0000-4222-8333-444455556666").await.0, 404);
}

/// Every way to ask for what the run `fix` left, with and without its uid.
fn spellings(uid: &str) -> Vec<String> {
    let parts = ["summary", "patch", "records", "statement"];
    let plain = parts.iter().map(|part| of(part));
    let by_uid = parts.iter().map(|part| format!("{}?uid={uid}", of(part)));
    let others = [
        "patch?from=0",
        "patch?repository=app",
        "records?follow=true",
        "records?from=0",
    ];
    let other = others.iter().map(|part| of(part));
    plain.chain(by_uid).chain(other).collect()
}

#[tokio::test]
async fn a_namespace_that_is_made_again_reads_nothing_of_the_one_before() {
    let world = World::start().await;
    *world.object.lock() = None;
    // The output came before the controller's word, and after it.
    world
        .output(OTHER_UID, "team-a/fix", &[("app", b"theirs".to_vec())])
        .await;
    world.admitted(OTHER_UID, "team-a/fix", "former").await;
    for path in spellings(OTHER_UID) {
        let (status, _, body) = world.get("anna", &path).await;
        assert_eq!((status, reason(&body).as_str()), (404, "NotFound"), "{path}");
    }
    // A run of the living namespace is read beside the former tenant's, which is newer by what the archive knows.
    world.admitted(UID, "team-a/fix", NAMESPACE_UID).await;
    let (status, _, _) = world.get("anna", &of("records")).await;
    assert_eq!(status, 200, "it left no output yet");
    world
        .output(UID, "team-a/fix", &[("app", b"mine".to_vec())])
        .await;
    let (status, headers, body) = world.get("anna", &of("patch")).await;
    assert_eq!((status, &body[..]), (200, &b"mine"[..]));
    assert_eq!(headers["cofferdam-run-uid"], UID);
    let former = format!("{}?uid={OTHER_UID}", of("patch"));
    assert_eq!(world.get("anna", &former).await.0, 404);
    // Who may read in all namespaces reads what he names.
    let card = world.authority.client("front-proxy");
    let headers = [("x-remote-user", "auditor"), ("x-remote-group", "readers")];
    for (path, text) in [(&former, "theirs"), (&of("patch"), "mine")] {
        let (status, _, body) = world
            .send(Some(&card), Method::GET, path, &headers)
            .await
            .unwrap();
        assert_eq!((status, &body[..]), (200, text.as_bytes()), "{path}");
    }
}

#[tokio::test]
async fn a_namespace_that_is_gone_is_read_only_by_who_reads_them_all() {
    let world = World::start().await;
    world
        .output(OTHER_UID, "team-c/fix", &[("app", b"theirs".to_vec())])
        .await;
    world.admitted(OTHER_UID, "team-c/fix", "gone").await;
    let path = path("team-c", "fix", "patch");
    // Her rights are still cached, as those of a namespace that was deleted just now are.
    let card = world.authority.client("front-proxy");
    let headers = [("x-remote-user", "cached")];
    let answer = world.send(Some(&card), Method::GET, &path, &headers).await;
    assert_eq!(answer.unwrap().0, 404);
    let headers = [("x-remote-user", "auditor"), ("x-remote-group", "readers")];
    let answer = world.send(Some(&card), Method::GET, &path, &headers).await;
    assert_eq!(answer.unwrap().0, 200);
}

#[tokio::test]
async fn a_user_of_one_namespace_reads_nothing_of_another() {
    let world = World::start().await;
    world
        .output(UID, "team-a/fix", &[("app", b"mine".to_vec())])
        .await;
    world
        .output(OTHER_UID, "team-b/fix", &[("app", b"theirs".to_vec())])
        .await;
    for path in [
        path("team-b", "fix", "patch"),
        // Under a name of the own namespace, with the uid of the other's run.
        format!("{}?uid={OTHER_UID}", of("patch")),
        format!("{}?uid={OTHER_UID}", of("records")),
        format!("{}?uid={OTHER_UID}", of("summary")),
        of("..%2f..%2f..%2fteam-b/agentruns/fix/patch"),
        format!("/apis/output.cofferdam.dev/v1alpha1/namespaces/team-a/agentruns/{OTHER_UID}/patch"),
        "/apis/output.cofferdam.dev/v1alpha1/namespaces/team-a/agentruns/../../team-b/agentruns/fix/patch"
            .to_owned(),
    ] {
        let (status, _, body) = world.get("anna", &path).await;
        assert!([403, 404].contains(&status), "{path}: {status}");
        assert!(!String::from_utf8_lossy(&body).contains("theirs"), "{path}");
    }
    let (status, _, body) = world.get("anna", &of("patch")).await;
    assert_eq!((status, &body[..]), (200, &b"mine"[..]));
    let (status, _, body) = world.get("eve", &of("patch")).await;
    assert_eq!((status, reason(&body)), (403, "Forbidden".to_owned()));
}

#[tokio::test]
async fn nobody_but_the_front_proxy_says_who_asks() {
    let world = World::start().await;
    world
        .output(UID, "team-a/fix", &[("app", b"mine".to_vec())])
        .await;
    let forged = [("x-remote-user", "anna"), ("x-remote-group", "system:masters")];
    // Of the same authority, by another name: every node and user may have such a certificate.
    for name in ["anna", "system:node:a", "kubernetes-admin", "front-proxy ", ""] {
        let card = world.authority.client(name);
        let (status, _, body) = world
            .send(Some(&card), Method::GET, &of("patch"), &forged)
            .await
            .unwrap();
        assert_eq!(
            (status, reason(&body)),
            (401, "Unauthorized".to_owned()),
            "{name:?}"
        );
    }
    let (status, _, _) = world
        .send(None, Method::GET, &of("patch"), &forged)
        .await
        .unwrap();
    assert_eq!(status, 401);
    // The right name of another authority: there is not even a connection.
    let stranger = Authority::new("front-proxy-ca").client("front-proxy");
    let answer = world
        .send(Some(&stranger), Method::GET, &of("patch"), &forged)
        .await;
    assert!(answer.is_err(), "{answer:?}");
    let proxy = world.authority.client("front-proxy");
    let (status, _, _) = world
        .send(
            Some(&proxy),
            Method::GET,
            &of("patch"),
            &[("x-remote-group", "readers")],
        )
        .await
        .unwrap();
    assert_eq!(status, 401, "it does not say who");
    assert_eq!(world.reviews.lock().len(), 0, "and nobody asked for their rights");
    let (status, _, _) = world
        .send(Some(&proxy), Method::GET, &of("patch"), &forged)
        .await
        .unwrap();
    assert_eq!(status, 200, "the front proxy itself");
}

#[tokio::test]
async fn whoever_asks_is_asked_about_in_full() {
    let world = World::start().await;
    let proxy = world.authority.client("front-proxy");
    let headers = [
        ("x-remote-user", "bert"),
        ("x-remote-uid", "u-1"),
        ("x-remote-group", "readers"),
        ("x-remote-group", "team"),
        ("x-remote-extra-scopes.example%2fkey", "a"),
        ("x-remote-extra-scopes.example%2fkey", "b"),
    ];
    world
        .send(Some(&proxy), Method::GET, &of("summary"), &headers)
        .await
        .unwrap();
    let reviews = world.reviews.lock().clone();
    assert_eq!(
        reviews,
        [json!({
            "user": "bert", "uid": "u-1", "groups": ["readers", "team"], "extra": {"scopes.example/key": ["a", "b"]},
            "resourceAttributes": {"namespace": "team-a", "verb": "get", "group": "output.cofferdam.dev", "version": "v1alpha1",
                "resource": "agentruns", "subresource": "summary", "name": "fix"},
        })]
    );
}

#[rstest]
#[case(Method::POST, "patch", 405, "MethodNotAllowed")]
#[case(Method::DELETE, "patch", 405, "MethodNotAllowed")]
#[case(Method::GET, "patch", 404, "NotFound")]
#[case(Method::GET, "statement", 404, "NotFound")]
#[case(Method::GET, "log", 404, "NotFound")]
#[case(Method::GET, "patch?repo=x", 400, "BadRequest")]
#[case(Method::GET, "patch?uid=../x", 400, "BadRequest")]
#[tokio::test]
async fn errors_are_statuses(
    #[case] method: Method,
    #[case] part: &str,
    #[case] code: u16,
    #[case] word: &str,
) {
    let world = World::start().await;
    let proxy = world.authority.client("front-proxy");
    let answer = world
        .send(Some(&proxy), method, &of(part), &[("x-remote-user", "anna")])
        .await
        .unwrap();
    assert_eq!((answer.0, reason(&answer.2).as_str()), (code, word));
}

#[tokio::test]
async fn of_several_patches_one_has_to_be_named() {
    let world = World::start().await;
    world
        .output(
            UID,
            "team-a/fix",
            &[("app", b"1".to_vec()), ("lib", b"2".to_vec())],
        )
        .await;
    let (status, _, body) = world.get("anna", &of("patch")).await;
    assert_eq!(status, 400);
    assert!(String::from_utf8_lossy(&body).contains("app, lib"));
    let (status, _, body) = world
        .get("anna", &format!("{}?repository=lib", of("patch")))
        .await;
    assert_eq!((status, &body[..]), (200, &b"2"[..]));
    let (status, _, _) = world
        .get("anna", &format!("{}?repository=../x", of("patch")))
        .await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn an_archive_that_is_down_is_no_matter_of_discovery() {
    let mut world = World::start().await;
    world.without_archive().await;
    for path in [
        "/apis",
        "/apis/output.cofferdam.dev",
        "/apis/output.cofferdam.dev/v1alpha1",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/apis/output.cofferdam.dev/v1alpha1",
        "/healthz",
        "/readyz",
    ] {
        let (status, _, _) = world.get("system:kube-aggregator", path).await;
        assert_eq!(status, 200, "{path}");
    }
    let (status, headers, body) = world.get("anna", &of("patch")).await;
    assert_eq!((status, reason(&body)), (503, "ServiceUnavailable".to_owned()));
    // With it kubectl would ask ten times before it says anything.
    assert!(!headers.contains_key("retry-after"));
}

#[tokio::test]
async fn certificate_and_trust_change_without_a_restart() {
    let world = World::start().await;
    let old = world.authority.client("front-proxy");
    let ask = async |card| {
        world
            .send(Some(card), Method::GET, "/apis", &[("x-remote-user", "a")])
            .await
    };
    assert_eq!(ask(&old).await.unwrap().0, 200);
    world.serving.server().write(world.tls.path());
    let before = world.front.shown().unwrap();
    world.front.refresh().unwrap();
    assert!(!std::sync::Arc::ptr_eq(&before, &world.front.shown().unwrap()));
    let next = Authority::new("next-ca");
    world.front.believe(crate::testing::trust(&next));
    world.front.refresh().unwrap();
    let new = next.client("front-proxy");
    assert!(ask(&old).await.is_err());
    assert_eq!(ask(&new).await.unwrap().0, 200);
    // What cannot be read changes nothing.
    std::fs::write(world.tls.path().join("tls.key"), "none").unwrap();
    assert!(world.front.refresh().is_err());
    assert_eq!(ask(&new).await.unwrap().0, 200);
}

/// Content is the sandbox's. Whatever it names itself, no header and no status of ours is broken by it.
#[tokio::test]
async fn odd_names_of_a_manifest_break_nothing() {
    let world = World::start().await;
    world
        .output(UID, "team-a/fix", &[("a.b_C-1", b"x".to_vec())])
        .await;
    let (status, headers, _) = world.get("anna", &of("patch")).await;
    assert_eq!(
        (status, &headers["cofferdam-repository"]),
        (200, &"a.b_C-1".parse().unwrap())
    );
}
