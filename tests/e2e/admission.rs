//! What the cluster's own admission does to sandbox pods: what takes nothing away from the sandbox is let be, what
//! changes it is found out before the agent starts, and what refuses it is quoted.

use std::collections::BTreeMap;
use std::time::Duration;

use cofferdam_api::{AgentRunStatus, Reason};
use k8s_openapi::api::admissionregistration::v1::{MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding};
use k8s_openapi::api::core::v1::{LimitRange, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{BUSYBOX, Space, default_limits, merge, sandboxed, until};

/// The API server reads admission policies and limit ranges a moment after they were made.
const SOON: Duration = Duration::from_secs(30);
/// What every mutation of these tests leaves behind, which by itself is harmless.
const MARK: &str = "cofferdam.test/mutated";
/// A second label and toleration that somebody's platform might add.
const EXTRA: &str = "cofferdam.test/extra";

/// A mutation of every pod of one namespace, by the API server itself.
struct Mutation {
    name: String,
    policies: Api<MutatingAdmissionPolicy>,
    bindings: Api<MutatingAdmissionPolicyBinding>,
}

impl Mutation {
    /// Has the API server add to each pod of `space` the mark and what this CEL `JSONPatch` says, and waits until it does.
    async fn begin(space: &Space, patch: &str) -> Self {
        let mutation = Self {
            name: format!("{}-mutation", space.name),
            policies: Api::all(space.client.clone()),
            bindings: Api::all(space.client.clone()),
        };
        mutation.end().await;
        let mark = MARK.replace('/', "~1");
        let policy = json!({"metadata": {"name": mutation.name}, "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {"resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": format!(
                "[JSONPatch{{op: 'add', path: '/metadata/annotations/{mark}', value: 'yes'}}, {patch}]")}}],
        }});
        let here = json!({"matchLabels": {"kubernetes.io/metadata.name": space.name}});
        let binding = json!({"metadata": {"name": mutation.name}, "spec": {
            "policyName": mutation.name, "matchResources": {"namespaceSelector": here},
        }});
        let policy = serde_json::from_value(policy).expect("a policy's shape");
        let made = mutation.policies.create(&PostParams::default(), &policy).await;
        made.map(drop).expect("the policy's CEL is valid");
        let binding = serde_json::from_value(binding).expect("a binding's shape");
        let made = mutation.bindings.create(&PostParams::default(), &binding).await;
        made.map(drop).expect("the policy is bound");
        until("pods are mutated", SOON, || async {
            match tried(space).await {
                Ok(pod) if has_mark(&pod) => Ok(()),
                other => Err(other.map(|pod| pod.metadata)),
            }
        })
        .await;
        mutation
    }

    /// Takes it away again, or what an earlier run of the test left.
    async fn end(&self) {
        gone(self.bindings.delete(&self.name, &DeleteParams::default()).await);
        gone(self.policies.delete(&self.name, &DeleteParams::default()).await);
    }
}

/// What was deleted, or was not there, is not there.
fn gone<T>(deleted: kube::Result<T>) {
    match deleted {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => panic!("it cannot be deleted: {error}"),
    }
}

/// What the API server makes of an ordinary pod, which says nothing of its resources. Nothing is kept.
async fn tried(space: &Space) -> kube::Result<Pod> {
    let mut spec = sandboxed();
    merge(
        &mut spec["containers"][0],
        &json!({"name": "tried", "image": BUSYBOX, "env": [{"name": "ONE", "value": "1"}]}),
    );
    let noted = json!({"tried": "yes"});
    let pod = json!({"metadata": {"name": "tried", "labels": noted, "annotations": noted}, "spec": spec});
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let pod = serde_json::from_value(pod).expect("a pod's shape");
    space.api::<Pod>().create(&dry, &pod).await
}

fn has_mark(pod: &Pod) -> bool {
    let mut annotations = pod.metadata.annotations.iter().flatten();
    annotations.any(|(key, _)| key == MARK)
}

async fn ends(space: &Space, name: &str, reason: Reason) -> AgentRunStatus {
    let run = space.script(name, BUSYBOX, "sh", "true\n", json!({})).await;
    run.ends(reason).await.status.expect("an end has a status")
}

