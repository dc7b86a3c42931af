//! The cluster as a table of answers: what may be read, what may not, and what the API server says to dry runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Request, Response};
use kube::client::Body;
use parking_lot::Mutex;
use rstest::rstest;
use serde_json::{Value, json};

use super::document::{Answer, Explanation, Outcome};
use super::*;

const NAMESPACE: &str = "GET /api/v1/namespaces/team-a";
const POLICY: &str = "GET /apis/cofferdam.dev/v1alpha1/namespaces/team-a/sandboxpolicies/default";
const CLUSTER_POLICIES: &str = "GET /apis/cofferdam.dev/v1alpha1/clustersandboxpolicies";
const CREDENTIALS: &str = "GET /apis/cofferdam.dev/v1alpha1/sandboxcredentials";
const CLASSES: &str = "GET /apis/node.k8s.io/v1/runtimeclasses";
const RUN: &str = "POST /apis/cofferdam.dev/v1alpha1/namespaces/team-a/agentruns?dryRun=All";
const RUNS: &str = "GET /apis/cofferdam.dev/v1alpha1/namespaces/team-a/agentruns";
const REVIEW: &str = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const POD: &str = "POST /api/v1/namespaces/team-a/pods?dryRun=All";

/// Answers by method and path; `Null` echoes what was sent.
type Answers = BTreeMap<&'static str, (u16, Value)>;

fn run() -> AgentRun {
    files::run("run.yaml", include_str!("../../../examples/agentrun.yaml")).unwrap()
}

fn example(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// A cluster in which the example run is allowed.
fn allowing() -> Answers {
    let cluster_policy = example(include_str!("../../../examples/clustersandboxpolicy.yaml"));
    let list = |version: &str, kind: &str, items: Value| json!({"apiVersion": version, "kind": kind, "metadata": {}, "items": items});
    let class = json!({"metadata": {"name": "gvisor"}, "handler": "runsc"});
    let labels = json!({"cofferdam.dev/sandbox": "enabled"});
    BTreeMap::from([
        (
            NAMESPACE,
            (
                200,
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a", "labels": labels}}),
            ),
        ),
        (
            POLICY,
            (200, example(include_str!("../../../examples/sandboxpolicy.yaml"))),
        ),
        (
            CLUSTER_POLICIES,
            (
                200,
                list(
                    "cofferdam.dev/v1alpha1",
                    "ClusterSandboxPolicyList",
                    json!([cluster_policy]),
                ),
            ),
        ),
        (
            CLASSES,
            (200, list("node.k8s.io/v1", "RuntimeClassList", json!([class]))),
        ),
        (RUN, (201, Value::Null)),
        (REVIEW, (201, review(true))),
        (POD, (201, Value::Null)),
    ])
}

fn review(allowed: bool) -> Value {
    json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {}, "status": {"allowed": allowed}})
}

fn failure(code: u16, reason: &str, message: &str) -> (u16, Value) {
    (
        code,
        json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}),
    )
}

/// Asks the table, and says what it was asked.
async fn asked(answers: Answers) -> (Explanation, Vec<String>) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let service = {
        let log = log.clone();
        tower::service_fn(move |request: Request<Body>| {
            let (answers, log) = (answers.clone(), log.clone());
            async move {
                let key = key(&request);
                log.lock().push(key.clone());
                let sent = request.into_body().collect_bytes().await.unwrap();
                let (code, body) = answers
                    .get(key.as_str())
                    .cloned()
                    .unwrap_or_else(|| failure(500, "InternalError", &format!("the table has no {key}")));
                let body = if body.is_null() {
                    sent.to_vec()
                } else {
                    body.to_string().into_bytes()
                };
                Ok::<_, std::convert::Infallible>(
                    Response::builder().status(code).body(Body::from(body)).unwrap(),
                )
            }
        })
    };
    let client = Client::new(service, "elsewhere");
    let explanation = ask(&client, run(), Vec::new()).await;
    let log = log.lock().clone();
    (explanation, log)
}

fn key(request: &Request<Body>) -> String {
    let dry = request
        .uri()
        .query()
        .filter(|query| query.contains("dryRun=All"))
        .map_or("", |_| "?dryRun=All");
    format!("{} {}{dry}", request.method(), request.uri().path())
}

