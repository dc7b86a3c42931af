//! Guards that no dry run can try, read and compared: CONNECT has none, and the others guard what is not created.

use k8s_openapi::api::admissionregistration::v1::{
    MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// A guard that is read.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    /// Name of policy and binding.
    pub name: &'static str,
    /// Operation that it must see.
    operation: &'static str,
    /// Resources that it must see.
    resources: &'static [&'static str],
    /// Expression that it must demand; absent: any.
    expression: Option<&'static str>,
}

/// Every guard that is read.
pub const GUARDS: &[Guard] = &[
    Guard {
        name: "cofferdam-guard-connect",
        operation: "CONNECT",
        resources: &["pods/exec", "pods/attach", "pods/portforward", "pods/proxy"],
        expression: Some(CONNECT),
    },
    Guard {
        name: "cofferdam-guard-status",
        operation: "UPDATE",
        resources: &[
            "agentruns/status",
            "sandboxpolicies/status",
            "clustersandboxpolicies/status",
        ],
        expression: None,
    },
];

/// Refuses to enter any pod whose name is reserved; `pods/proxy` takes `scheme:name:port` for a name.
const CONNECT: &str =
    "request.operation != 'CONNECT' || !request.name.split(':').exists(part, part.startsWith('agr-'))";

/// What is wrong with an installed guard; `None`: it is as it must be.
pub fn wrong(
    guard: &Guard,
    policy: &ValidatingAdmissionPolicy,
    binding: &ValidatingAdmissionPolicyBinding,
) -> Option<String> {
    wrong_policy(guard, policy)
        .or_else(|| wrong_binding(guard, binding))
        .map(str::to_owned)
}

fn wrong_policy(guard: &Guard, policy: &ValidatingAdmissionPolicy) -> Option<&'static str> {
    let Some(spec) = &policy.spec else {
        return Some("it has no spec");
    };
    let Some(constraints) = &spec.match_constraints else {
        return Some("it matches nothing");
    };
    let rules = constraints.resource_rules.as_deref().unwrap_or_default();
    let sees = |resource: &str| {
        rules.iter().any(|rule| {
            let holds = |list: &Option<Vec<String>>, word: &str| {
                list.iter().flatten().any(|item| item == word || item == "*")
            };
            holds(&rule.resources, resource)
                && holds(&rule.operations, guard.operation)
                && rule.resource_names.is_none()
        })
    };
    let demands = |expression: &str| {
        spec.validations
            .iter()
            .flatten()
            .any(|validation| validation.expression == expression)
    };
    let narrowed = constraints
        .exclude_resource_rules
        .as_ref()
        .is_some_and(|rules| !rules.is_empty())
        || selects(constraints.namespace_selector.as_ref())
        || selects(constraints.object_selector.as_ref());
    let warned = policy
        .status
        .as_ref()
        .and_then(|status| status.type_checking.as_ref())
        .and_then(|checking| checking.expression_warnings.as_ref())
        .is_some_and(|warnings| !warnings.is_empty());
    match () {
        () if spec.failure_policy.as_deref() == Some("Ignore") => Some("its failurePolicy is Ignore"),
        () if !guard.resources.iter().all(|resource| sees(resource)) => {
            Some("it does not see all that it must")
        }
        () if narrowed => Some("it leaves namespaces or objects out"),
        () if guard.expression.is_some_and(|expression| !demands(expression)) => {
            Some("it does not demand what it must")
        }
        // A condition that is never met would switch every expression off.
        () if guard.expression.is_some()
            && spec
                .match_conditions
                .as_ref()
                .is_some_and(|list| !list.is_empty()) =>
        {
            Some("it has matchConditions")
        }
        () if warned => Some("the API server cannot type-check it"),
        () => None,
    }
}

fn wrong_binding(guard: &Guard, binding: &ValidatingAdmissionPolicyBinding) -> Option<&'static str> {
    let spec = &binding.spec;
    let denies = spec.validation_actions.iter().any(|action| action == "Deny");
    match () {
        () if spec.policy_name != guard.name => Some("its binding is of another policy"),
        () if !denies => Some("its binding does not deny"),
        () if spec.match_resources.as_ref().is_some_and(narrows) => Some("its binding leaves something out"),
        () => None,
    }
}

