//! `kubectl cofferdam explain`: whether a run may start, with what, and who decided, before anything starts.
//!
//! Files and cluster give the same [`judge::Facts`] to the same engine as the controller's; the rest is reading and
//! writing. Exit codes: 0 allowed, 1 refused, 2 cannot tell.

mod cluster;
#[cfg(test)]
mod cluster_tests;
pub mod document;
mod dry_run;
pub(crate) mod files;
pub mod judge;
mod offline;
mod pod;
mod presets;
mod refusal;
#[cfg(test)]
mod reported;
#[cfg(test)]
mod tests;
mod text;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::ValueEnum;
use kube::{Client, ResourceExt as _};

use self::document::{API_VERSION, Answer, DryRun, Explanation, FactsFrom, Outcome, RunName, Unknown};
use self::files::{STDIN, Stop};
use self::judge::{Facts, Judgement, judge};
use self::offline::{Assumed, Given};
use crate::manifest::Manifest;
use crate::place::{Flags, Patience, in_full};
use crate::print::paint::Paint;
use cofferdam_api::AgentRun;
use cofferdam_policy::dimension::vulnerabilities::Counts;
use cofferdam_policy::explain::asked::Asked;

/// What a run may do, and which policy decides it, before anything starts.
///
/// With --policy it works on files alone; without, it asks the cluster with your own rights and also has the API
/// server try the run and a pod like its own, without storing either. Exit code: 0 allowed, 1 refused (the run, or a
/// --request of it), 2 cannot tell.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The manifest of one AgentRun; - is standard input.
    #[arg(short, long, value_name = "FILE")]
    filename: String,
    /// Policies to judge by instead of the cluster's (SandboxPolicy, ClusterSandboxPolicy; a Namespace for its labels, a RuntimeClass for that it exists). Can be given several times.
    #[arg(long, value_name = "FILE")]
    policy: Vec<String>,
    /// A label of the run's namespace. With --policy only.
    #[arg(long, value_name = "KEY=VALUE", requires = "policy", value_parser = label)]
    namespace_label: Vec<(String, String)>,
    /// A RuntimeClass that the cluster has; without any, those that policies name. With --policy only.
    #[arg(long, value_name = "NAME", requires = "policy")]
    runtime_class: Vec<String>,
    /// A request of the agent to be judged too, such as `GET http://host.example/path`. Can be given several times.
    #[arg(long, value_name = "METHOD URL")]
    request: Vec<Asked>,
    /// How to write the explanation.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// How an explanation is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One document, as docs/explain.md describes it.
    Json,
}

/// The command line contradicts itself or the manifest.
#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error("standard input can be read only once: give - for one file")]
    StdinTwice,
    #[error("the AgentRun is of namespace {of_run}, and -n says {given}: leave one of them out")]
    Namespace { of_run: String, given: String },
    #[error(
        "with --policy the files alone are asked: leave out --context, --kubeconfig, --cluster, --user and --as"
    )]
    Both,
}

/// Explains, writes, and says how it went.
pub async fn main(args: &Args, flags: &Flags) -> ExitCode {
    let explanation = match Box::pin(explain(args, flags)).await {
        Ok(explanation) => explanation,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(Answer::CannotTell.exit_code());
        }
    };
    match write(&explanation, args.output) {
        Ok(()) => ExitCode::from(explanation.exit_code()),
        // stdout is closed, such as by `head`: an answer that was not read in full is none.
        Err(_) => ExitCode::from(Answer::CannotTell.exit_code()),
    }
}

fn write(explanation: &Explanation, output: Output) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match output {
        Output::Text => out.write_all(text::render(explanation, Paint::for_output(&out)).as_bytes())?,
        Output::Json => {
            serde_json::to_writer_pretty(&mut out, explanation)?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()
}

fn label(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write key=value"),
    }
}

