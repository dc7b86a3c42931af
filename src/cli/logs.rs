//! `logs`: what a container of the run's pod writes, while the pod lives. Nobody keeps it longer.

use std::pin::pin;
use std::time::Duration;

use futures::AsyncBufReadExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt};

use crate::failure::{Exit, Failure};
use crate::place::{Cluster, Flags, Patience};
use crate::print;
use crate::runs::which::{Which, find};
use crate::runs::{Run, get};
use cofferdam_api::AgentRun;
use cofferdam_api::names::{CONTAINER_AGENT, LABEL_RUN_UID};
use cofferdam_text::escape;

/// How often it is asked whether a pod is there that has not come yet.
const EVERY: Duration = Duration::from_secs(1);

/// Which run's log, and how much of it.
///
/// Needs `list` on pods and `get` on pods/log.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The run: its name, or @latest. Without one: the newest of mine.
    run: Option<Which>,
    /// The container: agent, sidecar or prepare.
    #[arg(short, long, default_value = CONTAINER_AGENT)]
    container: String,
    /// Go on with what comes; waits for a pod that has not started.
    #[arg(short, long)]
    follow: bool,
    /// Only so many of the last lines.
    #[arg(long)]
    tail: Option<i64>,
    /// Only what is newer than so many seconds.
    #[arg(long, value_name = "SECONDS")]
    since: Option<i64>,
    /// With the time of each line.
    #[arg(long)]
    timestamps: bool,
}

/// Writes the log.
///
/// # Errors
/// There is no pod, or its log may not be read.
pub async fn main(args: &Args, flags: &Flags) -> Result<Exit, Failure> {
    let patience = if args.follow {
        Patience::Stream
    } else {
        Patience::Answer
    };
    let Cluster { client, namespace } = flags.connect(patience).await?;
    let run = find(&client, &namespace, args.run.as_ref()).await?;
    let pod = pod(&client, &namespace, &run, args).await?;
    let params = LogParams {
        container: Some(args.container.clone()),
        follow: args.follow,
        tail_lines: args.tail,
        since_seconds: args.since,
        timestamps: args.timestamps,
        ..LogParams::default()
    };
    let api: Api<Pod> = Api::namespaced(client, &namespace);
    let what = format!("the log of container {} of pod {pod}", args.container);
    let stream = api
        .log_stream(&pod, &params)
        .await
        .map_err(|error| Failure::api(what.clone(), &error))?;
    let mut stream = pin!(stream);
    let mut shown = Shown::new(print::to_terminal());
    loop {
        let read = stream.fill_buf().await;
        let bytes = read.map_err(|error| Failure::Broken(format!("{what} broke off: {error}")))?;
        if bytes.is_empty() {
            print::out_bytes(&shown.rest())?;
            return Ok(Exit::Done);
        }
        let count = bytes.len();
        print::out_bytes(&shown.piece(bytes))?;
        stream.consume_unpin(count);
    }
}