/// Whether a binding matches less than its policy. The API server puts empty selectors there, which select all.
fn narrows(resources: &MatchResources) -> bool {
    let any =
        |list: &Option<Vec<NamedRuleWithOperations>>| list.as_ref().is_some_and(|list| !list.is_empty());
    any(&resources.resource_rules)
        || any(&resources.exclude_resource_rules)
        || selects(resources.namespace_selector.as_ref())
        || selects(resources.object_selector.as_ref())
}

fn selects(selector: Option<&LabelSelector>) -> bool {
    selector.is_some_and(|selector| *selector != LabelSelector::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn installed() -> (ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding) {
        let policy = json!({"metadata": {"name": GUARDS[0].name}, "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"namespaceSelector": {}, "objectSelector": {}, "matchPolicy": "Equivalent", "resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"], "scope": "*",
                "resources": ["pods/exec", "pods/attach", "pods/portforward", "pods/proxy"]}]},
            "validations": [{"expression": CONNECT}],
        }});
        let binding = json!({"metadata": {"name": GUARDS[0].name}, "spec": {
            "policyName": GUARDS[0].name, "validationActions": ["Deny"]}});
        (
            serde_json::from_value(policy).unwrap(),
            serde_json::from_value(binding).unwrap(),
        )
    }

    #[test]
    fn a_guard_that_was_weakened_is_seen() {
        let (policy, binding) = installed();
        assert_eq!(wrong(&GUARDS[0], &policy, &binding), None);
        for (path, value) in [
            ("/spec/failurePolicy", json!("Ignore")),
            ("/spec/validations/0/expression", json!("true")),
            (
                "/spec/matchConstraints/resourceRules/0/resources",
                json!(["pods/exec"]),
            ),
            (
                "/spec/matchConstraints/resourceRules/0/operations",
                json!(["CREATE"]),
            ),
            (
                "/spec/matchConstraints/namespaceSelector",
                json!({"matchLabels": {"a": "b"}}),
            ),
            (
                "/spec/matchConstraints/excludeResourceRules",
                json!([{"resources": ["pods/exec"]}]),
            ),
            (
                "/spec/matchConditions",
                json!([{"name": "never", "expression": "false"}]),
            ),
            (
                "/status",
                json!({"typeChecking": {"expressionWarnings": [{"fieldRef": "x", "warning": "y"}]}}),
            ),
        ] {
            let mut weak = serde_json::to_value(&policy).unwrap();
            let patch = json!([{"op": "add", "path": path, "value": value}]);
            json_patch::patch(
                &mut weak,
                &serde_json::from_value::<json_patch::Patch>(patch).unwrap(),
            )
            .unwrap();
            let weak = serde_json::from_value(weak).unwrap();
            assert!(wrong(&GUARDS[0], &weak, &binding).is_some(), "{path}");
        }
    }

    #[test]
    fn a_binding_that_does_not_deny_everywhere_is_seen() {
        let (policy, binding) = installed();
        let changes: [fn(&mut ValidatingAdmissionPolicyBinding); 3] = [
            |binding| binding.spec.validation_actions = vec!["Audit".to_owned()],
            |binding| binding.spec.policy_name = "another".to_owned(),
            |binding| {
                let selector =
                    serde_json::from_value(json!({"namespaceSelector": {"matchLabels": {"a": "b"}}}));
                binding.spec.match_resources = Some(selector.unwrap());
            },
        ];
        for change in changes {
            let mut weak = binding.clone();
            change(&mut weak);
            assert!(wrong(&GUARDS[0], &policy, &weak).is_some());
        }
    }

    #[test]
    fn the_chart_demands_what_is_compared() {
        let chart = include_str!("../../../charts/cofferdam/templates/guard-connect.yaml");
        assert!(chart.contains(&format!("expression: \"{CONNECT}\"")));
    }

    #[test]
    fn the_chart_guards_every_status() {
        let chart = include_str!("../../../charts/cofferdam/templates/guard-status.yaml");
        for resource in GUARDS[1].resources {
            assert!(chart.contains(resource), "{resource}");
        }
    }
}
