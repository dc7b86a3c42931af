//! Whoever creates a run, the run says exactly who they are: what is stamped, and what the guard refuses where
//! something forges it after the stamp.

use http::Method;
use k8s_openapi::api::admissionregistration::v1::{MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use super::spec::{limits, run};
use super::user::User;
use super::world::{GROUP, World, manifest};
use crate::harness::eventually;
use std::time::Duration;

/// Creates by dry run as `user`.
async fn create(world: &World, user: &User, body: &Value) -> Result<Value, String> {
    let path = format!("{}?dryRun=All&fieldValidation=Strict", world.ours("agentruns"));
    user.send(&world.space.client, Method::POST, &path, body).await
}

fn users() -> Vec<User> {
    let names = [
        "access-kim",
        "system:serviceaccount:ci:pipeline",
        "oidc:jörg@example.com",
        "https://idp.example.com/realm#a/b \"c\" 'd'",
        "👩‍🚀 crew",
        "مستخدم",
        "x' || true || 'y",
        "${HOME}`id`$(id)",
    ];
    let mut users: Vec<User> = names
        .iter()
        .map(|name| User {
            uid: Some(format!("uid of {name}")),
            credential: Some(format!("JTI={name}")),
            ..User::new(
                name,
                &[GROUP, &format!("group of {name}"), "system:authenticated"],
            )
        })
        .collect();
    users.push(User::new("access-plain", &[GROUP, "system:authenticated"]));
    users
}

#[tokio::test]
async fn a_run_says_exactly_who_created_it() {
    let world = World::open("access-requesters", limits()).await;
    let honest = manifest("who", &run(&json!({})));
    let forged = json!({"requestedBy": {
        "username": "root", "uid": "0", "groups": ["system:masters"], "credentialID": "JTI=root"}});
    let forged = manifest("who", &run(&forged));
    for user in users() {
        let mut wanted = json!({"username": user.name, "groups": user.groups});
        if let (Some(uid), Some(credential)) = (&user.uid, &user.credential) {
            wanted["uid"] = json!(uid);
            wanted["credentialID"] = json!(credential);
        }
        for body in [&honest, &forged] {
            let created = create(&world, &user, body)
                .await
                .expect("the team may create runs");
            assert_eq!(created["spec"]["requestedBy"], wanted, "{}", user.name);
        }
    }
    // The control: who is in no team creates none.
    let stranger = User::new("access-stranger", &["system:authenticated"]);
    create(&world, &stranger, &honest).await.expect_err("a stranger");
    world.close().await;
}

#[tokio::test]
async fn nobody_has_too_many_groups_to_create_a_run() {
    let world = World::open("access-groups", limits()).await;
    let body = manifest("who", &run(&json!({})));
    let mut groups = vec![GROUP.to_owned(), "x".repeat(600)];
    groups.extend((0..69).map(|number| format!("group-{number}")));
    let user = User {
        groups: groups.clone(),
        ..User::new("access-many", &[])
    };
    let created = create(&world, &user, &body).await.expect("71 groups");
    groups.retain(|group| group.len() <= 512);
    assert_eq!(created["spec"]["requestedBy"]["groups"], json!(groups[..64]));
    let endless = User::new(&"m".repeat(513), &[GROUP]);
    let refusal = create(&world, &endless, &body)
        .await
        .expect_err("a name beyond the bound");
    assert!(refusal.contains("spec.requestedBy.username"), "{refusal}");
    world.close().await;
}

/// Puts the claims of annotations into `requestedBy`, after the stamp: as a webhook of someone else might, or a cluster
/// that has no stamp. Ordered by name.
fn forger(name: &str, namespace: &str) -> (MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding) {
    let expression = "'cofferdam.test/username' in variables.claims ? [JSONPatch{op: 'add', path: '/spec/requestedBy', \
        value: Object.spec.requestedBy{username: variables.claims['cofferdam.test/username'], \
        ?uid: variables.claims[?'cofferdam.test/uid'], ?credentialID: variables.claims[?'cofferdam.test/credential'], \
        groups: 'cofferdam.test/groups' in variables.claims ? variables.claims['cofferdam.test/groups'].split(',') : []}}] \
        : has(object.spec.requestedBy) ? [JSONPatch{op: 'remove', path: '/spec/requestedBy'}] : []";
    let policy = json!({"metadata": {"name": name}, "spec": {
        "failurePolicy": "Fail", "reinvocationPolicy": "Never",
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "resourceRules": [{"apiGroups": ["cofferdam.dev"], "apiVersions": ["*"], "operations": ["CREATE"],
                "resources": ["agentruns"]}]},
        "variables": [{"name": "claims",
            "expression": "has(object.metadata.annotations) ? object.metadata.annotations : {}"}],
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
    }});
    let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name}});
    (
        serde_json::from_value(policy).unwrap(),
        serde_json::from_value(binding).unwrap(),
    )
}

#[tokio::test]
async fn without_the_stamp_a_forged_requester_is_refused() {
    let world = World::open("access-forged", limits()).await;
    let name = "zz-e2e-access-forger";
    let (policy, binding) = forger(name, &world.space.name);
    let policies: Api<MutatingAdmissionPolicy> = Api::all(world.space.client.clone());
    let bindings: Api<MutatingAdmissionPolicyBinding> = Api::all(world.space.client.clone());
    policies
        .create(&PostParams::default(), &policy)
        .await
        .expect("the forger");
    bindings
        .create(&PostParams::default(), &binding)
        .await
        .expect("the forger's binding");
    let kim = User {
        uid: Some("7".to_owned()),
        credential: Some("JTI=kim".to_owned()),
        ..world.kim.clone()
    };
    let claim = |claims: &Value| {
        let mut body = manifest("who", &run(&json!({})));
        for (key, value) in claims.as_object().expect("claims") {
            body["metadata"]["annotations"][format!("cofferdam.test/{key}")] = value.clone();
        }
        body
    };
    eventually("the forger works", Duration::from_secs(30), || async {
        let created = create(&world, &kim, &claim(&json!({})))
            .await
            .expect("a run without requester");
        created["spec"]["requestedBy"].is_null()
    })
    .await;
    let mut failures = Vec::new();
    for (claims, words) in [
        (json!({"username": "access-kim"}), None),
        (
            json!({"username": "access-kim", "uid": "7", "credential": "JTI=kim", "groups": GROUP}),
            None,
        ),
        (
            json!({"username": "root"}),
            Some("must be the name of the user who creates the run"),
        ),
        (
            json!({"username": "Access-Kim"}),
            Some("must be the name of the user who creates the run"),
        ),
        (
            json!({"username": "access-kim", "uid": "0"}),
            Some("is not the uid of user access-kim"),
        ),
        (
            json!({"username": "access-kim", "groups": "system:masters"}),
            Some("is not in"),
        ),
        (
            json!({"username": "access-kim", "groups": format!("{GROUP},admins")}),
            Some("is not in"),
        ),
        (
            json!({"username": "access-kim", "credential": "JTI=root"}),
            Some("is not that of the credential"),
        ),
    ] {
        let answer = create(&world, &kim, &claim(&claims)).await;
        let right = match (&answer, words) {
            (Ok(_), None) => true,
            (Err(message), Some(words)) => message.contains(words),
            _ => false,
        };
        if !right {
            failures.push(format!("{claims}: {answer:?}"));
        }
    }
    bindings
        .delete(name, &DeleteParams::default())
        .await
        .expect("the test's own");
    policies
        .delete(name, &DeleteParams::default())
        .await
        .expect("the test's own");
    world.close().await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
