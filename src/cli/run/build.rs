//! From a command line to a run. Pure but for the name's last letters.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::core::ObjectMeta;

use super::template::{OF, Template};
use crate::explain::files;
use crate::failure::Failure;
use cofferdam_api::{
    Access, Agent, AgentRun, AgentRunSpec, ConfigMapKeyRef, EnvVar, PolicyRef, PromptSource, Repository,
    Task, names,
};

/// Longest prompt that stands in the run itself.
const INLINE: usize = 2048;
/// Key of the prompt in its ConfigMap.
const KEY: &str = "prompt";
/// Longest part of a name that comes from a prompt.
const SLUG: usize = 24;

/// What a run is to be.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Asked {
    /// A manifest of one AgentRun; - is standard input. What other flags say takes the place of what stands there.
    #[arg(short, long, value_name = "FILE")]
    filename: Option<String>,
    /// A template of the namespace: a ConfigMap with a manifest of one AgentRun as `agentrun.yaml`. Its other keys are
    /// defaults of parameters.
    #[arg(long, value_name = "NAME", conflicts_with = "filename")]
    template: Option<String>,
    /// A parameter of the template, or of the manifest: it takes the place of `$(params.NAME)` in texts. Can be given several times.
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = variable)]
    param: Vec<(String, String)>,
    /// Its name. Without one: the first words of the prompt, and five letters.
    #[arg(long)]
    name: Option<String>,
    /// The agent's image.
    #[arg(long)]
    image: Option<String>,
    /// An agent that a policy offers by this name, instead of --image and a command: `kubectl cofferdam policy` lists them.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["image", "command"])]
    profile: Option<String>,
    /// A repository that the agent may change, as NAME=URL or NAME=URL@REF. Can be given several times.
    #[arg(long, value_name = "NAME=URL[@REF]", value_parser = repository)]
    repo: Vec<(String, String, Option<String>)>,
    /// A repository that the agent may read.
    #[arg(long, value_name = "NAME=URL[@REF]", value_parser = repository)]
    read_only_repo: Vec<(String, String, Option<String>)>,
    /// The SandboxPolicy. Without it: `default`.
    #[arg(long)]
    policy: Option<String>,
    /// A variable of the agent's environment. No secret: everybody who can read the run reads it.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Seconds from the agent's start to its end.
    #[arg(long, value_name = "SECONDS")]
    active_deadline: Option<i32>,
    /// For whom you act; nobody checks it.
    #[arg(long)]
    on_behalf_of: Option<String>,
    /// A label of the run. Can be given several times.
    #[arg(short = 'l', long, value_name = "KEY=VALUE", value_parser = variable)]
    label: Vec<(String, String)>,
    /// The command of the agent's container, after --.
    #[arg(last = true)]
    command: Vec<String>,
}

fn repository(text: &str) -> Result<(String, String, Option<String>), &'static str> {
    let (name, url) = text
        .split_once('=')
        .ok_or("write NAME=https://host/path, and @REF behind it")?;
    // A ref may have slashes; what stands before the path has no @, because a URL here has no user.
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    match url.get(after_scheme..).and_then(|rest| rest.split_once('@')) {
        Some((rest, reference)) if !reference.is_empty() => {
            let scheme = url.get(..after_scheme).unwrap_or_default();
            Ok((
                name.to_owned(),
                format!("{scheme}{rest}"),
                Some(reference.to_owned()),
            ))
        }
        Some(_) => Err("there is no ref behind the @"),
        None => Ok((name.to_owned(), url.to_owned(), None)),
    }
}

fn variable(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE"),
    }
}

/// A run, and the ConfigMap that holds its prompt if that is long.
#[derive(Clone, Debug, PartialEq)]
pub struct Built {
    /// The run.
    pub run: AgentRun,
    /// The ConfigMap, created before.
    pub prompt: Option<ConfigMap>,
}

impl Asked {
    /// Whether a manifest brings the prompt.
    pub fn has_prompt(&self) -> bool {
        self.filename.is_some() || self.template.is_some()
    }

