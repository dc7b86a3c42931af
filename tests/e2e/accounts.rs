//! What the operator's own accounts, and the one under which sandboxes run, may do: asked of the API server itself, so
//! that whatever else is bound to them in the cluster is in the answer.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authorization::v1::{SelfSubjectRulesReview, SubjectAccessReview};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, Resource};
use serde_json::json;

use crate::guard::{Call, Case, Meets, Who, check};
use crate::harness::{CREDENTIALS_NAMESPACE, OPERATOR_NAMESPACE, client};

/// The roles that have an account.
const ACCOUNTS: [&str; 5] = ["controller", "gateway", "archive", "keys", "output"];
/// A namespace of nobody's: what is given there is given everywhere.
const ANYWHERE: &str = "e2e-nowhere";

/// What is given to whom, where: group and resource, verbs.
type Given = &'static [(&'static str, &'static str)];

const CONTROLLER: Given = &[
    ("cofferdam.dev agentruns", "get list watch delete"),
    ("cofferdam.dev agentruns/status", "update patch"),
    ("cofferdam.dev sandboxpolicies", "get list watch"),
    ("cofferdam.dev clustersandboxpolicies", "get list watch"),
    ("cofferdam.dev sandboxcredentials", "get list watch"),
    ("cofferdam.dev sandboxpolicies/status", "update"),
    ("cofferdam.dev clustersandboxpolicies/status", "update"),
    ("cofferdam.dev sandboxcredentials/status", "update"),
    ("core namespaces", "get list watch"),
    ("core nodes", "get list watch"),
    ("core pods", "get list watch create patch delete"),
    ("core serviceaccounts", "get list watch create patch delete"),
    ("core services", "list watch"),
    ("core events", "list"),
    ("events.k8s.io events", "create"),
    ("node.k8s.io runtimeclasses", "get list watch"),
    ("aquasecurity.github.io vulnerabilityreports", "list watch"),
    ("batch jobs", "get list watch create delete"),
    (
        "networking.k8s.io networkpolicies",
        "get list watch create update patch delete",
    ),
];

/// Guards that the controller reads, each with its binding.
const GUARDS: [&str; 18] = [
    "addresses",
    "adoption",
    "connect",
    "controller",
    "controller-names",
    "deletions",
    "endpoints",
    "jobs",
    "keys",
    "networkpolicies",
    "pods",
    "policies",
    "requester",
    "runs",
    "secrets",
    "serviceaccounts",
    "services",
    "status",
];

const CONTROLLER_AT_HOME: Given = &[
    ("core configmaps", "get list create delete"),
    ("core services", "get list watch"),
    ("core configmaps cofferdam-witness", "update"),
    ("apps statefulsets cofferdam-archive", "get"),
];

const GATEWAY: Given = &[
    ("cofferdam.dev agentruns", "list watch"),
    ("cofferdam.dev clustersandboxpolicies", "list watch"),
    ("cofferdam.dev sandboxcredentials", "list watch"),
    ("core pods", "list watch"),
    ("core namespaces", "list watch"),
    ("core nodes", "list watch"),
    ("networking.k8s.io servicecidrs", "list"),
    ("core services", "get"),
];

const GATEWAY_AT_HOME: Given = &[("core configmaps", "get"), ("core services", "list")];
/// What it fills, by name, and nothing of its kind besides.
const KEYS_AT_HOME: Given = &[
    ("core secrets cofferdam-signing", "get update"),
    ("core secrets cofferdam-inspection-ca", "get update"),
    // That everybody may read it is no right of its own.
    ("core configmaps cofferdam-evidence-keys", "update"),
];
/// Which run a name means, whose namespace that is now, and whether a user may read it.
const OUTPUT: Given = &[
    ("cofferdam.dev agentruns", "get"),
    ("core namespaces", "get"),
    ("authorization.k8s.io subjectaccessreviews", "create"),
];
/// By Kubernetes' own role: how the API server shows that it is the API server.
const OUTPUT_IN_KUBE_SYSTEM: Given = &[(
    "core configmaps extension-apiserver-authentication",
    "get list watch",
)];
/// The values of credentials.
const GATEWAY_IN_CREDENTIALS: Given = &[("core secrets", "list watch")];
const GATEWAY_IN_DEFAULT: Given = &[("discovery.k8s.io endpointslices kubernetes", "get")];