#[tokio::test]
async fn an_allowed_run_is_tried_and_nothing_is_stored() {
    let (explanation, log) = asked(allowing()).await;
    assert_eq!(explanation.verdict, Answer::Allowed, "{explanation:#?}");
    assert_eq!(explanation.dry_runs.len(), 2);
    assert!(
        explanation
            .dry_runs
            .iter()
            .all(|tried| tried.outcome == Outcome::Accepted)
    );
    assert!(!explanation.findings.is_empty());
    let writes: Vec<&String> = log.iter().filter(|key| !key.starts_with("GET ")).collect();
    assert_eq!(writes, [RUN, REVIEW, POD], "a review is an answer, not an object");
}

#[rstest]
#[case(NAMESPACE, "the labels of namespace team-a")]
#[case(POLICY, "SandboxPolicy team-a/default")]
#[case(CLUSTER_POLICIES, "the ClusterSandboxPolicies")]
#[case(CLASSES, "the RuntimeClasses")]
#[tokio::test]
async fn what_may_not_be_read_is_said_and_never_an_allowance(#[case] path: &'static str, #[case] what: &str) {
    let mut answers = allowing();
    answers.insert(path, failure(403, "Forbidden", "you may not"));
    let (explanation, _) = asked(answers).await;
    assert_eq!(explanation.verdict, Answer::CannotTell);
    let unknown: Vec<_> = explanation
        .unknown
        .iter()
        .map(|unknown| (unknown.what.as_str(), unknown.why.as_str()))
        .collect();
    assert_eq!(unknown, [(what, "you may not")]);
    assert!(explanation.findings.is_empty(), "nothing is made up for it");
}

/// Credentials are read where a policy names one, and then they count.
#[tokio::test]
async fn credentials_that_a_policy_names_are_read() {
    let mut policy = example(include_str!("../../../examples/sandboxpolicy.yaml"));
    let rules = policy["spec"]["limits"]["egress"]["rules"]
        .as_array_mut()
        .unwrap();
    let mut rule = rules[0].clone();
    rule.as_object_mut().unwrap().remove("tls");
    for (field, value) in [
        ("methods", json!(["POST"])),
        ("paths", json!(["/v1/messages"])),
        ("credential", json!("model")),
    ] {
        rule[field] = value;
    }
    let hosts = rule["hosts"].clone();
    *rules = vec![rule];
    let mut answers = allowing();
    answers.insert(POLICY, (200, policy));
    answers.insert(CREDENTIALS, failure(403, "Forbidden", "you may not"));
    let (explanation, _) = asked(answers.clone()).await;
    assert_eq!(explanation.verdict, Answer::CannotTell);
    let listed = |items: Value| {
        (
            200,
            json!({"apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxCredentialList", "metadata": {}, "items": items}),
        )
    };
    answers.insert(CREDENTIALS, listed(json!([])));
    let (explanation, _) = asked(answers.clone()).await;
    assert_eq!(explanation.reason, Some(cofferdam_api::Reason::CredentialFailed));
    let credential = json!({"apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxCredential", "metadata": {"name": "model"},
        "spec": {"type": "Secret", "secretName": "model", "hosts": hosts, "inject": {"header": "x-api-key"}, "namespaceSelector": {}}});
    answers.insert(CREDENTIALS, listed(json!([credential])));
    let (explanation, _) = asked(answers.clone()).await;
    assert_eq!(explanation.credentials[0].ready, "Unknown");
    let mut refused = credential;
    refused["status"] = json!({"conditions": [{"type": "Ready", "status": "False", "reason": "Rejected",
        "message": "A host answers 401.", "lastTransitionTime": "2026-11-25T08:00:00Z"}]});
    answers.insert(CREDENTIALS, listed(json!([refused])));
    let (explanation, _) = asked(answers).await;
    assert_eq!(explanation.verdict, Answer::Allowed, "{explanation:#?}");
    let text = text::render(&explanation, Paint::Plain);
    assert!(
        text.contains("model  not ready (Rejected): the run waits\n      A host answers 401."),
        "{text}"
    );
    assert!(
        text.contains("the gateway adds credential model to POST /v1/messages"),
        "{text}"
    );
}

#[tokio::test]
async fn a_policy_that_is_not_there_is_a_refusal() {
    let mut answers = allowing();
    answers.insert(POLICY, failure(404, "NotFound", "no such policy"));
    let (explanation, _) = asked(answers).await;
    assert_eq!(
        (explanation.verdict, explanation.reason),
        (Answer::Refused, Some(cofferdam_api::Reason::PolicyMissing))
    );
}

