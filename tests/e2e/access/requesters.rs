//! Whoever creates a run, the run says exactly who they are: what is stamped, and what the guard refuses where
//! nothing is stamped.

use http::Method;
use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicyBinding;
use kube::Api;
use kube::api::{Patch, PatchParams};
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

/// Leaves a namespace out of the stamp, as a cluster that has none; `None` takes it back in.
async fn leave_out_of_the_stamp(world: &World, namespace: Option<&str>) {
    let bindings: Api<MutatingAdmissionPolicyBinding> = Api::all(world.space.client.clone());
    let matching = namespace.map(|namespace| {
        json!({"namespaceSelector": {"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [namespace]}]}})
    });
    let patch = json!({"spec": {"matchResources": matching}});
    bindings
        .patch(
            "cofferdam-requester",
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await
        .expect("the stamp is bound");
}

#[tokio::test]
async fn without_the_stamp_a_forged_requester_is_refused() {
    let world = World::open("access-forged", limits()).await;
    leave_out_of_the_stamp(&world, Some(&world.space.name)).await;
    let kim = User {
        uid: Some("7".to_owned()),
        credential: Some("JTI=kim".to_owned()),
        ..world.kim.clone()
    };
    let claim = |claims: &Value| {
        let mut body = manifest("who", &run(&json!({})));
        body["spec"]["requestedBy"] = claims.clone();
        body
    };
    eventually("nothing is stamped here", Duration::from_secs(30), || async {
        let created = create(&world, &kim, &claim(&Value::Null))
            .await
            .expect("a run without requester");
        created["spec"]["requestedBy"].is_null()
    })
    .await;
    let mut failures = Vec::new();
    for (claims, words) in [
        (json!({"username": "access-kim"}), None),
        (
            json!({"username": "access-kim", "uid": "7", "credentialID": "JTI=kim", "groups": [GROUP]}),
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
            json!({"username": "access-kim", "groups": ["system:masters"]}),
            Some("is not in"),
        ),
        (
            json!({"username": "access-kim", "groups": [GROUP, "admins"]}),
            Some("is not in"),
        ),
        (
            json!({"username": "access-kim", "credentialID": "JTI=root"}),
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
    leave_out_of_the_stamp(&world, None).await;
    world.close().await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
