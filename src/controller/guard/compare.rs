//! Whether a guard of the cluster is the one that this version installs: field by field, whatever may narrow it. Pure.

use serde_json::{Map, Value, json};

use super::built_in::Guard;

/// Fields of a validation that do not decide what is refused.
const TEXTS: [&str; 3] = ["message", "messageExpression", "reason"];

/// What is wrong with an installed guard; `None`: it is as it must be. Takes policy and binding as the API server gives
/// them: a field that this version does not know is a difference.
pub fn wrong(guard: &Guard, policy: &Value, binding: &Value) -> Option<String> {
    let spec = |object: &Value| object.get("spec").cloned().unwrap_or(Value::Null);
    if let Some(path) = difference(
        "spec",
        &plain_policy(guard.policy.clone()),
        &plain_policy(spec(policy)),
    ) {
        return Some(format!("{path} is not as this version of Cofferdam installs it"));
    }
    if let Some(path) = difference(
        "spec",
        &plain_binding(guard.binding.clone()),
        &plain_binding(spec(binding)),
    ) {
        return Some(format!(
            "{path} of its binding is not as this version of Cofferdam installs it"
        ));
    }
    let warnings = policy.pointer("/status/typeChecking/expressionWarnings");
    let warned = warnings
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty());
    warned.then(|| "the API server cannot type-check it".to_owned())
}

/// A policy's spec with the API server's defaults in it and without texts.
fn plain_policy(mut spec: Value) -> Value {
    default(&mut spec, "failurePolicy", json!("Fail"));
    if let Some(constraints) = spec.get_mut("matchConstraints") {
        default(constraints, "matchPolicy", json!("Equivalent"));
        default(constraints, "namespaceSelector", json!({}));
        default(constraints, "objectSelector", json!({}));
        for list in ["resourceRules", "excludeResourceRules"] {
            for rule in items(constraints, list) {
                default(rule, "scope", json!("*"));
            }
        }
    }
    for validation in items(&mut spec, "validations") {
        if let Some(fields) = validation.as_object_mut() {
            fields.retain(|key, _| !TEXTS.contains(&key.as_str()));
        }
    }
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("auditAnnotations");
    }
    without_blanks(spec)
}