/// What `account` is given in `namespace`, one right a line.
fn given(account: &str, namespace: &str) -> BTreeSet<String> {
    let here: &[Given] = match (account, namespace) {
        ("controller", OPERATOR_NAMESPACE) => &[CONTROLLER, CONTROLLER_AT_HOME],
        ("controller", _) => &[CONTROLLER],
        ("gateway", OPERATOR_NAMESPACE) => &[GATEWAY, GATEWAY_AT_HOME],
        ("gateway", "default") => &[GATEWAY, GATEWAY_IN_DEFAULT],
        ("gateway", CREDENTIALS_NAMESPACE) => &[GATEWAY, GATEWAY_IN_CREDENTIALS],
        ("gateway", _) => &[GATEWAY],
        ("keys", OPERATOR_NAMESPACE) => &[KEYS_AT_HOME],
        ("output", "kube-system") => &[OUTPUT, OUTPUT_IN_KUBE_SYSTEM],
        ("output", _) => &[OUTPUT],
        _ => &[],
    };
    let mut rights: BTreeSet<String> = here
        .iter()
        .flat_map(|list| list.iter())
        .flat_map(|(what, verbs)| verbs.split(' ').map(move |verb| format!("{what}: {verb}")))
        .collect();
    if account == "controller" {
        let kinds = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"];
        rights.extend(kinds.iter().flat_map(|kind| {
            let line =
                move |guard| format!("admissionregistration.k8s.io {kind} cofferdam-guard-{guard}: get");
            GUARDS.iter().map(line)
        }));
    }
    rights
}

/// What a user may do in a namespace, cluster-wide rights included, as the API server lists it. The list is of what
/// RBAC grants; the node authorizer, which cannot list its own, grants these users nothing.
async fn listed(client: &Client, namespace: &str) -> BTreeSet<String> {
    let review = json!({"spec": {"namespace": namespace}});
    let review: SelfSubjectRulesReview = serde_json::from_value(review).unwrap();
    let reviews: Api<SelfSubjectRulesReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await;
    let status = answer.expect("everybody may ask").status.expect("an answer");
    let mut rights = BTreeSet::new();
    for rule in &status.resource_rules {
        let nameless = [String::new()];
        let names = rule.resource_names.as_deref().filter(|names| !names.is_empty());
        for group in rule.api_groups.iter().flatten() {
            let group = if group.is_empty() { "core" } else { group };
            for (resource, name) in rule.resources.iter().flatten().flat_map(|resource| {
                let names = names.unwrap_or(&nameless).iter();
                names.map(move |name| (resource, name))
            }) {
                let what = format!("{group} {resource} {name}");
                rights.extend(rule.verbs.iter().map(|verb| format!("{}: {verb}", what.trim())));
            }
        }
    }
    for rule in &status.non_resource_rules {
        for path in rule.non_resource_urls.iter().flatten() {
            rights.extend(rule.verbs.iter().map(|verb| format!("{path}: {verb}")));
        }
    }
    rights
}

#[tokio::test]
async fn each_account_has_the_rights_of_this_table_and_no_other() {
    for namespace in [
        OPERATOR_NAMESPACE,
        CREDENTIALS_NAMESPACE,
        "default",
        "kube-system",
        ANYWHERE,
    ] {
        // What every account of that namespace may do, such as ask this question.
        let everybody = listed(&Who::Ours("no-such-account").client().await, namespace).await;
        assert!(!everybody.is_empty(), "the API server lists nothing at all");
        for account in ACCOUNTS {
            let listed = listed(&Who::Ours(account).client().await, namespace).await;
            let more: BTreeSet<String> = listed.difference(&everybody).cloned().collect();
            assert_eq!(more, given(account, namespace), "{account} in {namespace}");
        }
        let sandbox = listed(&Who::Sandbox(ANYWHERE).client().await, namespace).await;
        let more: Vec<&String> = sandbox.difference(&everybody).collect();
        assert!(
            more.is_empty(),
            "cofferdam-sandbox of {ANYWHERE} in {namespace}: {more:#?}"
        );
    }
}

