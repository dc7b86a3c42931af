//! `--trial`: one tiny run, from its creation to its deletion.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DeleteParams, Preconditions};
use kube::core::ObjectMeta;
use kube::{Api, ResourceExt as _};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use crate::failure::Failure;
use crate::place::Cluster;
use crate::run::build::{Built, letters};
use crate::run::create;
use crate::runs::follow::{Seen, follow};
use cofferdam_api::{Agent, AgentRun, AgentRunSpec, PolicyRef, Resources, Task};
use cofferdam_text::bounded;

/// Time in which a run that was deleted has to be gone.
const GONE: Duration = Duration::from_mins(1);
/// What the run says for whoever finds it.
const PROMPT: &str = "kubectl cofferdam doctor tries whether a run completes here. There is nothing to do.";
/// A trial that nobody deletes, because its doctor was ended, goes by itself.
const TTL_SECONDS: i32 = 300;
/// No trial needs longer.
const ACTIVE_SECONDS: i32 = 60;

/// What to try.
pub struct Asked<'a> {
    /// The agent's image.
    pub image: &'a str,
    /// Its command; empty: the image's own.
    pub command: &'a [String],
    /// Name of the `SandboxPolicy`.
    pub policy: &'a str,
    /// Time for all of it.
    pub limit: Duration,
}

/// What came of it.
pub struct Tried {
    /// Name of the run.
    pub name: String,
    /// How it ended.
    pub ended: Ended,
    /// Why the run is still there, if it is.
    pub left: Option<String>,
}

/// How a trial ended.
pub enum Ended {
    /// The API server did not take the run.
    Refused(String),
    /// The run is over.
    Over(Box<AgentRun>),
    /// The run was not over in time; as it was seen last.
    Unfinished(Box<AgentRun>, Duration),
    /// Nobody can tell how the run ended.
    Lost(String),
}

/// Starts a run, waits for its end, and deletes it.
pub async fn one(cluster: &Cluster, asked: &Asked<'_>) -> Tried {
    let (client, namespace) = (&cluster.client, cluster.namespace.as_str());
    let built = Built {
        run: manifest(asked, &letters()),
        prompt: None,
    };
    let name = built.run.name_any();
    let run = match create(client, namespace, built, false).await {
        Ok(run) => run,
        Err(failure) => {
            let ended = Ended::Refused(failure.to_string());
            return Tried {
                name,
                ended,
                left: None,
            };
        }
    };
    let name = run.name_any();
    eprintln!(
        "AgentRun {namespace}/{name} is tried, for at most {} s",
        asked.limit.as_secs()
    );
    let mut seen = follow(client.clone(), namespace.to_owned(), &run);
    let mut last = run;
    let ended = match timeout(asked.limit, end(&mut seen, &mut last)).await {
        Ok(ended) => ended,
        Err(_) => Ended::Unfinished(Box::new(last.clone()), asked.limit),
    };
    let api: Api<AgentRun> = Api::namespaced(client.clone(), namespace);
    let left = delete(&api, &last, &mut seen).await.err();
    Tried { name, ended, left }
}

