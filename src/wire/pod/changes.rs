//! What of a pod differs from the pod that was built, for people.

use std::collections::BTreeMap;

use serde_json::Value;

/// Differences that are named; more help nobody.
const MOST: usize = 5;

/// The places at which two documents differ, such as `containers[agent].image`; of many the first few, and `…`.
pub fn between(built: &Value, live: &Value) -> Vec<String> {
    let mut places = Vec::new();
    compare(built, live, "", &mut places);
    if places.len() > MOST {
        places.truncate(MOST);
        places.push("…".to_owned());
    }
    places
}

fn compare(built: &Value, live: &Value, path: &str, places: &mut Vec<String>) {
    if built == live || places.len() > MOST {
        return;
    }
    let (built, live) = match (built, live) {
        (Value::Object(built), Value::Object(live)) => {
            let join = |name: &String| match path {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            let part = |(name, value)| (join(name), value);
            (built.iter().map(part).collect(), live.iter().map(part).collect())
        }
        (Value::Array(built), Value::Array(live)) => match (by_name(built, path), by_name(live, path)) {
            (Some(built), Some(live)) if built.keys().any(|name| live.contains_key(name)) => (built, live),
            _ => return places.push(path.to_owned()),
        },
        _ => return places.push(path.to_owned()),
    };
    let before = places.len();
    parts(&built, &live, places);
    if places.len() == before {
        // The same parts in another order.
        places.push(path.to_owned());
    }
}

type Parts<'a> = BTreeMap<String, &'a Value>;

fn parts(built: &Parts<'_>, live: &Parts<'_>, places: &mut Vec<String>) {
    for (name, value) in built {
        match live.get(name) {
            Some(other) => compare(value, other, name, places),
            None => places.push(name.clone()),
        }
    }
    places.extend(live.keys().filter(|name| !built.contains_key(*name)).cloned());
}

/// The items of a list by their names, if each has one of its own.
fn by_name<'a>(items: &'a [Value], path: &str) -> Option<Parts<'a>> {
    let named = items.iter().map(|item| {
        let name = item.get("name")?.as_str()?;
        Some((format!("{path}[{name}]"), item))
    });
    let named: Parts<'a> = named.collect::<Option<_>>()?;
    (named.len() == items.len()).then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn built() -> Value {
        json!({
            "containers": [{"name": "agent", "image": "a", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}],
            "volumes": [{"name": "home", "emptyDir": {}}],
            "hostUsers": false,
            "args": ["x", "y"],
        })
    }

    #[rstest]
    #[case("/containers/0/image", json!("b"), &["containers[agent].image"])]
    #[case("/containers/0/env/1/value", json!("3"), &["containers[agent].env[B].value"])]
    #[case("/containers/0/env", json!([{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]), &["containers[agent].env"])]
    #[case("/containers/0/env", json!([]), &["containers[agent].env"])]
    #[case("/volumes", json!([{"name": "home", "emptyDir": {}}, {"name": "token"}]), &["volumes[token]"])]
    #[case("/containers/0", json!({"name": "agent", "image": "b", "tty": true}), &["containers[agent].env", "containers[agent].image", "containers[agent].tty"])]
    #[case("/containers", json!([{"name": "agent"}, {"name": "agent"}]), &["containers"])]
    #[case("/hostUsers", Value::Null, &["hostUsers"])]
    #[case("/args", json!(["y"]), &["args"])]
    #[case("/hostUsers", json!(false), &[])]
    fn places_are_named(#[case] pointer: &str, #[case] value: Value, #[case] places: &[&str]) {
        let mut live = built();
        *live.pointer_mut(pointer).unwrap() = value;
        assert_eq!(between(&built(), &live), places);
    }

    #[test]
    fn of_many_places_a_few_are_named() {
        let many: serde_json::Map<String, Value> = (0..100).map(|n| (format!("f{n:03}"), json!(n))).collect();
        let places = between(&json!({}), &Value::Object(many));
        assert_eq!(places, ["f000", "f001", "f002", "f003", "f004", "…"]);
    }
}
