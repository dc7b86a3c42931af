//! The cluster without one of its guards, or with one that was narrowed: no run starts, and its status names the guard and
//! what was changed. Ignored by default, for the guards are the whole cluster's; `make e2e` runs it alone, by name.

use std::time::Duration;

use cofferdam_api::{LiveReason, Reason};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{BUSYBOX, Space, is_true, until};

/// A proof is made every 30 s, and every 5 s where it failed.
const NOTICED: Duration = Duration::from_mins(1);

/// What is done to a guard.
#[derive(Debug)]
enum Weakening {
    /// It is not bound.
    Unbound,
    /// Its policy is patched.
    Policy(Value),
    /// Its binding is patched.
    Binding(Value),
}

/// What a guard was before.
enum Before {
    Unbound(ValidatingAdmissionPolicyBinding),
    Policy(ValidatingAdmissionPolicy),
    Binding(ValidatingAdmissionPolicyBinding),
}

struct Guards {
    policies: Api<ValidatingAdmissionPolicy>,
    bindings: Api<ValidatingAdmissionPolicyBinding>,
}

impl Guards {
    /// Names of all guards of the chart.
    async fn names(&self) -> Vec<String> {
        let ours = ListParams::default().labels("app.kubernetes.io/component=guard");
        let found = self
            .policies
            .list(&ours)
            .await
            .expect("an admin lists them")
            .items;
        found
            .into_iter()
            .filter_map(|policy| policy.metadata.name)
            .collect()
    }

    async fn weaken(&self, name: &str, weakening: &Weakening) -> Before {
        let params = PatchParams::default();
        match weakening {
            Weakening::Unbound => {
                let binding = self.bindings.get(name).await.expect("the guard is bound");
                let deleted = self.bindings.delete(name, &DeleteParams::default()).await;
                deleted.map(drop).expect("an admin unbinds it");
                Before::Unbound(binding)
            }
            Weakening::Policy(patch) => {
                let policy = self.policies.get(name).await.expect("the guard is there");
                let patched = self.policies.patch(name, &params, &Patch::Merge(patch)).await;
                patched.map(drop).expect("an admin changes it");
                Before::Policy(policy)
            }
            Weakening::Binding(patch) => {
                let binding = self.bindings.get(name).await.expect("the guard is bound");
                let patched = self.bindings.patch(name, &params, &Patch::Merge(patch)).await;
                patched.map(drop).expect("an admin changes its binding");
                Before::Binding(binding)
            }
        }
    }

    async fn restore(&self, name: &str, before: Before) {
        match before {
            Before::Unbound(mut binding) => {
                binding.metadata.resource_version = None;
                binding.metadata.uid = None;
                let made = self.bindings.create(&PostParams::default(), &binding).await;
                made.map(drop).expect("the guard is bound again");
            }
            Before::Policy(mut policy) => {
                policy.metadata.resource_version = self
                    .policies
                    .get(name)
                    .await
                    .expect("it")
                    .metadata
                    .resource_version;
                let replaced = self.policies.replace(name, &PostParams::default(), &policy).await;
                replaced.map(drop).expect("the guard is as it was");
            }
            Before::Binding(mut binding) => {
                binding.metadata.resource_version = self
                    .bindings
                    .get(name)
                    .await
                    .expect("it")
                    .metadata
                    .resource_version;
                let replaced = self
                    .bindings
                    .replace(name, &PostParams::default(), &binding)
                    .await;
                replaced.map(drop).expect("the binding is as it was");
            }
        }
    }
}

/// What is said of a guard that is not bound.
const UNBOUND: &str = "it or its binding is missing";

