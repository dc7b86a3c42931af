//! What `kubectl explain` and `kubectl get` show: every field has a description that says something, every word of an
//! enum is explained, and the columns are these.

use cofferdam_api::crds;
use serde_json::Value;

/// Shortest description that can name a meaning, a unit or a default.
const SHORTEST: usize = 26;

/// Fields with a description that says which field of a pod's spec they are: Kubernetes explains what is in them.
const KUBERNETES: [(&str, &str); 4] = [
    (
        "spec.schedulingProfiles[].nodeSelector",
        "Same as Pod `spec.nodeSelector`.",
    ),
    (
        "spec.schedulingProfiles[].tolerations",
        "Same as Pod `spec.tolerations`.",
    ),
    (
        "spec.schedulingProfiles[].affinity",
        "Same as Pod `spec.affinity`.",
    ),
    (
        "spec.schedulingProfiles[].topologySpreadConstraints",
        "Same as Pod `spec.topologySpreadConstraints`.",
    ),
];

fn schema(definition: &Value) -> &Value {
    &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

/// Every field below `schema` with its path, but those inside of [`KUBERNETES`]'s and of conditions, which are Kubernetes'.
fn fields<'a>(schema: &'a Value, path: &str, found: &mut Vec<(String, &'a Value)>) {
    let properties = schema["properties"].as_object().into_iter().flatten();
    for (name, field) in properties {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        found.push((path.clone(), field));
        if path == "status.conditions" || KUBERNETES.iter().any(|(own, _)| *own == path) {
            continue;
        }
        fields(field, &path, found);
        fields(&field["items"], &format!("{path}[]"), found);
    }
}

fn text(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

/// What is missing from the descriptions of a definition.
fn gaps(definition: &Value) -> Vec<String> {
    let mut found = Vec::new();
    fields(schema(definition), "", &mut found);
    let mut gaps = Vec::new();
    for (path, field) in found {
        let text = text(field);
        if text.len() < SHORTEST && path != "spec" && path != "status" {
            gaps.push(format!("{path}: {text:?} says nothing"));
        }
        for word in field["enum"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if !text.contains(&format!("`{word}`")) {
                gaps.push(format!("{path}: nothing explains {word}"));
            }
        }
        if let Some((_, pod)) = KUBERNETES.iter().find(|(own, _)| *own == path)
            && !text.contains(pod)
        {
            gaps.push(format!("{path}: {text:?} does not say {pod}"));
        }
    }
    gaps
}

#[test]
fn every_field_is_described_and_every_word_of_an_enum_explained() {
    for definition in crds::documents().unwrap() {
        assert_eq!(
            gaps(&definition),
            Vec::<String>::new(),
            "{}",
            definition["metadata"]["name"]
        );
    }
}

/// The control: the walk finds a description that says nothing, a word that nothing explains and a missing reference.
#[test]
fn what_is_missing_from_descriptions_is_found() {
    let mut definition = crds::documents().unwrap().remove(1);
    let limits = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let mut say = |pointer: &str, text: &str| {
        *definition
            .pointer_mut(&format!("{limits}{pointer}/description"))
            .unwrap() = Value::from(text);
    };
    say("/limits/properties/maxRunning", "How many.");
    say(
        "/limits/properties/runtime/properties/nodeAccess",
        "`Deny` ends the run, and the other word does not.",
    );
    say(
        "/schedulingProfiles/items/properties/affinity",
        "Nodes and pods that attract or repel.",
    );
    assert_eq!(gaps(&definition).len(), 3, "{:?}", gaps(&definition));
}

/// The definitions are held by every API server in memory, and read again at every change.
#[test]
fn descriptions_stay_small() {
    let all: usize = crds::files().unwrap().iter().map(|file| file.text.len()).sum();
    assert!(all < 230_000, "{all} bytes of definitions");
}

fn columns(kind: &str) -> Vec<(String, String, i64)> {
    let definitions = crds::documents().unwrap();
    let definition = definitions
        .iter()
        .find(|definition| definition["spec"]["names"]["kind"] == kind)
        .unwrap();
    let columns = definition["spec"]["versions"][0]["additionalPrinterColumns"]
        .as_array()
        .unwrap();
    let word = |column: &Value, field: &str| column[field].as_str().unwrap().to_owned();
    columns
        .iter()
        .map(|column| {
            (
                word(column, "name"),
                word(column, "type"),
                column["priority"].as_i64().unwrap_or(0),
            )
        })
        .collect()
}

/// The names of the columns of a priority.
fn shown(kind: &str, priority: i64) -> Vec<String> {
    let of_it = columns(kind).into_iter().filter(|(_, _, own)| *own == priority);
    of_it.map(|(name, _, _)| name).collect()
}

#[test]
fn lists_show_how_an_object_stands_before_what_it_says() {
    assert_eq!(shown("AgentRun", 0), ["Phase", "Reason", "Policy", "Age"]);
    assert_eq!(
        shown("AgentRun", 1),
        [
            "Runtime",
            "Workload",
            "Profile",
            "Requester",
            "Started",
            "Completed",
            "Message"
        ]
    );
    for kind in ["SandboxPolicy", "ClusterSandboxPolicy"] {
        assert_eq!(
            shown(kind, 0),
            [
                "Ready",
                "Reason",
                "Age",
                "Runtime",
                "Images",
                "Repositories",
                "Egress"
            ]
        );
    }
    let dates: Vec<String> = columns("AgentRun")
        .into_iter()
        .filter(|(_, kind, _)| kind == "date")
        .map(|(name, _, _)| name)
        .collect();
    assert_eq!(dates, ["Age", "Started", "Completed"]);
}
