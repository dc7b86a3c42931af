//! Judges a manifest as the API server does: structure and bounds here, rules by kube's CEL.

use std::sync::LazyLock;

use cofferdam_api::crds;
use kube::core::cel::{Validator, apply_defaults};
use serde_json::Value;

static DOCUMENTS: LazyLock<Vec<Value>> = LazyLock::new(|| crds::documents().unwrap());

/// The schema of a kind.
pub fn of(kind: &str) -> &'static Value {
    DOCUMENTS
        .iter()
        .find(|document| document["spec"]["names"]["kind"] == kind)
        .map_or_else(
            || panic!("no kind {kind}"),
            |document| &document["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
        )
}

/// Everything that is wrong with `manifest`, as an update of `old` where given.
pub fn problems(manifest: &Value, old: Option<&Value>) -> Vec<String> {
    let schema = of(manifest["kind"].as_str().unwrap());
    let manifest = apply_defaults(schema, manifest);
    let old = old.map(|old| apply_defaults(schema, old));
    let mut problems = Vec::new();
    structure(schema, &manifest, "", &mut problems);
    if !problems.is_empty() {
        // The API server does not run rules over what is not even of the right shape.
        return problems;
    }
    match Validator::new().validate(schema, &manifest, old.as_ref()) {
        Ok(()) => Vec::new(),
        Err(errors) => errors
            .as_slice()
            .iter()
            .map(|error| format!("{}: {}", error.field_path, error.message))
            .collect(),
    }
}

fn structure(schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
    let mut problem = |what: String| problems.push(format!("{path}: {what}"));
    match (schema["type"].as_str(), value) {
        (Some("object"), Value::Object(_))
        | (Some("array"), Value::Array(_))
        | (Some("boolean"), Value::Bool(_)) => {}
        (Some("integer"), Value::Number(number)) => {
            let number = number.as_f64().unwrap();
            if schema["minimum"].as_f64().is_some_and(|least| number < least)
                || schema["maximum"].as_f64().is_some_and(|most| number > most)
            {
                problem(format!("{number} is out of range"));
            }
        }
        (Some("string"), Value::String(text)) => {
            if schema["enum"]
                .as_array()
                .is_some_and(|words| !words.contains(value))
            {
                problem(format!("{text} is not supported"));
            }
            size(schema, text.chars().count(), "Length", &mut problem);
        }
        (kind, _) => return problem(format!("must be of type {}", kind.unwrap_or("?"))),
    }
    match value {
        Value::Object(fields) => object(schema, fields, path, problems),
        Value::Array(items) => array(schema, items, path, problems),
        _ => {}
    }
}

fn size(schema: &Value, size: usize, unit: &str, problem: &mut impl FnMut(String)) {
    let bound = |word: &str| {
        schema[format!("{word}{unit}")]
            .as_u64()
            .map(|bound| usize::try_from(bound).unwrap())
    };
    if bound("min").is_some_and(|least| size < least) || bound("max").is_some_and(|most| size > most) {
        problem(format!("{unit} {size} is out of range"));
    }
}

fn object(schema: &Value, fields: &serde_json::Map<String, Value>, path: &str, problems: &mut Vec<String>) {
    size(schema, fields.len(), "Properties", &mut |what| {
        problems.push(format!("{path}: {what}"));
    });
    for required in schema["required"].as_array().into_iter().flatten() {
        let name = required.as_str().unwrap();
        if !fields.contains_key(name) {
            problems.push(format!("{path}.{name}: is required"));
        }
    }
    for (name, field) in fields {
        let known = schema["properties"]
            .get(name)
            .or_else(|| schema.get("additionalProperties"));
        match known {
            Some(known) => structure(known, field, &format!("{path}.{name}"), problems),
            None if path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") => {}
            None => problems.push(format!("{path}.{name}: unknown field")),
        }
    }
}

fn array(schema: &Value, items: &[Value], path: &str, problems: &mut Vec<String>) {
    size(schema, items.len(), "Items", &mut |what| {
        problems.push(format!("{path}: {what}"));
    });
    let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|k| k.as_str().unwrap())
        .collect();
    let identity = |item: &Value| match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => Some(item.to_string()),
        Some("map") => Some(keys.iter().map(|key| item[*key].to_string()).collect::<String>()),
        _ => None,
    };
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if identity(item).is_some_and(|own| {
            items[..index]
                .iter()
                .any(|other| identity(other).as_ref() == Some(&own))
        }) {
            problems.push(format!("{path}: Duplicate value"));
        }
        structure(&schema["items"], item, &path, problems);
    }
}

/// `manifest` as the API server reads it from its storage: without the fields that the schema does not know.
pub fn pruned(manifest: &Value) -> Value {
    let mut pruned = manifest.clone();
    prune(of(manifest["kind"].as_str().unwrap()), &mut pruned, true);
    pruned
}

fn prune(schema: &Value, value: &mut Value, at_the_root: bool) {
    match value {
        Value::Object(fields) if schema.get("properties").is_some() => {
            let properties = &schema["properties"];
            let is_of_every_object =
                |name: &str| at_the_root && matches!(name, "apiVersion" | "kind" | "metadata");
            fields.retain(|name, _| properties.get(name).is_some() || is_of_every_object(name));
            for (name, field) in fields {
                if let Some(known) = properties.get(name) {
                    prune(known, field, false);
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| prune(&schema["items"], item, false)),
        _ => {}
    }
}