/// Ways to narrow a guard so that the rest of it looks well: the guard, what is done, and the field that is named for it.
fn narrowings(space: &str) -> Vec<(&'static str, Weakening, &'static str)> {
    let others = json!({"matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [space]}]});
    let rule = |operations: Value, resources: Value| json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": operations, "resources": resources});
    vec![
        (
            "pods",
            Weakening::Policy(json!({"spec": {"matchConstraints": {"namespaceSelector": others}}})),
            "namespaceSelector",
        ),
        (
            "adoption",
            Weakening::Policy(
                json!({"spec": {"matchConstraints": {"objectSelector": {"matchLabels": {"a": "b"}}}}}),
            ),
            "objectSelector",
        ),
        (
            "secrets",
            Weakening::Policy(
                json!({"spec": {"matchConstraints": {"excludeResourceRules": [rule(json!(["UPDATE"]), json!(["secrets"]))]}}}),
            ),
            "excludeResourceRules",
        ),
        (
            "serviceaccounts",
            Weakening::Policy(
                json!({"spec": {"matchConstraints": {"resourceRules": [rule(json!(["CREATE", "DELETE"]), json!(["serviceaccounts"]))]}}}),
            ),
            "resourceRules",
        ),
        (
            "services",
            Weakening::Policy(json!({"spec": {"validations": [{"expression": "true"}]}})),
            "validations",
        ),
        (
            "jobs",
            Weakening::Policy(
                json!({"spec": {"matchConditions": [{"name": "never", "expression": "false"}]}}),
            ),
            "matchConditions",
        ),
        (
            "policies",
            Weakening::Policy(json!({"spec": {"failurePolicy": "Ignore"}})),
            "failurePolicy",
        ),
        (
            "networkpolicies",
            Weakening::Binding(json!({"spec": {"matchResources": {"namespaceSelector": others}}})),
            "matchResources",
        ),
        (
            "deletions",
            Weakening::Binding(json!({"spec": {"validationActions": ["Audit"]}})),
            "validationActions",
        ),
    ]
}

#[tokio::test]
#[ignore = "takes guards from the whole cluster"]
async fn without_a_guard_as_it_was_installed_no_run_starts() {
    let space = Space::open("unguarded").await;
    let guards = Guards {
        policies: Api::all(space.client.clone()),
        bindings: Api::all(space.client.clone()),
    };
    let names = guards.names().await;
    assert!(names.len() >= 16, "{names:?}");
    let unbound = names.into_iter().map(|name| (name, Weakening::Unbound, UNBOUND));
    let narrowed = narrowings(&space.name)
        .into_iter()
        .map(|(guard, weakening, field)| (format!("cofferdam-guard-{guard}"), weakening, field));
    let mut before: Option<(String, Before)> = None;
    let mut run = None;
    for (name, weakening, said) in unbound.chain(narrowed) {
        let was = guards.weaken(&name, &weakening).await;
        // The one before comes back only now, so that the controller never sees all of them as they must be.
        if let Some((name, before)) = before.replace((name.clone(), was)) {
            guards.restore(&name, before).await;
        }
        if run.is_none() {
            until("the controller misses the first", NOTICED, || async {
                misses(&space, &name).await
            })
            .await;
            let more = json!({"startDeadlineSeconds": 1800});
            run = Some(space.script("held", BUSYBOX, "sh", "true\n", more).await);
        }
        let held = run.as_ref().expect("it was made");
        let told = until(
            &format!("the run is told of {name}, {weakening:?}"),
            NOTICED,
            || async {
                let run = held.get().await;
                let status = run.status.clone().unwrap_or_default();
                let message = status.message.clone().unwrap_or_default();
                let right = status.reason.as_deref() == Some(LiveReason::GuardNotReady.as_str())
                    && message.contains(name.as_str())
                    && message.contains(said);
                if right {
                    Ok(run)
                } else {
                    Err((status.reason, message))
                }
            },
        )
        .await;
        assert!(!is_true(&told, "Stalled"), "{:#?}", told.status);
        assert!(held.jobs().await.is_empty(), "a Job without {name}");
    }
    // The control: with all guards back the same run starts.
    if let Some((name, before)) = before {
        guards.restore(&name, before).await;
    }
    run.expect("there are guards").ends(Reason::Completed).await;
    space.close().await;
}

/// Whether the controller's log says that it misses a guard: before a run that it would start is made.
async fn misses(space: &Space, name: &str) -> Result<(), Option<String>> {
    use crate::harness::OPERATOR_NAMESPACE;
    let pods: Api<k8s_openapi::api::core::v1::Pod> =
        Api::namespaced(space.client.clone(), OPERATOR_NAMESPACE);
    let ours = ListParams::default().labels("app.kubernetes.io/component=controller");
    let pod = pods.list(&ours).await.expect("pods").items.remove(0);
    let params = kube::api::LogParams {
        since_seconds: Some(90),
        ..kube::api::LogParams::default()
    };
    let log = pods
        .logs(&pod.metadata.name.unwrap_or_default(), &params)
        .await
        .expect("its log");
    log.lines()
        .any(|line| line.contains("no run starts") && line.contains(name))
        .then_some(())
        .ok_or(log.lines().last().map(str::to_owned))
}
