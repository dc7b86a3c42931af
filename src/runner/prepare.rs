//! The init container `prepare`: looks at the kernel where policy says so, proves the fence, writes the agent's files, clones its repositories.

mod large_files;
mod submodules;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::submodules::{Grant, Parent, Shared, Submodules};
use super::clone::bytes::{Bytes, TooLarge};
use super::clone::{Transport, clone};
use super::collect::stat;
use super::contract::{ContractError, write_git, write_prompt, write_trust};
use super::control::{Control, ControlError};
use super::deadline::Deadline;
use super::forward::Forwarder;
use super::kernel::Kernel;
use super::paths::Paths;
use super::probe::{self, NotProven, ProbeError, Proof, Target};
use super::report::failure;
use super::work_tree::{self, Place};
use cofferdam_api::{Access, CloneSubmodules, Reason};
use cofferdam_wire::runner::{PrepareReport, PrepareSpec, RepositoryCommit, RepositorySpec, VERSION};

/// How long the gateway may take to know the pod.
const WHOAMI_BUDGET: Duration = Duration::from_mins(1);
/// After the first question, for the gateway learns a pod's address some milliseconds after the pod has it; doubled
/// after each further one up to [`WHOAMI_LONGEST_PAUSE`].
const WHOAMI_PAUSE: Duration = Duration::from_millis(25);
/// Between two questions.
const WHOAMI_LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Why the agent is not started.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The order makes no sense.
    #[error("the controller's instructions to prepare are invalid, which is a defect of Cofferdam: {0}")]
    Order(String),
    /// The kernel is not gVisor's, and policy demands that.
    #[error(
        "the kernel of this pod is not gVisor's, so its RuntimeClass is not gVisor's whatever its name: {0}. Have the \
         class's handler run runsc, or name another class; limits.runtime.kernelCheck GVisor lets no other \
         kernel pass, not Kata's either"
    )]
    NotSandboxed(String),
    /// The gateway does not know the pod or does not answer.
    #[error(transparent)]
    Gateway(#[from] ControlError),
    /// The gateway sees another address than the pod's.
    #[error(
        "the gateway sees this pod as {peer}, its own address is {own}: something rewrites source addresses \
         between pods; exempt traffic to the gateway from it"
    )]
    Rewritten {
        /// What the gateway sees.
        peer: String,
        /// What the API shows.
        own: String,
    },
    /// The fence does not hold.
    #[error(transparent)]
    NotProven(#[from] NotProven),
    /// The probes make no sense.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The agent's files.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// A repository.
    #[error("repository {name}: {message}")]
    Clone {
        /// Its name within the run.
        name: String,
        /// What was wrong.
        message: String,
        /// Whether another attempt may end otherwise.
        passes: bool,
    },
    /// All repositories together.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// Something that should not happen.
    #[error("{0}")]
    Internal(String),
}

impl PrepareError {
    /// The run's reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotSandboxed(_) => Reason::RuntimeUnavailable,
            Self::Rewritten { .. } => Reason::PeerAddressRewritten,
            Self::NotProven(_) => Reason::EgressNotEnforced,
            Self::Clone { passes: true, .. } => Reason::CloneFailed,
            Self::Clone { passes: false, .. } | Self::TooLarge(_) => Reason::CloneRefused,
            Self::Gateway(error) => error.reason().unwrap_or(Reason::InternalError),
            Self::Contract(ContractError::PromptChanged { .. }) => Reason::PromptChanged,
            Self::Order(_) | Self::Probe(_) | Self::Contract(_) | Self::Internal(_) => Reason::InternalError,
        }
    }
}

/// Does all of it; the report says how it went.
pub async fn run(spec: &PrepareSpec, node: Option<IpAddr>, paths: &Paths) -> PrepareReport {
    let mut report = empty_report();
    if let Err(error) = steps(spec, node, paths, probe::BUDGET, &mut report).await {
        report.failure = Some(failure(error.reason(), &error.to_string()));
    }
    report
}

/// What is reported where nothing came of anything.
const fn empty_report() -> PrepareReport {
    PrepareReport {
        version: VERSION,
        failure: None,
        commits: Vec::new(),
        node_open: None,
        proven_time: None,
        probes_made: 0,
    }
}

