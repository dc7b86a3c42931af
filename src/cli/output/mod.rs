//! What a run left behind, read by the aggregated API with the rights of whoever asks.
//!
//! A patch is kept in a file of its own until it is whole and its digest is the one that was announced: what is handed on
//! is all of it, or nothing.

mod fetch;
mod spool;

pub use fetch::Output;
pub use spool::Spool;

use kube::Client;

use crate::failure::Failure;
use crate::runs::which::{Which, find};
use cofferdam_wire::output_api::RunSummary;

/// Which run's output a command is about.
#[derive(clap::Args, Clone, Debug)]
pub struct Target {
    /// The run: its name, or @latest. Without one: the newest of mine. A run that is no longer an object is named too.
    run: Option<Which>,
    /// The run's uid, where several had its name.
    #[arg(long)]
    uid: Option<String>,
}

impl Target {
    /// The output of the run.
    ///
    /// # Errors
    /// No run is meant.
    pub async fn output(&self, client: &Client, namespace: &str) -> Result<Output, Failure> {
        let name = match &self.run {
            // Not looked up: the run may be no object any more.
            Some(Which::Name(name)) => name.clone(),
            other => {
                let run = find(client, namespace, other.as_ref()).await?;
                run.metadata("name").to_owned()
            }
        };
        Ok(Output::new(client.clone(), namespace, &name, self.uid.clone()))
    }
}

/// The patches of a run that the archive still has.
pub fn kept_patches(summary: &RunSummary) -> impl Iterator<Item = &cofferdam_wire::output::PatchManifest> {
    let receipt = summary.record.receipt.iter();
    let kept = receipt.filter(|_| !summary.record.patches_removed);
    kept.flat_map(|receipt| &receipt.manifest.patches)
}

/// The patch that is meant: the one of `repository`, else the only one.
///
/// # Errors
/// There is none, or there are several.
pub fn which_patch<'a>(
    summary: &'a RunSummary,
    repository: Option<&str>,
) -> Result<&'a cofferdam_wire::output::PatchManifest, Failure> {
    let name = format!("{}/{}", summary.metadata.namespace, summary.metadata.name);
    let receipt = summary.record.receipt.as_ref().ok_or_else(|| {
        Failure::Absent(format!(
            "AgentRun {name} left no output so far: `kubectl cofferdam describe` says how it stands"
        ))
    })?;
    let patches = &receipt.manifest.patches;
    let names: Vec<String> = patches
        .iter()
        .map(cofferdam_wire::output::PatchManifest::path)
        .collect();
    match (repository, patches.as_slice()) {
        (_, []) => Err(Failure::Absent(format!(
            "AgentRun {name} has no patch: it changed no repository"
        ))),
        (None, [one]) => Ok(one),
        (None, _) => Err(Failure::Usage(format!(
            "AgentRun {name} has several patches; say which with --repository: {}",
            names.join(", ")
        ))),
        (Some(wanted), _) => patches
            .iter()
            .find(|patch| patch.is_called(wanted))
            .ok_or_else(|| {
                Failure::Absent(format!(
                    "AgentRun {name} has no patch of repository {wanted}; it has: {}",
                    names.join(", ")
                ))
            }),
    }
}

#[cfg(test)]
mod tests;
