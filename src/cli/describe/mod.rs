//! `describe`: what happened to a run, why, and what to do next.

mod sections;
mod timeline;

use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::failure::{Exit, Failure};
use crate::place::{Cluster, Flags, Patience};
use crate::print::paint::Paint;
use crate::print::{self, Format};
use crate::runs::which::{Which, find};
use crate::runs::{Scope, list};
use cofferdam_api::queue::{self, Place};
use cofferdam_api::{AgentRun, LiveReason, Reason};

/// Which run, and how to write it.
///
/// Needs `get` on agentruns; without `list` on events the timeline has fewer lines.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The run: its name, or @latest. Without one: the newest of mine.
    run: Option<Which>,
    /// json, yaml, name or jsonpath=TEMPLATE: the object itself.
    #[arg(short, long)]
    output: Option<Format>,
}

/// What is told of a run.
pub struct Facts<'a> {
    /// The run.
    pub run: &'a AgentRun,
    /// Its events; absent: they may not be read.
    pub events: Option<Vec<Event>>,
    /// Where it waits.
    pub place: Option<Place>,
}

/// Describes.
///
/// # Errors
/// There is no such run, or it may not be read.
pub async fn main(args: &Args, flags: &Flags) -> Result<Exit, Failure> {
    let Cluster { client, namespace } = flags.connect(Patience::Answer).await?;
    let found = find(&client, &namespace, args.run.as_ref()).await?;
    match &args.output {
        None => {}
        Some(Format::Name) => {
            print::out(&format!("agentrun.cofferdam.dev/{}\n", found.metadata("name")))?;
            return Ok(Exit::Done);
        }
        Some(format) => {
            let text = format
                .document(&found.value, print::to_terminal())?
                .ok_or_else(|| Failure::Usage("write -o json, yaml, name or jsonpath=TEMPLATE".to_owned()))?;
            print::out(&text)?;
            return Ok(Exit::Done);
        }
    }
    let run = found.readable()?;
    let facts = Facts {
        events: events(&client, &namespace, &run).await,
        place: place(&client, &namespace, &run).await,
        run: &run,
    };
    let paint = Paint::for_output(&std::io::stdout());
    print::out(&render(&facts, print::time::now(), paint))?;
    Ok(Exit::Done)
}

/// The events of this run, not of an earlier one of its name; nobody's verdict hangs on them.
async fn events(client: &Client, namespace: &str, run: &AgentRun) -> Option<Vec<Event>> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let uid = run.metadata.uid.as_deref()?;
    let fields = format!("involvedObject.kind=AgentRun,involvedObject.uid={uid}");
    Some(api.list(&ListParams::default().fields(&fields)).await.ok()?.items)
}

async fn place(client: &Client, namespace: &str, run: &AgentRun) -> Option<Place> {
    if !queue::is_queued(run) {
        return None;
    }
    let scope = Scope::Namespace(namespace.to_owned());
    let listed = list(client, &scope, None, Some("status.phase=Queued"))
        .await
        .ok()?;
    let runs: Vec<AgentRun> = listed.runs.into_iter().filter_map(|run| run.read).collect();
    queue::place(&runs, run.metadata.uid.as_deref()?)
}

/// The whole text. Pure.
pub fn render(facts: &Facts<'_>, now: k8s_openapi::jiff::Timestamp, paint: Paint) -> String {
    let sections = [
        sections::head(facts, now, paint),
        sections::asked(facts.run, paint),
        sections::resolved(facts.run, paint),
        timeline::render(facts, now, paint),
        sections::requests(facts.run, paint),
        sections::outputs(facts.run, paint),
        next(facts.run, paint),
    ];
    let sections: Vec<String> = sections
        .into_iter()
        .filter(|section| !section.is_empty())
        .collect();
    sections.join("\n")
}

/// What whoever reads it can do.
fn next(run: &AgentRun, paint: Paint) -> String {
    let status = run.status.as_ref();
    let name = run.metadata.name.as_deref().unwrap_or_default();
    let reason = status
        .and_then(|status| status.reason.as_deref())
        .unwrap_or_default();
    let advice = reason
        .parse::<Reason>()
        .map(Reason::advice)
        .or_else(|_| reason.parse::<LiveReason>().map(LiveReason::advice))
        .ok();
    let has_patch = status
        .and_then(|status| status.outputs.as_ref())
        .is_some_and(|outputs| !outputs.patches.is_empty());
    let mut lines: Vec<String> = advice.into_iter().map(|advice| format!("  {advice}\n")).collect();
    if has_patch {
        lines.push(format!(
            "  kubectl cofferdam diff {name}          what the agent changed\n"
        ));
        lines.push(format!(
            "  kubectl cofferdam apply {name}         put it onto the checkout that you stand in\n"
        ));
    }
    if !run.is_finished() {
        lines.push(format!(
            "  kubectl cofferdam logs -f {name}       what the agent writes\n"
        ));
        lines.push(format!(
            "  kubectl cofferdam cancel {name}        ends it and keeps its work\n"
        ));
    }
    if lines.is_empty() {
        return String::new();
    }
    format!("{}\n{}", paint.bold("Next"), lines.concat())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