    /// The template that is asked for.
    pub fn template(&self) -> Option<&str> {
        self.template.as_deref()
    }

    /// The run that is asked for; `template` is what [`Self::template`] names.
    ///
    /// # Errors
    /// Something is missing, or the manifest is none.
    pub fn build(
        &self,
        prompt: Option<&str>,
        namespace: Option<&str>,
        template: Option<&Template>,
    ) -> Result<Built, Failure> {
        let run = match (template, &self.filename) {
            (Some(template), _) => self.filled(template)?,
            (None, Some(file)) if self.param.is_empty() => from_file(file)?,
            (None, Some(file)) => Template {
                what: file.clone(),
                text: files::text(file).map_err(|stop| Failure::Usage(stop.to_string()))?,
                defaults: BTreeMap::new(),
            }
            .fill(&self.param)?,
            (None, None) if self.param.is_empty() => self.bare(prompt)?,
            (None, None) => {
                return Err(Failure::Usage(
                    "of what are these the parameters? give --template, or a manifest with -f".to_owned(),
                ));
            }
        };
        self.finish(run, prompt, namespace)
    }

    fn filled(&self, template: &Template) -> Result<AgentRun, Failure> {
        let mut run = template.fill(&self.param)?;
        let name = self.template.as_deref().unwrap_or_default();
        let annotations = run.metadata.annotations.get_or_insert_with(BTreeMap::new);
        annotations.insert(OF.to_owned(), format!("{name}@{}", template.digest()));
        Ok(run)
    }

    fn bare(&self, prompt: Option<&str>) -> Result<AgentRun, Failure> {
        if self.image.is_none() && self.profile.is_none() {
            return Err(Failure::Usage(
                "which agent? give --profile (kubectl cofferdam policy lists them), --image, or a manifest with -f"
                    .to_owned(),
            ));
        }
        if prompt.is_none() {
            return Err(Failure::Usage(
                "what is the agent to do? give a prompt, --prompt-file or --edit, or a manifest with -f"
                    .to_owned(),
            ));
        }
        let spec = AgentRunSpec {
            policy_ref: None,
            task: Task {
                prompt: None,
                prompt_from: None,
            },
            agent: Agent::default(),
            agent_profile: None,
            repositories: Vec::new(),
            egress: None,
            resources: None,
            start_deadline_seconds: None,
            active_deadline_seconds: None,
            scheduling_profile_name: None,
            requested_by: None,
            on_behalf_of: None,
            suspend: false,
            cancel: None,
            ttl_seconds_after_finished: None,
        };
        let metadata = ObjectMeta::default();
        Ok(AgentRun {
            metadata,
            spec,
            status: None,
        })
    }

    fn finish(
        &self,
        mut run: AgentRun,
        prompt: Option<&str>,
        namespace: Option<&str>,
    ) -> Result<Built, Failure> {
        if let (Some(of_run), Some(given)) = (run.namespace(), namespace)
            && of_run != given
        {
            return Err(Failure::Usage(format!(
                "the AgentRun is of namespace {of_run}, and -n says {given}: leave one of them out"
            )));
        }
        run.metadata.namespace = run
            .metadata
            .namespace
            .take()
            .or_else(|| namespace.map(str::to_owned));
        let spec = &mut run.spec;
        if let Some(image) = &self.image {
            spec.agent.image = Some(image.clone());
            spec.agent_profile = None;
        }
        if let Some(profile) = &self.profile {
            // The command of the manifest was that of its image.
            spec.agent_profile = Some(profile.clone());
            spec.agent.image = None;
            spec.agent.command.clear();
            spec.agent.args.clear();
        }
        if !self.command.is_empty() {
            if let Some(profile) = &spec.agent_profile {
                return Err(Failure::Usage(format!(
                    "the manifest names the profile {profile}, which has the agent's command: give --image with a command of your own"
                )));
            }
            spec.agent.command.clone_from(&self.command);
            spec.agent.args.clear();
        }
        for (name, value) in &self.env {
            spec.agent.env.retain(|variable| variable.name != *name);
            spec.agent.env.push(EnvVar {
                name: name.clone(),
                value: value.clone(),
            });
        }
        let repositories = self
            .repo
            .iter()
            .map(|given| (given, Access::ReadWrite))
            .chain(self.read_only_repo.iter().map(|given| (given, Access::ReadOnly)));
        for ((name, url, reference), access) in repositories {
            spec.repositories.retain(|known| known.name != *name);
            spec.repositories.push(Repository {
                name: name.clone(),
                url: url.clone(),
                reference: reference.clone(),
                path: None,
                access,
                clone: None,
                exclude: None,
            });
        }
        if let Some(name) = &self.policy {
            spec.policy_ref = Some(PolicyRef { name: name.clone() });
        }
        spec.active_deadline_seconds = self.active_deadline.or(spec.active_deadline_seconds);
        spec.on_behalf_of = self.on_behalf_of.clone().or(spec.on_behalf_of.take());
        if !self.label.is_empty() {
            let labels = run.metadata.labels.get_or_insert_with(BTreeMap::new);
            labels.extend(self.label.iter().cloned());
        }
        self.name(&mut run, prompt);
        let map = prompt
            .map(|prompt| put_prompt(&mut run, prompt))
            .transpose()?
            .flatten();
        Ok(Built { run, prompt: map })
    }

