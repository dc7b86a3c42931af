//! The table of dimensions in `docs/policy.md` says what the engine does: its rows are the fields of the API, and each
//! row's silence, meeting and default are seen in decisions.

mod rows;
mod scanned;

use cofferdam_api::crds;
use rstest::rstest;
use serde_json::{Value, json};

use self::rows::{CLUSTER_ALONE, Dimension, dimensions, told};
use crate::fixtures::{World, cluster_policy};

/// What a layer that says nothing of the field says of the rest of its object, where a run needs a word on that.
fn rest_of(object: &str) -> Option<Value> {
    match object {
        "runtime" => Some(json!({"runtimeClassNames": ["gvisor"]})),
        "evidence" => Some(json!({})),
        "images" => Some(json!({"mode": "AllowList", "allowed": ["ghcr.io/**"]})),
        _ => None,
    }
}

impl Dimension {
    /// The admitting world in which the two layers say this of the dimension.
    fn world(&self, own: Option<&Value>, cluster: Option<&Value>) -> World {
        let silent = own.is_none() && cluster.is_none();
        let rest = rest_of(self.object).filter(|_| silent && !matches!(self.field, "" | "runtimeClassNames"));
        let mut world = World::admitting();
        world.cluster = vec![cluster_policy("above", &json!({}))];
        if silent && matches!(self.row, "addresses" | "methods" | "paths" | "credential") {
            return world.policy(
                "egress",
                json!({"mode": "AllowList", "rules": [{"name": "a", "hosts": ["a.example.com"]}]}),
            );
        }
        if self.row == "tls" {
            world = world.cluster("tunnels", json!("Allow"));
        }
        world
            .policy(
                self.object,
                own.map(|word| self.said(word)).or(rest).unwrap_or_default(),
            )
            .cluster(
                self.object,
                cluster.map(|word| self.said(word)).unwrap_or_default(),
            )
    }

    fn said(&self, word: &Value) -> Value {
        if self.field.is_empty() {
            return word.clone();
        }
        let mut object = rest_of(self.object).unwrap();
        object[self.field] = word.clone();
        object
    }
}

