//! `rerun`: a run again, with every input pinned to what the first one resolved. It is judged by the policies of today.

use std::collections::BTreeMap;

use kube::api::{Patch, PatchParams};
use kube::core::ObjectMeta;
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::place::{Cluster, Flags, Patience};
use crate::print;
use crate::run::build::{Built, letters};
use crate::run::{create, follow};
use crate::runs::which::{Which, find};
use cofferdam_api::AgentRun;
use cofferdam_text::escape;

/// Annotation of the new run: which one it repeats, as `name/uid`.
pub const OF: &str = "rerun.cofferdam.dev/of";
/// Annotation of the first run: by which one it was repeated last.
pub const BY: &str = "rerun.cofferdam.dev/by";
/// Longest part of a name that is kept.
const NAME: usize = 57;

/// Which run, and how.
///
/// Needs what `run` needs, and `patch` on agentruns for the link from the first run. The object of the first run must be
/// there: the archive keeps what came out of a run, not what went in.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The run: its name, or @latest. Without one: the newest of mine.
    run: Option<Which>,
    /// The new run's name. Without one: the old one's, and five letters.
    #[arg(long)]
    name: Option<String>,
    /// Only say what would be created.
    #[arg(long)]
    dry_run: bool,
    /// Do not follow.
    #[arg(short, long)]
    detach: bool,
}

/// Repeats a run.
///
/// # Errors
/// It cannot be repeated as it was.
pub async fn main(args: &Args, flags: &Flags) -> Result<Exit, Failure> {
    let Cluster { client, namespace } = flags.connect(Patience::Stream).await?;
    let first = find(&client, &namespace, args.run.as_ref()).await?.readable()?;
    let again = repeat(&first, args.name.as_deref())?;
    if args.dry_run {
        let value = serde_json::to_value(&again).map_err(|error| Failure::Broken(error.to_string()))?;
        print::out(&print::yaml::text(&value))?;
        return Ok(Exit::Done);
    }
    let built = Built {
        run: again,
        prompt: None,
    };
    let run = create(&client, &namespace, built, false).await?;
    print::out(&format!("agentrun.cofferdam.dev/{}\n", run.name_any()))?;
    link(&client, &namespace, &first, &run).await;
    if args.detach {
        return Ok(Exit::Done);
    }
    follow::to_the_end(&client, &namespace, &run).await
}

/// The link back is worth a word, not the run.
async fn link(client: &Client, namespace: &str, first: &AgentRun, run: &AgentRun) {
    let api: Api<AgentRun> = Api::namespaced(client.clone(), namespace);
    let by = format!("{}/{}", run.name_any(), run.uid().unwrap_or_default());
    let patch = Patch::Merge(json!({"metadata": {"uid": first.metadata.uid, "annotations": {BY: by}}}));
    if let Err(error) = api
        .patch(&first.name_any(), &PatchParams::default(), &patch)
        .await
    {
        let failure = Failure::api(format!("the link from AgentRun {}", first.name_any()), &error);
        eprintln!("{}", escape(&failure.to_string()));
    }
}

/// The run again. Pure but for its name.
fn repeat(first: &AgentRun, name: Option<&str>) -> Result<AgentRun, Failure> {
    let old = first.name_any();
    let resolved = first.status.as_ref().and_then(|status| status.resolved.as_ref()).ok_or_else(|| {
        Failure::No(format!(
            "AgentRun {old} was never admitted, so there is nothing to repeat it by: create it again from its manifest"
        ))
    })?;
    let mut spec = first.spec.clone();
    let agent = resolved.images.iter().find(|image| image.name == "agent");
    spec.agent.image = pinned(&spec.agent.image, agent.map(|image| image.image_id.as_str())).ok_or_else(|| {
        Failure::No(format!(
            "AgentRun {old} does not say by which digest its image {} ran, so it cannot be repeated exactly: name the image by \
             digest in a new run",
            spec.agent.image
        ))
    })?;
    for repository in &mut spec.repositories {
        let commit = resolved
            .repositories
            .iter()
            .find(|resolved| resolved.name == repository.name);
        let commit = commit.ok_or_else(|| {
            Failure::No(format!(
                "AgentRun {old} does not say which commit of repository {} it worked on, so it cannot be repeated exactly",
                repository.name
            ))
        })?;
        repository.reference = Some(commit.commit.clone());
    }
    // Whoever asks is whoever asks now, and nothing is ended before it began.
    spec.requested_by = None;
    spec.suspend = false;
    spec.cancel = None;
    let uid = first.metadata.uid.clone().unwrap_or_default();
    let kept: String = old.chars().take(NAME).collect();
    let name = name.map_or_else(
        || format!("{}-{}", kept.trim_end_matches('-'), letters()),
        str::to_owned,
    );
    Ok(AgentRun {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: first.namespace(),
            labels: first.metadata.labels.clone(),
            annotations: Some(BTreeMap::from([(OF.to_owned(), format!("{old}/{uid}"))])),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    })
}

