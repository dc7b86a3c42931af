//! Fills the view and the deny set from the API server, and confirms every few seconds that the view is current.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Secret};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::{Api, Client, ResourceExt};

use crate::caller::view::ceilings::{Guarded, Labels};
use crate::caller::view::{Mutated, Source};
use crate::caller::{SandboxPod, View};
use crate::credentials::store::{Credentials, Values};
use crate::egress::ranges::{Ranges, of_node, refresh};
use crate::evidence::Recorder;
use cofferdam_api::{AgentRun, ClusterSandboxPolicy, SandboxCredential};
use cofferdam_policy::dimension::credentials::Credential;
use cofferdam_wire::record::RecordEvent;
use cofferdam_wire::runner::RunIdentity;

mod follow;

use self::follow::{Follower, Selection, follow};

/// Live sandbox pods. `cofferdam.dev/run` is [`cofferdam_api::names::LABEL_RUN`].
const LIVE_SANDBOX_PODS: Selection = Selection {
    labels: Some("cofferdam.dev/run"),
    fields: Some("status.phase!=Succeeded,status.phase!=Failed"),
};
/// How often the view is confirmed.
const CONFIRM_EVERY: Duration = Duration::from_secs(5);
/// How often is looked whose right has ended by the passing of time alone.
const TICK: Duration = Duration::from_secs(1);

struct PodFollower {
    view: Arc<View>,
    recorder: Arc<Recorder>,
}

impl PodFollower {
    fn report(&self, mutated: impl IntoIterator<Item = Mutated>) {
        for Mutated { run, built, live } in mutated {
            tracing::warn!(
                namespace = run.namespace,
                run = run.name,
                built,
                live,
                "a live pod differs from the built one"
            );
            self.recorder
                .record(&run.uid, None, RecordEvent::PodMutated { built, live });
        }
    }
}

impl Follower<Pod> for PodFollower {
    type Kept = SandboxPod;

    fn keep(&self, pod: Pod) -> Option<SandboxPod> {
        SandboxPod::project(&pod)
    }

    fn replace(&self, all: Vec<SandboxPod>) {
        self.report(self.view.replace_pods(all));
    }

    fn put(&self, pod: Pod) {
        match SandboxPod::project(&pod) {
            Some(projected) => self.report(self.view.put_pod(projected)),
            None => self.remove(pod),
        }
    }

    fn remove(&self, pod: Pod) {
        self.view.remove_pod(&pod.uid().unwrap_or_default());
    }

    fn open(&self, open: bool) {
        self.view.set_open(Source::Pods, open);
    }
}

struct RunFollower(Arc<View>);

type RunMetadata = PartialObjectMeta<AgentRun>;

fn run_identity(run: &RunMetadata) -> Option<RunIdentity> {
    Some(RunIdentity {
        namespace: run.namespace()?,
        name: run.name_any(),
        uid: run.uid()?,
    })
}

impl Follower<RunMetadata> for RunFollower {
    type Kept = RunIdentity;

    fn keep(&self, run: RunMetadata) -> Option<RunIdentity> {
        let is_leaving = run.metadata.deletion_timestamp.is_some();
        run_identity(&run).filter(|_| !is_leaving)
    }

    fn replace(&self, all: Vec<RunIdentity>) {
        self.0.replace_runs(all);
    }

    fn put(&self, run: RunMetadata) {
        if let Some(identity) = run_identity(&run) {
            self.0
                .set_run(identity, run.metadata.deletion_timestamp.is_none());
        }
    }

    fn remove(&self, run: RunMetadata) {
        if let Some(identity) = run_identity(&run) {
            self.0.set_run(identity, false);
        }
    }

    fn open(&self, open: bool) {
        self.0.set_open(Source::Runs, open);
    }
}

/// Cluster policies: what they come to deny reaches runs that are under way.
struct ClusterPolicyFollower(Arc<View>);

impl Follower<Guarded> for ClusterPolicyFollower {
    type Kept = Guarded;

    fn keep(&self, policy: Guarded) -> Option<Guarded> {
        Some(policy)
    }

    fn replace(&self, all: Vec<Guarded>) {
        self.0.replace_cluster_policies(all);
    }

    fn put(&self, policy: Guarded) {
        self.0.put_cluster_policy(policy);
    }

    fn remove(&self, policy: Guarded) {
        self.0.remove_cluster_policy(&policy.name_any());
    }

    fn open(&self, open: bool) {
        self.0.set_open(Source::ClusterPolicies, open);
    }
}

/// All namespaces, by metadata: which of them a policy selects may change with a label.
struct NamespaceFollower(Arc<View>);

type NamespaceMetadata = PartialObjectMeta<Namespace>;

fn labelled(namespace: NamespaceMetadata) -> (String, Labels) {
    let name = namespace.name_any();
    (name, namespace.metadata.labels.unwrap_or_default())
}

impl Follower<NamespaceMetadata> for NamespaceFollower {
    type Kept = (String, Labels);

    fn keep(&self, namespace: NamespaceMetadata) -> Option<(String, Labels)> {
        Some(labelled(namespace))
    }

    fn replace(&self, all: Vec<(String, Labels)>) {
        self.0.replace_namespaces(all);
    }

    fn put(&self, namespace: NamespaceMetadata) {
        let (name, labels) = labelled(namespace);
        self.0.put_namespace(&name, labels);
    }

    fn remove(&self, namespace: NamespaceMetadata) {
        self.0.remove_namespace(&namespace.name_any());
    }

    fn open(&self, open: bool) {
        self.0.set_open(Source::Namespaces, open);
    }
}

struct NodeFollower(Arc<Ranges>);

