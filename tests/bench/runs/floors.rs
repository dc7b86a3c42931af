//! What one status write costs the API server, and what of that is schema, rules, managed fields and bytes.
//!
//! The `CustomResourceDefinition` of runs is installed again under names of the bench, with parts of it taken away, and the
//! status of one object is written again and again.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::Result;
use super::load;
use super::machine;
use super::place::{Place, Purpose};
use super::sitting::whole;

/// Writes of each measurement.
const WRITES: usize = 300;
/// API group of the copies.
const GROUP: &str = "bench.cofferdam.test";
/// Label of the copies.
const LABEL: &str = "cofferdam.test/bench";
const NAMESPACE: &str = "bench-floors";

/// Measures each variant and prints a table.
pub async fn bench(place: &Place) -> Result<()> {
    let full = full_status();
    let short = json!({
        "phase": "Succeeded", "reason": "Completed", "message": "The agent exited 0.", "observedGeneration": 1,
        "startTime": "2026-01-02T03:04:05Z", "completionTime": now(), "exitCode": 0,
        "conditions": [condition("Complete", "Completed", "The agent exited 0.")],
    });
    let ours: Value = serde_saphyr::from_str(include_str!("../../../crds/agentruns.yaml"))?;
    place.namespace(NAMESPACE, Purpose::Stock).await?;
    println!(
        "| status of a finished run | bytes | managed fields | CPU-ms of the API server a write |\n|---|---|---|---|"
    );
    let real = ApiResource::erase::<cofferdam_api::AgentRun>(&());
    tell(
        "as installed, with the guard",
        &measure(&place.controller, &place.client, place, &real, &full).await?,
    );
    for (index, (label, schema, status)) in [
        ("without the guard", ours.clone(), &full),
        (
            "… and without rules in CEL",
            without(ours.clone(), &["x-kubernetes-validations"]),
            &full,
        ),
        (
            "… and structs of the status atomic",
            atomic(without(ours.clone(), &["x-kubernetes-validations"]), false),
            &full,
        ),
        (
            "… and conditions atomic",
            atomic(without(ours.clone(), &["x-kubernetes-validations"]), true),
            &full,
        ),
        ("rules and schema away", empty(ours.clone()), &full),
        (
            "rules and schema away, a short status",
            empty(ours.clone()),
            &short,
        ),
        ("without the guard, a short status", ours.clone(), &short),
    ]
    .into_iter()
    .enumerate()
    {
        let resource = install(&place.client, schema, index).await?;
        tell(
            label,
            &measure(&place.client, &place.client, place, &resource, status).await?,
        );
    }
    Ok(())
}

/// Removes what [`bench`] has installed.
pub async fn clean(client: &Client) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions
        .delete_collection(&DeleteParams::default(), &ListParams::default().labels(LABEL))
        .await?;
    Ok(())
}

struct Floor {
    bytes: usize,
    managed: usize,
    cpu_ms: f64,
}

fn tell(label: &str, floor: &Floor) {
    println!(
        "| {label} | {} | {} | {:.1} |",
        floor.bytes, floor.managed, floor.cpu_ms
    );
}

