//! Requests by which a user with `edit` and the use of one policy would lift the ceiling, walk around it, or be
//! someone else.

use http::{Method, Request};
use kube::{Client, Config};
use serde_json::{Value, json};

use super::spec::{limits, run};
use super::world::{World, manifest};
use crate::guard::{Call, Who};
use crate::harness::OPERATOR_NAMESPACE;

/// Whose request is the control.
#[derive(Clone, Copy)]
enum By {
    Kim,
    Admin,
    Controller,
}

/// What Kim tries, the words that refuse it, and what is allowed to whom.
struct Attempt(&'static str, Call, &'static str, (By, Call));

/// A request that Kim lacks the right for and cluster admins have.
fn only(by: By, what: &'static str, call: &Call, words: &'static str) -> Attempt {
    Attempt(what, call.clone(), words, (by, call.clone()))
}

const RBAC: &str = "apis/rbac.authorization.k8s.io/v1";

/// Ceilings and who may use them.
fn ceilings(world: &World) -> Vec<Attempt> {
    let own = world.ours("sandboxpolicies");
    let over = "/apis/cofferdam.dev/v1alpha1/clustersandboxpolicies";
    let open = json!({"limits": {}});
    let named = |kind: &str, spec: &Value| json!({"apiVersion": "cofferdam.dev/v1alpha1", "kind": kind, "metadata": {"name": "mine"}, "spec": spec});
    let everywhere = json!({"limits": {}, "namespaceSelector": {}});
    let wider = json!({"spec": {"limits": {"maxTTLSecondsAfterFinished": null}}});
    let subject = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "access-kim"}]);
    let role = json!({"metadata": {"name": "mine"}, "rules": [
        {"apiGroups": ["cofferdam.dev"], "resources": ["sandboxpolicies"], "verbs": ["use"]}]});
    let binding = json!({"metadata": {"name": "mine"}, "subjects": subject,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cofferdam-user"}});
    let narrow = world.cluster_policy("narrow");
    vec![
        only(
            By::Admin,
            "a policy of his own",
            &Call::create(&own, named("SandboxPolicy", &open)),
            "cannot create resource \"sandboxpolicies\"",
        ),
        only(
            By::Admin,
            "a wider policy",
            &Call::patch(&format!("{own}/default"), wider.clone()),
            "cannot patch resource \"sandboxpolicies\"",
        ),
        only(
            By::Admin,
            "no policy",
            &Call::delete(&format!("{own}/default")),
            "cannot delete resource \"sandboxpolicies\"",
        ),
        only(
            By::Admin,
            "a ceiling of his own",
            &Call::create(over, named("ClusterSandboxPolicy", &everywhere)),
            "cannot create resource \"clustersandboxpolicies\"",
        ),
        only(
            By::Admin,
            "a wider ceiling",
            &Call::patch(&format!("{over}/{narrow}"), wider),
            "cannot patch resource \"clustersandboxpolicies\"",
        ),
        only(
            By::Admin,
            "no ceiling",
            &Call::delete(&format!("{over}/{narrow}")),
            "cannot delete resource \"clustersandboxpolicies\"",
        ),
        only(
            By::Admin,
            "a role",
            &Call::create(&world.path(RBAC, "roles"), role),
            "cannot create resource \"roles\"",
        ),
        only(
            By::Admin,
            "a binding",
            &Call::create(&world.path(RBAC, "rolebindings"), binding),
            "cannot create resource \"rolebindings\"",
        ),
    ]
}

/// What ceilings hang on: the namespace's labels, frozen policies, statuses.
fn surroundings(world: &World) -> Vec<Attempt> {
    let own = world.ours("sandboxpolicies");
    let sandbox = json!({"metadata": {"labels": {"cofferdam.dev/sandbox": null}}});
    let elsewhere = json!({"metadata": {"labels": {"kubernetes.io/metadata.name": "other"}}});
    let namespace = format!("/api/v1/namespaces/{}", world.space.name);
    let frozen =
        json!({"metadata": {"name": "policy-forged"}, "immutable": true, "data": {"policy.json": "{}"}});
    let maps = |namespace: &str| {
        Call::create(
            &format!("/api/v1/namespaces/{namespace}/configmaps"),
            frozen.clone(),
        )
    };
    vec![
        only(
            By::Admin,
            "a namespace that is none of ours",
            &Call::patch(&namespace, sandbox),
            "cannot patch resource \"namespaces\"",
        ),
        Attempt(
            "a namespace that no ceiling selects",
            Call::patch(&namespace, elsewhere),
            "cannot patch resource \"namespaces\"",
            (
                By::Admin,
                Call::patch(&namespace, json!({"metadata": {"labels": {"tier": "x"}}})),
            ),
        ),
        Attempt(
            "a frozen policy",
            maps(OPERATOR_NAMESPACE),
            "cannot create resource \"configmaps\"",
            (By::Kim, maps(&world.space.name)),
        ),
        Attempt(
            "a policy's status",
            Call::patch(
                &format!("{own}/default/status"),
                json!({"status": {"policyHash": "x"}}),
            ),
            "cannot patch resource \"sandboxpolicies/status\"",
            (By::Admin, Call::patch(&format!("{own}/default"), json!({}))),
        ),
    ]
}

fn runs(world: &World) -> Vec<Attempt> {
    let runs = world.ours("agentruns");
    let held = format!("{runs}/held");
    let change = |spec: Value| Call::patch(&held, json!({"spec": spec}));
    let may = || (By::Kim, change(json!({"ttlSecondsAfterFinished": 60})));
    let under = |policy: &str| {
        Call::create(
            &runs,
            manifest("mine", &run(&json!({"policyRef": {"name": policy}}))),
        )
    };
    let done = Call::patch(
        &format!("{held}/status"),
        json!({"status": {"phase": "Succeeded"}}),
    );
    vec![
        Attempt(
            "a policy that he may not use",
            under("lax"),
            "lacks the verb use on SandboxPolicy lax",
            (By::Kim, under("default")),
        ),
        only(
            By::Admin,
            "a policy that may come",
            &under("absent"),
            "lacks the verb use on SandboxPolicy absent",
        ),
        Attempt(
            "another policy later",
            change(json!({"policyRef": {"name": "lax"}})),
            "spec.policyRef is immutable",
            may(),
        ),
        Attempt(
            "another requester later",
            change(json!({"requestedBy": {"username": "root"}})),
            "spec.requestedBy is immutable",
            may(),
        ),
        Attempt(
            "more groups later",
            change(json!({"requestedBy": {"groups": ["system:masters"]}})),
            "spec.requestedBy is immutable",
            may(),
        ),
        Attempt(
            "no requester later",
            change(json!({"requestedBy": null})),
            "spec.requestedBy is immutable",
            may(),
        ),
        Attempt(
            "another claim later",
            change(json!({"onBehalfOf": "someone"})),
            "spec.onBehalfOf is immutable",
            may(),
        ),
        Attempt(
            "another image later",
            change(json!({"agent": {"image": "evil.test/a:1"}})),
            "spec.agent is immutable",
            may(),
        ),
        Attempt(
            "more egress later",
            change(json!({"egress": null})),
            "spec.egress is immutable",
            may(),
        ),
        Attempt(
            "more time later",
            change(json!({"activeDeadlineSeconds": 601})),
            "spec.activeDeadlineSeconds is immutable",
            may(),
        ),
        Attempt(
            "more memory later",
            change(json!({"resources": {"limits": {"memory": "64Gi"}}})),
            "spec.resources is immutable",
            may(),
        ),
        Attempt(
            "other nodes later",
            change(json!({"schedulingProfileName": "elsewhere"})),
            "spec.schedulingProfileName is immutable",
            may(),
        ),
        only(
            By::Controller,
            "an end that did not happen",
            &done,
            "cannot patch resource \"agentruns/status\"",
        ),
    ]
}

fn fences(world: &World) -> Vec<Attempt> {
    let policies = world.path("apis/networking.k8s.io/v1", "networkpolicies");
    let out = |selector: &Value| {
        let body = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "mine"},
            "spec": {"podSelector": selector, "policyTypes": ["Egress"], "egress": [{}]}});
        Call::create(&policies, body)
    };
    let narrow = || {
        (
            By::Kim,
            out(&json!({"matchExpressions": [{"key": "cofferdam.dev/run", "operator": "DoesNotExist"}]})),
        )
    };
    vec![
        Attempt(
            "no fence",
            Call::delete(&format!("{policies}/cofferdam-fence")),
            "belong to Cofferdam",
            narrow(),
        ),
        Attempt(
            "a way out for all pods",
            out(&json!({})),
            "must leave sandbox pods out",
            narrow(),
        ),
        Attempt(
            "a way out for sandboxes",
            out(&json!({"matchLabels": {"cofferdam.dev/run": "held"}})),
            "must leave sandbox pods out",
            narrow(),
        ),
    ]
}

