//! Guards that no dry run tries, read and compared: CONNECT has no dry run, a status is not created, and to try the
//! guard of `AgentRun`s the controller would need the right to create them, with which it could start runs itself.

use k8s_openapi::api::admissionregistration::v1::{
    MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use cofferdam_api::names::GROUP;

/// A guard that is read.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    /// Name of policy and binding.
    pub name: &'static str,
    /// API group of what it must see.
    group: &'static str,
    /// Operation that it must see.
    operation: &'static str,
    /// Resources that it must see.
    resources: &'static [&'static str],
    /// Expressions that it must demand; none: any. They use no variables, which could mean anything.
    expressions: &'static [&'static str],
}

/// Every guard that is read.
pub const GUARDS: &[Guard] = &[
    Guard {
        name: "cofferdam-guard-connect",
        group: "",
        operation: "CONNECT",
        resources: &["pods/exec", "pods/attach", "pods/portforward", "pods/proxy"],
        expressions: &[CONNECT],
    },
    Guard {
        name: "cofferdam-guard-requester",
        group: GROUP,
        operation: "CREATE",
        resources: &["agentruns"],
        expressions: REQUESTER,
    },
    Guard {
        name: "cofferdam-guard-status",
        group: GROUP,
        operation: "UPDATE",
        resources: &[
            "agentruns/status",
            "sandboxpolicies/status",
            "clustersandboxpolicies/status",
        ],
        expressions: &[],
    },
];

/// Refuses to enter any pod whose name is reserved; `pods/proxy` takes `scheme:name:port` for a name.
const CONNECT: &str =
    "request.operation != 'CONNECT' || !request.name.split(':').exists(part, part.startsWith('agr-'))";