/// Writes the status of a fresh object again and again.
async fn measure(
    writer: &Client,
    creator: &Client,
    place: &Place,
    resource: &ApiResource,
    status: &Value,
) -> Result<Floor> {
    let create: Api<DynamicObject> = Api::namespaced_with(creator.clone(), NAMESPACE, resource);
    let mut object = load::run("floor", "0s");
    object["apiVersion"] = json!(resource.api_version);
    object["kind"] = json!(resource.kind);
    let object: DynamicObject = serde_json::from_value(object)?;
    let mut object = create.create(&PostParams::default(), &object).await?;
    let api: Api<DynamicObject> = Api::namespaced_with(writer.clone(), NAMESPACE, resource);
    let params = PostParams {
        field_manager: Some(cofferdam_api::names::FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let server = *machine::processes(&place.state)?
        .get("kube-apiserver")
        .ok_or("there is no API server")?;
    let server = [("kube-apiserver".to_owned(), server)].into();
    let mut before = 0.0;
    // The first ones warm it up.
    for index in 0..WRITES + 20 {
        if index == 20 {
            before = machine::cpu(&server).values().sum::<f64>();
        }
        let mut status = status.clone();
        status["message"] = json!(format!(
            "The agent exited 0 and its work is in the archive. {}",
            index % 10
        ));
        object.data["status"] = status;
        object = loop {
            match api.replace_status("floor", &params, &object).await {
                Ok(written) => break written,
                // The controller looks at a real run, too.
                Err(kube::Error::Api(error)) if error.code == 409 => {
                    let fresh = api.get("floor").await?;
                    object.metadata.resource_version = fresh.metadata.resource_version;
                }
                Err(error) => return Err(error.into()),
            }
        };
    }
    let after = machine::cpu(&server).values().sum::<f64>();
    create
        .delete(&object.name_any(), &DeleteParams::default())
        .await?;
    Ok(Floor {
        bytes: serde_json::to_vec(&object.data["status"])?.len(),
        managed: serde_json::to_vec(&object.metadata.managed_fields)?.len(),
        cpu_ms: (after - before) * 1000.0 / whole(WRITES),
    })
}

/// Installs the definition under the names of variant `index` and waits until it is served.
async fn install(client: &Client, mut definition: Value, index: usize) -> Result<ApiResource> {
    let (kind, plural) = (format!("Floor{index}"), format!("floor{index}s"));
    definition["metadata"] = json!({"name": format!("{plural}.{GROUP}"), "labels": {LABEL: ""}});
    definition["spec"]["group"] = json!(GROUP);
    definition["spec"]["names"] = json!({"kind": kind, "plural": plural, "singular": kind.to_lowercase()});
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions
        .create(&PostParams::default(), &serde_json::from_value(definition)?)
        .await?;
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1alpha1", &kind), &plural);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &resource);
    for _ in 0..50 {
        if api.list_metadata(&ListParams::default()).await.is_ok() {
            // Its schema is published a moment later.
            tokio::time::sleep(Duration::from_secs(2)).await;
            return Ok(resource);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(format!("{plural}.{GROUP} is not served").into())
}

/// The document without these keys, wherever they stand.
fn without(mut document: Value, keys: &[&str]) -> Value {
    match &mut document {
        Value::Object(map) => {
            map.retain(|key, _| !keys.contains(&key.as_str()));
            for value in map.values_mut() {
                *value = without(value.take(), keys);
            }
        }
        Value::Array(list) => {
            for value in list {
                *value = without(value.take(), keys);
            }
        }
        _ => {}
    }
    document
}

fn schema(definition: &mut Value) -> &mut Value {
    &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

/// The definition with each struct of the status owned as a whole.
fn atomic(mut definition: Value, conditions: bool) -> Value {
    let status = &mut schema(&mut definition)["properties"]["status"]["properties"];
    for (name, property) in status.as_object_mut().into_iter().flatten() {
        if property["type"] == "object" {
            property["x-kubernetes-map-type"] = json!("atomic");
        }
        if name == "conditions" && conditions {
            property["x-kubernetes-list-type"] = json!("atomic");
            property
                .as_object_mut()
                .map(|map| map.remove("x-kubernetes-list-map-keys"));
        }
    }
    definition
}

/// The definition with a schema that knows no field.
fn empty(mut definition: Value) -> Value {
    let any = || json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    *schema(&mut definition) = json!({"type": "object", "properties": {"spec": any(), "status": any()}});
    definition["spec"]["versions"][0].as_object_mut().map(|version| {
        (
            version.remove("selectableFields"),
            version.remove("additionalPrinterColumns"),
        )
    });
    definition
}

/// The controller deletes a run whose time to live is over.
fn now() -> String {
    let seconds = jiff::Timestamp::now().as_second();
    jiff::Timestamp::from_second(seconds)
        .unwrap_or_default()
        .to_string()
}

fn condition(kind: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": "True", "reason": reason, "message": message,
        "observedGeneration": 1, "lastTransitionTime": "2026-01-02T03:04:05Z",
    })
}

/// What a finished run of one repository under three policies says.
fn full_status() -> Value {
    let image = "cofferdam.test/fake@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let policy = |kind: &str, name: &str| json!({"kind": kind, "name": name, "generation": 1, "uid": "573e3a25-a138-4338-ab5b-7f433924dbe8"});
    let done = "The agent exited 0 and its work is in the archive.";
    json!({
        "agentStartTime": "2026-01-02T03:04:05Z", "startTime": "2026-01-02T03:04:05Z", "completionTime": now(),
        "attempt": 1, "exitCode": 0, "phase": "Succeeded", "reason": "Completed", "message": done, "observedGeneration": 1,
        "conditions": [
            condition("Ready", "Completed", done), condition("Admitted", "Admitted", ""),
            condition("RequesterKnown", "Checked", "The run was created by `cofferdam-test-admin`; the API server checked it."),
            condition("Isolated", "Proven", "The fence was seen closed before the agent started."),
            condition("Complete", "Completed", done),
        ],
        "isolation": {
            "fence": "cofferdam-fence", "nodeAccess": "Denied", "provenTime": "2026-01-02T03:04:05Z", "runtimeClassName": "gvisor",
            "podSpecDigest": "sha256:29ffbbbc5321baa797043f4a4d02e84ad2c0d8df6fb12d012e734fb69702253e",
        },
        "outputs": {"patches": [{
            "repository": "demo", "bytes": 73, "files": 1, "insertions": 1, "deletions": 1, "snapshot": "Final",
            "digest": "sha256:7897fd855a3657759d3950da96db57e7aad3399aeaa98781fc49aed7cbddcb1f",
        }]},
        "resolved": {
            "image": "cofferdam.test/busybox:dev", "runtimeClassName": "gvisor",
            "images": [{"name": "agent", "imageID": image}, {"name": "prepare", "imageID": image}, {"name": "sidecar", "imageID": image}],
            "policies": [policy("ClusterSandboxPolicy", "default"), policy("ClusterSandboxPolicy", "second-ceiling"), policy("SandboxPolicy", "default")],
            "policyHash": "djmh2ajmoauy7ebdmmoobtfra3xjo6n7wjxg2f2wp6d3kaeibqga",
            "repositories": [{"name": "demo", "commit": "dc3a4833a60b14b0351a2b1a9fa3fb23fec06cbe"}],
        },
        "usage": {"allowedRequests": 1, "deniedRequests": 0},
        "workload": {"kind": "Job", "name": "agr-r-0-0300f01c", "uid": "97e42852-3557-4eae-8d3a-aec26dfc1345"},
    })
}