async fn steps(
    spec: &PrepareSpec,
    node: Option<IpAddr>,
    paths: &Paths,
    proof_budget: Duration,
    report: &mut PrepareReport,
) -> Result<(), PrepareError> {
    check_kernel(spec, paths)?;
    let targets = probe::targets(&spec.probes, node)?;
    let control = Control::new(&spec.gateway, paths.token("prepare"));
    identify(spec, &control).await?;
    tracing::info!("the gateway knows this pod");
    let deadline = Deadline::after(Duration::from_secs(u64::from(spec.start_deadline_seconds)));
    // Nothing hostile runs yet, so that the clones need not wait for the proof; the agent waits for both. A failed
    // proof ends the clones, and is the run's reason whatever the clones came to.
    let proof = async {
        let proof = prove(spec, &targets, &control, proof_budget).await;
        if proof.is_err() {
            deadline.give_up();
        }
        proof
    };
    let fetched = async {
        contract(spec, paths, &control).await?;
        repositories(spec, paths, &deadline).await
    };
    let (proof, fetched) = tokio::join!(proof, fetched);
    let (proof, at) = proof?;
    report.node_open = Some(proof.node_open);
    report.probes_made = proof.probes_made;
    report.proven_time = Some(at.to_string());
    report.commits = fetched?;
    tracing::info!(repositories = report.commits.len(), "the agent may start");
    Ok(())
}

