//! Clones the repositories of a run and checks them out.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::channel;

use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::shared::{Failed, Grant, Shared};
use super::submodules::{Parent, Submodules};
use super::{PrepareError, blocking, large_files};
use crate::clone::bytes::Bytes;
use crate::clone::{Transport, clone};
use crate::collect::stat;
use crate::deadline::Deadline;
use crate::forward::Forwarder;
use crate::paths::Paths;
use crate::work_tree::{self, Place};
use cofferdam_api::{Access, CloneSubmodules, Reason};
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::runner::{PrepareSpec, RepositoryCommit, RepositorySpec};

/// Clones all repositories, at the same time.
pub async fn repositories(
    spec: &PrepareSpec,
    paths: &Paths,
    deadline: &Deadline,
) -> Result<Vec<RepositoryCommit>, PrepareError> {
    if spec.repositories.is_empty() {
        return Ok(Vec::new());
    }
    let grants = spec
        .submodule_grants
        .iter()
        .map(Grant::read)
        .collect::<Result<_, _>>();
    let grants = Arc::new(grants.map_err(PrepareError::Order)?);
    let bytes = Arc::new(Bytes::new(spec.max_clone_bytes));
    let stop = CancellationToken::new();
    let cut = stop.clone().drop_guard();
    let (ended, watch) = channel();
    let watched = (Arc::clone(&bytes), paths.pristines(), deadline.clone());
    let watching = spawn_blocking(move || watched.0.watch(&watched.1, &watch, &watched.2));
    let clones = spec.repositories.iter().map(|repository| {
        let (repository, paths, stop) = (repository.clone(), paths.clone(), stop.clone());
        let (bytes, grants, deadline) = (Arc::clone(&bytes), Arc::clone(&grants), deadline.clone());
        async move {
            let (forwarder, transport) = forwarder(&spec.gateway, &paths, stop)
                .await
                .map_err(|error| PrepareError::Internal(format!("no forwarder: {error}")))?;
            let shared = Shared {
                transport,
                deadline,
                bytes,
                grants,
            };
            let (name, credential) = (repository.name.clone(), repository.credential.clone());
            blocking(move || fetch(&repository, &paths, &shared))
                .await?
                .map_err(|failed| not_cloned(name, credential.as_deref(), failed, forwarder.take_refusal()))
        }
    });
    let commits = futures::future::try_join_all(clones).await;
    drop((cut, ended));
    watching
        .await
        .map_err(|error| PrepareError::Internal(error.to_string()))?;
    // What ends between two measurements is measured here; a clone that was given up for its size says nothing else.
    bytes.measure(&paths.pristines())?;
    commits
}

/// A forwarder that adds the token for clones, until `stop`, and the way through it. Each repository has its own, so that
/// a refusal is told of the repository that it was about.
async fn forwarder(
    gateway: &str,
    paths: &Paths,
    stop: CancellationToken,
) -> io::Result<(Forwarder, Transport)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let forwarder = Forwarder::new(gateway, paths.token("prepare"));
    tokio::spawn(forwarder.clone().serve(listener, stop));
    let transport = Transport {
        proxy: Some(format!("http://{address}")),
        certificates: Some(paths.contract().join("ca.pem").display().to_string()),
        protocols: "https",
    };
    Ok((forwarder, transport))
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
    .map_err(|error| Failed::of_clone(url, &error))?;
    let tree = paths.work_tree(&repository.directory);
    let place = Place {
        pristine: &pristine,
        tree: &tree,
        url,
    };
    work_tree::make(&place, &cloned, options, &shared.bytes, &shared.deadline).map_err(Failed::passing)?;
    large_files::in_work_tree(options, &place, shared)
        .map_err(|error| Failed::of_large_files(url, &error))?;
    let collected = (repository.access == Access::ReadWrite).then(|| tree.clone());
    if collected.is_some()
        && let Err(error) = stat::record(&pristine, &tree, &shared.deadline)
    {
        if !options.sparse.is_empty() {
            let message = format!("which files were checked out cannot be recorded: {error}");
            return Err(Failed::passing(message));
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

/// Why a repository is not there, by what git says and by the gateway's last refusal. Who may not read with a credential is
/// not who wrote a wrong url.
fn not_cloned(
    name: String,
    credential: Option<&str>,
    failed: Failed,
    refusal: Option<String>,
) -> PrepareError {
    let code = refusal
        .as_ref()
        .and_then(|line| line.rsplit(' ').next()?.parse::<DenialCode>().ok());
    let lacks_credential = code.and_then(DenialCode::reason) == Some(Reason::CredentialFailed);
    let mut message = with_refusal(failed.message, refusal);
    let rejected = credential.filter(|_| failed.unauthorized);
    if let Some(credential) = rejected {
        message = format!(
            "its server does not take SandboxCredential {credential}, which was sent: renew its Secret, or give its account the \
             right to read the repository ({message})"
        );
    }
    if lacks_credential || rejected.is_some() {
        return PrepareError::Credential { name, message };
    }
    PrepareError::Clone {
        message,
        passes: failed.passes,
        name,
    }
}

/// Git does not show why a proxy refused; the forwarder saw it.
fn with_refusal(message: String, refusal: Option<String>) -> String {
    match refusal {
        Some(refusal) => format!("{message} (the gateway's last refusal: {refusal})"),
        None => message,
    }
}

#[cfg(test)]
mod tests;
