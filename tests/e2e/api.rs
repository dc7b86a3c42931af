//! The custom resources before a real API server: it takes the definitions as they are generated, and refuses what
//! the tables of `tests/api` say, in those words.

use cofferdam_api::crds;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

#[path = "../api/cases.rs"]
mod cases;
#[path = "../api/credential_cases.rs"]
mod credential_cases;
#[path = "../api/made/mod.rs"]
pub mod made;
#[path = "../api/manifests.rs"]
mod manifests;
#[path = "../api/renamed.rs"]
mod renamed;

use credential_cases::{accepted_credentials, credential, refused_credentials};
use manifests::{cluster_policy, policy, prompt_digest, prompt_from, run, with};

/// Creates by dry run, as strictly as `kubectl` does.
async fn create(client: &Client, manifest: &Value) -> kube::Result<Value> {
    let (scope, plural) = match manifest["kind"].as_str() {
        Some("AgentRun") => ("namespaces/default/", "agentruns"),
        Some("SandboxPolicy") => ("namespaces/default/", "sandboxpolicies"),
        Some("SandboxCredential") => ("", "sandboxcredentials"),
        _ => ("", "clustersandboxpolicies"),
    };
    let url = format!("/apis/cofferdam.dev/v1alpha1/{scope}{plural}?dryRun=All&fieldValidation=Strict");
    let mut manifest = manifest.clone();
    if !scope.is_empty() {
        manifest["metadata"]["namespace"] = json!("default");
    }
    let request = http::Request::post(url)
        .header("content-type", "application/json")
        .body(manifest.to_string().into_bytes())
        .unwrap();
    client.request(request).await
}

async fn assert_refused(client: &Client, manifest: &Value, message: &str) {
    let refusal = create(client, manifest).await.expect_err(message).to_string();
    assert!(refusal.contains(message), "{message}\n  but: {refusal}");
}

async fn assert_accepted(client: &Client, manifest: &Value) {
    if let Err(error) = create(client, manifest).await {
        panic!("{error}\n  for {manifest}");
    }
}

#[tokio::test]
async fn the_definitions_are_taken_as_generated() {
    let definitions: Api<CustomResourceDefinition> = Api::all(crate::harness::client().await);
    let parameters = PatchParams {
        dry_run: true,
        ..PatchParams::apply("e2e").force()
    }
    .validation_strict();
    for document in crds::documents().unwrap() {
        let name = document["metadata"]["name"].as_str().unwrap();
        let mut documents = vec![(document.clone(), true)];
        // The control: one rule whose cost nothing bounds is refused.
        let mut unbounded = document.clone();
        let schema = unbounded
            .pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
            .unwrap();
        schema["properties"]["extra"] = json!({"type": "array", "items": {"type": "string"},
            "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, self.all(c, a.matches(b))))"}]});
        documents.push((unbounded, false));
        for (document, taken) in documents {
            let answer = definitions
                .patch(name, &parameters, &Patch::Apply(&document))
                .await;
            assert_eq!(answer.is_ok(), taken, "{name}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn good_manifests_are_accepted() {
    let client = crate::harness::client().await;
    for manifest in [run(), policy(), cluster_policy()] {
        assert_accepted(&client, &manifest).await;
    }
    for (pointer, value) in cases::accepted_runs() {
        assert_accepted(&client, &with(&run(), pointer, value)).await;
    }
    for (pointer, value) in cases::accepted_policies() {
        assert_accepted(&client, &with(&policy(), pointer, value.clone())).await;
        assert_accepted(&client, &with(&cluster_policy(), pointer, value)).await;
    }
    for (pointer, value) in cases::accepted_own_fields() {
        assert_accepted(&client, &with(&policy(), pointer, value)).await;
    }
    assert_accepted(&client, &credential()).await;
    for (pointer, value) in accepted_credentials() {
        assert_accepted(&client, &with(&credential(), pointer, value)).await;
    }
}

#[tokio::test]
async fn malformed_manifests_are_refused_in_the_words_of_the_rules() {
    let client = crate::harness::client().await;
    for (manifest, message) in cases::refused_run_manifests() {
        assert_refused(&client, &manifest, message).await;
    }
    for (pointer, value, message) in cases::refused_policies() {
        assert_refused(&client, &with(&policy(), pointer, value.clone()), message).await;
        assert_refused(&client, &with(&cluster_policy(), pointer, value), message).await;
    }
    for (pointer, value, message) in cases::refused_own_fields() {
        assert_refused(&client, &with(&policy(), pointer, value), message).await;
    }
    for (pointer, value, message) in refused_credentials() {
        assert_refused(&client, &with(&credential(), pointer, value), message).await;
    }
}

#[tokio::test]
async fn names_of_old_are_refused_as_unknown() {
    let client = crate::harness::client().await;
    let mut rows: Vec<(Value, String)> = Vec::new();
    let mut unknown = |manifest: &Value, (old, value, _): (&str, Value, &str)| {
        let field = old.trim_start_matches('/').replace('/', ".");
        rows.push((with(manifest, old, value), format!("unknown field \"{field}\"")));
    };
    for row in renamed::run_fields() {
        unknown(&run(), row);
    }
    for row in renamed::own_fields() {
        unknown(&policy(), row);
    }
    for manifest in [policy(), cluster_policy()] {
        for row in renamed::limit_fields() {
            unknown(&manifest, row);
        }
    }
    for (pointer, word) in renamed::run_words() {
        rows.push((
            with(&run(), pointer, json!(word)),
            format!("Unsupported value: \"{word}\""),
        ));
    }
    for (pointer, word) in renamed::limit_words() {
        rows.push((
            with(&policy(), pointer, json!(word)),
            format!("Unsupported value: \"{word}\""),
        ));
    }
    for (manifest, message) in rows {
        assert_refused(&client, &manifest, &message).await;
    }
}

#[tokio::test]
async fn an_explicit_null_is_as_good_as_nothing() {
    let client = crate::harness::client().await;
    let mut from_map = prompt_from("a", "b", &prompt_digest());
    from_map["prompt"] = Value::Null;
    assert_accepted(&client, &with(&run(), "/spec/task", from_map)).await;
    let nothing = json!({"prompt": null, "promptFrom": null});
    assert_refused(
        &client,
        &with(&run(), "/spec/task", nothing),
        "exactly one of prompt and promptFrom",
    )
    .await;
    let created = create(&client, &with(&run(), "/spec/suspend", Value::Null))
        .await
        .unwrap();
    assert_eq!(created["spec"]["suspend"], false);
}

#[tokio::test]
async fn a_new_run_says_that_it_is_not_finished() {
    let client = crate::harness::client().await;
    let created = create(&client, &run()).await.unwrap();
    assert_eq!(created["status"]["phase"], "Pending");
    assert_eq!(created["status"]["conditions"][0]["type"], "Ready");
    assert_eq!(created["status"]["conditions"][0]["status"], "Unknown");
}
