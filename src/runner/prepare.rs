//! The init container `prepare`: looks at the kernel where policy says so, proves the fence, writes the agent's files, clones its repositories.

mod large_files;
mod repositories;
mod shared;
mod submodules;

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use self::repositories::repositories;
use super::clone::bytes::TooLarge;
use super::contract::{ContractError, write_git, write_prompt, write_trust};
use super::control::{Control, ControlError};
use super::deadline::Deadline;
use super::kernel::Kernel;
use super::paths::Paths;
use super::probe::{self, NotProven, ProbeError, Proof, Target};
use super::report::failure;
use cofferdam_api::Reason;
use cofferdam_wire::runner::{PrepareReport, PrepareSpec, VERSION};

/// How long the gateway may take to know the pod.
const WHOAMI_BUDGET: Duration = Duration::from_mins(1);
/// After the first question, for the gateway learns a pod's address some milliseconds after the pod has it; doubled
/// after each further one up to [`WHOAMI_LONGEST_PAUSE`].
const WHOAMI_PAUSE: Duration = Duration::from_millis(25);
/// Between two questions.
const WHOAMI_LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What is kept of the time to start.
const LEAST_LEFT: Duration = Duration::from_secs(5);
const MOST_LEFT: Duration = Duration::from_secs(30);

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
    /// A repository whose credential the gateway does not have.
    #[error("repository {name}: {message}")]
    Credential {
        /// Its name within the run.
        name: String,
        /// What was wrong.
        message: String,
    },
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
            Self::Credential { .. } => Reason::CredentialFailed,
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
    let deadline = Deadline::after(time_for_clones(spec.start_deadline_seconds));
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

/// What of the time to start the clones may take. The end of it is kept for saying what came of them: the controller, whose
/// clock began with the Job, can only say that the agent did not start.
fn time_for_clones(start_deadline_seconds: u32) -> Duration {
    let whole = Duration::from_secs(u64::from(start_deadline_seconds));
    whole.saturating_sub((whole / 10).clamp(LEAST_LEFT, MOST_LEFT).min(whole / 2))
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

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PrepareError> {
    spawn_blocking(work)
        .await
        .map_err(|error| PrepareError::Internal(error.to_string()))
}

#[cfg(test)]
mod tests;
