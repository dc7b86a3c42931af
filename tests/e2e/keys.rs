//! The role that makes keys: what it fills, what it heals, and that it writes nothing else.

use std::time::Duration;

use cofferdam_api::names;
use cofferdam_wire::keys::PublicKeys;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::guard::{Call, Case, Meets, Who, check};
use crate::harness::{OPERATOR_NAMESPACE, client, until};

async fn secrets() -> Api<Secret> {
    Api::namespaced(client().await, OPERATOR_NAMESPACE)
}

async fn text(secret: &str, file: &str) -> Result<String, String> {
    let found = secrets()
        .await
        .get(secret)
        .await
        .map_err(|error| error.to_string())?;
    let files = found.data.unwrap_or_default();
    let ByteString(bytes) = files.get(file).ok_or_else(|| format!("{secret} has no {file}"))?;
    String::from_utf8(bytes.clone()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn keys_are_there_and_everybody_may_read_the_public_ones() {
    for file in ["current.crt", "current.key", "next.crt", "next.key"] {
        let pem = text(names::INSPECTION_SECRET, file).await.unwrap();
        assert!(pem.starts_with("-----BEGIN "), "{file}");
    }
    let stranger: Api<ConfigMap> = Api::namespaced(Who::Edit.client().await, OPERATOR_NAMESPACE);
    let published = stranger.get(names::PUBLIC_KEYS).await.unwrap().data.unwrap();
    let keys = PublicKeys::parse(published["keys.json"].as_bytes()).unwrap();
    let current = keys.keys.iter().find(|key| key.key_id == keys.current).unwrap();
    assert_eq!(published[&format!("{}.pem", keys.current)], current.public_key);
    let listed = text(names::SIGNING_SECRET, "keys.json").await.unwrap();
    assert_eq!(published["keys.json"], listed);
}

/// The authority that signs next is nobody's yet, so that it may be lost in a test.
#[tokio::test]
async fn what_is_lost_of_a_secret_is_made_anew() {
    let before = text(names::INSPECTION_SECRET, "next.crt").await.unwrap();
    let current = text(names::INSPECTION_SECRET, "current.crt").await.unwrap();
    let lost = json!({"data": {"next.crt": null}});
    let patched = secrets()
        .await
        .patch(
            names::INSPECTION_SECRET,
            &PatchParams::default(),
            &Patch::Merge(lost),
        )
        .await;
    patched.unwrap();
    until(
        "there is another next authority",
        Duration::from_mins(2),
        || async {
            let after = text(names::INSPECTION_SECRET, "next.crt").await?;
            if after == before {
                Err("it is the old one".to_owned())
            } else {
                Ok(())
            }
        },
    )
    .await;
    assert_eq!(
        text(names::INSPECTION_SECRET, "current.crt").await.unwrap(),
        current
    );
}

#[tokio::test]
async fn the_role_writes_the_content_of_its_own_objects_and_nothing_else() {
    let keys = Who::Ours("keys");
    let path = |resource: &str| format!("/api/v1/namespaces/{OPERATOR_NAMESPACE}/{resource}");
    let secret = |name: &str| format!("{}/{name}", path("secrets"));
    let stored = secrets().await.get(names::SIGNING_SECRET).await.unwrap();
    let with = |pointer: &str, value: serde_json::Value| {
        let mut object = json!(stored);
        object["metadata"][pointer] = value;
        object
    };
    let replaced = |object| Call::put(&secret(names::SIGNING_SECRET), object);
    let annotation = json!({"kubernetes.io/service-account.name": "controller"});
    let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "y"}]);
    check(vec![
        Case(
            "its Secret as it is",
            keys,
            replaced(json!(stored)),
            Meets::Nothing,
        ),
        Case(
            "a label",
            keys,
            replaced(with("labels", json!({"a": "b"}))),
            Meets::Guard("keys"),
        ),
        Case(
            "another's token",
            keys,
            replaced(with("annotations", annotation)),
            Meets::Guard("keys"),
        ),
        Case(
            "an owner",
            keys,
            replaced(with("ownerReferences", owner)),
            Meets::Guard("keys"),
        ),
        Case(
            "no Secret",
            keys,
            Call::delete(&secret(names::SIGNING_SECRET)),
            Meets::NoGuard,
        ),
        Case(
            "a new Secret",
            keys,
            Call::create(&path("secrets"), json!({"metadata": {"name": "mine"}})),
            Meets::NoGuard,
        ),
    ])
    .await;
}
