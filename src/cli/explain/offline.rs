//! Facts from files and flags alone, and what is taken to be so where they say nothing. Pure.

use std::collections::BTreeMap;

use kube::ResourceExt as _;

use super::judge::{Facts, policy_name};
use crate::manifest::Manifest;
use cofferdam_api::names::{LABEL_SANDBOX, SANDBOX_ENABLED};
use cofferdam_api::{
    AgentRun, BasicInjection, ClusterSandboxPolicy, PolicyLimits, SandboxCredential, SandboxCredentialSpec,
    SandboxPolicy,
};
use cofferdam_policy::dimension::credentials::hosts_named;
use cofferdam_policy::dimension::runtime::{RuntimeClassFact, UserNamespaceSupport};
use cofferdam_policy::dimension::vulnerabilities::{Counts, Reports};
use cofferdam_policy::explain::asked::Asked;
use cofferdam_policy::layer::layers::Layers;

/// Label that Kubernetes puts on every namespace.
const LABEL_NAME: &str = "kubernetes.io/metadata.name";

/// What flags say.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Labels of the namespace.
    pub namespace_labels: BTreeMap<String, String>,
    /// `RuntimeClass`es that exist.
    pub runtime_classes: Vec<String>,
    /// Requests of the agent that are asked about.
    pub requests: Vec<Asked>,
}

/// Facts with what they assume.
#[derive(Clone, Debug)]
pub struct Assumed {
    /// The facts.
    pub facts: Facts,
    /// What was taken to be so, each a sentence.
    pub assumed: Vec<String>,
}

/// Two objects of the same kind and name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} stands in the policy files twice")]
pub struct Twice(pub String);

/// Facts about `run` from the policy files' objects and flags.
///
/// # Errors
/// A policy or namespace that is given twice: which one is meant is anyone's guess.
pub fn facts(run: &AgentRun, manifests: &[Manifest], given: &Given) -> Result<Assumed, Twice> {
    let namespace = run.namespace().unwrap_or_default();
    let mut assumed = Vec::new();
    let cluster_policies: Vec<_> = manifests
        .iter()
        .filter_map(|manifest| match manifest {
            Manifest::ClusterPolicy(policy) => Some((**policy).clone()),
            _ => None,
        })
        .collect();
    let (policies, foreign): (Vec<_>, Vec<_>) = manifests
        .iter()
        .filter_map(|manifest| match manifest {
            Manifest::Policy(policy) => Some(&**policy),
            _ => None,
        })
        .partition(|policy| policy.namespace().is_none_or(|own| own == namespace));
    once(
        "ClusterSandboxPolicy",
        cluster_policies.iter().map(kube::ResourceExt::name_any),
    )?;
    once("SandboxPolicy", policies.iter().map(|policy| policy.name_any()))?;
    assumed.extend(foreign.iter().map(|policy| {
        let (name, of) = (policy.name_any(), policy.namespace().unwrap_or_default());
        format!("SandboxPolicy/{name} of namespace {of} is not asked: the run is of {namespace}")
    }));
    assumed.push(match cluster_policies.len() {
        0 => "no ClusterSandboxPolicy is in force".to_owned(),
        count => format!("no other ClusterSandboxPolicy is in force than the {count} given"),
    });
    let namespace_labels = labels(&namespace, manifests, given, &mut assumed)?;
    let limits = policies.iter().map(|policy| &policy.spec.limits);
    let limits: Vec<&PolicyLimits> = cluster_policies
        .iter()
        .map(|policy| &policy.spec.limits)
        .chain(limits)
        .collect();
    let runtime_classes = classes(&limits, manifests, given, &mut assumed);
    let policy = policies
        .into_iter()
        .find(|policy| policy.name_any() == policy_name(run));
    let in_force = (policy, cluster_policies.as_slice());
    let credentials = credentials(in_force, &namespace_labels, manifests, &mut assumed)?;
    let facts = Facts {
        namespace_labels,
        policy: policy.cloned(),
        cluster_policies,
        runtime_classes,
        reports: Reports::new(),
        credentials,
        requests: given.requests.clone(),
    };
    let facts = facts.with_reports(run, Some(Counts::default()));
    assumed.extend(of_every_run(&facts));
    assumed.push(
        "the API server takes the manifests: fields, types and bounds were checked here, the schema's rules (CEL), \
         the right to use the policy, and quotas were not"
            .to_owned(),
    );
    Ok(Assumed { facts, assumed })
}