/// The name of the run's pod. With `--follow` it is waited for.
async fn pod(client: &Client, namespace: &str, run: &Run, args: &Args) -> Result<String, Failure> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels(&format!("{LABEL_RUN_UID}={}", run.metadata("uid")));
    let name = run.metadata("name").to_owned();
    let mut said = false;
    loop {
        let pods = api
            .list(&params)
            .await
            .map_err(|error| Failure::api(format!("the pods of AgentRun {namespace}/{name}"), &error))?;
        // Of several attempts the last.
        let newest = pods.items.into_iter().max_by_key(ResourceExt::creation_timestamp);
        let has_started = |pod: &Pod| has_started(pod, &args.container);
        match newest {
            Some(pod) if !args.follow || has_started(&pod) => return Ok(pod.name_any()),
            newest => {
                let run = get(client, namespace, &name).await?;
                if run.read.as_ref().is_some_and(AgentRun::is_finished) {
                    return match newest {
                        Some(pod) => Ok(pod.name_any()),
                        None => Err(gone(namespace, &name)),
                    };
                }
                if !args.follow {
                    return Err(Failure::Absent(format!(
                        "AgentRun {namespace}/{name} has no pod yet; --follow waits for it"
                    )));
                }
            }
        }
        if !said {
            eprintln!(
                "AgentRun {}/{} has not started its container {} yet",
                escape(namespace),
                escape(&name),
                escape(&args.container)
            );
            said = true;
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn gone(namespace: &str, name: &str) -> Failure {
    Failure::Absent(format!(
        "the pod of AgentRun {namespace}/{name} is gone, and nobody keeps logs: `diff` has what the agent changed, and \
         `audit show` what it asked for"
    ))
}

/// Whether a container of the pod has begun, or ended.
fn has_started(pod: &Pod, container: &str) -> bool {
    let Some(status) = &pod.status else { return false };
    let all = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses)
        .flatten();
    let mut of_it = all
        .filter(|status| status.name == container)
        .filter_map(|status| status.state.as_ref());
    of_it.any(|state| state.running.is_some() || state.terminated.is_some())
}

/// Bytes of a log as they are written: to a pipe as they are, to a terminal with hidden characters as their numbers.
struct Shown {
    for_terminal: bool,
    /// A line whose end has not come yet.
    line: Vec<u8>,
}

impl Shown {
    /// Longest part of a line that waits for its end.
    const LINE: usize = 64 * 1024;

    fn new(for_terminal: bool) -> Self {
        Self {
            for_terminal,
            line: Vec::new(),
        }
    }

    fn piece(&mut self, bytes: &[u8]) -> Vec<u8> {
        if !self.for_terminal {
            return bytes.to_vec();
        }
        self.line.extend_from_slice(bytes);
        let end = self
            .line
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |position| position + 1);
        let end = if self.line.len() - end > Self::LINE {
            self.line.len()
        } else {
            end
        };
        let ready: Vec<u8> = self.line.drain(..end).collect();
        visible(&ready)
    }

    fn rest(&mut self) -> Vec<u8> {
        visible(&std::mem::take(&mut self.line))
    }
}

/// Line breaks and tabs stay.
fn visible(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for part in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\t')) {
        let (text, end) = match part.split_last() {
            Some((end @ (b'\n' | b'\t'), text)) => (text, Some(*end)),
            _ => (part, None),
        };
        out.extend_from_slice(cofferdam_text::escape_bytes(text).as_bytes());
        out.extend(end);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_text::is_hidden;
    use proptest::prelude::*;
    use serde_json::json;

    proptest! {
        #[test]
        fn a_terminal_obeys_no_log_and_a_pipe_gets_it_as_it_is(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6)) {
            let (mut terminal, mut pipe) = (Shown::new(true), Shown::new(false));
            let mut shown: Vec<u8> = pieces.iter().flat_map(|piece| terminal.piece(piece)).collect();
            shown.extend(terminal.rest());
            let text = String::from_utf8(shown).unwrap();
            prop_assert!(text.chars().all(|character| matches!(character, '\n' | '\t') || !is_hidden(character)), "{text:?}");
            let piped: Vec<u8> = pieces.iter().flat_map(|piece| pipe.piece(piece)).collect();
            prop_assert_eq!(piped, pieces.concat());
            // The same text, however it comes in pieces.
            prop_assert_eq!(text.into_bytes(), visible(&pieces.concat()));
        }
    }

    #[test]
    fn a_container_has_started_or_not() {
        let pod = |state| -> Pod {
            serde_json::from_value(json!({"metadata": {}, "status": {"containerStatuses": [
                {"name": "agent", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": state}]}}))
            .unwrap()
        };
        assert!(has_started(&pod(json!({"running": {}})), "agent"));
        assert!(has_started(&pod(json!({"terminated": {"exitCode": 0}})), "agent"));
        assert!(!has_started(
            &pod(json!({"waiting": {"reason": "PodInitializing"}})),
            "agent"
        ));
        assert!(!has_started(&pod(json!({"running": {}})), "sidecar"));
    }
}
