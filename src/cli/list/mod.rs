//! `list`: runs, newest last, with their places in the queue.

mod rows;
mod watch;

use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::place::{Cluster, Flags, Patience};
use crate::print::paint::Paint;
use crate::print::{self, Format};
use crate::runs::which::requester;
use crate::runs::{Listed, Run, Scope, list, who_am_i};

/// Which runs, and how to write them.
///
/// Needs `list` on agentruns; -w also `watch`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Runs of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Runs that I asked for.
    #[arg(long)]
    mine: bool,
    /// Runs in this phase: Pending, Queued, Suspended, Running, Retrying, Stopping, Succeeded, Failed.
    #[arg(long)]
    phase: Option<String>,
    /// Runs for this reason, such as `PolicyDenied`.
    #[arg(long)]
    reason: Option<String>,
    /// Runs under this `SandboxPolicy`, as far as they name it.
    #[arg(long)]
    policy: Option<String>,
    /// Runs with these labels.
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// Runs with these fields: metadata.name, spec.policyRef.name, status.phase, status.reason.
    #[arg(long)]
    field_selector: Option<String>,
    /// Go on with what changes.
    #[arg(short, long)]
    watch: bool,
    /// wide, json, yaml, name or jsonpath=TEMPLATE.
    #[arg(short, long, default_value = "table", hide_default_value = true, value_parser = format)]
    output: Format,
}

/// The default has a word of its own here, which kubectl has not.
fn format(text: &str) -> Result<Format, String> {
    if text == "table" {
        Ok(Format::Table)
    } else {
        text.parse()
    }
}

impl Args {
    /// Everything that the API server can select by itself.
    fn fields(&self) -> Option<String> {
        let named = [
            ("status.phase", &self.phase),
            ("status.reason", &self.reason),
            ("spec.policyRef.name", &self.policy),
        ];
        let mut terms: Vec<String> = named
            .into_iter()
            .filter_map(|(field, value)| Some(format!("{field}={}", value.as_ref()?)))
            .collect();
        terms.extend(self.field_selector.clone());
        (!terms.is_empty()).then(|| terms.join(","))
    }

    fn is_narrowed(&self) -> bool {
        self.fields().is_some() || self.selector.is_some()
    }
}

/// Lists, and goes on watching where that was asked for.
///
/// # Errors
/// The runs cannot be listed.
pub async fn main(args: &Args, flags: &Flags) -> Result<Exit, Failure> {
    let patience = if args.watch {
        Patience::Stream
    } else {
        Patience::Answer
    };
    let Cluster { client, namespace } = flags.connect(patience).await?;
    let scope = if args.all_namespaces {
        Scope::All
    } else {
        Scope::Namespace(namespace)
    };
    let me = if args.mine {
        Some(who_am_i(&client).await?)
    } else {
        None
    };
    let fields = args.fields();
    let Listed {
        runs,
        resource_version,
    } = list(&client, &scope, args.selector.as_deref(), fields.as_deref()).await?;
    let queued = if args.is_narrowed() && runs.iter().any(rows::is_queued) {
        list(&client, &scope, None, Some("status.phase=Queued"))
            .await?
            .runs
    } else {
        Vec::new()
    };
    let mut runs = of(runs, me.as_deref());
    runs.sort_by_cached_key(|run| {
        let text = |field| run.metadata(field).to_owned();
        (text("creationTimestamp"), text("namespace"), text("name"))
    });
    write(args, &scope, &runs, &queued)?;
    if args.watch {
        watch::go_on(&client, &scope, args, me.as_deref(), resource_version).await?;
    }
    Ok(Exit::Done)
}

/// Those of `me`, if anybody is meant.
fn of(runs: Vec<Run>, me: Option<&str>) -> Vec<Run> {
    match me {
        None => runs,
        Some(me) => runs.into_iter().filter(|run| is_of(run, me)).collect(),
    }
}

fn is_of(run: &Run, me: &str) -> bool {
    run.read.as_ref().and_then(requester) == Some(me)
}

fn write(args: &Args, scope: &Scope, runs: &[Run], queued: &[Run]) -> Result<(), Failure> {
    let paint = Paint::for_output(&std::io::stdout());
    match &args.output {
        Format::Table | Format::Wide if runs.is_empty() => {
            eprintln!("there are none of {}{}", scope.describe(), narrowed(args));
            Ok(())
        }
        Format::Table | Format::Wide => {
            let all = if queued.is_empty() { runs } else { queued };
            let shape = rows::Shape {
                wide: args.output == Format::Wide,
                namespaces: *scope == Scope::All,
            };
            let text = rows::table(runs, all, shape, print::time::now(), paint);
            print::out(&text)
        }
        Format::Name => print::out(&names(runs)),
        documents => {
            let list = json!({
                "apiVersion": "v1",
                "kind": "List",
                "items": runs.iter().map(|run| run.value.clone()).collect::<Vec<Value>>(),
            });
            let text = documents.document(&list, print::to_terminal())?;
            print::out(&text.unwrap_or_default())
        }
    }
}

fn narrowed(args: &Args) -> &'static str {
    if args.mine || args.is_narrowed() {
        " that fit"
    } else {
        ""
    }
}

/// As kubectl names objects.
fn names(runs: &[Run]) -> String {
    let line = |run: &Run| format!("agentrun.cofferdam.dev/{}\n", run.metadata("name"));
    runs.iter().map(line).collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