fn sandboxes(world: &World) -> Vec<Attempt> {
    let core = |resource: &str| world.path("api/v1", resource);
    let pod = |name: &str, labels: Value| {
        let body = json!({"metadata": {"name": name, "labels": labels}, "spec": {
            "automountServiceAccountToken": false, "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "a", "image": "cofferdam.test/busybox:dev", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}});
        body
    };
    let job = |name: &str, labels: Value| {
        let template = pod("unused", labels);
        json!({"metadata": {"name": name}, "spec": {"template": {
            "metadata": {"labels": template["metadata"]["labels"]}, "spec": template["spec"]}}})
    };
    let jobs = world.path("apis/batch/v1", "jobs");
    let marked = json!({"cofferdam.dev/run": "held"});
    let make_pod = |body| Call::create(&core("pods"), body);
    let make_job = |body| Call::create(&jobs, body);
    let token = |account: &str| {
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        Call::create(&core(&format!("serviceaccounts/{account}/token")), body)
    };
    let note = |account: &str| {
        let body =
            json!({"metadata": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}}});
        Call::patch(&core(&format!("serviceaccounts/{account}")), body)
    };
    let plain_pod = || (By::Kim, make_pod(pod("mine", json!({"app": "web"}))));
    let plain_job = || (By::Kim, make_job(job("mine", json!({"app": "web"}))));
    let exec = core("pods/agr-held-0b7c9f3e-x7k2p/exec?command=id&stdout=true&container=agent");
    vec![
        Attempt(
            "a pod by our name",
            make_pod(pod("agr-mine", json!({}))),
            "Only Cofferdam makes sandbox pods",
            plain_pod(),
        ),
        Attempt(
            "a pod by our label",
            make_pod(pod("mine", marked.clone())),
            "Only Cofferdam makes sandbox pods",
            plain_pod(),
        ),
        Attempt(
            "a Job by our name",
            make_job(job("agr-mine", json!({}))),
            "Only Cofferdam makes sandbox Jobs",
            plain_job(),
        ),
        Attempt(
            "a Job by our label",
            make_job(job("mine", marked)),
            "Only Cofferdam makes sandbox Jobs",
            plain_job(),
        ),
        // Nobody enters a sandbox; that exec is his elsewhere is shown in crate::guard.
        Attempt(
            "a shell in a sandbox",
            Call::post(&exec, json!({})),
            "Nobody can enter a sandbox pod",
            plain_pod(),
        ),
        Attempt(
            "a sandbox's token",
            token("cofferdam-sandbox"),
            "Only kubelets get tokens",
            (By::Kim, token("default")),
        ),
        Attempt(
            "a cloud's role for sandboxes",
            note("cofferdam-sandbox"),
            "belongs to Cofferdam",
            (By::Kim, note("default")),
        ),
    ]
}

/// Kim as cluster admins impersonate them; the name is ASCII.
fn kim(world: &World, config: &Config) -> Client {
    let mut config = config.clone();
    config.auth_info.impersonate = Some(world.kim.name.clone());
    config.auth_info.impersonate_groups = Some(world.kim.groups.clone());
    Client::try_from(config).expect("a client")
}

#[tokio::test]
async fn no_right_of_an_editor_lifts_the_ceiling() {
    let world = World::open("access-rights", limits()).await;
    let held = run(&json!({
        "suspend": true, "activeDeadlineSeconds": 60, "egress": {"mode": "DenyAll"}, "requestedBy": {"username": "access-kim"},
    }));
    world.run("held", &held).await.expect("within the ceiling");
    let config = Config::infer().await.expect("a kubeconfig");
    let kim = kim(&world, &config);
    let attempts: Vec<Attempt> = [ceilings, surroundings, runs, fences, sandboxes]
        .map(|attempts: fn(&World) -> Vec<Attempt>| attempts(&world))
        .into_iter()
        .flatten()
        .collect();
    let mut failures = Vec::new();
    for Attempt(what, call, words, (by, allowed)) in &attempts {
        match call.send(&kim).await {
            Err(message) if message.contains(words) => {}
            answer => failures.push(format!("{what}: wanted {words}, got {answer:?}")),
        }
        let control = match by {
            By::Kim => allowed.send(&kim).await,
            By::Admin => allowed.send(&Who::Admin.client().await).await,
            By::Controller => allowed.send(&Who::Controller.client().await).await,
        };
        if let Err(message) = control {
            failures.push(format!("{what}: the control was refused: {message}"));
        }
    }
    world.close().await;
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        attempts.len(),
        failures.join("\n")
    );
}

