//! `diff`: what the agent changed. Raw where it is piped; paged, coloured and escaped on a terminal.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::failure::{Exit, Failure};
use crate::output::{Target, which_patch};
use crate::patch;
use crate::place::{Cluster, Flags, Patience};
use crate::print::paint::Paint;
use crate::print::{self, to_terminal};
use cofferdam_text::escape;
use cofferdam_wire::output_api::RunSummary;

/// Which run's patch, and how to write it.
///
/// Piped, it is the patch byte for byte, whole and of the digest that the archive gave it, or nothing and an exit code:
/// `kubectl cofferdam diff | git apply`. Needs `get` on agentruns/patch and agentruns/summary of output.cofferdam.dev.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// The repository, where the run changed several; REPOSITORY/PATH for that of a submodule.
    #[arg(short, long)]
    repository: Option<String>,
    /// Only which files it changes, and how much.
    #[arg(long)]
    stat: bool,
    /// Only the names of repositories that have a patch, with digest and base commit.
    #[arg(long, conflicts_with_all = ["stat", "repository"])]
    list: bool,
    /// Do not page on a terminal.
    #[arg(long)]
    no_pager: bool,
}

/// Fetches and writes.
///
/// # Errors
/// There is no such patch, or it does not come whole.
pub async fn main(args: &Args, flags: &Flags) -> Result<Exit, Failure> {
    let Cluster { client, namespace } = flags.connect(Patience::Answer).await?;
    let output = args.target.output(&client, &namespace).await?;
    let summary = output.summary().await?;
    if args.list {
        print::out(&listed(&summary))?;
        return Ok(Exit::Done);
    }
    let wanted = which_patch(&summary, args.repository.as_deref())?;
    let mut spool = output.patch(wanted).await?;
    if wanted.bytes == 0 {
        eprintln!("the agent changed nothing in {}", escape(&wanted.path()));
    }
    if wanted.snapshot == cofferdam_api::Snapshot::Live {
        eprintln!("the patch was taken while the agent still ran");
    }
    if let Some(left) = wanted.left_out.as_ref().filter(|left| left.count > 0) {
        eprintln!(
            "{} new paths are not in the patch: `kubectl cofferdam describe` names them",
            left.count
        );
    }
    if args.stat {
        print::out(&patch::table(&patch::stat(&spool.read()?)))?;
    } else if to_terminal() {
        let text = patch::shown(&spool.read()?, Paint::for_output(&std::io::stdout()));
        page(&text, args.no_pager)?;
    } else {
        spool
            .copy_to(&mut std::io::stdout().lock())
            .map_err(|_| Failure::Closed)?;
    }
    Ok(Exit::Done)
}

fn listed(summary: &RunSummary) -> String {
    let patches = summary
        .record
        .receipt
        .iter()
        .flat_map(|receipt| &receipt.manifest.patches);
    let lines: Vec<String> = patches
        .map(|patch| {
            let bytes = patch.bytes.to_string();
            let fields = [&patch.path(), &patch.digest, &patch.base_commit, &bytes];
            // Tabs separate, and no field has one then.
            format!("{}\n", fields.map(|field| escape(field)).join("\t"))
        })
        .collect();
    lines.concat()
}

/// Shows a text by the pager that the user has, as git does; without one it is written.
fn page(text: &str, no_pager: bool) -> Result<(), Failure> {
    let named = std::env::var("PAGER")
        .ok()
        .filter(|pager| !pager.trim().is_empty());
    let pager = named.unwrap_or_else(|| "less".to_owned());
    if no_pager || pager == "cat" {
        return print::out(text);
    }
    let mut command = Command::new("sh");
    command.arg("-c").arg(&pager).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        // Colours pass, and what fits on the screen stays there.
        command.env("LESS", "FRX");
    }
    let Ok(mut child) = command.spawn() else {
        return print::out(text);
    };
    if let Some(mut input) = child.stdin.take() {
        // Who quits the pager has seen enough.
        let _ = input.write_all(text.as_bytes());
    }
    match child.wait() {
        // The shell found no such program.
        Ok(status) if status.code() == Some(127) => print::out(text),
        _ => Ok(()),
    }
}