/// A binding's spec. One that also audits denies all the same.
fn plain_binding(mut spec: Value) -> Value {
    // The API server puts empty selectors there, which select everything.
    let everything = json!({"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}});
    if let Some(fields) = spec.as_object_mut() {
        let resources = fields.get("matchResources").cloned().map(without_blanks);
        if resources.is_some_and(|resources| resources == everything || resources == json!({})) {
            fields.remove("matchResources");
        }
    }
    if let Some(actions) = spec.get_mut("validationActions").and_then(Value::as_array_mut) {
        actions.retain(|action| action == "Deny");
    }
    without_blanks(spec)
}

fn default(object: &mut Value, key: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.entry(key).or_insert(value);
    }
}

fn items<'a>(object: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    object
        .get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

/// Without empty lists and nulls, which the API server leaves out, and with single blanks in texts, which YAML folds.
fn without_blanks(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.split_whitespace().collect::<Vec<_>>().join(" ")),
        Value::Array(items) => items.into_iter().map(without_blanks).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()))
            .map(|(key, value)| (key, without_blanks(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other,
    }
}

/// Path of the first difference.
fn difference(path: &str, wanted: &Value, live: &Value) -> Option<String> {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            let keys = wanted
                .keys()
                .chain(live.keys().filter(|key| !wanted.contains_key(*key)));
            keys.into_iter().find_map(|key| {
                let below = format!("{path}.{}", cofferdam_text::bounded(key, 63));
                match (wanted.get(key), live.get(key)) {
                    (Some(wanted), Some(live)) => difference(&below, wanted, live),
                    _ => Some(below),
                }
            })
        }
        (Value::Array(wanted), Value::Array(live)) => {
            let pairs = wanted.iter().zip(live).enumerate();
            pairs
                .into_iter()
                .find_map(|(index, (wanted, live))| difference(&format!("{path}[{index}]"), wanted, live))
                .or_else(|| (wanted.len() != live.len()).then(|| path.to_owned()))
        }
        (wanted, live) => (wanted != live).then(|| path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::built_in::{Installed, guards};

    fn built() -> Vec<Guard> {
        let installed = Installed {
            namespace: "operator-space".to_owned(),
            status_writers: vec!["virtual-kubelet".to_owned()],
            queues: vec!["queue".to_owned()],
        };
        guards(&installed).unwrap()
    }

    /// Policy and binding as the API server gives them.
    fn live(guard: &Guard) -> (Value, Value) {
        let mut policy = guard.policy.clone();
        let constraints = policy["matchConstraints"].as_object_mut().unwrap();
        constraints.insert("matchPolicy".to_owned(), json!("Equivalent"));
        constraints
            .entry("namespaceSelector")
            .or_insert_with(|| json!({}));
        constraints.insert("objectSelector".to_owned(), json!({}));
        for rule in constraints["resourceRules"].as_array_mut().unwrap() {
            rule["scope"] = json!("*");
        }
        let metadata = json!({"name": guard.name, "generation": 2});
        (
            json!({"metadata": metadata, "spec": policy, "status": {"observedGeneration": 2, "typeChecking": {}}}),
            json!({"metadata": metadata, "spec": guard.binding}),
        )
    }

    /// Pointers to every value below `value`, itself left out.
    fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
        let below: Vec<(String, &Value)> = match value {
            Value::Object(fields) => fields
                .iter()
                .map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value))
                .collect(),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, value)| (index.to_string(), value))
                .collect(),
            _ => Vec::new(),
        };
        for (key, value) in below {
            let path = format!("{at}/{key}");
            pointers(value, &path, found);
            found.push(path);
        }
    }

    fn changed(object: &Value, change: &Value) -> Value {
        let mut changed = object.clone();
        let patch: json_patch::Patch = serde_json::from_value(json!([change])).unwrap();
        json_patch::patch(&mut changed, &patch).unwrap();
        changed
    }

    /// Every way to change one value below `spec`: another value in its place, the value gone, one more beside it.
    fn mutations(object: &Value) -> Vec<(String, Value)> {
        let mut paths = Vec::new();
        pointers(&object["spec"], "/spec", &mut paths);
        let mut mutants = Vec::new();
        for path in paths {
            let value = object.pointer(&path).unwrap();
            let other = match value {
                Value::String(text) => json!(format!("{text}x")),
                Value::Array(_) => json!([]),
                Value::Object(_) => json!({"matchLabels": {"a": "b"}}),
                other => json!(format!("{other}")),
            };
            mutants.push((
                format!("{path} replaced"),
                changed(object, &json!({"op": "replace", "path": path, "value": other})),
            ));
            mutants.push((
                format!("{path} removed"),
                changed(object, &json!({"op": "remove", "path": path})),
            ));
            let added = match value {
                Value::Object(_) => {
                    Some(json!({"op": "add", "path": format!("{path}/unknown"), "value": "x"}))
                }
                Value::Array(_) => Some(json!({"op": "add", "path": format!("{path}/-"), "value": "x"})),
                _ => None,
            };
            if let Some(added) = added {
                mutants.push((format!("{path} added to"), changed(object, &added)));
            }
        }
        mutants
    }

    /// Whether a mutant refuses all that the guard refuses: a text differs, a default is left out, one more action.
    fn is_harmless(what: &str, object: &Value) -> bool {
        let (path, how) = what.split_once(' ').unwrap();
        let is_text = TEXTS.iter().any(|text| path.ends_with(&format!("/{text}")));
        let is_default = how == "removed"
            && (["/failurePolicy", "/matchPolicy", "/objectSelector", "/scope"]
                .iter()
                .any(|field| path.ends_with(field))
                || (path.ends_with("/namespaceSelector") && object.pointer(path) == Some(&json!({}))));
        let is_action = path.ends_with("/validationActions") && how == "added to";
        let is_validation_text = is_text && path.contains("/validations/");
        is_validation_text || is_default || is_action
    }

    #[test]
    fn a_guard_as_it_is_installed_is_right() {
        for guard in built() {
            let (policy, binding) = live(&guard);
            assert_eq!(wrong(&guard, &policy, &binding), None, "{}", guard.name);
        }
    }

    #[test]
    fn every_change_of_every_field_of_every_guard_is_seen() {
        let mut count = 0;
        for guard in built() {
            let (policy, binding) = live(&guard);
            for (what, mutant) in mutations(&policy) {
                let seen = wrong(&guard, &mutant, &binding).is_some();
                assert_eq!(seen, !is_harmless(&what, &policy), "{}: {what}", guard.name);
                count += usize::from(seen);
            }
            for (what, mutant) in mutations(&binding) {
                let seen = wrong(&guard, &policy, &mutant).is_some();
                assert_eq!(
                    seen,
                    !is_harmless(&what, &binding),
                    "{}: {what} of the binding",
                    guard.name
                );
                count += usize::from(seen);
            }
        }
        assert!(count > 500, "{count} mutants");
    }

    #[test]
    fn what_narrows_a_guard_is_named() {
        let selector = json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]});
        let rule =
            json!([{"apiGroups": [""], "apiVersions": ["*"], "operations": ["*"], "resources": ["pods"]}]);
        let never = json!([{"name": "never", "expression": "false"}]);
        for guard in built() {
            let (policy, binding) = live(&guard);
            for (path, value) in [
                ("/spec/matchConstraints/namespaceSelector", &selector),
                ("/spec/matchConstraints/objectSelector", &selector),
                ("/spec/matchConstraints/excludeResourceRules", &rule),
                (
                    "/spec/matchConstraints/resourceRules/0/resourceNames",
                    &json!(["one"]),
                ),
                ("/spec/matchConstraints/resourceRules/0/scope", &json!("Cluster")),
                ("/spec/matchConditions", &never),
                ("/spec/failurePolicy", &json!("Ignore")),
                (
                    "/spec/paramKind",
                    &json!({"apiVersion": "v1", "kind": "ConfigMap"}),
                ),
            ] {
                let weak = changed(&policy, &json!({"op": "add", "path": path, "value": value}));
                let said = wrong(&guard, &weak, &binding).unwrap_or_else(|| panic!("{}: {path}", guard.name));
                let field = path.rsplit('/').next().unwrap();
                assert!(said.contains(field), "{said}");
            }
            for (path, value) in [
                ("/spec/matchResources", &json!({"namespaceSelector": selector})),
                ("/spec/matchResources", &json!({"excludeResourceRules": rule})),
                (
                    "/spec/matchResources",
                    &json!({"matchPolicy": "Exact", "resourceRules": rule}),
                ),
                ("/spec/paramRef", &json!({"name": "x"})),
                ("/spec/validationActions", &json!(["Audit"])),
                ("/spec/validationActions", &json!(["Warn", "Audit"])),
            ] {
                let weak = changed(&binding, &json!({"op": "add", "path": path, "value": value}));
                let said = wrong(&guard, &policy, &weak);
                assert!(
                    said.is_some_and(|said| said.contains("binding")),
                    "{}: {path}",
                    guard.name
                );
            }
        }
    }

    #[test]
    fn what_denies_the_same_is_right() {
        let guard = &built()[0];
        let (policy, binding) = live(guard);
        for (path, value) in [
            ("/spec/validationActions/-", json!("Audit")),
            (
                "/spec/matchResources",
                json!({"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}}),
            ),
        ] {
            let same = changed(&binding, &json!({"op": "add", "path": path, "value": value}));
            assert_eq!(wrong(guard, &policy, &same), None, "{path}");
        }
        let reworded = changed(
            &policy,
            &json!({"op": "add", "path": "/spec/validations/0/message", "value": "Nein."}),
        );
        assert_eq!(wrong(guard, &reworded, &binding), None);
        let warned = json!([{"fieldRef": "spec.validations[0].expression", "warning": "undefined field"}]);
        let warned = changed(
            &policy,
            &json!({"op": "add", "path": "/status/typeChecking/expressionWarnings", "value": warned}),
        );
        assert!(wrong(guard, &warned, &binding).is_some());
        assert!(wrong(guard, &json!({}), &binding).is_some());
        assert!(wrong(guard, &policy, &json!({})).is_some());
    }
}
