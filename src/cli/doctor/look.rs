//! What there is to see, with the rights of whoever looks.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt};

use crate::failure::Failure;
use crate::output::Output;
use crate::place::Cluster;
use crate::runs::{Scope, list};
use cofferdam_api::names::{FENCE, LABEL_SANDBOX, SANDBOX_ENABLED};
use cofferdam_api::{AgentRun, SandboxPolicy};

/// Something that was looked at; `Err`: why it could not be.
pub type Looked<T> = Result<T, String>;

/// Everything that was looked at.
pub struct Seen {
    /// The namespace.
    pub namespace: String,
    /// Whether the cluster knows `AgentRuns`.
    pub installed: bool,
    /// Whether the namespace has opted in.
    pub opted_in: Looked<bool>,
    /// The `SandboxPolicies`: name, conditions, whether I may use it.
    pub policies: Looked<Vec<(String, Vec<Condition>, bool)>>,
    /// Whether I may create runs.
    pub may_create: Looked<bool>,
    /// Names of the `RuntimeClasses`.
    pub runtime_classes: Looked<Vec<String>>,
    /// Whether the fence stands; it comes with the first run.
    pub fence: Looked<bool>,
    /// Runs that wait for the installation or the namespace: name, reason, message.
    pub waiting: Looked<Vec<(String, String, String)>>,
    /// What the output API says of a run that there is not: nothing is wrong when it says so.
    pub output: Looked<()>,
    /// The operator's roles: name, wanted and ready replicas.
    pub roles: Looked<Vec<(String, i32, i32)>>,
}

/// A name that no run has, as far as anybody can tell: if one has it, that is an answer too.
const NOBODY: &str = "doctor-looks-for-nobody";

/// Looks.
///
/// # Errors
/// The cluster does not answer at all.
pub async fn at(cluster: &Cluster, operator: &str) -> Result<Seen, Failure> {
    let (client, namespace) = (&cluster.client, cluster.namespace.as_str());
    let groups = client
        .list_api_groups()
        .await
        .map_err(|error| Failure::api("the groups of the API", &error))?;
    let installed = groups.groups.iter().any(|group| group.name == "cofferdam.dev");
    let all = ListParams::default();
    let (opted_in, runtime_classes, fence, may_create, policies, waiting, output, roles) = tokio::join!(
        opted_in(client, namespace),
        runtime_classes(client, &all),
        fence(client, namespace),
        may(client, namespace, "create", "agentruns", None),
        policies(client, namespace),
        waiting(client, namespace),
        output(client, namespace),
        roles(client, operator, &all),
    );
    Ok(Seen {
        namespace: namespace.to_owned(),
        installed,
        opted_in,
        policies,
        may_create,
        runtime_classes,
        fence,
        waiting,
        output,
        roles,
    })
}

fn why(error: &kube::Error) -> String {
    Failure::api("", error)
        .to_string()
        .trim_start_matches(": ")
        .to_owned()
}

async fn opted_in(client: &Client, namespace: &str) -> Looked<bool> {
    let api: Api<Namespace> = Api::all(client.clone());
    let found = api.get(namespace).await.map_err(|error| why(&error))?;
    Ok(found
        .labels()
        .get(LABEL_SANDBOX)
        .is_some_and(|value| value == SANDBOX_ENABLED))
}

async fn runtime_classes(client: &Client, all: &ListParams) -> Looked<Vec<String>> {
    let api: Api<RuntimeClass> = Api::all(client.clone());
    let found = api.list(all).await.map_err(|error| why(&error))?;
    Ok(found.items.iter().map(ResourceExt::name_any).collect())
}

async fn fence(client: &Client, namespace: &str) -> Looked<bool> {
    let api: Api<NetworkPolicy> = Api::namespaced(client.clone(), namespace);
    Ok(api.get_opt(FENCE).await.map_err(|error| why(&error))?.is_some())
}

async fn may(
    client: &Client,
    namespace: &str,
    verb: &str,
    resource: &str,
    name: Option<&str>,
) -> Looked<bool> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                verb: Some(verb.to_owned()),
                group: Some("cofferdam.dev".to_owned()),
                resource: Some(resource.to_owned()),
                name: name.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = api
        .create(&PostParams::default(), &review)
        .await
        .map_err(|error| why(&error))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

async fn policies(client: &Client, namespace: &str) -> Looked<Vec<(String, Vec<Condition>, bool)>> {
    let api: Api<SandboxPolicy> = Api::namespaced(client.clone(), namespace);
    let found = api
        .list(&ListParams::default())
        .await
        .map_err(|error| why(&error))?;
    let mut policies = Vec::new();
    for policy in found.items {
        let name = policy.name_any();
        let mine = may(client, namespace, "use", "sandboxpolicies", Some(&name)).await?;
        policies.push((
            name,
            policy.status.map(|status| status.conditions).unwrap_or_default(),
            mine,
        ));
    }
    Ok(policies)
}

async fn waiting(client: &Client, namespace: &str) -> Looked<Vec<(String, String, String)>> {
    let scope = Scope::Namespace(namespace.to_owned());
    let listed = list(client, &scope, None, Some("status.phase=Pending"))
        .await
        .map_err(|failure| failure.to_string())?;
    let of = |run: AgentRun| {
        let name = run.name_any();
        let status = run.status?;
        Some((name, status.reason?, status.message.unwrap_or_default()))
    };
    Ok(listed
        .runs
        .into_iter()
        .filter_map(|run| run.read)
        .filter_map(of)
        .collect())
}

async fn output(client: &Client, namespace: &str) -> Looked<()> {
    match Output::new(client.clone(), namespace, NOBODY, None)
        .summary()
        .await
    {
        Ok(_) | Err(Failure::Api { code: Some(404), .. }) => Ok(()),
        Err(failure) => Err(failure.to_string()),
    }
}

async fn roles(client: &Client, operator: &str, all: &ListParams) -> Looked<Vec<(String, i32, i32)>> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), operator);
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), operator);
    let (deployments, sets) = tokio::join!(deployments.list(all), sets.list(all));
    let deployments = deployments.map_err(|error| why(&error))?.items.into_iter();
    let deployments = deployments.map(|found| {
        let ready = found.status.as_ref().and_then(|status| status.ready_replicas);
        (found.name_any(), found.spec.replicas, ready)
    });
    let sets = sets.map_err(|error| why(&error))?.items.into_iter();
    let sets = sets.map(|found| {
        let ready = found.status.as_ref().and_then(|status| status.ready_replicas);
        (found.name_any(), found.spec.replicas, ready)
    });
    Ok(deployments
        .chain(sets)
        .filter(|(name, _, _)| name.starts_with("cofferdam-"))
        .map(|(name, wanted, ready)| (name, wanted.unwrap_or(1), ready.unwrap_or_default()))
        .collect())
}
