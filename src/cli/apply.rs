//! `apply`: puts a patch onto a checkout, after it is known that the checkout is the one that the patch is for.

use std::path::PathBuf;

use crate::failure::{Exit, Failure};
use crate::git::{Checkout, is_commit};
use crate::output::{Target, which_patch};
use crate::patch;
use crate::place::{Cluster, Flags, Patience};
use cofferdam_wire::output::PatchManifest;

/// Which run's patch, and onto what.
///
/// The patch is checked against the digest that the archive gave it, and the checkout against the commit that the agent
/// began with. Nothing is committed. Needs what `diff` needs, and git.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// The repository, where the run changed several; REPOSITORY/PATH for that of a submodule, with -C in its checkout.
    #[arg(short, long)]
    repository: Option<String>,
    /// A directory of the checkout. Without it: the one you stand in.
    #[arg(short = 'C', long, value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Merge three ways: for a checkout that went on since, as long as it has the commit that the agent began with.
    #[arg(short = '3', long)]
    three_way: bool,
    /// Say whether it would apply, and change nothing.
    #[arg(long)]
    check: bool,
}

/// Fetches, checks and applies.
///
/// # Errors
/// The patch does not come whole, or does not fit.
pub async fn main(args: &Args, flags: &Flags) -> Result<Exit, Failure> {
    let checkout = Checkout::of(&args.directory)?;
    let Cluster { client, namespace } = flags.connect(Patience::Answer).await?;
    let output = args.target.output(&client, &namespace).await?;
    let summary = output.summary().await?;
    let wanted = which_patch(&summary, args.repository.as_deref())?;
    let bytes = output.patch(wanted).await?.read()?;
    onto(&checkout, wanted, &bytes, args.three_way, args.check)?;
    let how = if args.check { "would change" } else { "changed" };
    eprintln!("in {}, {how}:", checkout.root().display());
    eprint!("{}", patch::table(&patch::stat(&bytes)));
    Ok(Exit::Done)
}

/// Applies a patch onto a checkout that is fit for it.
fn onto(
    checkout: &Checkout,
    wanted: &PatchManifest,
    bytes: &[u8],
    three_way: bool,
    check: bool,
) -> Result<(), Failure> {
    fits(checkout, &wanted.base_commit, three_way)?;
    if bytes.is_empty() {
        return Err(Failure::No(format!(
            "the agent changed nothing in {}",
            wanted.path()
        )));
    }
    let said = match (three_way, check) {
        (false, false) => checkout.git(["apply", "--binary", "--whitespace=nowarn", "-"], Some(bytes))?,
        (false, true) => checkout.git(
            ["apply", "--binary", "--whitespace=nowarn", "--check", "-"],
            Some(bytes),
        )?,
        (true, false) => checkout.git(
            ["apply", "--binary", "--whitespace=nowarn", "--3way", "-"],
            Some(bytes),
        )?,
        (true, true) => checkout.git(
            [
                "apply",
                "--binary",
                "--whitespace=nowarn",
                "--3way",
                "--check",
                "-",
            ],
            Some(bytes),
        )?,
    };
    if said.done {
        return Ok(());
    }
    let hint = if three_way {
        ""
    } else {
        "; --three-way merges what changed since"
    };
    Err(Failure::No(format!(
        "the patch does not apply: {}{hint}",
        said.error
    )))
}

/// Whether the checkout is the one that the agent began with.
fn fits(checkout: &Checkout, base: &str, three_way: bool) -> Result<(), Failure> {
    let root = checkout.root().display();
    if !is_commit(base) {
        return Err(Failure::Broken(
            "the patch names no commit that it is for".to_owned(),
        ));
    }
    if !checkout.has(base)? {
        return Err(Failure::No(format!(
            "{root} does not have commit {base}, which the agent began with: fetch it, or stand in a checkout of that repository"
        )));
    }
    let changes = checkout.changes()?;
    if !changes.is_empty() {
        let first: Vec<&str> = changes.iter().take(3).map(String::as_str).collect();
        return Err(Failure::No(format!(
            "{root} has changes of its own ({} tracked files, such as {}): commit or stash them first",
            changes.len(),
            first.join(", ")
        )));
    }
    let head = checkout.head()?.unwrap_or_default();
    if head != base && !three_way {
        return Err(Failure::No(format!(
            "{root} is at {head}, and the agent began with {base}: check that out, or merge with --three-way"
        )));
    }
    Ok(())
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