/// What is taken to be so wherever the facts come from.
pub fn of_every_run(facts: &Facts) -> Vec<String> {
    let mut assumed = Vec::new();
    if facts.asks_of_nodes() {
        assumed.push("every node advertises user namespaces for the handler of the RuntimeClass".to_owned());
    }
    if facts.asks_of_scanners() {
        assumed.push(
            "a scanner has reported on the image if it is named by its digest, and found nothing in them"
                .to_owned(),
        );
    }
    assumed
}

fn once(kind: &str, names: impl Iterator<Item = String>) -> Result<(), Twice> {
    let mut seen = Vec::new();
    for name in names {
        if seen.contains(&name) {
            return Err(Twice(format!("{kind}/{name}")));
        }
        seen.push(name);
    }
    Ok(())
}

fn labels(
    namespace: &str,
    manifests: &[Manifest],
    given: &Given,
    assumed: &mut Vec<String>,
) -> Result<BTreeMap<String, String>, Twice> {
    let found: Vec<_> = manifests
        .iter()
        .filter_map(|manifest| match manifest {
            Manifest::Namespace { name, labels } if name == namespace => Some(labels),
            _ => None,
        })
        .collect();
    once("Namespace", found.iter().map(|_| namespace.to_owned()))?;
    let mut labels = BTreeMap::from([(LABEL_NAME.to_owned(), namespace.to_owned())]);
    if let Some(own) = found.first() {
        labels.extend((*own).clone());
    } else {
        let others = if given.namespace_labels.is_empty() {
            "no label"
        } else {
            "no label but those given"
        };
        assumed.push(format!(
            "namespace {namespace} has opted in ({LABEL_SANDBOX}={SANDBOX_ENABLED}) and has {others} that a ClusterSandboxPolicy selects by"
        ));
        labels.insert(LABEL_SANDBOX.to_owned(), SANDBOX_ENABLED.to_owned());
    }
    labels.extend(given.namespace_labels.clone());
    Ok(labels)
}

/// The credentials that are given; where none are, all that rules name, for the hosts of these rules.
fn credentials(
    (policy, cluster_policies): (Option<&SandboxPolicy>, &[ClusterSandboxPolicy]),
    namespace_labels: &BTreeMap<String, String>,
    manifests: &[Manifest],
    assumed: &mut Vec<String>,
) -> Result<Vec<SandboxCredential>, Twice> {
    let given = manifests.iter().filter_map(|manifest| match manifest {
        Manifest::Credential(credential) => Some((**credential).clone()),
        _ => None,
    });
    let given: Vec<SandboxCredential> = given.collect();
    once("SandboxCredential", given.iter().map(kube::ResourceExt::name_any))?;
    if !given.is_empty() {
        return Ok(given);
    }
    // Policies that cannot be read are the verdict, whatever credentials there are.
    let layers = policy.and_then(|policy| Layers::read(namespace_labels, cluster_policies, policy).ok());
    let named = layers.as_ref().map(|layers| hosts_named(&layers.policies));
    let made: Vec<SandboxCredential> = named
        .unwrap_or_default()
        .into_iter()
        .map(|(name, hosts)| {
            let spec = SandboxCredentialSpec {
                hosts: hosts.iter().map(ToString::to_string).collect(),
                basic: Some(BasicInjection::default()),
                ..SandboxCredentialSpec::default()
            };
            SandboxCredential::new(name, spec)
        })
        .collect();
    if !made.is_empty() {
        assumed.push(
            "every SandboxCredential that a policy names exists, for the hosts of its rules and for this namespace"
                .to_owned(),
        );
    }
    Ok(made)
}

/// The classes that are given; where none are, all that policies name.
fn classes(
    limits: &[&PolicyLimits],
    manifests: &[Manifest],
    given: &Given,
    assumed: &mut Vec<String>,
) -> Vec<RuntimeClassFact> {
    let in_files = manifests.iter().filter_map(|manifest| match manifest {
        Manifest::RuntimeClass { name } => Some(name.clone()),
        _ => None,
    });
    let mut names: Vec<String> = in_files.chain(given.runtime_classes.iter().cloned()).collect();
    if names.is_empty() {
        let runtimes = limits.iter().filter_map(|limits| limits.runtime.as_ref());
        names = runtimes
            .flat_map(|runtime| runtime.runtime_class_names.iter().cloned())
            .collect();
        assumed.push("the cluster has every RuntimeClass that a policy names".to_owned());
    }
    names.sort();
    names.dedup();
    let fact = |name| RuntimeClassFact {
        name,
        user_namespaces: UserNamespaceSupport::Everywhere,
    };
    names.into_iter().map(fact).collect()
}
