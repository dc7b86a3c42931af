//! Schemas of our own for types of Kubernetes that have no bounds: without them rules over these fields have no cost.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A map of resources to amounts, bounded. Quantities are strings here: a bare number would not be read back.
pub(super) fn amounts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 3,
        "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 32},
    })
}

/// A map of an App's permissions, bounded.
pub(super) fn app_permissions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": 16,
        "additionalProperties": {
            "description": "`Read`: the token may read them. `Write`: it may change them, too.",
            "type": "string",
            "enum": ["Read", "Write"],
        },
    })
}

/// A label selector, bounded so that rules over it have a cost.
pub(super) fn selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "matchLabels": {
                "description": "Labels with exactly these values.",
                "type": "object",
                "maxProperties": 16,
                "additionalProperties": {"type": "string", "maxLength": 63},
            },
            "matchExpressions": {
                "description": "Requirements that must all hold.",
                "type": "array",
                "maxItems": 16,
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {"description": "Key of a label that is compared.", "type": "string", "minLength": 1, "maxLength": 317},
                        "operator": {
                            "description": "`In`, `NotIn`: the value is, or is not, among `values`. `Exists`, `DoesNotExist`: the label is, or is not, there.",
                            "type": "string",
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                        },
                        "values": {
                            "description": "Values to compare with; for `In` and `NotIn` only.",
                            "type": "array",
                            "maxItems": 32,
                            "x-kubernetes-list-type": "atomic",
                            "items": {"type": "string", "maxLength": 63},
                        },
                    },
                },
            },
        },
    })
}
