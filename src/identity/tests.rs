use super::testing::*;
use super::*;
use serde_json::json;

const POD: (&str, &str) = ("agr-one-0b7c9f3e-x7k2p", "pod-uid-1");

#[tokio::test]
async fn a_pods_token_says_who_it_is() {
    let issuer = Issuer::new("key-1");
    let verifier = Verifier::new(FixedKeys::of(&issuer));
    let token = issuer.pod_token("cofferdam-egress", "team-a", "cofferdam-sandbox", POD);
    let identity = verifier
        .verify(&token, &["cofferdam-prepare", "cofferdam-egress"], now())
        .await
        .unwrap();
    assert_eq!(identity.namespace, "team-a");
    assert_eq!(identity.service_account, "cofferdam-sandbox");
    assert_eq!(identity.audience, "cofferdam-egress");
    assert_eq!(identity.pod.unwrap().uid, "pod-uid-1");
}

type Mutation = (&'static str, fn(&mut serde_json::Value));

#[tokio::test]
async fn every_claim_is_judged() {
    let issuer = Issuer::new("key-1");
    let verifier = Verifier::new(FixedKeys::of(&issuer));
    let good = claims("cofferdam-egress", "team-a", "cofferdam-sandbox", POD);
    let mutations: [Mutation; 9] = [
        ("audience", |c| c["aud"] = json!(["cofferdam-collect"])),
        ("two audiences", |c| c["aud"] = json!(["cofferdam-egress", "api"])),
        ("no audience", |c| c["aud"] = json!([])),
        ("issuer", |c| c["iss"] = json!("https://elsewhere")),
        ("expired", |c| c["exp"] = json!(now() - 60)),
        ("not yet", |c| c["nbf"] = json!(now() + 600)),
        ("no exp", |c| {
            c.as_object_mut().unwrap().remove("exp");
        }),
        ("subject", |c| {
            c["sub"] = json!("system:serviceaccount:team-b:cofferdam-sandbox");
        }),
        ("not Kubernetes", |c| {
            c.as_object_mut().unwrap().remove("kubernetes.io");
        }),
    ];
    let verify = |claims: serde_json::Value| {
        let token = issuer.sign(&claims);
        let verifier = &verifier;
        async move { verifier.verify(&token, &["cofferdam-egress"], now()).await }
    };
    assert!(verify(good.clone()).await.is_ok());
    for (name, mutate) in mutations {
        let mut claims = good.clone();
        mutate(&mut claims);
        assert!(verify(claims).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn another_key_under_a_known_id_is_no_key() {
    let issuer = Issuer::new("key-1");
    let forger = Issuer::new("key-1");
    let verifier = Verifier::new(FixedKeys::of(&issuer));
    let token = forger.pod_token("cofferdam-egress", "team-a", "cofferdam-sandbox", POD);
    assert!(
        verifier
            .verify(&token, &["cofferdam-egress"], now())
            .await
            .is_err()
    );
    let mut parts: Vec<String> = issuer
        .pod_token("cofferdam-egress", "team-a", "cofferdam-sandbox", POD)
        .split('.')
        .map(str::to_owned)
        .collect();
    parts[2].clear();
    assert!(
        verifier
            .verify(&parts.join("."), &["cofferdam-egress"], now())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn unknown_key_ids_cause_one_read_not_one_each() {
    let issuer = Issuer::new("key-1");
    let source = FixedKeys::of(&issuer);
    let verifier = Verifier::new(source.clone());
    for id in 0..5 {
        let stranger = Issuer::new(&format!("unknown-{id}"));
        let token = stranger.pod_token("cofferdam-egress", "team-a", "cofferdam-sandbox", POD);
        assert!(
            verifier
                .verify(&token, &["cofferdam-egress"], now())
                .await
                .is_err()
        );
    }
    assert_eq!(source.0.lock().1, 1);
}

#[tokio::test]
async fn junk_is_refused() {
    let verifier = Verifier::new(FixedKeys::of(&Issuer::new("key-1")));
    for junk in [
        "",
        ".",
        "..",
        "a.b.c",
        "e30.e30.e30",
        "\u{e4}.\u{e4}.\u{e4}",
        &"x".repeat(9000),
    ] {
        assert!(
            verifier.verify(junk, &["cofferdam-egress"], now()).await.is_err(),
            "{junk}"
        );
    }
}

#[tokio::test]
async fn keys_with_which_clusters_sign_by_default_are_understood() {
    // Made once with a key that was thrown away; it ends in the year 2100.
    let keys: JwkSet = serde_json::from_str(include_str!("token/rs256-jwks.json")).unwrap();
    let token = include_str!("token/rs256-token.txt").trim();
    let verifier = Verifier::new(FixedKeys(Arc::new(parking_lot::Mutex::new((keys, 0)))));
    let identity = verifier
        .verify(token, &["cofferdam-collect"], now())
        .await
        .unwrap();
    assert_eq!(
        identity.username,
        "system:serviceaccount:team-r:cofferdam-sandbox"
    );
}
