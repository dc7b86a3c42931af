//! `rerun`: a run again, with every input pinned to what the first one resolved. It is judged by the policies of today.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::core::ObjectMeta;
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::place::{Cluster, Flags, Patience};
use crate::print;
use crate::run::build::{Built, letters, put_prompt};
use crate::run::{create, follow};
use crate::runs::which::{Which, find};
use cofferdam_api::inputs::{self, InputsError};
use cofferdam_api::{
    AgentProfile, AgentRun, ClusterSandboxPolicy, ResolvedAgentProfile, SandboxPolicy, canonical, names,
};
use cofferdam_text::escape;

/// Annotation of the new run: which one it repeats, as `name/uid`.
pub const OF: &str = "rerun.cofferdam.dev/of";
/// Annotation of the first run: by which one it was repeated last.
pub const BY: &str = "rerun.cofferdam.dev/by";
/// Longest part of a name that is kept.
const NAME: usize = 57;

/// Which run, and how.
///
/// Needs what `run` needs, `get` on configmaps where the prompt stands in one, and `patch` on agentruns for the link from the first run. The object of the first run must be
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
    let mut again = repeat(&first, args.name.as_deref())?;
    let prompt = copied_prompt(&client, &namespace, &first, &mut again).await?;
    if let Some(ran) = profile_of(&first) {
        let offered = offered_now(&client, &namespace, ran).await?;
        same_profile(&first.name_any(), ran, offered.as_ref())?;
    }
    let inputs = same_inputs(&first, &again)?;
    eprintln!(
        "inputs {inputs}, as those of AgentRun {}",
        escape(&first.name_any())
    );
    if args.dry_run {
        let value = serde_json::to_value(&again).map_err(|error| Failure::Broken(error.to_string()))?;
        print::out(&print::yaml::text(&value))?;
        return Ok(Exit::Done);
    }
    let built = Built { run: again, prompt };
    let run = create(&client, &namespace, built, false).await?;
    print::out(&format!("agentrun.cofferdam.dev/{}\n", run.name_any()))?;
    link(&client, &namespace, &first, &run).await;
    if args.detach {
        return Ok(Exit::Done);
    }
    follow::to_the_end(&client, &namespace, &run).await
}

/// The prompt of a run that has it in a ConfigMap, for the new run alone: the old ConfigMap goes with the old run.
async fn copied_prompt(
    client: &Client,
    namespace: &str,
    first: &AgentRun,
    again: &mut AgentRun,
) -> Result<Option<ConfigMap>, Failure> {
    let Some(source) = &first.spec.task.prompt_from else {
        return Ok(None);
    };
    let (old, key) = (first.name_any(), &source.config_map_key_ref);
    let what = format!(
        "ConfigMap {namespace}/{} with the prompt of AgentRun {old}",
        key.name
    );
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = api
        .get_opt(&key.name)
        .await
        .map_err(|error| Failure::api(what.clone(), &error))?;
    let text = map.and_then(|map| map.data?.remove(&key.key));
    let text = text.ok_or_else(|| {
        Failure::No(format!(
            "the {what} is gone, or has no key {}, so the run cannot be repeated: create it again from the text of digest {}",
            key.key, key.digest
        ))
    })?;
    if names::digest(text.as_bytes()) != key.digest {
        return Err(Failure::No(format!(
            "the {what} holds another text than the one of digest {}, so the run cannot be repeated exactly",
            key.digest
        )));
    }
    put_prompt(again, &text)
}

/// The digest of what goes into both runs.
fn same_inputs(first: &AgentRun, again: &AgentRun) -> Result<String, Failure> {
    let unknown = |error: InputsError| {
        Failure::No(format!(
            "AgentRun {} cannot be repeated exactly: {error}",
            first.name_any()
        ))
    };
    let was = inputs::digest(first).map_err(unknown)?;
    // What the profile is was compared with what its policy offers today.
    let by_profile = profile_of(first).is_some().then(|| AgentRun {
        status: first.status.clone(),
        ..again.clone()
    });
    let is = inputs::digest(by_profile.as_ref().unwrap_or(again)).map_err(unknown)?;
    if was == is {
        return Ok(is);
    }
    Err(Failure::No(format!(
        "AgentRun {} cannot be repeated exactly: its inputs were {was}, and those of the new run would be {is}",
        first.name_any()
    )))
}

/// The profile by which the run was started.
fn profile_of(run: &AgentRun) -> Option<&ResolvedAgentProfile> {
    run.status.as_ref()?.resolved.as_ref()?.agent_profile.as_ref()
}

/// The profile as the same policy offers it today.
async fn offered_now(
    client: &Client,
    namespace: &str,
    ran: &ResolvedAgentProfile,
) -> Result<Option<AgentProfile>, Failure> {
    let (kind, name) = (ran.policy_kind.as_str(), ran.policy_name.as_str());
    let failed = |error: &kube::Error| Failure::api(format!("{kind} {name}, which offered the agent"), error);
    let profiles = if kind == "ClusterSandboxPolicy" {
        let api: Api<ClusterSandboxPolicy> = Api::all(client.clone());
        let found = api.get_opt(name).await.map_err(|error| failed(&error))?;
        found.map(|policy| policy.spec.agent_profiles)
    } else {
        let api: Api<SandboxPolicy> = Api::namespaced(client.clone(), namespace);
        let found = api.get_opt(name).await.map_err(|error| failed(&error))?;
        found.map(|policy| policy.spec.agent_profiles)
    };
    let mut profiles = profiles.unwrap_or_default().into_iter();
    Ok(profiles.find(|profile| profile.name == ran.name))
}

