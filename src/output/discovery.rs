//! What there is, in the API server's words. Pure, and never a question to anybody: whoever discovers does not wait for an
//! archive that is down.

use serde_json::{Value, json};

use crate::path::Part;
use cofferdam_wire::output_api::{GROUP, VERSION};

/// Content type of aggregated discovery, as it is asked for and answered.
pub const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Whether `Accept` asks for [`AGGREGATED`].
pub fn wants_aggregated(accept: &str) -> bool {
    accept.split(',').any(|one| {
        let mut words = one.split(';').map(str::trim);
        let is_json = words.next() == Some("application/json");
        let words: Vec<&str> = words.collect();
        is_json
            && ["g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"]
                .iter()
                .all(|word| words.contains(word))
    })
}

/// Aggregated discovery. The runs themselves are resources of another group, so the parent has no kind here.
pub fn aggregated() -> Value {
    let subresources: Vec<Value> = Part::ALL
        .iter()
        .map(|part| {
            json!({
                "subresource": part.name(),
                "responseKind": {"group": GROUP, "version": VERSION, "kind": part.kind()},
                "verbs": ["get"],
            })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [{
            "metadata": {"name": GROUP},
            "versions": [{
                "version": VERSION,
                "freshness": "Current",
                "resources": [{
                    "resource": "agentruns",
                    "responseKind": {"group": "", "version": "", "kind": ""},
                    "scope": "Namespaced",
                    "singularResource": "",
                    "verbs": [],
                    "subresources": subresources,
                }],
            }],
        }],
    })
}

/// `/apis`.
pub fn groups() -> Value {
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [of_group()]})
}

/// `/apis/<group>`.
pub fn group() -> Value {
    let mut group = of_group();
    if let Some(fields) = group.as_object_mut() {
        fields.insert("kind".to_owned(), json!("APIGroup"));
        fields.insert("apiVersion".to_owned(), json!("v1"));
    }
    group
}

fn of_group() -> Value {
    let version = json!({"groupVersion": format!("{GROUP}/{VERSION}"), "version": VERSION});
    json!({"name": GROUP, "versions": [version], "preferredVersion": version})
}

/// `/apis/<group>/<version>`.
pub fn resources() -> Value {
    let resources: Vec<Value> = Part::ALL
        .iter()
        .map(|part| {
            json!({
                "name": format!("agentruns/{}", part.name()),
                "singularName": "",
                "namespaced": true,
                "kind": part.kind(),
                "verbs": ["get"],
            })
        })
        .collect();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/{VERSION}"), "resources": resources})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discovery_is_as_agreed() {
        insta::assert_json_snapshot!(
            json!({"apis": groups(), "group": group(), "resources": resources(), "aggregated": aggregated()})
        );
    }

    #[test]
    fn aggregated_discovery_is_for_whoever_asks_for_it() {
        for (accept, wanted) in [
            (AGGREGATED, true),
            (
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
                true,
            ),
            (
                "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io",
                true,
            ),
            (
                "application/json; g=apidiscovery.k8s.io; v=v2beta1; as=APIGroupDiscoveryList, application/json",
                false,
            ),
            (
                "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
                false,
            ),
            ("application/json", false),
            ("*/*", false),
            ("", false),
        ] {
            assert_eq!(wants_aggregated(accept), wanted, "{accept}");
        }
    }
}