#[test]
fn each_dimension_is_met_as_the_table_says() {
    let mut wrong = Vec::new();
    for dimension in dimensions() {
        let (loose, strict) = (Some(&dimension.loose), Some(&dimension.strict));
        let [silence, of_loose, of_strict] = dimension.outcomes;
        // What the namespace's policy grants by itself.
        let of_own = if dimension.cells[0] == CLUSTER_ALONE {
            silence
        } else {
            of_loose
        };
        for (own, cluster, outcome) in [
            (None, None, silence),
            (loose, None, of_own),
            (None, loose, of_loose),
            (strict, None, of_strict),
            (None, strict, of_strict),
            (loose, loose, of_loose),
            (loose, strict, of_strict),
            (strict, loose, of_strict),
            (strict, strict, of_strict),
        ] {
            let found = (dimension.probe)(&dimension.world(own, cluster));
            if found != outcome {
                wrong.push(format!(
                    "{}: {own:?} under {cluster:?} is {found}, not {outcome}",
                    dimension.row
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The cells of each row of the table.
fn table() -> Vec<Vec<&'static str>> {
    let page = include_str!("../../docs/policy.md");
    let (_, section) = page.split_once("\n## Dimensions").unwrap();
    let rows = section
        .lines()
        .skip_while(|line| !line.starts_with("| `"))
        .take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

/// The name of a row: what stands first in backquotes.
fn name<'a>(row: &[&'a str]) -> &'a str {
    row[0].split('`').nth(1).unwrap()
}

#[test]
fn the_table_has_a_row_for_each_dimension_with_what_the_engine_does() {
    let table = table();
    let mut documented: Vec<&str> = table.iter().map(|row| name(row)).collect();
    let mut known: Vec<&str> = dimensions()
        .iter()
        .map(|dimension| dimension.row)
        .chain(["schedulingProfiles"])
        .collect();
    documented.sort_unstable();
    known.sort_unstable();
    assert_eq!(documented, known);
    for dimension in dimensions() {
        let row = table.iter().find(|row| name(row) == dimension.row).unwrap();
        assert_eq!(row.len(), 5, "{row:?}");
        for (cell, word) in row[1..].iter().zip(dimension.cells) {
            assert!(cell.contains(word), "{}: {word} in {cell}", dimension.row);
        }
    }
}

/// Paths of the fields below `schema`, through the items of lists; the names of rules govern nothing.
fn fields(schema: &Value, path: &str, found: &mut Vec<String>) {
    let inner = schema.get("items").unwrap_or(schema);
    match inner.get("properties").and_then(Value::as_object) {
        None => found.push(path.to_owned()),
        Some(properties) => {
            for (name, property) in properties.iter().filter(|(name, _)| *name != "name") {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                fields(property, &path, found);
            }
        }
    }
}

#[test]
fn every_field_of_limits_belongs_to_a_dimension() {
    for document in crds::documents().unwrap() {
        let limits =
            document.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/limits");
        let Some(limits) = limits else {
            let kind = document["spec"]["names"]["kind"].as_str().unwrap();
            assert!(["AgentRun", "SandboxCredential"].contains(&kind), "{kind}");
            continue;
        };
        let mut of_the_api = Vec::new();
        fields(limits, "", &mut of_the_api);
        let mut known: Vec<&str> = dimensions()
            .into_iter()
            .flat_map(|dimension| dimension.fields)
            .collect();
        of_the_api.sort();
        known.sort_unstable();
        known.dedup();
        assert_eq!(of_the_api, known);
    }
}

#[rstest]
#[case::cpu("resources", "cpu", "500m/2")]
#[case::memory("resources", "memory", "1Gi/4Gi")]
#[case::storage("resources", "ephemeral-storage", "2Gi/10Gi")]
#[case::start("startDeadlineSeconds", "", "600")]
#[case::time("activeDeadlineSeconds", "", "3600")]
#[case::kept("ttlSecondsAfterFinished", "", "604800")]
fn a_run_that_asks_for_nothing_gets_the_defaults_of_the_table(
    #[case] field: &str,
    #[case] kind: &str,
    #[case] default: &str,
) {
    let silent = World::admitting()
        .cluster("maxResources", Value::Null)
        .cluster("maxActiveDeadlineSeconds", Value::Null);
    let had = |world: &World| {
        let run = world.decide().unwrap();
        match field {
            "startDeadlineSeconds" => run.start_deadline_seconds.to_string(),
            "activeDeadlineSeconds" => run.active_deadline_seconds.to_string(),
            "ttlSecondsAfterFinished" => run.ttl_seconds_after_finished.to_string(),
            _ => format!(
                "{}/{}",
                run.resources.requests[kind].0, run.resources.limits[kind].0
            ),
        }
    };
    assert_eq!(had(&silent), default);
    // What the namespace's policy says comes before it.
    let (said, given) = match kind {
        "" => (json!(77), "77".to_owned()),
        "cpu" => (
            json!({"requests": {"cpu": "1"}, "limits": {"cpu": "3"}}),
            "1/3".to_owned(),
        ),
        kind => (
            json!({"requests": {kind: "3Gi"}, "limits": {kind: "5Gi"}}),
            "3Gi/5Gi".to_owned(),
        ),
    };
    assert_eq!(had(&silent.defaults(field, said)), given);
}

#[test]
fn a_profile_comes_from_the_one_layer_that_has_them() {
    let profile = |name: &str| json!([{"name": name, "nodeSelector": {"pool": name}}]);
    let world = |profiles: Value, ask: Value| {
        let mut world = World::admitting().run("schedulingProfileName", ask);
        world.policy.as_mut().unwrap()["spec"]["schedulingProfiles"] = profiles;
        told(&world, |run| {
            run.scheduling
                .as_ref()
                .map_or("none".to_owned(), |found| found.name.clone())
        })
    };
    assert_eq!(world(json!([]), Value::Null), "none");
    assert_eq!(world(json!([]), json!("fast")), "PolicyDenied");
    assert_eq!(world(profile("fast"), json!("fast")), "fast");
    assert_eq!(world(profile("fast"), Value::Null), "none");
    assert_eq!(world(profile("default"), Value::Null), "default");
}
