//! The controller itself: what it may make is a sandbox and nothing else. And every guard proves itself live.

use serde_json::{Value, json};

use super::objects::{allow_dns, ordinary_pod, sandbox_account, sandbox_job, sandbox_pod, with};
use super::{Call, Case, Meets, Who, World, check};
use crate::harness::OPERATOR_NAMESPACE;

use Meets::{EitherGuard, Guard, NoGuard, Nothing};
use Who::{Admin, Controller};

const NAME: &str = "agr-mine-0b7c9f3e";

/// What, where (`pod/…` is the template's spec), and to which value.
const NO_SANDBOX: &str = r#"[
    ["another name", "/metadata/name", "mine"],
    ["no run", "/spec/template/metadata/labels", {"cofferdam.dev/run-uid": "x"}],
    ["the default runtime", "pod/runtimeClassName", null],
    ["another account", "pod/serviceAccountName", "default"],
    ["the account's token", "pod/automountServiceAccountToken", true],
    ["the node's network", "pod/hostNetwork", true],
    ["the node's processes", "pod/hostPID", true],
    ["one view of processes", "pod/shareProcessNamespace", true],
    ["a node of its choice", "pod/nodeName", "node-a"],
    ["a Secret's volume", "pod/volumes/3", {"name": "x", "secret": {"secretName": "users"}}],
    ["a host path", "pod/volumes/3", {"name": "x", "hostPath": {"path": "/"}}],
    ["a claim", "pod/volumes/3", {"name": "x", "persistentVolumeClaim": {"claimName": "users"}}],
    ["a token for the API", "pod/volumes/3",
        {"name": "x", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
    ["a projected Secret", "pod/volumes/3",
        {"name": "x", "projected": {"sources": [{"secret": {"name": "users"}}]}}],
    ["a Secret's environment", "pod/containers/1/env",
        [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "users", "key": "a"}}}]],
    ["a whole Secret's environment", "pod/initContainers/0/envFrom", [{"secretRef": {"name": "users"}}]],
    ["a token for the agent", "pod/containers/1/volumeMounts", [{"name": "token-sidecar", "mountPath": "/x"}]],
    ["a token for another container", "pod/containers/0/name", "helper"],
    ["root", "pod/securityContext/runAsUser", 0],
    ["root for one", "pod/containers/1/securityContext/runAsUser", 0],
    ["escalation", "pod/containers/0/securityContext/allowPrivilegeEscalation", true],
    ["a writable root", "pod/containers/1/securityContext/readOnlyRootFilesystem", false],
    ["capabilities", "pod/containers/1/securityContext/capabilities", {"drop": ["ALL"], "add": ["NET_ADMIN"]}],
    ["no seccomp", "pod/securityContext/seccompProfile", {"type": "Unconfined"}],
    ["a port of the node", "pod/containers/1/ports", [{"containerPort": 80, "hostPort": 80}]],
    ["a second try", "/spec/backoffLimit", 1],
    ["two agents", "/spec/parallelism", 2]
]"#;

#[tokio::test]
async fn the_controller_makes_sandboxes_and_nothing_else() {
    let world = World::open("confined", true).await;
    let jobs = world.jobs();
    let good = sandbox_job(NAME);
    let changes: Vec<(&'static str, String, Value)> = serde_json::from_str(NO_SANDBOX).expect("a table");
    let mut cases = vec![Case(
        "a sandbox",
        Controller,
        Call::create(&jobs, good.clone()),
        Nothing,
    )];
    for (what, path, value) in changes {
        let path = path.replacen(
            "pod/",
            "/spec/template/spec/",
            usize::from(path.starts_with("pod/")),
        );
        let call = Call::create(&jobs, with(&good, &path, value));
        cases.push(Case(what, Controller, call, Guard("controller")));
    }
    let pods = world.core("pods");
    let suspended = Call::patch(
        &format!("{jobs}/{}", world.job),
        json!({"spec": {"suspend": true}}),
    );
    let unowned = with(&sandbox_pod(NAME), "/metadata/ownerReferences", json!(null));
    let accounts = world.core("serviceaccounts");
    let other = with(&sandbox_account(), "/metadata/name", json!("other"));
    let secrets = world.core("secrets");
    cases.extend([
        Case(
            "a sandbox where no namespace opted in",
            Controller,
            Call::create("/apis/batch/v1/namespaces/default/jobs", good),
            Guard("controller"),
        ),
        Case(
            "a pod, dry",
            Controller,
            Call::create(&pods, unowned.clone()),
            Nothing,
        ),
        Case(
            "a pod",
            Controller,
            Call::post(&pods, unowned),
            EitherGuard("pods", "controller-names"),
        ),
        Case(
            "an ordinary pod, dry",
            Controller,
            Call::create(&pods, ordinary_pod("mine")),
            Guard("controller-names"),
        ),
        Case(
            "a sandbox's end",
            Controller,
            Call::delete(&format!("{pods}/{}", world.pod)),
            Nothing,
        ),
        Case(
            "an ordinary pod's end",
            Controller,
            Call::delete(&format!("{pods}/ordinary")),
            Guard("controller-names"),
        ),
        Case(
            "another account",
            Controller,
            Call::create(&accounts, other),
            Guard("controller-names"),
        ),
        Case("a changed Job", Controller, suspended, NoGuard),
        Case(
            "a Secret",
            Controller,
            Call::create(&secrets, json!({"metadata": {"name": "s"}})),
            NoGuard,
        ),
    ]);
    world.check(cases).await;
}

#[tokio::test]
async fn every_guard_that_can_be_proven_by_a_dry_run_refuses_the_canary_to_everybody() {
    let canary = json!("agr-guard-canary");
    let named = |object: &Value| with(object, "/metadata/name", canary.clone());
    let mut cases = Vec::new();
    for namespace in [OPERATOR_NAMESPACE, "default"] {
        let core = |resource: &str| format!("/api/v1/namespaces/{namespace}/{resource}");
        let policies = format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies");
        for who in [Controller, Admin] {
            for (path, object, guard) in [
                (core("pods"), ordinary_pod("x"), "pods"),
                (
                    core("pods"),
                    with(&sandbox_pod(NAME), "/spec/serviceAccountName", json!("default")),
                    "pods",
                ),
                (
                    format!("/apis/batch/v1/namespaces/{namespace}/jobs"),
                    sandbox_job("x"),
                    "jobs",
                ),
                (
                    policies.clone(),
                    allow_dns("x", &json!({"matchLabels": {"app": "web"}})),
                    "networkpolicies",
                ),
                (core("serviceaccounts"), sandbox_account(), "serviceaccounts"),
            ] {
                cases.push(Case(
                    "the canary",
                    who,
                    Call::create(&path, named(&object)),
                    Guard(guard),
                ));
            }
        }
    }
    check(cases).await;
}
