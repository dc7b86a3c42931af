//! `OpenAPI`: an empty document of version 2, without which the aggregator asks again and again, and a description of
//! version 3. Pure.

use serde_json::{Map, Value, json};

use crate::path::Part;
use cofferdam_wire::output_api::{GROUP, VERSION};

/// `/openapi/v2`.
pub fn v2() -> Value {
    json!({"swagger": "2.0", "info": info(), "paths": {}})
}

/// `/openapi/v3`.
pub fn index() -> Value {
    let path = format!("apis/{GROUP}/{VERSION}");
    let url = format!("/openapi/v3/{path}?hash={}", hash());
    json!({"paths": {path: {"serverRelativeURL": url}}})
}

/// The document changes with the version of this program alone.
fn hash() -> String {
    cofferdam_api::names::short_hash(v3().to_string().as_bytes())
}

fn info() -> Value {
    json!({"title": "What runs of Cofferdam left behind", "version": VERSION})
}

/// `/openapi/v3/apis/<group>/<version>`.
pub fn v3() -> Value {
    let paths: Map<String, Value> = Part::ALL
        .iter()
        .map(|part| {
            let path = format!(
                "/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/agentruns/{{name}}/{}",
                part.name()
            );
            (path, of_part(*part))
        })
        .collect();
    json!({"openapi": "3.0.0", "info": info(), "paths": paths})
}

fn of_part(part: Part) -> Value {
    let (media, own) = match part {
        Part::Patch => (
            "text/x-diff",
            vec![
                query(
                    "repository",
                    "string",
                    "Which repository's; needed where the run has several.",
                ),
                query("from", "integer", "The byte to begin with."),
            ],
        ),
        Part::Records => (
            "application/jsonl",
            vec![
                query("from", "integer", "The byte to begin with."),
                query(
                    "follow",
                    "boolean",
                    "Go on with what comes, for at most 45 s; ask again from where it ended.",
                ),
            ],
        ),
        Part::Summary | Part::Statement => ("application/json", Vec::new()),
    };
    let mut parameters = vec![
        json!({"name": "namespace", "in": "path", "required": true, "schema": {"type": "string"}}),
        json!({"name": "name", "in": "path", "required": true, "schema": {"type": "string"}}),
        query(
            "uid",
            "string",
            "Which run, where several had this name; absent: the one that is there, else the newest.",
        ),
    ];
    parameters.extend(own);
    let kind = json!({"group": GROUP, "version": VERSION, "kind": part.kind()});
    json!({
        "get": {
            "description": part.describe(),
            "operationId": format!("read{}", part.kind()),
            "tags": ["output"],
            "responses": {"200": {"description": "OK", "content": {media: {"schema": {"type": "string"}}}}},
            "x-kubernetes-action": "get",
            "x-kubernetes-group-version-kind": kind,
        },
        "parameters": parameters,
    })
}

fn query(name: &str, kind: &str, description: &str) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": {"type": kind}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_leads_to_the_document() {
        let index = index();
        let url = index
            .pointer("/paths/apis~1output.cofferdam.dev~1v1alpha1/serverRelativeURL")
            .unwrap();
        let path = url.as_str().unwrap().split('?').next().unwrap();
        assert_eq!(crate::path::read(path), crate::path::Asked::OpenApi);
        assert_eq!(v3()["paths"].as_object().unwrap().len(), Part::ALL.len());
        assert_eq!(v2()["paths"], json!({}));
    }
}