/// A run by a profile is the same again only if its policy offers the same.
fn same_profile(
    old: &str,
    ran: &ResolvedAgentProfile,
    offered: Option<&AgentProfile>,
) -> Result<(), Failure> {
    let today = offered.and_then(|profile| canonical::to_string(profile).ok());
    if today.is_some_and(|text| names::digest(text.as_bytes()) == ran.digest) {
        return Ok(());
    }
    let ResolvedAgentProfile {
        name,
        policy_kind,
        policy_name,
        ..
    } = ran;
    Err(Failure::No(format!(
        "AgentRun {old} was started by the profile {name} as {policy_kind} {policy_name} offered it then, and today it offers another \
         one or none, so it cannot be repeated exactly: start a new run with kubectl cofferdam run --profile"
    )))
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
    // A profile has its image by digest.
    if let Some(image) = &spec.agent.image {
        let pin = pinned(image, agent.map(|image| image.image_id.as_str())).ok_or_else(|| {
            Failure::No(format!(
                "AgentRun {old} does not say by which digest its image {image} ran, so it cannot be repeated exactly: name the image \
                 by digest in a new run"
            ))
        })?;
        spec.agent.image = Some(pin);
    }
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
    use crate::testing::{failure, server};

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
    fn a_run_and_its_repetition_have_equal_inputs() {
        let again = repeat(&first(), None).unwrap();
        assert_eq!(
            same_inputs(&first(), &again).unwrap(),
            inputs::digest(&first()).unwrap()
        );
        let mut other = again;
        other.spec.agent.args = vec!["-v".to_owned()];
        assert_eq!(same_inputs(&first(), &other).unwrap_err().exit(), Exit::No);
    }

    fn of_config_map(text: &str) -> AgentRun {
        let mut run = first();
        run.spec.task = serde_json::from_value(
            json!({"promptFrom": {"configMapKeyRef": {"name": "fix-prompt", "key": "prompt", "digest": names::digest(text.as_bytes())}}}),
        )
        .unwrap();
        run
    }

    async fn copied(
        first: &AgentRun,
        answer: (u16, serde_json::Value),
    ) -> Result<(AgentRun, Option<ConfigMap>), Failure> {
        let (client, _) = server(move |_| answer.clone());
        let mut again = repeat(first, Some("again")).unwrap();
        let map = copied_prompt(&client, "team-a", first, &mut again).await?;
        Ok((again, map))
    }

    #[tokio::test]
    async fn a_prompt_in_a_config_map_is_copied_so_that_it_outlives_the_first_run() {
        let text = "x".repeat(3000);
        let map = |text: &str| {
            (
                200,
                json!({"metadata": {"name": "fix-prompt"}, "data": {"prompt": text}}),
            )
        };
        let first = of_config_map(&text);
        let (again, copy) = copied(&first, map(&text)).await.unwrap();
        assert_eq!(copy.unwrap().metadata.name.as_deref(), Some("again-prompt"));
        assert_eq!(
            again
                .spec
                .task
                .prompt_from
                .as_ref()
                .unwrap()
                .config_map_key_ref
                .name,
            "again-prompt"
        );
        assert!(same_inputs(&first, &again).is_ok());
        for (answer, exit, said) in [
            (map(&format!("{text}.")), Exit::No, "holds another text"),
            (
                (200, json!({"metadata": {}, "data": {"other": ""}})),
                Exit::No,
                "has no key prompt",
            ),
            (failure(404, "NotFound", "gone"), Exit::No, "is gone"),
            (
                failure(403, "Forbidden", "you may not"),
                Exit::CannotTell,
                "you may not",
            ),
        ] {
            let failure = copied(&first, answer).await.unwrap_err();
            assert!(
                failure.exit() == exit && failure.to_string().contains(said),
                "{failure}"
            );
        }
    }

    #[test]
    fn a_run_by_a_profile_is_repeated_only_by_the_same_profile() {
        let profile = |args: &[&str]| -> AgentProfile {
            let image = format!("ghcr.io/a/agent@sha256:{}", "1".repeat(64));
            serde_json::from_value(json!({"name": "claude-code", "image": image, "args": args})).unwrap()
        };
        let offered = profile(&["--print"]);
        let digest = names::digest(canonical::to_string(&offered).unwrap().as_bytes());
        let ran = ResolvedAgentProfile {
            name: "claude-code".to_owned(),
            policy_kind: "SandboxPolicy".to_owned(),
            policy_name: "default".to_owned(),
            digest,
        };
        let same = |offered: Option<&AgentProfile>| {
            same_profile("fix", &ran, offered).map_err(|failure| failure.exit())
        };
        assert_eq!(same(Some(&offered)), Ok(()));
        assert_eq!(same(Some(&profile(&["--fast"]))), Err(Exit::No));
        assert_eq!(same(None), Err(Exit::No));

        let mut first = first();
        first.spec.agent.image = None;
        first.spec.agent_profile = Some("claude-code".to_owned());
        let mut resolved = first.status.clone().unwrap().resolved.unwrap();
        resolved.agent_profile = Some(ran);
        first.status.as_mut().unwrap().resolved = Some(resolved);
        let again = repeat(&first, None).unwrap();
        assert_eq!(
            same_inputs(&first, &again).unwrap(),
            inputs::digest(&first).unwrap()
        );
        assert_eq!(
            (again.spec.agent.image, again.spec.agent_profile.as_deref()),
            (None, Some("claude-code"))
        );
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