/// A pod that was changed is no longer the one whose confinement was decided; one that a NetworkPolicy could tell from
/// other sandboxes may not be made at all.
#[rstest]
#[case::variable(
    "mutated-variable",
    "JSONPatch{op: 'add', path: '/spec/containers/0/env/-', value: Object.spec.containers.env{name: 'TWO', value: '2'}}",
    Reason::PodMutated,
    "not the pod that was built: it differs in containers"
)]
#[case::image(
    "mutated-image",
    "JSONPatch{op: 'replace', path: '/spec/containers/0/image', value: 'cofferdam.test/attacker:dev'}",
    Reason::PodMutated,
    "not the pod that was built: it differs in containers"
)]
#[case::container(
    "mutated-container",
    "JSONPatch{op: 'add', path: '/spec/containers/-', value: Object.spec.containers{name: 'mesh', \
     image: 'cofferdam.test/busybox:dev', command: ['sleep', '60'], securityContext: \
     Object.spec.containers.securityContext{allowPrivilegeEscalation: false, capabilities: \
     Object.spec.containers.securityContext.capabilities{drop: ['ALL']}}}}",
    Reason::PodMutated,
    "not the pod that was built: it differs in containers"
)]
#[case::label(
    "mutated-label",
    "JSONPatch{op: 'add', path: '/metadata/labels/cofferdam.test~1extra', value: 'yes'}",
    Reason::AdmissionRefused,
    EXTRA
)]
#[tokio::test]
async fn a_pod_that_admission_changes_starts_no_agent(
    #[case] name: &str,
    #[case] patch: &str,
    #[case] reason: Reason,
    #[case] words: &str,
) {
    let space = Space::open(name).await;
    let elsewhere = Space::open(&format!("{name}-not")).await;
    let mutation = Mutation::begin(&space, patch).await;
    let status = ends(&space, "changed", reason).await;
    let message = status.message.unwrap_or_default();
    assert!(message.contains(words), "{message}");
    assert_eq!(status.agent_start_time, None);
    // The controls: while the API server still does it here, the same run elsewhere completes, and then here too.
    ends(&elsewhere, "unchanged", Reason::Completed).await;
    mutation.end().await;
    until("pods are no longer mutated", SOON, || async {
        match tried(&space).await {
            Ok(pod) if !has_mark(&pod) => Ok(()),
            other => Err(other.map(|pod| pod.metadata)),
        }
    })
    .await;
    ends(&space, "again", Reason::Completed).await;
    elsewhere.close().await;
    space.close().await;
}

#[tokio::test]
async fn what_admission_may_add_is_let_be() {
    let space = Space::open("mutated-lawfully").await;
    let patch = format!(
        "JSONPatch{{op: 'add', path: '/spec/tolerations/-', \
         value: Object.spec.tolerations{{key: '{EXTRA}', operator: 'Exists'}}}}"
    );
    let mutation = Mutation::begin(&space, &patch).await;
    let run = space.script("tolerant", BUSYBOX, "sh", "true\n", json!({})).await;
    run.ends(Reason::Completed).await;
    let pod = run.pod().await.expect("the pod is kept");
    assert!(has_mark(&pod), "the pod was not mutated: {:#?}", pod.metadata);
    let tolerations = pod.spec.and_then(|spec| spec.tolerations).unwrap_or_default();
    assert!(
        tolerations.iter().any(|one| one.key.as_deref() == Some(EXTRA)),
        "{tolerations:#?}"
    );
    mutation.end().await;
    space.close().await;
}

/// The uid that `OpenShift`'s `restricted-v2` would give pods of a namespace, with its group and `SELinux` level.
const ASSIGNED: &str = "1000650000";

/// What `OpenShift`'s admission does to a pod under `restricted-v2`: a user for each container, a group and a level for the pod.
fn restricted_v2() -> String {
    format!(
        "JSONPatch{{op: 'add', path: '/spec/securityContext/fsGroup', value: {ASSIGNED}}}, \
         JSONPatch{{op: 'add', path: '/spec/securityContext/seLinuxOptions', value: \
         Object.spec.securityContext.seLinuxOptions{{level: 's0:c26,c5'}}}}] \
         + (has(object.spec.initContainers) ? [JSONPatch{{op: 'add', path: '/spec/initContainers/0/securityContext/runAsUser', value: {ASSIGNED}}}] : []) \
         + [0, 1].filter(i, i < size(object.spec.containers)).map(i, JSONPatch{{op: 'add', \
         path: '/spec/containers/' + string(i) + '/securityContext/runAsUser', value: {ASSIGNED}}}) + ["
    )
}