impl Follower<Node> for NodeFollower {
    type Kept = (String, Vec<IpNet>);

    fn keep(&self, node: Node) -> Option<(String, Vec<IpNet>)> {
        Some((node.name_any(), of_node(&node)))
    }

    fn replace(&self, all: Vec<(String, Vec<IpNet>)>) {
        self.0.replace_nodes(all);
    }

    fn put(&self, node: Node) {
        self.0.put_node(&node);
    }

    // A node that is gone stays denied until the next list: too much is the safe side.
    fn remove(&self, _node: Node) {}

    fn open(&self, _open: bool) {}
}

/// Values of credentials, of the namespace that holds nothing else.
struct SecretFollower(Arc<Credentials>);

impl Follower<Secret> for SecretFollower {
    type Kept = Values;

    fn keep(&self, secret: Secret) -> Option<Values> {
        Some(Values::of(secret))
    }

    fn replace(&self, all: Vec<Values>) {
        self.0.replace_secrets(all);
    }

    fn put(&self, secret: Secret) {
        self.0.put_secret(Values::of(secret));
    }

    fn remove(&self, secret: Secret) {
        self.0.remove_secret(&secret.name_any());
    }

    fn open(&self, open: bool) {
        self.0.set_secrets_open(open);
    }
}

/// Definitions of credentials: one that is taken away or narrowed is not followed any more.
struct DefinitionFollower(Arc<Credentials>);

type Definition = DeserializeGuard<SandboxCredential>;

fn defined(definition: &Definition) -> (String, Option<Credential>) {
    let read = definition
        .0
        .as_ref()
        .ok()
        .and_then(|definition| Credential::read(definition).ok());
    (definition.name_any(), read)
}

impl Follower<Definition> for DefinitionFollower {
    type Kept = (String, Option<Credential>);

    fn keep(&self, definition: Definition) -> Option<Self::Kept> {
        Some(defined(&definition))
    }

    fn replace(&self, all: Vec<Self::Kept>) {
        self.0.replace_definitions(all);
    }

    fn put(&self, definition: Definition) {
        let (name, credential) = defined(&definition);
        self.0.put_definition(name, credential);
    }

    fn remove(&self, definition: Definition) {
        self.0.remove_definition(&definition.name_any());
    }

    fn open(&self, open: bool) {
        self.0.set_definitions_open(open);
    }
}

/// Follows the credentials and their values in `namespace` until the future is dropped.
pub async fn credentials(client: Client, namespace: &str, credentials: Arc<Credentials>) {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let definitions: Api<Definition> = Api::all(client);
    tokio::join!(
        follow(
            secrets,
            Selection::default(),
            SecretFollower(Arc::clone(&credentials))
        ),
        follow(definitions, Selection::default(), DefinitionFollower(credentials)),
    );
}

/// Follows everything else until the future is dropped.
pub async fn run(client: Client, view: Arc<View>, ranges: Arc<Ranges>, recorder: Arc<Recorder>) {
    let pods: Api<Pod> = Api::all(client.clone());
    let runs: Api<RunMetadata> = Api::all(client.clone());
    let nodes: Api<Node> = Api::all(client.clone());
    let policies: Api<Guarded> = Api::all(client.clone());
    let namespaces: Api<NamespaceMetadata> = Api::all(client.clone());
    let pod_follower = PodFollower {
        view: Arc::clone(&view),
        recorder,
    };
    tokio::join!(
        follow(pods, LIVE_SANDBOX_PODS, pod_follower),
        follow(runs, Selection::default(), RunFollower(Arc::clone(&view))),
        follow(
            policies,
            Selection::default(),
            ClusterPolicyFollower(Arc::clone(&view))
        ),
        follow(
            namespaces,
            Selection::default(),
            NamespaceFollower(Arc::clone(&view))
        ),
        follow(nodes, Selection::default(), NodeFollower(Arc::clone(&ranges))),
        confirm(&client, Arc::clone(&view)),
        cut_in_time(view),
        refresh(client.clone(), ranges),
    );
}

/// A list without a resource version is answered from the newest state: its success says that the API server lives
/// and that we may still read.
async fn confirm(client: &Client, view: Arc<View>) {
    loop {
        let asked_at = Instant::now();
        match tokio::time::timeout(CONFIRM_EVERY, may_read(client)).await {
            Ok(Ok(())) => view.confirm(asked_at),
            Ok(Err(error)) => tracing::warn!(%error, "the view cannot be confirmed"),
            Err(_) => tracing::warn!("the view cannot be confirmed: no answer in 5 s"),
        }
        // Until the watches are open for the first time there is nothing to wait for so long.
        let pause = if view.is_fresh(Instant::now()) {
            CONFIRM_EVERY
        } else {
            TICK
        };
        tokio::time::sleep_until((asked_at + pause).into()).await;
    }
}

async fn may_read(client: &Client) -> kube::Result<()> {
    let pods: Api<PartialObjectMeta<Pod>> = Api::all(client.clone());
    let policies: Api<PartialObjectMeta<ClusterSandboxPolicy>> = Api::all(client.clone());
    let namespaces: Api<NamespaceMetadata> = Api::all(client.clone());
    let all = Selection::default().list(1);
    let pod = LIVE_SANDBOX_PODS.list(1);
    tokio::try_join!(pods.list(&pod), policies.list(&all), namespaces.list(&all)).map(drop)
}

/// Cuts what no event cuts: connections of a view that is too old, and of agents that have used up their time.
async fn cut_in_time(view: Arc<View>) {
    loop {
        tokio::time::sleep(TICK).await;
        let now = Instant::now();
        view.cut_if_stale(now);
        view.cut_overdue(now);
    }
}
