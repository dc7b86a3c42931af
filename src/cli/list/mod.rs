//! `list`: runs, newest last, with their places in the queue.

mod rows;
mod select;
mod watch;

use kube::Client;
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::place::{Cluster, Flags, Patience};
use crate::print::paint::Paint;
use crate::print::{self, Format};
use crate::runs::watch::{Changes, Selection};
use crate::runs::{Listed, Run, Scope, list, who_am_i};
use select::Filters;

/// Which runs, and how to write them.
///
/// Needs `list` on agentruns; -w also `watch`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Runs of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    #[command(flatten)]
    filters: Filters,
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
    let me = if args.filters.is_about_me() {
        Some(who_am_i(&client).await?)
    } else {
        None
    };
    let filters = args.filters.clone().with_me(me);
    let (selection, listed) = listed(&client, scope, &filters).await?;
    let changes = args
        .watch
        .then(|| Changes::after(client.clone(), selection.clone(), &listed));
    let mut runs = listed.runs;
    runs.retain(|run| filters.fits(run));
    let queued = if filters.is_narrow() && runs.iter().any(rows::is_queued) {
        list(&client, &selection.scope, None, Some("status.phase=Queued"))
            .await?
            .runs
    } else {
        Vec::new()
    };
    runs.sort_by_cached_key(|run| {
        let text = |field| run.metadata(field).to_owned();
        (text("creationTimestamp"), text("namespace"), text("name"))
    });
    write(args, &selection.scope, &filters, &runs, &queued)?;
    match changes {
        Some(changes) => watch::go_on(changes, args, &selection.scope, &filters, &runs).await,
        None => Ok(Exit::Done),
    }
}

/// The runs that the API server selects, and how it was asked.
async fn listed(client: &Client, scope: Scope, filters: &Filters) -> Result<(Selection, Listed), Failure> {
    let mut selection = Selection {
        scope,
        labels: filters.selector.clone(),
        fields: filters.all_fields(),
    };
    match selection.list(client).await {
        // Definitions of an older version know less fields; what they do not select is selected here.
        Err(Failure::Api { code: Some(400), .. }) if selection.fields != filters.fields() => {
            selection.fields = filters.fields();
        }
        listed => return Ok((selection, listed?)),
    }
    let listed = selection.list(client).await?;
    Ok((selection, listed))
}

fn write(args: &Args, scope: &Scope, filters: &Filters, runs: &[Run], queued: &[Run]) -> Result<(), Failure> {
    let paint = Paint::for_output(&std::io::stdout());
    match &args.output {
        Format::Table | Format::Wide if runs.is_empty() => {
            let that_fit = if filters.is_narrow() { " that fit" } else { "" };
            eprintln!("there are none of {}{that_fit}", scope.describe());
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

/// As kubectl names objects.
fn names(runs: &[Run]) -> String {
    let line = |run: &Run| format!("agentrun.cofferdam.dev/{}\n", run.metadata("name"));
    runs.iter().map(line).collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