/// A platform that assigns users at admission, as `OpenShift` does: policy has to let it, and then the run works under that user.
#[tokio::test]
async fn a_platform_that_assigns_users_runs_sandboxes_where_policy_lets_it() {
    let space = Space::open("assigned-user").await;
    let mutation = Mutation::begin(&space, &restricted_v2()).await;
    // The control: Cofferdam's own user is the one that was decided.
    let message = ends(&space, "fixed", Reason::PodMutated).await.message;
    assert!(
        message.clone().unwrap_or_default().contains("ecurityContext"),
        "{message:?}"
    );

    let mut limits = default_limits();
    limits["runtime"]["runAsUser"] = json!("PlatformAssigned");
    space.policy("default", limits).await;
    let run = space
        .script("assigned", BUSYBOX, "sh", "id -u > uid.txt\n", json!({}))
        .await;
    run.ends(Reason::Completed).await;
    assert_eq!(run.added("uid.txt").await, [ASSIGNED]);
    let pod = run.pod().await.and_then(|pod| pod.spec).expect("the pod is kept");
    let context = pod.security_context.expect("the pod has a context");
    assert_eq!(
        context.fs_group.map(|group| group.to_string()).as_deref(),
        Some(ASSIGNED)
    );
    mutation.end().await;
    space.close().await;
}

async fn limit_range(space: &Space, limit: Value) {
    let mut limit = limit;
    merge(&mut limit, &json!({"type": "Container"}));
    let range = json!({"metadata": {"name": "range"}, "spec": {"limits": [limit]}});
    let range: LimitRange = serde_json::from_value(range).expect("a LimitRange's shape");
    let made = space.api().create(&PostParams::default(), &range).await;
    made.map(drop).expect("an admin sets a LimitRange");
}

/// The limits that an ordinary pod is given there, which asks for none.
async fn given(space: &Space) -> Option<BTreeMap<String, Quantity>> {
    let pod = tried(space).await.expect("an ordinary pod meets no objection");
    let spec = pod.spec.expect("pods have a spec");
    spec.containers[0].resources.as_ref()?.limits.clone()
}

/// What each container may use, by its name.
fn resources(spec: &PodSpec) -> Vec<(&str, Option<&ResourceRequirements>)> {
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    containers
        .map(|container| (container.name.as_str(), container.resources.as_ref()))
        .collect()
}

#[tokio::test]
async fn a_limit_ranges_defaults_find_nothing_left_unsaid() {
    let space = Space::open("limit-range-defaults").await;
    let amounts = json!({"cpu": "35m", "memory": "35Mi", "ephemeral-storage": "35Mi"});
    limit_range(&space, json!({"default": amounts, "defaultRequest": amounts})).await;
    // The control: a pod that leaves them out is given them.
    until("an ordinary pod is given the defaults", SOON, || async {
        match given(&space).await {
            Some(limits) if limits.get("cpu").is_some_and(|cpu| cpu.0 == "35m") => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let run = space.script("complete", BUSYBOX, "sh", "true\n", json!({})).await;
    run.ends(Reason::Completed).await;
    let job = run.jobs().await.remove(0);
    let built = job
        .spec
        .and_then(|spec| spec.template.spec)
        .expect("a Job has a pod");
    let live = run.pod().await.and_then(|pod| pod.spec).expect("the pod is kept");
    assert_eq!(resources(&live), resources(&built));
    space.close().await;
}

#[tokio::test]
async fn a_limit_range_that_refuses_is_quoted() {
    let space = Space::open("limit-range-max").await;
    limit_range(&space, json!({"max": {"memory": "35Mi"}})).await;
    until("an ordinary pod is given the maximum", SOON, || async {
        given(&space).await.map(drop).ok_or("no limits")
    })
    .await;
    let run = space
        .script("too-large", BUSYBOX, "sh", "true\n", json!({}))
        .await;
    let message = run.ends_saying(Reason::AdmissionRefused).await;
    assert!(
        message.contains("maximum memory usage per Container is 35Mi"),
        "{message}"
    );
    assert!(run.pod().await.is_none());
    // The control: without it the same run completes.
    let ranges = space.api::<LimitRange>();
    let deleted = ranges.delete("range", &DeleteParams::default()).await;
    deleted.map(drop).expect("an admin takes it away");
    until("an ordinary pod is given no maximum", SOON, || async {
        given(&space).await.map_or(Ok(()), Err)
    })
    .await;
    ends(&space, "fits", Reason::Completed).await;
    space.close().await;
}
