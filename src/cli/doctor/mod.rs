//! `doctor`: whether an agent could run in this namespace now, and what to do where it could not.

mod findings;
mod look;
mod trial;

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::failure::{Exit, Failure};
use crate::place::{Cluster, Flags, Patience, seconds};
use crate::print::paint::Paint;
use crate::print::{self, Format};
use findings::{Finding, Health};

/// Pause before it looks again.
const AGAIN: Duration = Duration::from_secs(2);

/// How to look, what to try, and how to write it.
///
/// Without --trial it only reads, with your rights; it says what you may not read. With --trial it needs `create`, `get`,
/// `watch` and `delete` on agentruns, and `use` on the policy. Exit codes: 0 all is well, 1 something is wrong, 2 nothing
/// is known to be wrong, and something could not be looked at.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Also start a tiny run with this image, wait for its end, and delete it.
    #[arg(long, value_name = "IMAGE")]
    trial: Option<String>,
    /// The SandboxPolicy of the trial.
    #[arg(long, value_name = "NAME", default_value = "default", requires = "trial")]
    policy: String,
    /// Seconds in which the trial has to end.
    #[arg(long, value_name = "SECONDS", default_value = "240", value_parser = seconds, requires = "trial")]
    trial_timeout: Duration,
    /// Seconds for which it looks again as long as not all is well, for an installation that has just been made.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<Duration>,
    /// The namespace of the operator. Who may read there learns how its roles are.
    #[arg(long, default_value = "cofferdam-system")]
    operator_namespace: String,
    /// json, yaml or jsonpath=TEMPLATE.
    #[arg(short, long)]
    output: Option<Format>,
    /// The command of the trial, after --. Without one: that of its image.
    #[arg(last = true, requires = "trial")]
    command: Vec<String>,
}

/// Looks.
///
/// # Errors
/// There is no cluster to look at.
pub async fn main(args: &Args, flags: &Flags) -> Result<Exit, Failure> {
    let patience = if args.trial.is_some() {
        Patience::Stream
    } else {
        Patience::Answer
    };
    let cluster = flags.connect(patience).await?;
    let (is_installed, mut findings) = look(&cluster, args).await?;
    if let Some(image) = args.trial.as_deref().filter(|_| is_installed) {
        let asked = trial::Asked {
            image,
            command: &args.command,
            policy: &args.policy,
            limit: args.trial_timeout,
        };
        findings.extend(findings::of_trial(&Box::pin(trial::one(&cluster, &asked)).await));
    }
    let text = match &args.output {
        None => text(&findings, Paint::for_output(&std::io::stdout())),
        Some(format) => {
            let document =
                json!({"apiVersion": "doctor.cofferdam.dev/v1", "kind": "Findings", "items": findings});
            format
                .document(&document, print::to_terminal())?
                .ok_or_else(|| Failure::Usage("write -o json, yaml or jsonpath=TEMPLATE".to_owned()))?
        }
    };
    print::out(&text)?;
    let of = |health| findings.iter().any(|finding| finding.health == health);
    Ok(match (of(Health::Wrong), of(Health::Unknown)) {
        (true, _) => Exit::No,
        (false, true) => Exit::CannotTell,
        (false, false) => Exit::Done,
    })
}

/// Whether there is an installation, and what was found; within `--wait` until all is well.
async fn look(cluster: &Cluster, args: &Args) -> Result<(bool, Vec<Finding>), Failure> {
    let until = args.wait.map(|wait| Instant::now() + wait);
    loop {
        let seen = Box::pin(look::at(cluster, &args.operator_namespace)).await;
        let found = seen.map(|seen| (seen.installed, findings::of(&seen)));
        let is_well = matches!(&found, Ok((_, findings)) if findings.iter().all(|finding| finding.health == Health::Well));
        if is_well || until.is_none_or(|until| Instant::now() >= until) {
            return found;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn text(findings: &[Finding], paint: Paint) -> String {
    let mut text = String::new();
    for finding in findings {
        let word = match finding.health {
            Health::Well => paint.good("ok     "),
            Health::Wrong => paint.bad("WRONG  "),
            Health::Unknown => paint.odd("unknown"),
        };
        let (what, said) = (
            cofferdam_text::escape(&finding.what),
            cofferdam_text::bounded(&finding.said, 400),
        );
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {word}  {what}: {said}");
        if let Some(to_do) = &finding.to_do {
            let _ = writeln!(text, "           to do: {}", cofferdam_text::bounded(to_do, 400));
        }
    }
    text
}

#[cfg(test)]
mod tests;
