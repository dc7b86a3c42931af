//! Follows a run: a live line on a terminal, a line for each change elsewhere. Ctrl-C leaves it, twice ends it.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ended::{exit, said};
use super::line::{Beside, line};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::print::time::now;
use crate::runs::follow::{Seen, follow};
use crate::runs::{Scope, list};
use cofferdam_api::{AgentRun, queue};
use cofferdam_text::escape;

/// How often the line is written anew.
const TICK: Duration = Duration::from_secs(1);
/// How often it is asked what stands beside the run.
const ASK: Duration = Duration::from_secs(3);
/// In which a second Ctrl-C ends the run.
const SECOND: Duration = Duration::from_secs(2);

/// Follows `run` to its end.
///
/// # Errors
/// Nobody can tell any more how it goes.
pub async fn to_the_end(client: &Client, namespace: &str, run: &AgentRun) -> Result<Exit, Failure> {
    let mut seen = follow(client.clone(), namespace.to_owned(), run);
    let mut beside = ask_beside(client.clone(), namespace.to_owned(), run.clone());
    let mut screen = Screen::new();
    let mut current = run.clone();
    let mut known = Beside::default();
    let mut tick = tokio::time::interval(TICK);
    let mut left: Option<Instant> = None;
    loop {
        tokio::select! {
            told = seen.recv() => match told {
                Some(Seen::Changed(run)) => current = *run,
                Some(Seen::Deleted) => {
                    screen.end();
                    return Err(Failure::Absent(format!("AgentRun {namespace}/{} was deleted", current.name_any())));
                }
                Some(Seen::Lost(failure)) => {
                    screen.end();
                    return Err(failure);
                }
                None => {
                    screen.end();
                    return Err(Failure::Broken("the run is not seen any more".to_owned()));
                }
            },
            Some(told) = beside.recv() => known = told,
            _ = tick.tick() => {}
            pressed = tokio::signal::ctrl_c() => {
                screen.end();
                if pressed.is_err() || left.is_none() {
                    left = Some(Instant::now() + SECOND);
                    eprintln!("leaving AgentRun {}, which goes on; Ctrl-C again within 2 s ends it", escape(&current.name_any()));
                } else {
                    cancel(client, namespace, &current).await?;
                    left = None;
                }
            }
            () = at(left) => {
                screen.end();
                eprintln!("  kubectl cofferdam describe {}    how it goes", escape(&current.name_any()));
                return Ok(Exit::Unfinished);
            }
        }
        if let Some(exit) = exit(&current) {
            screen.end();
            eprint!("{}", said(&current));
            return Ok(exit);
        }
        screen.show(&current, known);
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn cancel(client: &Client, namespace: &str, run: &AgentRun) -> Result<(), Failure> {
    let api: Api<AgentRun> = Api::namespaced(client.clone(), namespace);
    let patch = Patch::Merge(json!({"metadata": {"uid": run.metadata.uid}, "spec": {"cancel": "KeepWork"}}));
    api.patch(&run.name_any(), &PatchParams::default(), &patch)
        .await
        .map_err(|error| {
            Failure::api(
                format!("the cancel of AgentRun {namespace}/{}", run.name_any()),
                &error,
            )
        })?;
    eprintln!(
        "AgentRun {} is being stopped; its work is kept as a patch",
        escape(&run.name_any())
    );
    Ok(())
}

/// Asks for what stands beside the run, as long as somebody listens. What cannot be had is left out.
fn ask_beside(client: Client, namespace: String, run: AgentRun) -> mpsc::Receiver<Beside> {
    let (told, listening) = mpsc::channel(1);
    tokio::spawn(async move {
        let uid = run.metadata.uid.clone().unwrap_or_default();
        let output = Output::new(client.clone(), &namespace, &run.name_any(), Some(uid.clone()));
        let scope = Scope::Namespace(namespace);
        // Where the output API is not served, or may not be read, it is not asked again.
        let mut counts = true;
        while !told.is_closed() {
            let queued = list(&client, &scope, None, Some("status.phase=Queued"))
                .await
                .ok();
            let runs: Vec<AgentRun> = queued
                .into_iter()
                .flat_map(|listed| listed.runs)
                .filter_map(|run| run.read)
                .collect();
            let requests = if counts {
                let record = output.summary().await.map(|summary| summary.record);
                counts = !matches!(
                    record,
                    Err(Failure::Api {
                        code: None | Some(403),
                        ..
                    })
                );
                record
                    .ok()
                    .map(|record| (record.requests, record.denied_requests))
            } else {
                None
            };
            let place = queue::place(&runs, &uid);
            if told.send(Beside { place, requests }).await.is_err() {
                return;
            }
            tokio::time::sleep(ASK).await;
        }
    });
    listening
}

/// Where the line goes.
struct Screen {
    live: bool,
    shown: String,
}

impl Screen {
    fn new() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            live: std::io::stderr().is_terminal() && !dumb,
            shown: String::new(),
        }
    }

    fn show(&mut self, run: &AgentRun, beside: Beside) {
        if self.live {
            let text = line(run, beside, now());
            // Cut to the width that every terminal has: a line that wraps cannot be written anew.
            let text = cofferdam_text::cut(&text, 79);
            let mut error = std::io::stderr().lock();
            // Nobody may look any more; the run does not mind.
            let _ = write!(error, "\r\u{1b}[K{text}").and_then(|()| error.flush());
            self.shown = text;
            return;
        }
        let status = run.status.clone().unwrap_or_default();
        let word = format!(
            "{} {}",
            status.phase.as_deref().unwrap_or("Pending"),
            status.reason.as_deref().unwrap_or_default()
        );
        if word != self.shown {
            eprintln!("{}", line(run, beside, now()));
            self.shown = word;
        }
    }

    /// Leaves the line alone.
    fn end(&mut self) {
        if self.live && !self.shown.is_empty() {
            eprint!("\r\u{1b}[K");
            self.shown.clear();
        }
    }
}