async fn explain(args: &Args, flags: &Flags) -> Result<Explanation, UsageError> {
    let all = args.policy.iter().chain([&args.filename]);
    if all.filter(|file| *file == STDIN).count() > 1 {
        return Err(UsageError::StdinTwice);
    }
    let from = if args.policy.is_empty() {
        FactsFrom::Cluster
    } else {
        FactsFrom::Files
    };
    if from == FactsFrom::Files && flags.names_a_cluster() {
        return Err(UsageError::Both);
    }
    let mut run = match files::text(&args.filename).and_then(|text| files::run(&args.filename, &text)) {
        Ok(run) => run,
        Err(stop) => return Ok(stopped(None, from, stop)),
    };
    if let (Some(of_run), Some(given)) = (run.namespace(), &flags.namespace)
        && of_run != *given
    {
        return Err(UsageError::Namespace {
            of_run,
            given: given.clone(),
        });
    }
    run.metadata.namespace = run.metadata.namespace.take().or_else(|| flags.namespace.clone());
    match from {
        FactsFrom::Files => Ok(on_files(run, args)),
        FactsFrom::Cluster => Ok(Box::pin(on_cluster(run, args, flags)).await),
    }
}

fn on_files(mut run: AgentRun, args: &Args) -> Explanation {
    run.metadata.namespace.get_or_insert_with(|| "default".to_owned());
    let mut manifests = Vec::new();
    for file in &args.policy {
        match files::text(file).and_then(|text| files::policies(file, &text)) {
            Ok(found) => manifests.extend(found),
            Err(stop) => return stopped(Some(&run), FactsFrom::Files, stop),
        }
    }
    let given = Given {
        namespace_labels: args.namespace_label.iter().cloned().collect(),
        runtime_classes: args.runtime_class.clone(),
        requests: args.request.clone(),
    };
    judged_on_files(&run, &manifests, &given)
}

/// The explanation that files alone give. Pure.
fn judged_on_files(run: &AgentRun, manifests: &[Manifest], given: &Given) -> Explanation {
    match offline::facts(run, manifests, given) {
        Ok(Assumed { facts, assumed }) => Explanation {
            assumed,
            ..judged(run, FactsFrom::Files, judge(run, &facts))
        },
        Err(twice) => {
            let unknown = Unknown {
                what: "which policy is meant".to_owned(),
                why: twice.to_string(),
                help: "give each object once".to_owned(),
            };
            stopped(Some(run), FactsFrom::Files, Stop::Unknown(vec![unknown]))
        }
    }
}

async fn on_cluster(mut run: AgentRun, args: &Args, flags: &Flags) -> Explanation {
    let cluster = match flags.connect(Patience::Answer).await {
        Ok(cluster) => cluster,
        Err(error) => {
            let unknown = Unknown {
                what: "the cluster".to_owned(),
                why: in_full(&error),
                help: "name a kubeconfig or a context that kubectl can use, or give --policy files"
                    .to_owned(),
            };
            return stopped(Some(&run), FactsFrom::Cluster, Stop::Unknown(vec![unknown]));
        }
    };
    run.metadata.namespace.get_or_insert(cluster.namespace);
    ask(&cluster.client, run, args.request.clone()).await
}

/// The explanation that a cluster gives about `run`, which has a namespace.
async fn ask(client: &Client, run: AgentRun, requests: Vec<Asked>) -> Explanation {
    let facts = match Box::pin(cluster::facts(client, &run)).await {
        Ok(facts) => Facts { requests, ..facts },
        Err(unknown) => return stopped(Some(&run), FactsFrom::Cluster, Stop::Unknown(unknown)),
    };
    let (tried, run) = match Box::pin(dry_run::run(client, &run)).await {
        Ok(tried) => tried,
        Err(unknown) => return stopped(Some(&run), FactsFrom::Cluster, Stop::Unknown(vec![unknown])),
    };
    // What cannot be judged anew because it is there may be waiting.
    let queue = match tried.outcome {
        Outcome::NotAsked => cluster::queue(client, &run).await,
        Outcome::Accepted | Outcome::Refused => None,
    };
    let judgement = judge(&run, &facts);
    let pod = judgement
        .evaluation
        .clone()
        .and_then(|evaluation| evaluation.admit().ok());
    let explanation = Explanation {
        credentials: cluster::states(&facts.credentials, judgement.evaluation.as_ref()),
        assumed: offline::of_every_run(&facts),
        dry_runs: vec![tried],
        queue,
        unknown: unknown_nodes(&run, &facts, &judgement)
            .into_iter()
            .chain(unknown_reports(&run, &facts, &judgement))
            .collect(),
        ..judged(&run, FactsFrom::Cluster, judgement)
    };
    let explanation = match pod {
        Some(admitted) => Box::pin(with_pod(explanation, client, &pod::build(&run, &admitted))).await,
        None => explanation,
    };
    concluded(explanation)
}