/// What none of them may do anywhere: group and version, resource, verbs.
const FORBIDDEN: &str = "
    v1 secrets: get list watch create update patch delete
    v1 pods/exec: get create
    v1 pods/attach: get create
    v1 pods/portforward: get create
    v1 pods/proxy: get create update
    v1 pods/log: get
    v1 pods/ephemeralcontainers: update patch
    v1 pods/resize: update patch
    v1 pods/status: update patch
    v1 pods/binding: create
    v1 pods/eviction: create
    v1 pods: update deletecollection
    v1 services: create update patch delete
    v1 services/proxy: get create
    v1 nodes: create update patch delete
    v1 nodes/proxy: get create
    v1 nodes/status: update patch
    v1 namespaces: create update patch delete
    v1 serviceaccounts: update impersonate
    v1 serviceaccounts/token: create
    v1 persistentvolumes: get list create update patch delete
    v1 configmaps: update patch watch deletecollection
    apps/v1 deployments: get list create update patch delete
    apps/v1 statefulsets: get list create update patch delete
    apps/v1 daemonsets: get list create update patch delete
    batch/v1 jobs: update patch deletecollection
    batch/v1 jobs/status: update patch
    batch/v1 cronjobs: get list create update patch delete
    rbac.authorization.k8s.io/v1 roles: create update patch delete escalate bind
    rbac.authorization.k8s.io/v1 clusterroles: create update patch delete escalate bind
    rbac.authorization.k8s.io/v1 rolebindings: create update patch delete
    rbac.authorization.k8s.io/v1 clusterrolebindings: create update patch delete
    admissionregistration.k8s.io/v1 validatingadmissionpolicies: list create update patch delete
    admissionregistration.k8s.io/v1 validatingadmissionpolicybindings: list create update patch delete
    admissionregistration.k8s.io/v1 mutatingadmissionpolicies: create update patch delete
    admissionregistration.k8s.io/v1 mutatingwebhookconfigurations: create update patch delete
    admissionregistration.k8s.io/v1 validatingwebhookconfigurations: create update patch delete
    apiextensions.k8s.io/v1 customresourcedefinitions: create update patch delete
    certificates.k8s.io/v1 certificatesigningrequests: create update patch
    node.k8s.io/v1 runtimeclasses: create update patch delete
    cofferdam.dev/v1alpha1 agentruns: create update patch
    cofferdam.dev/v1alpha1 sandboxpolicies: create update patch delete use
    cofferdam.dev/v1alpha1 clustersandboxpolicies: create update patch delete
    cofferdam.dev/v1alpha1 sandboxcredentials: create update patch delete
";

/// Its lines.
fn forbidden() -> impl Iterator<Item = (&'static str, &'static str, std::str::Split<'static, char>)> {
    let lines = FORBIDDEN.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| {
        let (what, verbs) = line.split_once(": ").expect("a colon");
        let (group_version, resource) = what.split_once(' ').expect("a resource");
        (group_version, resource, verbs.split(' '))
    })
}

/// Whether a user may do this, cluster-wide if `namespace` is empty.
async fn may(client: &Client, who: Who, namespace: &str, what: (&str, &str, &str)) -> bool {
    let (group_version, resource, verb) = what;
    let (user, groups) = who.user().expect("a user by name");
    let group = group_version.split_once('/').map_or("", |(group, _)| group);
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review = json!({"spec": {"user": user, "groups": groups, "resourceAttributes": {
        "namespace": namespace, "group": group, "resource": resource, "subresource": subresource, "verb": verb,
    }}});
    let review: SubjectAccessReview = serde_json::from_value(review).unwrap();
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await;
    answer
        .expect("an admin may ask")
        .status
        .expect("an answer")
        .allowed
}

/// The control of a table of names: each of them is one that the API server serves.
async fn assert_served(client: &Client) {
    let mut served = BTreeMap::new();
    for (group_version, resource, _) in forbidden() {
        if !served.contains_key(group_version) {
            let list = match group_version {
                "v1" => client.list_core_api_resources("v1").await,
                other => client.list_api_group_resources(other).await,
            };
            let list = list.unwrap_or_else(|error| panic!("{group_version}: {error}"));
            let names: BTreeSet<String> = list.resources.into_iter().map(|resource| resource.name).collect();
            served.insert(group_version, names);
        }
        assert!(
            served[group_version].contains(resource),
            "{group_version} has no {resource}"
        );
    }
}