    fn name(&self, run: &mut AgentRun, prompt: Option<&str>) {
        let generated = run.metadata.generate_name.take();
        let prefix = generated.unwrap_or_else(|| format!("{}-", slug(prompt.unwrap_or("run"))));
        let name = self.name.clone().or(run.metadata.name.take());
        run.metadata.name = Some(name.unwrap_or_else(|| format!("{prefix}{}", letters())));
    }
}

fn from_file(file: &str) -> Result<AgentRun, Failure> {
    let stop = |stop: files::Stop| Failure::Usage(stop.to_string());
    let text = files::text(file).map_err(stop)?;
    files::run(file, &text).map_err(stop)
}

/// Puts the prompt into the run, or into a ConfigMap that the run names by the digest of its text.
///
/// # Errors
/// There is none.
pub fn put_prompt(run: &mut AgentRun, prompt: &str) -> Result<Option<ConfigMap>, Failure> {
    if prompt.is_empty() {
        return Err(Failure::Usage("the prompt is empty".to_owned()));
    }
    if prompt.len() <= INLINE {
        run.spec.task = Task {
            prompt: Some(prompt.to_owned()),
            prompt_from: None,
        };
        return Ok(None);
    }
    let name = format!("{}-prompt", run.name_any());
    run.spec.task = Task {
        prompt: None,
        prompt_from: Some(PromptSource {
            config_map_key_ref: ConfigMapKeyRef {
                name: name.clone(),
                key: KEY.to_owned(),
                digest: names::digest(prompt.as_bytes()),
            },
        }),
    };
    Ok(Some(ConfigMap {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: run.namespace(),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(KEY.to_owned(), prompt.to_owned())])),
        immutable: Some(true),
        ..ConfigMap::default()
    }))
}

/// The first words of a prompt as part of a name.
pub fn slug(prompt: &str) -> String {
    let mut slug = String::new();
    for word in prompt
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        let longer = slug.len() + word.len() + usize::from(!slug.is_empty());
        if longer > SLUG {
            break;
        }
        if !slug.is_empty() {
            slug.push('-');
        }
        slug.push_str(&word.to_ascii_lowercase());
    }
    if slug.is_empty() { "run".to_owned() } else { slug }
}

/// Five letters that are nobody's yet, as Kubernetes chooses them.
pub fn letters() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut bytes = [0; 5];
    if getrandom::fill(&mut bytes).is_err() {
        // Without randomness the name may be taken, which the API server says.
        return "xxxxx".to_owned();
    }
    let letter = |byte: u8| {
        LETTERS
            .get(usize::from(byte) % LETTERS.len())
            .copied()
            .unwrap_or(b'x')
    };
    bytes.into_iter().map(letter).map(char::from).collect()
}