async fn with_pod(
    mut explanation: Explanation,
    client: &Client,
    pod: &k8s_openapi::api::core::v1::Pod,
) -> Explanation {
    match dry_run::pod(client, pod).await {
        Ok(tried) => explanation.dry_runs.push(tried),
        Err(unknown) => explanation.unknown.push(unknown),
    }
    explanation
}

/// Nodes are not read, as few users may. Where the verdict hangs on them it cannot be told.
fn unknown_nodes(run: &AgentRun, facts: &Facts, judgement: &Judgement) -> Option<Unknown> {
    if !facts.asks_of_nodes() || judge(run, &facts.without_user_namespaces()).refusal == judgement.refusal {
        return None;
    }
    Some(Unknown {
        what: "whether a node advertises user namespaces".to_owned(),
        why: "a policy requires them, and nodes are not read here".to_owned(),
        help:
            "kubectl get nodes -o yaml shows them in status.runtimeHandlers; the controller decides on them"
                .to_owned(),
    })
}

/// Reports are not read, as few users may. Where the verdict hangs on them it cannot be told.
fn unknown_reports(run: &AgentRun, facts: &Facts, judgement: &Judgement) -> Option<Unknown> {
    let worst = Counts {
        critical: 1,
        ..Counts::default()
    };
    let differs = |found| judge(run, &facts.with_reports(run, found)).refusal != judgement.refusal;
    (facts.asks_of_scanners() && (differs(None) || differs(Some(worst)))).then(|| Unknown {
        what: "what scanners found in the images".to_owned(),
        why: "a policy has VulnerabilityReports looked at (limits.images.vulnerabilities), and they are not read here"
            .to_owned(),
        help: "kubectl get vulnerabilityreports -A -o wide shows them; the controller decides on those with the images' \
               digests"
            .to_owned(),
    })
}

/// The explanation of what the engine says.
fn judged(run: &AgentRun, facts: FactsFrom, judgement: Judgement) -> Explanation {
    Explanation {
        verdict: if judgement.refusal.is_some() {
            Answer::Refused
        } else {
            Answer::Allowed
        },
        reason: judgement.refusal.as_ref().map(|refusal| refusal.reason),
        message: judgement
            .refusal
            .as_ref()
            .map(cofferdam_policy::refusal::Refusal::message),
        findings: judgement.findings,
        egress: judgement.egress,
        requests: judgement.requests,
        ..nothing(Some(run), facts)
    }
}

/// What the API server said counts as much as policy, and what could not be asked more than both.
fn concluded(mut explanation: Explanation) -> Explanation {
    let refused = |tried: &DryRun| tried.outcome == Outcome::Refused;
    if explanation.dry_runs.iter().any(refused) {
        explanation.verdict = Answer::Refused;
    }
    if !explanation.unknown.is_empty() && explanation.verdict == Answer::Allowed {
        explanation.verdict = Answer::CannotTell;
    }
    explanation
}

fn stopped(run: Option<&AgentRun>, facts: FactsFrom, stop: Stop) -> Explanation {
    let nothing = nothing(run, facts);
    match stop {
        Stop::Flawed(problems, verdict) => Explanation {
            verdict,
            problems,
            ..nothing
        },
        Stop::Unknown(unknown) => Explanation { unknown, ..nothing },
    }
}

fn nothing(run: Option<&AgentRun>, facts: FactsFrom) -> Explanation {
    Explanation {
        api_version: API_VERSION,
        kind: "Explanation",
        run: run.map(|run| RunName {
            namespace: run.namespace().unwrap_or_default(),
            name: run
                .metadata
                .name
                .clone()
                .or(run.metadata.generate_name.clone())
                .unwrap_or_default(),
        }),
        facts,
        verdict: Answer::CannotTell,
        reason: None,
        message: None,
        problems: Vec::new(),
        unknown: Vec::new(),
        findings: Vec::new(),
        egress: None,
        requests: Vec::new(),
        credentials: Vec::new(),
        assumed: Vec::new(),
        dry_runs: Vec::new(),
        queue: None,
    }
}