async fn prove(
    spec: &PrepareSpec,
    targets: &[Target],
    control: &Control,
    budget: Duration,
) -> Result<(Proof, Timestamp), PrepareError> {
    let positive = async || {
        control
            .whoami()
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let allowed = spec.node_access_allowed;
    let proof = probe::prove(targets, allowed, budget, positive).await?;
    tracing::info!(probes = proof.probes_made, "the fence is proven closed");
    Ok((proof, Timestamp::now()))
}

/// Nothing is fetched, and the gateway is not even asked, under a kernel that policy does not trust.
fn check_kernel(spec: &PrepareSpec, paths: &Paths) -> Result<(), PrepareError> {
    if !spec.gvisor_required {
        return Ok(());
    }
    let kernel = Kernel::of(&paths.proc());
    if kernel.is_gvisor() {
        Ok(())
    } else {
        Err(PrepareError::NotSandboxed(kernel.found()))
    }
}

/// Waits until the gateway knows this pod, and sees that it knows it rightly.
async fn identify(spec: &PrepareSpec, control: &Control) -> Result<(), PrepareError> {
    let end = Instant::now() + WHOAMI_BUDGET;
    let mut pause = WHOAMI_PAUSE;
    let known = loop {
        match control.whoami().await {
            Ok(known) => break known,
            Err(error) if error.passes() && Instant::now() < end => sleep(pause).await,
            Err(error) => return Err(error.into()),
        }
        pause = pause.saturating_mul(2).min(WHOAMI_LONGEST_PAUSE);
    };
    if known.peer_address != known.pod_address {
        return Err(PrepareError::Rewritten {
            peer: known.peer_address,
            own: known.pod_address,
        });
    }
    if known.run != spec.run {
        return Err(PrepareError::Internal(format!(
            "the gateway identified this pod as run {}/{} ({}), expected {}/{} ({})",
            known.run.namespace,
            known.run.name,
            known.run.uid,
            spec.run.namespace,
            spec.run.name,
            spec.run.uid
        )));
    }
    Ok(())
}

async fn contract(spec: &PrepareSpec, paths: &Paths, control: &Control) -> Result<(), PrepareError> {
    let trusted = control.trust().await?;
    let (paths, prompt) = (paths.clone(), spec.prompt.clone());
    let repositories = spec.repositories.clone();
    blocking(move || {
        write_trust(&paths, &trusted)?;
        let directories: Vec<&str> = repositories.iter().map(|each| each.directory.as_str()).collect();
        write_git(&paths, &directories)?;
        write_prompt(&paths, &prompt)
    })
    .await?
    .map_err(PrepareError::from)
}

/// Clones all repositories, at the same time, through a forwarder that adds the token for clones.
async fn repositories(
    spec: &PrepareSpec,
    paths: &Paths,
    deadline: &Deadline,
) -> Result<Vec<RepositoryCommit>, PrepareError> {
    if spec.repositories.is_empty() {
        return Ok(Vec::new());
    }
    let internal = |error: std::io::Error| PrepareError::Internal(format!("no forwarder: {error}"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(internal)?;
    let address = listener.local_addr().map_err(internal)?;
    let forwarder = Forwarder::new(&spec.gateway, paths.token("prepare"));
    let stop = CancellationToken::new();
    let cut = stop.clone().drop_guard();
    tokio::spawn(forwarder.clone().serve(listener, stop));
    let transport = Transport {
        proxy: Some(format!("http://{address}")),
        certificates: Some(paths.contract().join("ca.pem").display().to_string()),
        protocols: "https",
    };
    let grants = spec
        .submodule_grants
        .iter()
        .map(Grant::read)
        .collect::<Result<_, _>>();
    let shared = Shared {
        transport,
        deadline: deadline.clone(),
        bytes: Arc::new(Bytes::new(spec.max_clone_bytes)),
        grants: Arc::new(grants.map_err(PrepareError::Order)?),
    };
    let (ended, watch) = channel();
    let watched = (shared.clone(), paths.pristines());
    let watching = spawn_blocking(move || watched.0.bytes.watch(&watched.1, &watch, &watched.0.deadline));
    let clones = spec.repositories.iter().map(|repository| {
        let (repository, paths) = (repository.clone(), paths.clone());
        let (shared, forwarder) = (shared.clone(), forwarder.clone());
        async move {
            let name = repository.name.clone();
            blocking(move || fetch(&repository, &paths, &shared))
                .await?
                .map_err(|failed| PrepareError::Clone {
                    message: with_refusal(failed.message, forwarder.take_refusal()),
                    passes: failed.passes,
                    name,
                })
        }
    });
    let commits = futures::future::try_join_all(clones).await;
    drop((cut, ended));
    watching
        .await
        .map_err(|error| PrepareError::Internal(error.to_string()))?;
    // What ends between two measurements is measured here; a clone that was given up for its size says nothing else.
    shared.bytes.measure(&paths.pristines())?;
    commits
}

/// A repository that is not there for the agent.
struct Failed {
    message: String,
    passes: bool,
}

fn fetch(repository: &RepositorySpec, paths: &Paths, shared: &Shared) -> Result<RepositoryCommit, Failed> {
    let RepositorySpec {
        name,
        url,
        clone: options,
        ..
    } = repository;
    let pristine = paths.pristine(name);
    let cloned = clone(
        url,
        repository.reference.as_deref(),
        options,
        &pristine,
        &shared.transport,
        &shared.deadline,
    )
    .map_err(|error| Failed {
        message: format!("{url}: {error}"),
        passes: error.passes(),
    })?;
    let tree = paths.work_tree(&repository.directory);
    let place = Place {
        pristine: &pristine,
        tree: &tree,
        url,
    };
    work_tree::make(&place, &cloned, options, &shared.bytes, &shared.deadline).map_err(|error| Failed {
        message: error.to_string(),
        passes: true,
    })?;
    large_files::in_work_tree(options, &pristine, &tree, url, shared).map_err(|error| Failed {
        message: format!("{url}: {error}"),
        passes: error.passes(),
    })?;
    let collected = (repository.access == Access::ReadWrite).then(|| tree.clone());
    if collected.is_some()
        && let Err(error) = stat::record(&pristine, &tree, &shared.deadline)
    {
        if !options.sparse.is_empty() {
            return Err(Failed {
                message: format!("which files were checked out cannot be recorded: {error}"),
                passes: true,
            });
        }
        // Collecting reads every file then.
        tracing::warn!(name, %error, "what the file system says of the files could not be recorded");
    }
    let mut tolerated: BTreeSet<String> = cloned.tolerated.into_iter().collect();
    if options.submodules != CloneSubmodules::None {
        let mut submodules = Submodules::new(shared, options, paths.submodules(name), collected);
        let parent = Parent {
            pristine: &pristine,
            tree: &tree,
            url,
            shown: url,
        };
        submodules.of(&parent, 1)?;
        tolerated.extend(submodules.tolerated);
    }
    let tolerated: Vec<String> = tolerated.into_iter().collect();
    if !tolerated.is_empty() {
        let faults = tolerated.join(", ");
        tracing::warn!(name, faults, "history has harmless faults, which were let pass");
    }
    Ok(RepositoryCommit {
        name: name.clone(),
        commit: cloned.commit,
        tolerated,
    })
}

/// Git does not show why a proxy refused; the forwarder saw it.
fn with_refusal(message: String, refusal: Option<String>) -> String {
    match refusal {
        Some(refusal) => format!("{message} (the gateway's last refusal: {refusal})"),
        None => message,
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PrepareError> {
    spawn_blocking(work)
        .await
        .map_err(|error| PrepareError::Internal(error.to_string()))
}

#[cfg(test)]
mod tests;
