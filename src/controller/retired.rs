//! Fields that earlier builds of `v1alpha1` had under other names.
//!
//! The API server drops a field that the schema does not know when it reads an object from its storage, so a policy that
//! was written before the names changed has lost these fields, ceilings among them. Nothing of the object says so but
//! its managed fields, which still list them. Whoever runs the cluster is told once an object, and must write it again.

use std::collections::HashSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

use cofferdam_api::names::GROUP;

/// Path of each field that has another name now, and that name.
const RETIRED: [(&[&str], &str); 14] = [
    (&["spec", "timeoutSeconds"], "activeDeadlineSeconds"),
    (&["spec", "startTimeoutSeconds"], "startDeadlineSeconds"),
    (&["spec", "schedulingProfile"], "schedulingProfileName"),
    (&["spec", "scheduling"], "schedulingProfiles"),
    (&["spec", "defaults", "timeoutSeconds"], "activeDeadlineSeconds"),
    (
        &["spec", "defaults", "startTimeoutSeconds"],
        "startDeadlineSeconds",
    ),
    (
        &["spec", "limits", "maxTimeoutSeconds"],
        "maxActiveDeadlineSeconds",
    ),
    (
        &["spec", "limits", "maxStartTimeoutSeconds"],
        "maxStartDeadlineSeconds",
    ),
    (&["spec", "limits", "maxTTLSeconds"], "maxTTLSecondsAfterFinished"),
    (&["spec", "limits", "repositories", "read"], "clone"),
    (&["spec", "limits", "runtime", "classes"], "runtimeClassNames"),
    (&["spec", "limits", "runtime", "user"], "runAsUser"),
    (&["spec", "limits", "runtime", "sandboxedKernel"], "kernelCheck"),
    (&["spec", "limits", "runtime", "nodeReachability"], "nodeAccess"),
];

/// Which objects have been reported, by uid.
#[derive(Default)]
pub struct Reported(HashSet<String>);

impl Reported {
    /// Logs, the first time an object is seen, which of its fields the API server has dropped. Must see the object
    /// before its managed fields are trimmed.
    pub fn look_at(&mut self, kind: &str, meta: &ObjectMeta) {
        let dropped = dropped(meta.managed_fields.as_deref().unwrap_or_default());
        if !dropped.is_empty() && self.0.insert(meta.uid.clone().unwrap_or_default()) {
            tracing::warn!(
                kind,
                namespace = meta.namespace,
                name = meta.name,
                "this object was written with fields that have other names now, and the API server has dropped them: \
                 {}; write it again with the new names",
                dropped.join(", ")
            );
        }
    }
}

/// Each retired field that `managers` wrote, with its new name.
fn dropped(managers: &[ManagedFieldsEntry]) -> Vec<String> {
    let ours = |entry: &&ManagedFieldsEntry| {
        let group = entry
            .api_version
            .as_deref()
            .and_then(|version| version.split_once('/'));
        group.is_some_and(|(group, _)| group == GROUP)
    };
    let written: Vec<&Value> = managers
        .iter()
        .filter(ours)
        .filter_map(|entry| Some(&entry.fields_v1.as_ref()?.0))
        .collect();
    let names = |path: &[&str]| {
        let pointer = format!("/f:{}", path.join("/f:"));
        written.iter().any(|fields| fields.pointer(&pointer).is_some())
    };
    RETIRED
        .iter()
        .filter(|(path, _)| names(path))
        .map(|(path, now)| format!("{} (now {now})", path.join(".")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn meta(managers: &Value) -> ObjectMeta {
        serde_json::from_value(json!({"uid": "u", "name": "base", "managedFields": managers})).unwrap()
    }

    fn found(managers: &Value) -> Vec<String> {
        dropped(&meta(managers).managed_fields.unwrap())
    }

    fn manager(version: &str, fields: &Value) -> Value {
        json!({"manager": "kubectl", "operation": "Apply", "apiVersion": version, "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    #[test]
    fn retired_fields_are_found_in_every_manager_at_their_place() {
        let ceilings =
            json!({"f:spec": {"f:limits": {".": {}, "f:maxTimeoutSeconds": {}, "f:maxRunning": {}}}});
        let profile = json!({"f:spec": {"f:schedulingProfile": {}}});
        let both = json!([
            manager("cofferdam.dev/v1alpha1", &ceilings),
            manager("cofferdam.dev/v1alpha1", &profile)
        ]);
        assert_eq!(
            found(&both),
            [
                "spec.schedulingProfile (now schedulingProfileName)",
                "spec.limits.maxTimeoutSeconds (now maxActiveDeadlineSeconds)"
            ]
        );
    }

    #[test]
    fn fields_of_other_groups_and_todays_names_are_not_retired() {
        let probe = json!({"f:spec": {"f:timeoutSeconds": {}}});
        assert_eq!(found(&json!([manager("v1", &probe)])), Vec::<String>::new());
        assert_eq!(
            found(&json!([manager("example.com/v1", &probe)])),
            Vec::<String>::new()
        );
        let today = json!({"f:spec": {"f:limits": {"f:maxActiveDeadlineSeconds": {}}, "f:activeDeadlineSeconds": {}}});
        assert_eq!(
            found(&json!([manager("cofferdam.dev/v1alpha1", &today)])),
            Vec::<String>::new()
        );
    }

    #[test]
    fn an_object_is_reported_once() {
        let old = json!([manager(
            "cofferdam.dev/v1alpha1",
            &json!({"f:spec": {"f:scheduling": {}}})
        )]);
        let mut reported = Reported::default();
        reported.look_at("SandboxPolicy", &meta(&old));
        reported.look_at("SandboxPolicy", &meta(&old));
        assert_eq!(reported.0.len(), 1);
        reported.look_at(
            "SandboxPolicy",
            &ObjectMeta {
                uid: Some("other".into()),
                ..ObjectMeta::default()
            },
        );
        assert_eq!(reported.0.len(), 1);
    }
}