#[rstest]
#[case(RUN, 422, "spec.task: exactly one", Answer::Refused)]
#[case(RUN, 403, "you may not use this policy", Answer::Refused)]
#[case(
    POD,
    403,
    "pods \"explain-x\" is forbidden: exceeded quota: small",
    Answer::Refused
)]
#[case(POD, 500, "etcd is away", Answer::CannotTell)]
#[tokio::test]
async fn refusals_of_the_api_server_are_reported_as_they_are(
    #[case] path: &'static str,
    #[case] code: u16,
    #[case] message: &str,
    #[case] verdict: Answer,
) {
    let mut answers = allowing();
    answers.insert(path, failure(code, "SomeReason", message));
    let (explanation, _) = asked(answers).await;
    assert_eq!(explanation.verdict, verdict);
    let said = explanation
        .dry_runs
        .iter()
        .filter_map(|tried| tried.message.as_deref());
    let said: Vec<&str> = said
        .chain(explanation.unknown.iter().map(|unknown| unknown.why.as_str()))
        .collect();
    assert_eq!(said, [message]);
}

#[tokio::test]
async fn who_may_not_create_pods_is_told_so_and_nothing_else_changes() {
    let mut answers = allowing();
    answers.insert(REVIEW, (201, review(false)));
    let (explanation, log) = asked(answers).await;
    assert_eq!(explanation.verdict, Answer::Allowed);
    assert_eq!(explanation.dry_runs.last().unwrap().outcome, Outcome::NotAsked);
    assert!(!log.iter().any(|key| key == POD));
}

/// Where the cluster fills in who asks, the run is judged as it would be stored.
#[tokio::test]
async fn the_run_is_judged_as_the_api_server_would_store_it() {
    let mut policy = example(include_str!("../../../examples/sandboxpolicy.yaml"));
    policy["spec"]["limits"]["requester"] = json!("Required");
    let mut answers = allowing();
    answers.insert(POLICY, (200, policy));
    let (refused, _) = asked(answers.clone()).await;
    assert_eq!(refused.verdict, Answer::Refused);
    let mut stored = serde_json::to_value(run()).unwrap();
    stored["spec"]["requestedBy"] = json!({"username": "jane"});
    answers.insert(RUN, (201, stored));
    assert_eq!(asked(answers).await.0.verdict, Answer::Allowed);
}

/// A run of the namespace, with its status.
fn stored(name: &str, second: u32, word: &str) -> Value {
    let mut stored = serde_json::to_value(run()).unwrap();
    let time = format!("2026-11-25T08:00:{second:02}Z");
    stored["metadata"] =
        json!({"namespace": "team-a", "name": name, "uid": format!("uid-{name}"), "creationTimestamp": time});
    stored["status"] = json!({"phase": word, "message": "Waits for a slot in namespace team-a.", "conditions": [
        {"type": "Ready", "status": "False", "reason": word, "message": "", "lastTransitionTime": time}]});
    stored
}

#[rstest]
#[case::waiting("Queued", Some("waiting, 2 of 3, oldest first"))]
#[case::running("Running", None)]
#[tokio::test]
async fn the_place_of_a_run_that_waits_is_counted(#[case] word: &str, #[case] told: Option<&str>) {
    let own = run().name_any();
    let one = format!("{}/{own}", RUNS.replace("GET ", ""));
    let one: &'static str = Box::leak(format!("GET {one}").into_boxed_str());
    let runs = [
        stored("young", 9, "Queued"),
        stored(&own, 5, word),
        stored("old", 1, "Queued"),
        stored("live", 0, "Running"),
    ];
    let mut answers = allowing();
    answers.insert(RUN, failure(409, "AlreadyExists", "it is there"));
    answers.insert(one, (200, stored(&own, 5, word)));
    answers.insert(
        RUNS,
        (200, json!({"apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRunList", "metadata": {}, "items": runs})),
    );
    let (explanation, _) = asked(answers.clone()).await;
    assert_eq!(explanation.verdict, Answer::Allowed);
    let text = text::render(&explanation, Paint::Plain);
    let line = text
        .lines()
        .skip_while(|line| *line != "queue")
        .nth(1)
        .map(str::trim);
    assert_eq!(line, told, "{text}");
    answers.insert(RUNS, failure(403, "Forbidden", "you may not"));
    let (explanation, _) = asked(answers).await;
    assert_eq!(
        explanation.verdict,
        Answer::Allowed,
        "no verdict hangs on a place"
    );
    assert_eq!(explanation.queue.map(|queue| queue.place), told.map(|_| None));
}
