//! Who may use a policy, as RBAC says it. Other authorizers may allow more; they cannot be listed.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use crate::failure::Failure;

/// Roles by kind and name, and to whom each is given in the namespace.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    roles: BTreeMap<(&'static str, String), Vec<PolicyRule>>,
    given: Vec<(&'static str, String, Vec<Subject>)>,
}

/// Reads what bears on the namespace.
///
/// # Errors
/// It may not be read.
pub async fn read(client: &Client, namespace: &str) -> Result<Rules, Failure> {
    let all = ListParams::default();
    let failed = |what: &'static str| move |error: kube::Error| Failure::api(what, &error);
    let roles: Api<Role> = Api::namespaced(client.clone(), namespace);
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
    let cluster_roles: Api<ClusterRole> = Api::all(client.clone());
    let cluster_bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let (roles, bindings, cluster_roles, cluster_bindings) = tokio::join!(
        roles.list(&all),
        bindings.list(&all),
        cluster_roles.list(&all),
        cluster_bindings.list(&all),
    );
    let mut found = Rules::default();
    for role in roles.map_err(failed("the Roles"))?.items {
        found
            .roles
            .insert(("Role", role.name_any()), role.rules.unwrap_or_default());
    }
    for role in cluster_roles.map_err(failed("the ClusterRoles"))?.items {
        found
            .roles
            .insert(("ClusterRole", role.name_any()), role.rules.unwrap_or_default());
    }
    for binding in bindings.map_err(failed("the RoleBindings"))?.items {
        let kind = if binding.role_ref.kind == "Role" {
            "Role"
        } else {
            "ClusterRole"
        };
        found
            .given
            .push((kind, binding.role_ref.name, binding.subjects.unwrap_or_default()));
    }
    for binding in cluster_bindings.map_err(failed("the ClusterRoleBindings"))?.items {
        found.given.push((
            "ClusterRole",
            binding.role_ref.name,
            binding.subjects.unwrap_or_default(),
        ));
    }
    Ok(found)
}

impl Rules {
    /// Who may use the policy, each once.
    pub fn users_of(&self, policy: &str) -> Vec<String> {
        let mut who = BTreeSet::new();
        for (kind, role, subjects) in &self.given {
            let rules = self.roles.get(&(*kind, role.clone()));
            if rules.is_some_and(|rules| rules.iter().any(|rule| allows(rule, policy))) {
                who.extend(subjects.iter().map(name));
            }
        }
        who.into_iter().collect()
    }
}

fn name(subject: &Subject) -> String {
    match &subject.namespace {
        Some(namespace) => format!("{} {namespace}/{}", subject.kind, subject.name),
        None => format!("{} {}", subject.kind, subject.name),
    }
}

fn allows(rule: &PolicyRule, policy: &str) -> bool {
    let has = |list: Option<&Vec<String>>, word: &str| {
        list.is_some_and(|list| list.iter().any(|entry| entry == word || entry == "*"))
    };
    let named = rule.resource_names.as_deref().unwrap_or_default();
    has(rule.api_groups.as_ref(), "cofferdam.dev")
        && has(rule.resources.as_ref(), "sandboxpolicies")
        && has(Some(&rule.verbs), "use")
        && (named.is_empty() || named.iter().any(|name| name == policy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(value: serde_json::Value) -> PolicyRule {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn rbac_is_read_as_the_api_server_reads_it() {
        let every =
            rule(json!({"apiGroups": ["cofferdam.dev"], "resources": ["sandboxpolicies"], "verbs": ["use"]}));
        assert!(allows(&every, "strict"));
        let admin = rule(json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}));
        assert!(allows(&admin, "strict"));
        for other in [
            json!({"apiGroups": ["cofferdam.dev"], "resources": ["sandboxpolicies"], "verbs": ["get", "list"]}),
            json!({"apiGroups": [""], "resources": ["sandboxpolicies"], "verbs": ["use"]}),
            json!({"apiGroups": ["cofferdam.dev"], "resources": ["agentruns"], "verbs": ["use"]}),
            json!({"apiGroups": ["cofferdam.dev"], "resources": ["sandboxpolicies"], "verbs": ["use"], "resourceNames": ["other"]}),
            json!({"verbs": ["get"], "nonResourceURLs": ["*"]}),
        ] {
            assert!(!allows(&rule(other.clone()), "strict"), "{other}");
        }
    }

    #[test]
    fn everybody_is_named_once_and_a_binding_to_nothing_gives_nothing() {
        let subject = |kind: &str, name: &str, namespace: Option<&str>| Subject {
            kind: kind.to_owned(),
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
            ..Subject::default()
        };
        let of = |kind, role: &str, subjects| (kind, role.to_owned(), subjects);
        let one = json!({"apiGroups": ["cofferdam.dev"], "resources": ["sandboxpolicies"], "verbs": ["use"], "resourceNames": ["strict"]});
        let all = json!({"apiGroups": ["cofferdam.dev"], "resources": ["sandboxpolicies"], "verbs": ["use"]});
        let rules = Rules {
            roles: BTreeMap::from([
                (("Role", "one".to_owned()), vec![rule(one)]),
                (("ClusterRole", "cofferdam-user".to_owned()), vec![rule(all)]),
            ]),
            given: vec![
                of(
                    "Role",
                    "one",
                    vec![
                        subject("User", "anna", None),
                        subject("ServiceAccount", "bot", Some("ci")),
                    ],
                ),
                of(
                    "ClusterRole",
                    "cofferdam-user",
                    vec![subject("Group", "team", None), subject("User", "anna", None)],
                ),
                of("ClusterRole", "gone", vec![subject("User", "nobody", None)]),
                // A Role of another kind with the same name.
                of("ClusterRole", "one", vec![subject("User", "eve", None)]),
            ],
        };
        assert_eq!(
            rules.users_of("strict"),
            ["Group team", "ServiceAccount ci/bot", "User anna"]
        );
        assert_eq!(rules.users_of("default"), ["Group team", "User anna"]);
    }
}
