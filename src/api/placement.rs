//! Bounded schemas of a pod's scheduling fields. Kubernetes' own have no bounds and are five times as long.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::bounds;

/// Longest key of a label, a taint or a topology: a prefix of 253, a slash and 63.
const KEY: u32 = 317;
/// Longest value of a label or a taint.
const VALUE: u32 = 63;
/// Items of each list that a profile can hold.
const ITEMS: u32 = 16;
/// Items of lists inside of those.
const INNER: u32 = 8;

/// Labels that a node must have.
pub(super) fn node_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": ITEMS,
        "additionalProperties": {"type": "string", "maxLength": VALUE},
    })
}

/// Taints that the pod tolerates.
pub(super) fn tolerations(_: &mut SchemaGenerator) -> Schema {
    schema(list(
        ITEMS,
        &json!({
            "type": "object",
            "properties": {
                "key": text(KEY),
                "operator": words(&["Exists", "Equal"]),
                "value": text(VALUE),
                "effect": words(&["NoSchedule", "PreferNoSchedule", "NoExecute"]),
                "tolerationSeconds": {"type": "integer", "format": "int64", "minimum": 0, "maximum": 31_536_000},
            },
        }),
    ))
}

/// Nodes and pods that attract or repel the pod.
pub(super) fn affinity(generator: &mut SchemaGenerator) -> Schema {
    let term = node_term();
    let near = pods(generator);
    schema(json!({
        "type": "object",
        "properties": {
            "nodeAffinity": {
                "type": "object",
                "properties": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "type": "object",
                        "required": ["nodeSelectorTerms"],
                        "properties": {"nodeSelectorTerms": list(INNER, &term)},
                    },
                    "preferredDuringSchedulingIgnoredDuringExecution": weighted("preference", &term),
                },
            },
            "podAffinity": near,
            "podAntiAffinity": near,
        },
    }))
}

/// How pods spread over zones and nodes.
pub(super) fn topology_spread(generator: &mut SchemaGenerator) -> Schema {
    let selector = plain(bounds::selector(generator));
    let count = json!({"type": "integer", "format": "int32", "minimum": 1, "maximum": 1000});
    schema(list(
        INNER,
        &json!({
            "type": "object",
            "required": ["maxSkew", "topologyKey", "whenUnsatisfiable"],
            "properties": {
                "maxSkew": count,
                "topologyKey": text(KEY),
                "whenUnsatisfiable": words(&["DoNotSchedule", "ScheduleAnyway"]),
                "labelSelector": selector,
                "matchLabelKeys": list(INNER, &text(KEY)),
                "minDomains": count,
                "nodeAffinityPolicy": words(&["Honor", "Ignore"]),
                "nodeTaintsPolicy": words(&["Honor", "Ignore"]),
            },
        }),
    ))
}

fn node_term() -> Value {
    let requirement = json!({
        "type": "object",
        "required": ["key", "operator"],
        "properties": {
            "key": text(KEY),
            "operator": words(&["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]),
            "values": list(ITEMS, &text(VALUE)),
        },
    });
    json!({
        "type": "object",
        "properties": {
            "matchExpressions": list(ITEMS, &requirement),
            // Its only field is metadata.name, whose values are longer than a label's.
            "matchFields": list(1, &json!({
                "type": "object",
                "required": ["key", "operator"],
                "properties": {
                    "key": words(&["metadata.name"]),
                    "operator": words(&["In", "NotIn"]),
                    "values": list(1, &text(253)),
                },
            })),
        },
    })
}

fn pods(generator: &mut SchemaGenerator) -> Value {
    let selector = plain(bounds::selector(generator));
    let term = json!({
        "type": "object",
        "required": ["topologyKey"],
        "properties": {
            "topologyKey": text(KEY),
            "labelSelector": selector,
            "namespaceSelector": selector,
            "namespaces": list(ITEMS, &text(VALUE)),
            "matchLabelKeys": list(INNER, &text(KEY)),
            "mismatchLabelKeys": list(INNER, &text(KEY)),
        },
    });
    json!({
        "type": "object",
        "properties": {
            "requiredDuringSchedulingIgnoredDuringExecution": list(INNER, &term),
            "preferredDuringSchedulingIgnoredDuringExecution": weighted("podAffinityTerm", &term),
        },
    })
}

fn weighted(name: &str, term: &Value) -> Value {
    list(
        INNER,
        &json!({
            "type": "object",
            "required": ["weight", name],
            "properties": {
                "weight": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 100},
                name: term,
            },
        }),
    )
}

fn list(most: u32, items: &Value) -> Value {
    json!({"type": "array", "maxItems": most, "x-kubernetes-list-type": "atomic", "items": items})
}

fn text(longest: u32) -> Value {
    json!({"type": "string", "maxLength": longest})
}

fn words(known: &[&str]) -> Value {
    json!({"type": "string", "enum": known})
}

/// A schema without its descriptions: those of the fields of a pod's spec are Kubernetes' own, and each selector of an
/// affinity would repeat them.
fn plain(schema: Schema) -> Value {
    let mut value = schema.to_value();
    undescribe(&mut value);
    value
}

fn undescribe(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("description");
            fields.values_mut().for_each(undescribe);
        }
        Value::Array(items) => items.iter_mut().for_each(undescribe),
        _ => {}
    }
}

fn schema(value: Value) -> Schema {
    // Only an object or a bool is a schema, and these are objects.
    Schema::try_from(value).unwrap_or_default()
}
