//! `run`: starts an agent and follows it to its end.

pub mod build;
mod editor;
mod ended;
pub mod follow;
mod line;
pub mod prompt;
pub mod template;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource as _, ResourceExt};
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::place::{Cluster, Flags, Patience};
use crate::print::{self, Format};
use build::Asked;
use cofferdam_api::AgentRun;
use prompt::PromptFlags;

/// Shows up in the managed fields of what this command creates.
pub const FIELD_MANAGER: &str = "kubectl-cofferdam";

/// What to run, and how.
///
/// The run's name goes to standard output, how it goes to standard error. The exit code says how it ended: 0 completed,
/// 10 the agent failed, 11 the cluster, 12 a policy refused it, 13 somebody ended it; 4: it goes on, you have left it.
/// Ctrl-C leaves it, a second one within two seconds ends it. Needs `create` on agentruns, `use` on the policy, and for a
/// prompt of more than 2 KiB `create`, `patch` and `delete` on configmaps.
#[derive(clap::Args, Debug)]
pub struct Args {
    // Before what stands behind `--`.
    #[command(flatten)]
    prompt: PromptFlags,
    #[command(flatten)]
    asked: Asked,
    /// Only try: client prints the object, server has the API server judge it, and neither stores it.
    #[arg(long, value_name = "client|server", value_parser = ["client", "server"])]
    dry_run: Option<String>,
    /// Do not follow.
    #[arg(short, long)]
    detach: bool,
    /// How to write the run: name, json, yaml or jsonpath=TEMPLATE.
    #[arg(short, long, default_value = "name")]
    output: Format,
}

/// Starts and follows.
///
/// # Errors
/// The run cannot be made.
pub async fn main(args: &Args, flags: &Flags) -> Result<Exit, Failure> {
    let text = args.prompt.read(args.asked.has_prompt())?;
    // Only a template has to be asked for before it is known what is to run.
    let (cluster, template) = match args.asked.template() {
        None => (None, None),
        Some(name) => {
            let cluster = flags.connect(Patience::Stream).await?;
            let template = template::read(&cluster.client, &cluster.namespace, name).await?;
            (Some(cluster), Some(template))
        }
    };
    let of_namespace = cluster
        .as_ref()
        .map(|cluster| cluster.namespace.as_str())
        .or(flags.namespace.as_deref());
    let given = args
        .asked
        .build(text.as_deref(), of_namespace, template.as_ref())?;
    if args.dry_run.as_deref() == Some("client") {
        write(&given.run, &args.output)?;
        return Ok(Exit::Done);
    }
    let Cluster { client, namespace } = match cluster {
        Some(cluster) => cluster,
        None => flags.connect(Patience::Stream).await?,
    };
    let namespace = given.run.namespace().unwrap_or(namespace);
    let run = create(&client, &namespace, given, args.dry_run.is_some()).await?;
    write(&run, &args.output)?;
    if args.dry_run.is_some() {
        return Ok(Exit::Done);
    }
    if args.detach {
        return Ok(Exit::Done);
    }
    follow::to_the_end(&client, &namespace, &run).await
}

fn write(run: &AgentRun, format: &Format) -> Result<(), Failure> {
    let value = serde_json::to_value(run).map_err(|error| Failure::Broken(error.to_string()))?;
    let text = match format {
        Format::Table | Format::Wide | Format::Name => {
            format!(
                "agentrun.cofferdam.dev/{}\n",
                run.metadata.name.as_deref().unwrap_or_default()
            )
        }
        documents => documents
            .document(&value, print::to_terminal())?
            .unwrap_or_default(),
    };
    print::out(&text)
}

/// Creates a run, after the ConfigMap with its prompt where it needs one.
///
/// # Errors
/// The API server refuses.
pub async fn create(
    client: &Client,
    namespace: &str,
    given: build::Built,
    dry_run: bool,
) -> Result<AgentRun, Failure> {
    let params = PostParams {
        dry_run,
        field_manager: Some(FIELD_MANAGER.to_owned()),
    };
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let name = given.run.metadata.name.clone().unwrap_or_default();
    if let Some(map) = &given.prompt {
        maps.create(&params, map).await.map_err(|error| {
            Failure::api(
                format!("the ConfigMap with the prompt of AgentRun {namespace}/{name}"),
                &error,
            )
        })?;
    }
    let api: Api<AgentRun> = Api::namespaced(client.clone(), namespace);
    let created = api.create(&params, &given.run).await;
    let map = given
        .prompt
        .as_ref()
        .map(ResourceExt::name_any)
        .filter(|_| !dry_run);
    match created {
        Ok(run) => {
            if let Some(map) = map {
                let owner = OwnerReference {
                    api_version: AgentRun::api_version(&()).into_owned(),
                    kind: AgentRun::kind(&()).into_owned(),
                    name: run.name_any(),
                    uid: run.uid().unwrap_or_default(),
                    ..OwnerReference::default()
                };
                let patch = Patch::Merge(json!({"metadata": {"ownerReferences": [owner]}}));
                if let Err(error) = maps.patch(&map, &PatchParams::default(), &patch).await {
                    eprintln!(
                        "ConfigMap {map} will not go with its run: {}",
                        cofferdam_text::escape(&Failure::api("its owner", &error).to_string())
                    );
                }
            }
            Ok(run)
        }
        Err(error) => {
            if let Some(map) = map {
                // Whatever comes of that, the refusal is what counts.
                drop(maps.delete(&map, &DeleteParams::default()).await);
            }
            Err(refused(namespace, &name, &error))
        }
    }
}

/// The API server's refusal of a run is a no, unlike that of other questions.
fn refused(namespace: &str, name: &str, error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) if matches!(status.code, 400 | 403 | 409 | 413 | 422) => Failure::No(
            format!("AgentRun {namespace}/{name} is refused: {}", status.message),
        ),
        error => Failure::api(format!("AgentRun {namespace}/{name}"), error),
    }
}

#[cfg(test)]
mod tests;
