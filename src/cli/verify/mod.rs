//! `verify`: whether what the archive hands out is whole, on the user's own machine, also from an export and without a
//! cluster.

mod check;
mod checks;
mod place;
mod signature;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::output::{Output, Target};
use crate::place::{Flags, Patience};
use crate::print::paint::Paint;
use crate::print::{self, Format};
use check::{Check, Material, Verdict};
pub use place::published;

/// Pause before it is looked again whether the records have their end.
const WAIT: Duration = Duration::from_secs(3);
/// How often it is looked again.
const WAITS: u32 = 20;

/// What to verify.
///
/// Needs what `audit export` needs; with --export no cluster. Exit codes: 0 everything holds, 1 something does not,
/// 2 something is missing that had to be seen.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// A directory that `audit export` wrote, instead of the cluster.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["run", "uid"])]
    export: Option<PathBuf>,
    /// The public keys of the installation (`keys.json` of ConfigMap cofferdam-evidence-keys). Without them: those of the cluster,
    /// or those that lie in the export, which prove no more than that it is one.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The namespace of the operator.
    #[arg(long, default_value = "cofferdam-system")]
    operator_namespace: String,
    /// A checkout that has the base commits: the patches are applied to them in a scratch clone.
    #[arg(long, value_name = "DIR")]
    checkout: Option<PathBuf>,
    /// json, yaml or jsonpath=TEMPLATE.
    #[arg(short, long)]
    output: Option<Format>,
}

/// Verifies.
///
/// # Errors
/// There is nothing to verify.
pub async fn main(args: &Args, flags: &Flags) -> Result<Exit, Failure> {
    let given = args.keys.as_deref().map(place::keys_of_file).transpose()?;
    let (material, found) = if let Some(directory) = &args.export {
        (place::from_export(directory)?, place::keys_of_export(directory)?)
    } else {
        let cluster = flags.connect(Patience::Answer).await?;
        let output = args.target.output(&cluster.client, &cluster.namespace).await?;
        let keys = place::keys_of_cluster(&cluster.client, &args.operator_namespace).await;
        (ended(&output).await?, keys)
    };
    let mut checks = checks::all(&material, given.or(found).as_ref());
    if let Some(directory) = &args.checkout {
        checks.extend(place::on_checkout(&material, directory)?);
    }
    let text = match &args.output {
        None => text(
            &material.describe(),
            &checks,
            Paint::for_output(&std::io::stdout()),
        ),
        Some(format) => {
            let document = json!({
                "apiVersion": "verify.cofferdam.dev/v1",
                "kind": "Verification",
                "run": material.summary.metadata,
                "verdict": verdict(&checks),
                "checks": checks,
            });
            format
                .document(&document, print::to_terminal())?
                .ok_or_else(|| Failure::Usage("write -o json, yaml or jsonpath=TEMPLATE".to_owned()))?
        }
    };
    print::out(&text)?;
    Ok(match verdict(&checks) {
        Verdict::Holds | Verdict::NotAsked => Exit::Done,
        Verdict::Fails => Exit::No,
        Verdict::Missing => Exit::CannotTell,
    })
}

/// What the cluster hands out, once the run's gateways have ended its records, or do not for a while.
async fn ended(output: &Output) -> Result<Material, Failure> {
    let mut material = place::from_cluster(output).await?;
    let mut waits = 0;
    while checks::is_ending(&material) && waits < WAITS {
        if waits == 0 {
            eprintln!("the gateways have not ended the records of the run yet: waiting for up to a minute");
        }
        waits += 1;
        tokio::time::sleep(WAIT).await;
        material = place::from_cluster(output).await?;
    }
    Ok(material)
}

/// The worst of all.
fn verdict(checks: &[Check]) -> Verdict {
    let of = |verdict| checks.iter().any(|check| check.verdict == verdict);
    if of(Verdict::Fails) {
        Verdict::Fails
    } else if of(Verdict::Missing) {
        Verdict::Missing
    } else {
        Verdict::Holds
    }
}

fn text(run: &str, checks: &[Check], paint: Paint) -> String {
    let mut text = format!(
        "{}\n",
        paint.bold(&cofferdam_text::escape(&format!("AgentRun {run}")))
    );
    for check in checks {
        let word = match check.verdict {
            Verdict::Holds => paint.good("holds  "),
            Verdict::Fails => paint.bad("FAILS  "),
            Verdict::Missing => paint.odd("missing"),
            Verdict::NotAsked => paint.dim("none   "),
        };
        let said = cofferdam_text::bounded(&check.said, 600);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {word}  {}: {said}", cofferdam_text::escape(&check.what));
    }
    text
}

#[cfg(test)]
mod tests;
