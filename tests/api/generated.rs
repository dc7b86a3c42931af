//! `crds/`, the chart's copy of it and the reference in the documentation are what the types say.

use std::path::Path;

use cofferdam_api::{crds, reference};

/// The chart carries a copy, because Helm reads no files from outside a chart.
const DIRECTORIES: [&str; 2] = ["crds", "charts/cofferdam/files/crds"];

#[test]
fn the_committed_definitions_are_those_of_the_types() {
    let files = crds::files().unwrap();
    for name in DIRECTORIES {
        let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(name);
        for file in &files {
            let committed = std::fs::read_to_string(directory.join(&file.name)).unwrap_or_default();
            assert!(
                committed == file.text,
                "{name}/{} is not what src/api says: run `make crds` and commit the result",
                file.name
            );
        }
        let committed = std::fs::read_dir(directory).unwrap().count();
        assert_eq!(
            committed,
            files.len(),
            "{name} holds files that nothing generates"
        );
    }
}

#[test]
fn the_committed_reference_is_that_of_the_types() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md")).unwrap();
    assert!(
        page.contains(reference::MARK),
        "docs/api.md has no generated part"
    );
    assert!(
        reference::updated(&page).unwrap() == page,
        "docs/api.md is not what src/api says: run `make crds` and commit the result"
    );
}

#[test]
fn no_field_is_nullable_and_every_list_and_map_is_bounded() {
    for document in crds::documents().unwrap() {
        let spec = document
            .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
            .unwrap();
        let mut problems = Vec::new();
        unbounded(spec, "spec", &mut problems);
        assert!(problems.is_empty(), "{problems:#?}");
        assert!(!document.to_string().contains("nullable"));
    }
}

/// The API server refuses a definition whose default has a field that its schema does not know.
#[test]
fn what_a_new_status_says_is_in_its_schema() {
    for document in crds::documents().unwrap() {
        let status = document
            .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/status")
            .unwrap();
        for field in status["default"].as_object().unwrap().keys() {
            let known = status["properties"].get(field).is_some();
            assert!(known, "{}: {field}", document["spec"]["names"]["kind"]);
        }
    }
}

/// Paths below `schema` whose size nothing bounds: rules over them would have no cost.
fn unbounded(schema: &serde_json::Value, path: &str, problems: &mut Vec<String>) {
    let missing = |key: &str| schema.get(key).is_none();
    match schema.get("type").and_then(|kind| kind.as_str()) {
        Some("array") if missing("maxItems") => problems.push(format!("{path}: no maxItems")),
        Some("string") if missing("maxLength") && missing("enum") => {
            problems.push(format!("{path}: no maxLength"));
        }
        Some("object") if missing("properties") && missing("maxProperties") => {
            problems.push(format!("{path}: no maxProperties"));
        }
        Some("integer") if missing("minimum") || missing("maximum") => {
            problems.push(format!("{path}: no minimum or maximum"));
        }
        _ => {}
    }
    for (name, property) in schema
        .get("properties")
        .and_then(|p| p.as_object())
        .into_iter()
        .flatten()
    {
        unbounded(property, &format!("{path}.{name}"), problems);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner_schema) = schema.get(inner) {
            unbounded(inner_schema, &format!("{path}[]"), problems);
        }
    }
}
