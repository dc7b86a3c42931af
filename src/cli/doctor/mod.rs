//! `doctor`: whether an agent could run in this namespace now, and what to do where it could not.

mod findings;
mod look;

use std::fmt::Write as _;

use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::place::{Flags, Patience};
use crate::print::paint::Paint;
use crate::print::{self, Format};
use findings::{Finding, Health};

/// How to look, and how to write it.
///
/// It only reads, with your rights; what you may not read is said. Exit codes: 0 all is well, 1 something is wrong,
/// 2 nothing is known to be wrong, and something could not be looked at.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The namespace of the operator. Who may read there learns how its roles are.
    #[arg(long, default_value = "cofferdam-system")]
    operator_namespace: String,
    /// json, yaml or jsonpath=TEMPLATE.
    #[arg(short, long)]
    output: Option<Format>,
}

/// Looks.
///
/// # Errors
/// There is no cluster to look at.
pub async fn main(args: &Args, flags: &Flags) -> Result<Exit, Failure> {
    let cluster = flags.connect(Patience::Answer).await?;
    let seen = Box::pin(look::at(&cluster, &args.operator_namespace)).await?;
    let findings = findings::of(&seen);
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
