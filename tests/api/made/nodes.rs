//! Values of a manifest with what its schema says of them.

use std::sync::LazyLock;

use cofferdam_api::crds;
use serde_json::Value;

static DOCUMENTS: LazyLock<Vec<Value>> = LazyLock::new(|| crds::documents().unwrap());

/// A value below `spec`.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it is.
    pub pointer: String,
    /// What it may be.
    pub schema: &'static Value,
}

/// Every value of `manifest` below `spec` that its schema knows.
pub fn nodes(manifest: &Value) -> Vec<Node> {
    let document = DOCUMENTS
        .iter()
        .find(|document| document["spec"]["names"]["kind"] == manifest["kind"])
        .unwrap();
    let schema = &document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut found = Vec::new();
    if let Some(spec) = manifest.get("spec") {
        walk(spec, schema, "/spec", &mut found);
    }
    found
}

fn walk(value: &Value, schema: &'static Value, pointer: &str, found: &mut Vec<Node>) {
    found.push(Node {
        pointer: pointer.to_owned(),
        schema,
    });
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let known = schema["properties"]
                    .get(name)
                    .or_else(|| schema.get("additionalProperties"));
                if let Some(known) = known {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    walk(field, known, &format!("{pointer}/{name}"), found);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, &schema["items"], &format!("{pointer}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// `manifest` with another value at `pointer`, where there is one.
pub fn replaced(manifest: &Value, pointer: &str, value: Value) -> Value {
    let mut manifest = manifest.clone();
    if let Some(place) = manifest.pointer_mut(pointer) {
        *place = value;
    }
    manifest
}

/// Takes away what is at `pointer`: a field, or an item of a list.
pub fn remove(manifest: &mut Value, pointer: &str) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match manifest.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.remove(&key.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(items)) => {
            items.remove(key.parse::<usize>().unwrap());
        }
        _ => {}
    }
}