#[tokio::test]
async fn nobody_becomes_someone_else() {
    let world = World::open("access-others", limits()).await;
    // Impersonation is not nested, so this user comes with a token of its own.
    let account = format!(
        "/api/v1/namespaces/{}/serviceaccounts/default/token",
        world.space.name
    );
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
    let request = Request::post(&account)
        .header("Content-Type", "application/json")
        .body(body.to_string().into_bytes())
        .expect("a request");
    let issued: Value = world.space.client.request(request).await.expect("a token");
    let mut config = Config::infer().await.expect("a kubeconfig");
    config.auth_info = kube::config::AuthInfo {
        token: issued["status"]["token"]
            .as_str()
            .map(|token| token.to_owned().into()),
        ..kube::config::AuthInfo::default()
    };
    let client = Client::try_from(config).expect("a client");
    let who = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    Call::post(who, review.clone())
        .send(&client)
        .await
        .expect("the control: as itself");
    let controller = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:controller");
    for (other, words) in [
        (super::user::User::new("root", &[]), "cannot impersonate"),
        (
            super::user::User::new(&world.kim.name, &["system:masters"]),
            "cannot impersonate",
        ),
        (super::user::User::new(&controller, &[]), "cannot impersonate"),
    ] {
        let refusal = other
            .send(&client, Method::POST, who, &review)
            .await
            .expect_err("someone else");
        assert!(refusal.contains(words), "{}: {refusal}", other.name);
    }
    world.close().await;
}
