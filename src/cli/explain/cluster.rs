//! Facts from a cluster, with the rights of whoever asks. What cannot be read is said, and nothing is made up for it.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use super::document::{CredentialState, Queue, Unknown};
use super::judge::{Facts, policy_name};
use crate::place::in_full;
use cofferdam_api::{AgentRun, ClusterSandboxPolicy, SandboxCredential, SandboxPolicy, queue};
use cofferdam_policy::decide::Evaluation;
use cofferdam_policy::dimension::credentials::named_by;
use cofferdam_policy::dimension::runtime::{RuntimeClassFact, UserNamespaceSupport};
use cofferdam_policy::dimension::vulnerabilities::{Counts, Reports};

/// Facts about `run`, which has a namespace.
///
/// # Errors
/// Everything that could not be read.
pub async fn facts(client: &Client, run: &AgentRun) -> Result<Facts, Vec<Unknown>> {
    let namespace = run.namespace().unwrap_or_default();
    let all = ListParams::default();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let found = namespaces.get_opt(&namespace).await;
    if let Err(error) = &found
        && !matches!(error, kube::Error::Api(_))
    {
        // Nothing else would be answered either.
        return Err(vec![unknown("the cluster", error)]);
    }
    let policies: Api<SandboxPolicy> = Api::namespaced(client.clone(), &namespace);
    let cluster_policies: Api<ClusterSandboxPolicy> = Api::all(client.clone());
    let classes: Api<RuntimeClass> = Api::all(client.clone());
    let (policy, cluster_policies, classes) = tokio::join!(
        policies.get_opt(policy_name(run)),
        cluster_policies.list(&all),
        classes.list(&all),
    );
    let mut missing = Vec::new();
    let mut keep = |what: String, error: &kube::Error| missing.push(unknown(&what, error));
    let found = found
        .map_err(|error| keep(format!("the labels of namespace {namespace}"), &error))
        .ok();
    let policy = policy
        .map_err(|error| keep(format!("SandboxPolicy {namespace}/{}", policy_name(run)), &error))
        .ok();
    let cluster_policies = cluster_policies
        .map_err(|error| keep("the ClusterSandboxPolicies".to_owned(), &error))
        .ok();
    let classes = classes
        .map_err(|error| keep("the RuntimeClasses".to_owned(), &error))
        .ok();
    let (Some(found), Some(policy), Some(cluster_policies), Some(classes)) =
        (found, policy, cluster_policies, classes)
    else {
        return Err(missing);
    };
    let credentials = credentials(client, policy.as_ref(), &cluster_policies.items)
        .await
        .map_err(|error| vec![unknown("the SandboxCredentials", &error)])?;
    let fact = |class: &RuntimeClass| RuntimeClassFact {
        name: class.name_any(),
        user_namespaces: UserNamespaceSupport::Everywhere,
    };
    let facts = Facts {
        namespace_labels: found
            .map(|namespace| namespace.labels().clone())
            .unwrap_or_default(),
        policy,
        cluster_policies: cluster_policies.items,
        runtime_classes: classes.items.iter().map(fact).collect(),
        reports: Reports::new(),
        credentials,
        requests: Vec::new(),
    };
    Ok(facts.with_reports(run, Some(Counts::default())))
}

/// All credentials, where a policy names one: else no verdict hangs on them.
async fn credentials(
    client: &Client,
    policy: Option<&SandboxPolicy>,
    cluster_policies: &[ClusterSandboxPolicy],
) -> kube::Result<Vec<SandboxCredential>> {
    if named_by(policy, cluster_policies).is_empty() {
        return Ok(Vec::new());
    }
    let credentials: Api<SandboxCredential> = Api::all(client.clone());
    Ok(credentials.list(&ListParams::default()).await?.items)
}

/// How the credentials that a run needs are now, as the controller last said. Pure.
pub fn states(definitions: &[SandboxCredential], evaluation: Option<&Evaluation>) -> Vec<CredentialState> {
    let needed = evaluation.and_then(|evaluation| evaluation.credentials.as_ref().ok());
    let state = |name: &str| {
        let definition = definitions
            .iter()
            .find(|definition| definition.name_any() == name)?;
        let conditions = definition.status.iter().flat_map(|status| &status.conditions);
        let ready = conditions
            .into_iter()
            .find(|condition| condition.type_ == "Ready");
        Some(ready.map_or_else(
            || CredentialState {
                name: name.to_owned(),
                ready: "Unknown".to_owned(),
                reason: "NoStatus".to_owned(),
                message: "The controller has not looked at it yet.".to_owned(),
            },
            |ready| CredentialState {
                name: name.to_owned(),
                ready: ready.status.clone(),
                reason: ready.reason.clone(),
                message: ready.message.clone(),
            },
        ))
    };
    let needed = needed.into_iter().flatten();
    needed
        .filter_map(|granted| state(&granted.credential.name))
        .collect()
}

/// Where the run of this name waits for a slot; none: it does not, or it cannot be read. The place is counted from the
/// namespace's runs as they are now.
pub async fn queue(client: &Client, run: &AgentRun) -> Option<Queue> {
    let api: Api<AgentRun> = Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let run = api.get_opt(run.metadata.name.as_deref()?).await.ok()??;
    if !queue::is_queued(&run) {
        return None;
    }
    // The place is worth a list, but no verdict hangs on it.
    let runs = api.list(&ListParams::default()).await;
    Some(Queue {
        place: runs.ok().and_then(|runs| queue::place(&runs.items, &run.uid()?)),
        message: run.status?.message.unwrap_or_default(),
    })
}

/// What could not be read, in the API server's words, and what to do about it.
pub fn unknown(what: &str, error: &kube::Error) -> Unknown {
    let (why, help) = match error {
        kube::Error::Api(status) => {
            let help = match status.code {
                401 => "log in to the cluster anew",
                403 => "ask the owner of the cluster for the right to read it, or give --policy files",
                404 => "install Cofferdam in this cluster, or give --policy files",
                _ => "try again, or give --policy files",
            };
            (status.message.clone(), help)
        }
        error => (
            in_full(error),
            "see whether kubectl reaches the cluster, or give --policy files",
        ),
    };
    Unknown {
        what: what.to_owned(),
        why,
        help: help.to_owned(),
    }
}