/// The image with the digest that ran; none: nobody knows it.
fn pinned(image: &str, ran: Option<&str>) -> Option<String> {
    if image.contains('@') {
        return Some(image.to_owned());
    }
    // A node that was given the image without a registry names the digest of its configuration, which nobody can pull.
    let (_, digest) = ran?.rsplit_once('@')?;
    digest.starts_with("sha256:").then(|| format!("{image}@{digest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> AgentRun {
        serde_json::from_value(json!({
            "metadata": {"name": "fix", "namespace": "team-a", "uid": "u1", "labels": {"team": "a"}, "annotations": {"x": "y"},
                "resourceVersion": "5"},
            "spec": {"task": {"prompt": "p"}, "agent": {"image": "ghcr.io/a/agent:1"}, "cancel": "KeepWork", "suspend": true,
                "requestedBy": {"username": "anna"}, "policyRef": {"name": "strict"},
                "repositories": [{"name": "app", "url": "https://git.test/app", "ref": "main", "access": "ReadWrite"}]},
            "status": {"resolved": {"image": "ghcr.io/a/agent:1", "runtimeClassName": "gvisor", "policyHash": "h",
                "images": [{"name": "agent", "imageID": format!("ghcr.io/a/agent@sha256:{}", "1".repeat(64))}],
                "repositories": [{"name": "app", "commit": "c".repeat(40)}]}},
        }))
        .unwrap()
    }

    #[test]
    fn every_input_is_pinned_and_nothing_else_is_taken_over() {
        let again = repeat(&first(), Some("again")).unwrap();
        insta::assert_json_snapshot!(serde_json::to_value(&again).unwrap());
        let named = repeat(&first(), None).unwrap().name_any();
        assert!(named.starts_with("fix-") && named.len() == 9, "{named}");
    }

    #[test]
    fn what_is_not_known_exactly_is_not_repeated() {
        let spoil = |change: fn(&mut AgentRun)| {
            let mut run = first();
            change(&mut run);
            repeat(&run, None).map(drop).map_err(|failure| failure.exit())
        };
        assert_eq!(spoil(|_| {}), Ok(()));
        assert_eq!(spoil(|run| run.status = None), Err(Exit::No));
        let resolved = |run: &mut AgentRun| run.status.as_mut().unwrap().resolved.as_mut().unwrap().clone();
        let _ = resolved(&mut first());
        assert_eq!(
            spoil(|run| run
                .status
                .as_mut()
                .unwrap()
                .resolved
                .as_mut()
                .unwrap()
                .images
                .clear()),
            Err(Exit::No)
        );
        assert_eq!(
            spoil(|run| run
                .status
                .as_mut()
                .unwrap()
                .resolved
                .as_mut()
                .unwrap()
                .repositories
                .clear()),
            Err(Exit::No)
        );
    }

    #[test]
    fn an_image_is_pinned_by_what_can_be_pulled() {
        let digest = format!("sha256:{}", "1".repeat(64));
        for (image, ran, pin) in [
            (
                "a/b:1",
                Some(format!("a/b@{digest}")),
                Some(format!("a/b:1@{digest}")),
            ),
            (
                "a/b",
                Some(format!("a/b@{digest}")),
                Some(format!("a/b@{digest}")),
            ),
            ("a/b@sha256:00", None, Some("a/b@sha256:00".to_owned())),
            ("a/b:1", Some(digest.clone()), None),
            ("a/b:1", None, None),
        ] {
            assert_eq!(pinned(image, ran.as_deref()), pin, "{image}");
        }
    }
}