#[tokio::test]
async fn no_account_reads_secrets_enters_pods_or_gives_itself_more() {
    let client = client().await;
    assert_served(&client).await;
    let mut wrong = Vec::new();
    for (group_version, resource, verbs) in forbidden() {
        for verb in verbs {
            let what = (group_version, resource, verb);
            for namespace in [OPERATOR_NAMESPACE, ANYWHERE, ""] {
                let ours = ACCOUNTS.iter().map(|account| Who::Ours(account));
                for who in ours.chain([Who::Sandbox(ANYWHERE)]) {
                    if may(&client, who, namespace, what).await {
                        wrong.push(format!("{who:?} in `{namespace}`: {what:?}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The controls: the same question about what is given, and about somebody who may.
    for (who, namespace, what) in [
        (Who::Ours("controller"), ANYWHERE, ("batch/v1", "jobs", "create")),
        (Who::Ours("gateway"), "", ("v1", "pods", "list")),
        (
            Who::Ours("gateway"),
            CREDENTIALS_NAMESPACE,
            ("v1", "secrets", "list"),
        ),
        (
            Who::Ours("gateway"),
            OPERATOR_NAMESPACE,
            ("v1", "configmaps", "get"),
        ),
        (
            Who::Kubernetes("generic-garbage-collector"),
            ANYWHERE,
            ("v1", "secrets", "delete"),
        ),
    ] {
        assert!(may(&client, who, namespace, what).await, "{who:?}: {what:?}");
    }
    let elsewhere = may(
        &client,
        Who::Ours("gateway"),
        ANYWHERE,
        ("v1", "configmaps", "get"),
    );
    assert!(
        !elsewhere.await,
        "frozen policies are in the operator's namespace"
    );
    for account in ACCOUNTS.iter().filter(|account| **account != "gateway") {
        for verb in ["get", "list", "watch"] {
            let secrets = ("v1", "secrets", verb);
            let reads = may(&client, Who::Ours(account), CREDENTIALS_NAMESPACE, secrets).await;
            assert!(!reads, "{account} may {verb} credentials");
        }
    }
}

/// Whether this user can list objects of this kind in the operator's namespace.
async fn lists<K>(who: Who) -> bool
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let objects: Api<K> = Api::namespaced(who.client().await, OPERATOR_NAMESPACE);
    match objects.list(&ListParams::default()).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if status.code == 403 => false,
        Err(error) => panic!("{who:?}: {error}"),
    }
}

#[tokio::test]
async fn what_the_api_server_says_of_them_is_what_it_does() {
    for (who, pods, maps, secrets) in [
        (Who::Ours("controller"), true, true, false),
        (Who::Ours("gateway"), true, false, false),
        (Who::Ours("archive"), false, false, false),
        (Who::Ours("keys"), false, false, false),
        (Who::Ours("output"), false, false, false),
        (Who::Sandbox(ANYWHERE), false, false, false),
        (Who::Admin, true, true, true),
    ] {
        let listed = (
            lists::<Pod>(who).await,
            lists::<ConfigMap>(who).await,
            lists::<Secret>(who).await,
        );
        assert_eq!(listed, (pods, maps, secrets), "{who:?}");
    }
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let more = json!({
        "metadata": {"name": "e2e-more"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "controller", "namespace": OPERATOR_NAMESPACE}],
    });
    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let accounts = format!("/api/v1/namespaces/{OPERATOR_NAMESPACE}/serviceaccounts");
    let tokens = format!("{accounts}/gateway/token");
    let unguarded = json!({"metadata": {"labels": {"cofferdam.test/changed": "yes"}}});
    let guard = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/cofferdam-guard-pods";
    let mut cases = Vec::new();
    for (what, call) in [
        ("a role of its choice", Call::create(bindings, more)),
        ("a token of another account", Call::create(&tokens, token)),
        ("a guard", Call::patch(guard, unguarded)),
        ("no guard", Call::delete(guard)),
    ] {
        for account in ACCOUNTS {
            cases.push(Case(what, Who::Ours(account), call.clone(), Meets::NoGuard));
        }
        cases.push(Case(what, Who::Admin, call, Meets::Nothing));
    }
    check(cases).await;
}
