//! The guard as this version of Cofferdam installs it. Pure.
//!
//! `guards.yaml` is what the chart renders (`tests/chart/check.sh --update` writes it), with placeholders for what an
//! installation decides: the operator's namespace, and the users that it lets do more.

use serde_json::Value;

/// Stands in `guards.yaml` for the operator's namespace.
const NAMESPACE: &str = "placeholder-namespace";
/// Stand in `guards.yaml` for lists of users, as one quoted name.
const STATUS_WRITERS: &str = "placeholder:pod-status-writers";
const QUEUES: &str = "placeholder:queue-controllers";

const POLICY: &str = "ValidatingAdmissionPolicy";
const BINDING: &str = "ValidatingAdmissionPolicyBinding";

/// What an installation decides about the guard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// The operator's namespace.
    pub namespace: String,
    /// Further users that write the status of pods.
    pub status_writers: Vec<String>,
    /// Users that let suspended Jobs begin.
    pub queues: Vec<String>,
}

/// One guard: its policy and the binding that makes it deny.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    /// Name of both.
    pub name: String,
    /// The policy's spec.
    pub policy: Value,
    /// The binding's spec.
    pub binding: Value,
}

/// The guards in this binary are damaged; never so in a build that was tested.
#[derive(Debug, thiserror::Error)]
#[error("the guards that are built in cannot be read: {0}")]
pub struct Damaged(String);

/// Every guard, in the order of names.
///
/// # Errors
/// The document in the binary is damaged.
pub fn guards(installed: &Installed) -> Result<Vec<Guard>, Damaged> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(include_str!("guards.yaml"))
        .map_err(|error| Damaged(error.to_string()))?;
    let spec = |kind: &str, name: &str| {
        let found = documents.iter().find(|document| {
            document.pointer("/kind").and_then(Value::as_str) == Some(kind)
                && document.pointer("/metadata/name").and_then(Value::as_str) == Some(name)
        });
        let spec = found.and_then(|document| document.get("spec")).cloned();
        spec.map(|spec| fill(spec, installed))
            .ok_or_else(|| Damaged(format!("no {kind} {name}")))
    };
    let names = documents
        .iter()
        .filter(|document| document.pointer("/kind").and_then(Value::as_str) == Some(POLICY))
        .filter_map(|document| document.pointer("/metadata/name").and_then(Value::as_str));
    let mut guards = names
        .map(|name| {
            Ok(Guard {
                name: name.to_owned(),
                policy: spec(POLICY, name)?,
                binding: spec(BINDING, name)?,
            })
        })
        .collect::<Result<Vec<_>, Damaged>>()?;
    guards.sort_by(|one, other| one.name.cmp(&other.name));
    if guards.is_empty() {
        return Err(Damaged("there are none".to_owned()));
    }
    Ok(guards)
}

/// `value` with what the installation decides in the place of the placeholders.
fn fill(value: Value, installed: &Installed) -> Value {
    match value {
        Value::String(text) => Value::String(fill_text(&text, installed)),
        Value::Array(items) => items.into_iter().map(|item| fill(item, installed)).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| (key, fill(value, installed)))
            .collect(),
        other => other,
    }
}

fn fill_text(text: &str, installed: &Installed) -> String {
    let with_users = [
        (STATUS_WRITERS, &installed.status_writers),
        (QUEUES, &installed.queues),
    ]
    .iter()
    .fold(text.to_owned(), |text, (placeholder, users)| {
        let quoted: Vec<String> = users.iter().map(|user| format!("'{user}'")).collect();
        let after_others: Vec<String> = quoted.iter().map(|user| format!(", {user}")).collect();
        text.replace(&format!(", '{placeholder}'"), &after_others.concat())
            .replace(&format!("'{placeholder}'"), &quoted.join(", "))
    });
    with_users.replace(NAMESPACE, &installed.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn installed() -> Installed {
        Installed {
            namespace: "operator-space".to_owned(),
            status_writers: vec!["virtual-kubelet".to_owned(), "other".to_owned()],
            queues: Vec::new(),
        }
    }

    #[test]
    fn placeholders_are_filled_and_none_is_left() {
        for installed in [
            installed(),
            Installed {
                namespace: "n".to_owned(),
                status_writers: Vec::new(),
                queues: vec!["q".to_owned()],
            },
        ] {
            for guard in guards(&installed).unwrap() {
                let text = format!("{} {}", guard.policy, guard.binding);
                assert!(!text.contains("placeholder"), "{text}");
            }
        }
        let text = |users: &[&str]| {
            let installed = Installed {
                namespace: "n".to_owned(),
                status_writers: users.iter().map(|user| (*user).to_owned()).collect(),
                queues: Vec::new(),
            };
            fill_text(
                "u in ['a', 'placeholder:pod-status-writers'] || u in ['placeholder:pod-status-writers'] || s == 'x:placeholder-namespace:y'",
                &installed,
            )
        };
        assert_eq!(text(&[]), "u in ['a'] || u in [] || s == 'x:n:y'");
        assert_eq!(
            text(&["b", "c"]),
            "u in ['a', 'b', 'c'] || u in ['b', 'c'] || s == 'x:n:y'"
        );
    }

    #[test]
    fn the_controller_may_read_every_guard() {
        let roles = include_str!("../../../charts/cofferdam/templates/rbac-controller.yaml");
        for guard in guards(&installed()).unwrap() {
            let suffix = guard.name.trim_start_matches("cofferdam-guard-");
            assert!(roles.contains(&format!("\"{suffix}\"")), "{suffix}");
        }
    }

    #[test]
    fn every_guard_denies_everywhere_and_fails_closed() {
        for guard in guards(&installed()).unwrap() {
            assert_eq!(guard.policy["failurePolicy"], "Fail", "{}", guard.name);
            assert_eq!(guard.binding["validationActions"][0], "Deny", "{}", guard.name);
            assert_eq!(guard.binding["policyName"], guard.name, "{}", guard.name);
            assert!(guard.binding.get("matchResources").is_none(), "{}", guard.name);
        }
    }

    #[test]
    fn every_status_is_guarded() {
        let guards = guards(&installed()).unwrap();
        let status = guards
            .iter()
            .find(|guard| guard.name.ends_with("-status"))
            .unwrap();
        let resources = status.policy["matchConstraints"]["resourceRules"][0]["resources"].to_string();
        for resource in [
            "agentruns",
            "sandboxpolicies",
            "clustersandboxpolicies",
            "sandboxcredentials",
        ] {
            assert!(
                resources.contains(&format!("\"{resource}/status\"")),
                "{resource}"
            );
        }
    }
}
