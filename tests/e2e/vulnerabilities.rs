//! `VulnerabilityReport`s of a scanner, held against `limits.images.vulnerabilities`.
//!
//! The resource is trivy-operator's own, as its version 0.29.0 defines it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cofferdam_api::Reason;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::harness::{Space, client, default_limits, until};

const CRD: &str = "vulnerabilityreports.aquasecurity.github.io";
/// An image that is in no registry: what is decided about it is decided before it is pulled.
const IMAGE: &str = "cofferdam.test/scanned";
/// The controller asks every 30 s whether there are reports now.
const SEEN: Duration = Duration::from_secs(90);

fn digest(letter: &str) -> String {
    format!("sha256:{}", letter.repeat(64))
}

/// trivy-operator's own definition of the resource, out of its Go module.
fn crd() -> Value {
    let module = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("tests/fixtures/trivy-operator");
    let asked = Command::new("go")
        .args([
            "mod",
            "download",
            "-json",
            "github.com/aquasecurity/trivy-operator@v0.29.0",
        ])
        .current_dir(module)
        .output()
        .expect("go is there");
    let answer: Value = serde_json::from_slice(&asked.stdout).unwrap_or_else(|_| panic!("{asked:?}"));
    let directory = answer["Dir"].as_str().unwrap_or_else(|| panic!("{answer}"));
    let file = Path::new(directory).join("deploy/helm/crds/aquasecurity.github.io_vulnerabilityreports.yaml");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_saphyr::from_str(&text).expect("a definition")
}

fn reports(space: &Space) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "aquasecurity.github.io".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "aquasecurity.github.io/v1alpha1".to_owned(),
        kind: "VulnerabilityReport".to_owned(),
        plural: "vulnerabilityreports".to_owned(),
    };
    Api::namespaced_with(space.client.clone(), &space.name, &resource)
}

async fn report(space: &Space, name: &str, digest: &str, high: u32, low: u32) {
    let report = json!({
        "apiVersion": "aquasecurity.github.io/v1alpha1", "kind": "VulnerabilityReport", "metadata": {"name": name},
        "report": {
            "artifact": {"repository": "scanned", "digest": digest},
            "os": {"family": "debian", "name": "13"},
            "scanner": {"name": "Trivy", "vendor": "Aqua Security", "version": "0.74.0"},
            "summary": {"criticalCount": 0, "highCount": high, "mediumCount": 0, "lowCount": low, "unknownCount": 0},
            "updateTimestamp": "2026-11-24T06:00:00Z",
            "vulnerabilities": [],
        },
    });
    let report: DynamicObject = serde_json::from_value(report).unwrap();
    until("the resource is served", SEEN, || async {
        match reports(space).create(&PostParams::default(), &report).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
}

async fn without_crd(client: &Client) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    // There is none, as a rule.
    drop(crds.delete(CRD, &DeleteParams::default()).await);
    until("there are no reports", SEEN, || async {
        match crds.get_opt(CRD).await.unwrap() {
            None => Ok(()),
            Some(left) => Err(left.status),
        }
    })
    .await;
}

/// How a run under this policy ends whose agent's image is named so, and why. It is not in any registry, so one that
/// passes the gate does not start in time.
async fn end(space: &Space, policy: &str, name: &str, image: &str) -> (String, String) {
    let spec = json!({
        "policyRef": {"name": policy}, "task": {"prompt": "nothing"}, "agent": {"image": image}, "startDeadlineSeconds": 15,
    });
    let status = space.run(name, spec).await.ended().await.status.unwrap();
    (
        status.reason.unwrap_or_default(),
        status.message.unwrap_or_default(),
    )
}

/// The runner's image is named by a tag: only `Allow` lets it pass the gate. Agents' images are judged before it.
fn gated(missing: &str) -> Value {
    let mut limits = default_limits();
    limits["images"]["vulnerabilities"] = json!({"maxSeverity": "Medium", "onMissingReport": missing});
    limits
}

#[tokio::test]
async fn an_image_is_held_to_what_a_scanner_found_in_it() {
    without_crd(&client().await).await;
    let space = Space::open_bare("vulnerabilities").await;
    space.policy("seen-only", gated("Deny")).await;
    space.policy("unseen-too", gated("Allow")).await;
    let (scanned, harmless) = (digest("a"), digest("b"));
    let bad = format!("{IMAGE}@{scanned}");
    let passes = |(reason, message): (String, String)| {
        assert_eq!(reason, Reason::StartTimeout.as_str(), "{message}");
    };

    let (reason, message) = end(&space, "seen-only", "no-scanner", &bad).await;
    assert_eq!(reason, Reason::ImageDenied.as_str(), "{message}");
    assert!(
        message.contains("onMissingReport") && message.contains(&scanned),
        "{message}"
    );
    passes(end(&space, "unseen-too", "let-through", &bad).await);

    Api::<CustomResourceDefinition>::all(space.client.clone())
        .patch(CRD, &PatchParams::apply("e2e").force(), &Patch::Apply(crd()))
        .await
        .expect("an admin may add a resource");
    report(&space, "first", &scanned, 0, 7).await;
    report(&space, "second", &scanned, 3, 0).await;
    report(&space, "third", &harmless, 0, 7).await;
    let mut asked = 0;
    let (space_seen, bad_seen) = (&space, &bad);
    until("the controller knows the reports", SEEN, || {
        asked += 1;
        let name = format!("found-{asked}");
        async move {
            let (reason, message) = end(space_seen, "seen-only", &name, bad_seen).await;
            assert_eq!(reason, Reason::ImageDenied.as_str(), "{message}");
            if message.contains("counts 3 High vulnerabilities") && message.contains("maxSeverity") {
                Ok(())
            } else {
                Err(message)
            }
        }
    })
    .await;
    let (reason, message) = end(&space, "unseen-too", "found-anyway", &bad).await;
    assert_eq!(reason, Reason::ImageDenied.as_str(), "{message}");
    passes(end(&space, "unseen-too", "harmless", &format!("{IMAGE}@{harmless}")).await);

    let client = space.client.clone();
    space.close().await;
    without_crd(&client).await;
}