/// What a new run must be: its requester's own, and under a policy that this user may use.
const REQUESTER: &[&str] = &[
    // Nobody else than who creates the run is its requester: by name,
    "!has(object.spec.requestedBy) || object.spec.requestedBy.username == request.userInfo.username",
    // by uid,
    "!has(object.spec.requestedBy) || !has(object.spec.requestedBy.uid) || (has(request.userInfo.uid) && \
     object.spec.requestedBy.uid == request.userInfo.uid)",
    // by groups,
    "!has(object.spec.requestedBy) || !has(object.spec.requestedBy.groups) || \
     object.spec.requestedBy.groups.all(g, has(request.userInfo.groups) && g in request.userInfo.groups)",
    // by credential.
    "!has(object.spec.requestedBy) || !has(object.spec.requestedBy.credentialID) || \
     (has(request.userInfo.extra) && 'authentication.kubernetes.io/credential-id' in \
     request.userInfo.extra && object.spec.requestedBy.credentialID in \
     request.userInfo.extra['authentication.kubernetes.io/credential-id'])",
    // And who creates a run may use its policy.
    "authorizer.group('cofferdam.dev').resource('sandboxpolicies').namespace(request.namespace).name(has(object.spec.policyRef) \
     ? object.spec.policyRef.name : 'default').check('use').allowed()",
];

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
            holds(&rule.api_groups, guard.group)
                && holds(&rule.resources, resource)
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
        () if !guard.expressions.iter().all(|expression| demands(expression)) => {
            Some("it does not demand what it must")
        }
        // A condition that is never met would switch every expression off.
        () if !guard.expressions.is_empty()
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
    use serde_json::{Value, json};

    fn installed(guard: &Guard) -> (ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding) {
        let validations: Vec<Value> = guard
            .expressions
            .iter()
            .map(|expression| json!({"expression": expression}))
            .collect();
        let policy = json!({"metadata": {"name": guard.name}, "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"namespaceSelector": {}, "objectSelector": {}, "matchPolicy": "Equivalent", "resourceRules": [{
                "apiGroups": [guard.group], "apiVersions": ["*"], "operations": [guard.operation], "scope": "*",
                "resources": guard.resources}]},
            "validations": validations,
        }});
        let binding = json!({"metadata": {"name": guard.name}, "spec": {
            "policyName": guard.name, "validationActions": ["Deny"]}});
        (
            serde_json::from_value(policy).unwrap(),
            serde_json::from_value(binding).unwrap(),
        )
    }

    /// Whether the guard is still taken for what it must be with another value at `path`.
    fn passes_with(guard: &Guard, path: &str, value: &Value) -> bool {
        let (policy, binding) = installed(guard);
        let mut weak = serde_json::to_value(&policy).unwrap();
        let change = json!([{"op": "add", "path": path, "value": value}]);
        json_patch::patch(
            &mut weak,
            &serde_json::from_value::<json_patch::Patch>(change).unwrap(),
        )
        .unwrap();
        wrong(guard, &serde_json::from_value(weak).unwrap(), &binding).is_none()
    }

    #[test]
    fn a_guard_that_was_weakened_is_seen() {
        for guard in GUARDS {
            let (policy, binding) = installed(guard);
            assert_eq!(wrong(guard, &policy, &binding), None, "{}", guard.name);
            for (path, value) in [
                ("/spec/failurePolicy", json!("Ignore")),
                (
                    "/spec/matchConstraints/resourceRules/0/resources",
                    json!(["pods/exec", "agentrun"]),
                ),
                (
                    "/spec/matchConstraints/resourceRules/0/apiGroups",
                    json!(["apps"]),
                ),
                (
                    "/spec/matchConstraints/resourceRules/0/operations",
                    json!(["DELETE"]),
                ),
                (
                    "/spec/matchConstraints/resourceRules/0/resourceNames",
                    json!(["one"]),
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
                    "/status",
                    json!({"typeChecking": {"expressionWarnings": [{"fieldRef": "x", "warning": "y"}]}}),
                ),
            ] {
                assert!(!passes_with(guard, path, &value), "{}: {path}", guard.name);
            }
        }
    }

    #[test]
    fn each_expression_counts_and_no_condition_switches_it_off() {
        for guard in GUARDS {
            for index in 0..guard.expressions.len() {
                let path = format!("/spec/validations/{index}/expression");
                assert!(
                    !passes_with(guard, &path, &json!("true")),
                    "{}: {path}",
                    guard.name
                );
            }
            let never = json!([{"name": "never", "expression": "false"}]);
            assert_eq!(
                passes_with(guard, "/spec/matchConditions", &never),
                guard.expressions.is_empty(),
                "{}",
                guard.name
            );
        }
    }

    #[test]
    fn a_binding_that_does_not_deny_everywhere_is_seen() {
        let guard = &GUARDS[0];
        let (policy, binding) = installed(guard);
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
            assert!(wrong(guard, &policy, &weak).is_some());
        }
    }

    #[test]
    fn the_chart_demands_what_is_compared() {
        let chart = [
            include_str!("../../../charts/cofferdam/templates/guard-connect.yaml"),
            include_str!("../../../charts/cofferdam/templates/guard-requester.yaml"),
            include_str!("../../../charts/cofferdam/templates/guard-status.yaml"),
        ];
        for (guard, template) in GUARDS.iter().zip(chart) {
            for expression in guard.expressions {
                assert!(
                    template.contains(&format!("expression: \"{expression}\"")),
                    "{}: {expression}",
                    guard.name
                );
            }
        }
    }

    #[test]
    fn the_controller_may_read_what_it_compares() {
        let roles = include_str!("../../../charts/cofferdam/templates/rbac-controller.yaml");
        for guard in GUARDS {
            let suffix = guard.name.trim_start_matches("cofferdam-guard-");
            assert!(roles.contains(&format!("\"{suffix}\"")), "{suffix}");
        }
    }

    #[test]
    fn the_chart_guards_every_status() {
        let chart = include_str!("../../../charts/cofferdam/templates/guard-status.yaml");
        let guard = GUARDS.iter().find(|guard| guard.name.ends_with("-status"));
        for resource in guard.unwrap().resources {
            assert!(chart.contains(resource), "{resource}");
        }
    }
}