fn manifest(asked: &Asked<'_>, letters: &str) -> AgentRun {
    let amounts = |amounts: &[(&str, &str)]| -> BTreeMap<String, Quantity> {
        let pairs = amounts.iter();
        pairs
            .map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned())))
            .collect()
    };
    let spec = AgentRunSpec {
        policy_ref: Some(PolicyRef {
            name: asked.policy.to_owned(),
        }),
        task: Task {
            prompt: Some(PROMPT.to_owned()),
            prompt_from: None,
        },
        agent: Agent {
            image: Some(asked.image.to_owned()),
            command: asked.command.to_vec(),
            ..Agent::default()
        },
        agent_profile: None,
        repositories: Vec::new(),
        egress: None,
        resources: Some(Resources {
            requests: amounts(&[("cpu", "50m"), ("memory", "64Mi"), ("ephemeral-storage", "64Mi")]),
            limits: amounts(&[
                ("cpu", "500m"),
                ("memory", "256Mi"),
                ("ephemeral-storage", "256Mi"),
            ]),
        }),
        start_deadline_seconds: i32::try_from(asked.limit.as_secs()).ok(),
        active_deadline_seconds: Some(ACTIVE_SECONDS),
        scheduling_profile_name: None,
        requested_by: None,
        on_behalf_of: None,
        suspend: false,
        cancel: None,
        ttl_seconds_after_finished: Some(TTL_SECONDS),
    };
    AgentRun {
        metadata: ObjectMeta {
            name: Some(format!("doctor-{letters}")),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

async fn end(seen: &mut Receiver<Seen>, last: &mut AgentRun) -> Ended {
    let mut said = String::new();
    loop {
        match seen.recv().await {
            Some(Seen::Changed(run)) => *last = *run,
            Some(Seen::Deleted) => return Ended::Lost("somebody deleted it before its end".to_owned()),
            Some(Seen::Lost(failure)) => return Ended::Lost(failure.to_string()),
            None => return Ended::Lost("it is not seen any more".to_owned()),
        }
        if last.is_finished() {
            return Ended::Over(Box::new(last.clone()));
        }
        let status = last.status.clone().unwrap_or_default();
        let [phase, reason, message] =
            [&status.phase, &status.reason, &status.message].map(|word| word.as_deref().unwrap_or_default());
        let now = format!("  {phase}: {reason}. {message}");
        if now != said && !reason.is_empty() {
            eprintln!("{}", bounded(&now, 400));
            said = now;
        }
    }
}

async fn delete(api: &Api<AgentRun>, run: &AgentRun, seen: &mut Receiver<Seen>) -> Result<(), String> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: run.uid(),
            resource_version: None,
        }),
        ..DeleteParams::background()
    };
    match api.delete(&run.name_any(), &params).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        Err(error) => return Err(Failure::api("its deletion", &error).to_string()),
    }
    let gone = async {
        // Whoever sees it no more cannot wait for its end.
        while let Some(Seen::Changed(_)) = seen.recv().await {}
    };
    timeout(GONE, gone)
        .await
        .map_err(|_| format!("it was deleted, and is not gone after {} s", GONE.as_secs()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{failure, run, server};

    fn asked() -> Asked<'static> {
        Asked {
            image: "registry.test/cofferdam-runner:1",
            command: &[],
            policy: "default",
            limit: Duration::from_secs(5),
        }
    }

    /// An API server that takes a run, shows it over with `reason`, and lets it be deleted.
    fn cluster(reason: &'static str) -> (Cluster, crate::testing::Log) {
        let over = move || -> Value {
            let mut over = run("team-a", "doctor-x");
            over["status"] = json!({"phase": "Succeeded", "reason": reason, "conditions": [{"type": "Complete", "status": "True",
                "reason": reason, "message": "", "lastTransitionTime": "2026-11-26T10:00:00Z"}]});
            over
        };
        let (client, log) = server(move |asked| match asked.split_once(' ') {
            Some(("POST", _)) => (201, run("team-a", "doctor-x")),
            Some(("DELETE", _)) => (200, over()),
            Some((_, path)) if path.contains("watch=") => (200, json!({"type": "DELETED", "object": over()})),
            Some(("GET", _)) => (
                200,
                json!({"metadata": {"resourceVersion": "7"}, "items": [over()]}),
            ),
            _ => failure(404, "NotFound", "no such path"),
        });
        let namespace = "team-a".to_owned();
        (Cluster { client, namespace }, log)
    }

    #[tokio::test]
    async fn a_run_is_made_waited_for_and_deleted() {
        let (cluster, log) = cluster("Completed");
        let tried = one(&cluster, &asked()).await;
        assert!(matches!(&tried.ended, Ended::Over(run) if run.is_finished()));
        assert_eq!(tried.left, None);
        let log = log.lock();
        let sent = |verb: &str| {
            log.iter()
                .find(|(asked, _)| asked.starts_with(verb))
                .unwrap()
                .1
                .clone()
        };
        let mut made = sent("POST");
        assert!(made["metadata"]["name"].as_str().unwrap().starts_with("doctor-"));
        made["metadata"] = Value::Null;
        insta::assert_snapshot!(serde_json::to_string_pretty(&made).unwrap());
        assert_eq!(sent("DELETE")["preconditions"]["uid"], "uid-doctor-x");
        assert_eq!(sent("DELETE")["propagationPolicy"], "Background");
    }

    #[tokio::test]
    async fn a_run_that_is_not_taken_leaves_nothing_to_delete() {
        let (client, log) = server(|_| failure(422, "Invalid", "namespace team-a has not opted in"));
        let namespace = "team-a".to_owned();
        let tried = one(&Cluster { client, namespace }, &asked()).await;
        assert!(matches!(&tried.ended, Ended::Refused(why) if why.contains("has not opted in")));
        assert_eq!((tried.left, log.lock().len()), (None, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_does_not_end_is_deleted_all_the_same() {
        let (client, log) = server(|asked| match asked.split_once(' ') {
            Some(("POST", _)) => (201, run("team-a", "doctor-x")),
            Some(("DELETE", _)) => failure(403, "Forbidden", "you may not"),
            Some((_, path)) if path.contains("watch=") => failure(500, "InternalError", "no watch"),
            _ => (
                200,
                json!({"metadata": {"resourceVersion": "7"}, "items": [run("team-a", "doctor-x")]}),
            ),
        });
        let namespace = "team-a".to_owned();
        let tried = one(&Cluster { client, namespace }, &asked()).await;
        assert!(matches!(tried.ended, Ended::Unfinished(..)));
        assert!(tried.left.unwrap().contains("you may not"));
        assert!(log.lock().iter().any(|(asked, _)| asked.starts_with("DELETE")));
    }
}
