//! Which runs a list is of. Pure: what the API server can select by itself is asked of it, the rest is told here.

use crate::runs::which::requester;
use crate::runs::{Run, field_value};
use cofferdam_api::{AgentRun, inputs};

/// Characters of a whole policy hash.
const HASH: usize = 52;
/// Shortest beginning of a commit, a hash or a digest: what git takes for one, too.
const SHORTEST: usize = 7;

/// Filters of a list; a run fits if it fits all of them.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which runs")]
pub struct Filters {
    /// Runs that I asked for.
    #[arg(long, conflicts_with = "requester")]
    mine: bool,
    /// Runs that this user asked for, as the API server names the user.
    #[arg(long, value_name = "USER")]
    requester: Option<String>,
    /// Runs in this phase: Pending, Queued, Suspended, Running, Retrying, Stopping, Succeeded, Failed.
    #[arg(long)]
    phase: Option<String>,
    /// Runs for this reason, such as `PolicyDenied`.
    #[arg(long)]
    reason: Option<String>,
    /// Runs under this `SandboxPolicy`, as far as they name it.
    #[arg(long)]
    policy: Option<String>,
    /// Runs under this effective policy: its hash, or the first 7 characters and more.
    #[arg(long, value_name = "HASH", value_parser = beginning)]
    policy_hash: Option<String>,
    /// Runs with this image, as asked for: ghcr.io/team/agent for every tag and digest, …:1 for a tag; or by the digest
    /// that ran, sha256:….
    #[arg(long)]
    image: Option<String>,
    /// Runs that worked on this commit of a repository: its id, or the first 7 digits and more.
    #[arg(long, value_name = "ID", value_parser = beginning)]
    commit: Option<String>,
    /// Runs with these inputs: a digest as `describe` shows it.
    #[arg(long, value_name = "DIGEST")]
    inputs: Option<String>,
    /// Runs with these labels.
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// Runs with these fields: metadata.name, spec.agent.image, spec.policyRef.name, spec.requestedBy.username,
    /// status.phase, status.reason, status.resolved.policyHash.
    #[arg(long)]
    field_selector: Option<String>,
}

fn beginning(text: &str) -> Result<String, String> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if text.len() >= SHORTEST && plain {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "write {SHORTEST} lower-case letters and digits, or more of them"
        ))
    }
}

impl Filters {
    /// Whether it has to be known who asks.
    pub fn is_about_me(&self) -> bool {
        self.mine
    }

    /// The filters with the user that `me` stands for.
    pub fn with_me(mut self, me: Option<String>) -> Self {
        self.requester = self.requester.or(me);
        self
    }

    /// What every version of the definitions can select.
    pub fn fields(&self) -> Option<String> {
        let named = [
            ("status.phase", &self.phase),
            ("status.reason", &self.reason),
            ("spec.policyRef.name", &self.policy),
        ];
        joined(terms(&named).chain(self.field_selector.clone()))
    }

    /// The same, and what only definitions of this version can select.
    pub fn all_fields(&self) -> Option<String> {
        let hash = self.policy_hash.clone().filter(|hash| hash.len() == HASH);
        let named = [
            ("spec.requestedBy.username", &self.requester),
            ("status.resolved.policyHash", &hash),
        ];
        joined(terms(&named).chain(self.fields()))
    }

    /// Whether it says anything.
    pub fn is_narrow(&self) -> bool {
        self.fields().is_some()
            || self.selector.is_some()
            || [
                &self.requester,
                &self.policy_hash,
                &self.image,
                &self.commit,
                &self.inputs,
            ]
            .iter()
            .any(|filter| filter.is_some())
    }

    /// Whether a run fits what the API server may not have selected. A run of another version fits only where nothing is asked.
    pub fn fits(&self, run: &Run) -> bool {
        let Self {
            requester: user,
            policy_hash,
            image,
            commit,
            inputs: digest,
            ..
        } = self;
        let asked = [user, policy_hash, image, commit, digest]
            .iter()
            .any(|filter| filter.is_some());
        let Some(run) = &run.read else {
            return !asked;
        };
        let resolved = run.status.as_ref().and_then(|status| status.resolved.as_ref());
        let holds = |filter: &Option<String>, is: &dyn Fn(&str) -> bool| filter.as_deref().is_none_or(is);
        holds(user, &|user| requester(run) == Some(user))
            && holds(policy_hash, &|hash| {
                resolved.is_some_and(|resolved| resolved.policy_hash.starts_with(hash))
            })
            && holds(image, &|image| has_image(run, image))
            && holds(commit, &|commit| {
                let mut repositories = resolved.into_iter().flat_map(|resolved| &resolved.repositories);
                repositories.any(|repository| repository.commit.starts_with(commit))
            })
            && holds(digest, &|digest| {
                inputs::digest(run).is_ok_and(|of_run| of_run == digest)
            })
    }
}

fn has_image(run: &AgentRun, wanted: &str) -> bool {
    if wanted.starts_with("sha256:") {
        return inputs::image_digest(run).is_some_and(|digest| digest == wanted);
    }
    let resolved = run.status.as_ref().and_then(|status| status.resolved.as_ref());
    // That of a profile stands in the status alone.
    let asked = run.spec.agent.image.as_deref();
    let asked = asked.or(resolved.map(|resolved| resolved.image.as_str()));
    let rest = asked.and_then(|asked| asked.strip_prefix(wanted));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '@']))
}

fn terms(named: &[(&str, &Option<String>)]) -> impl Iterator<Item = String> {
    let terms: Vec<String> = named
        .iter()
        .filter_map(|(field, value)| Some(format!("{field}={}", field_value(value.as_ref()?))))
        .collect();
    terms.into_iter()
}

fn joined(terms: impl Iterator<Item = String>) -> Option<String> {
    let terms: Vec<String> = terms.collect();
    (!terms.is_empty()).then(|| terms.join(","))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn filters(line: &[&str]) -> Result<Filters, clap::Error> {
        #[derive(clap::Parser)]
        struct Program {
            #[command(flatten)]
            filters: Filters,
        }
        Program::try_parse_from([&["list"], line].concat()).map(|program| program.filters)
    }

    fn run() -> Run {
        Run::from(json!({
            "metadata": {"name": "fix", "namespace": "team-a"},
            "spec": {"task": {"prompt": "p"}, "agent": {"image": "ghcr.io/a/agent:1"}, "requestedBy": {"username": "oidc:anna"},
                "repositories": [{"name": "app", "url": "https://git.test/app"}, {"name": "lib", "url": "https://git.test/lib"}]},
            "status": {"resolved": {"image": "ghcr.io/a/agent:1", "runtimeClassName": "gvisor", "policyHash": "p".repeat(52),
                "images": [{"name": "agent", "imageID": format!("ghcr.io/a/agent@sha256:{}", "1".repeat(64))}],
                "repositories": [{"name": "app", "commit": "a".repeat(40)}, {"name": "lib", "commit": "b".repeat(40)}]}},
        }))
    }

    #[test]
    fn what_the_api_server_can_select_it_selects() {
        let none = filters(&[]).unwrap();
        assert_eq!(
            (none.fields(), none.all_fields(), none.is_narrow()),
            (None, None, false)
        );
        let hash = "p".repeat(52);
        let all = filters(&[
            "--phase",
            "Running",
            "--policy",
            "strict",
            "--field-selector",
            "metadata.name=x",
            "--requester",
            "cn=anna,o=x\\y",
            "--policy-hash",
            &hash,
        ])
        .unwrap();
        assert_eq!(
            all.fields().as_deref(),
            Some("status.phase=Running,spec.policyRef.name=strict,metadata.name=x")
        );
        assert_eq!(
            all.all_fields().unwrap(),
            format!(
                "spec.requestedBy.username=cn\\=anna\\,o\\=x\\\\y,status.resolved.policyHash={hash},\
                 status.phase=Running,spec.policyRef.name=strict,metadata.name=x"
            )
        );
        let mine = filters(&["--mine"]).unwrap();
        assert!(mine.is_about_me() && mine.with_me(Some("anna".to_owned())).all_fields().is_some());
        // The beginning of a hash is no value of the field.
        assert_eq!(filters(&["--policy-hash", "ppppppp"]).unwrap().all_fields(), None);
    }

    #[rstest]
    #[case(&["--requester", "oidc:anna"], true)]
    #[case(&["--requester", "anna"], false)]
    #[case(&["--policy-hash", "ppppppp"], true)]
    #[case(&["--policy-hash", "ppppppq"], false)]
    #[case(&["--image", "ghcr.io/a/agent"], true)]
    #[case(&["--image", "ghcr.io/a/agent:1"], true)]
    #[case(&["--image", "ghcr.io/a/agen"], false)]
    #[case(&["--image", "ghcr.io/a/agent:11"], false)]
    #[case(&["--image", "sha256:1111111111111111111111111111111111111111111111111111111111111111"], true)]
    #[case(&["--image", "sha256:1111111"], false)]
    #[case(&["--commit", "aaaaaaa"], true)]
    #[case(&["--commit", "bbbbbbbbbb"], true)]
    #[case(&["--commit", "ccccccc"], false)]
    #[case(&["--commit", "aaaaaaa", "--requester", "bert"], false)]
    #[case(&["--inputs", "sha256:00"], false)]
    fn a_run_fits_all_filters(#[case] line: &[&str], #[case] fits: bool) {
        let filters = filters(line).unwrap();
        assert!(filters.is_narrow());
        assert_eq!(filters.fits(&run()), fits);
        let other = Run::from(json!({"metadata": {"name": "of-another-version"}, "spec": {"later": 1}}));
        assert!(!filters.fits(&other) && Filters::default().fits(&other));
        // A run that waits has none of it yet.
        let bare = Run::from(
            json!({"metadata": {"name": "new"}, "spec": {"task": {"prompt": "p"}, "agent": {"image": "i"}}}),
        );
        assert!(!filters.fits(&bare));
    }

    #[test]
    fn equal_inputs_are_found() {
        let digest = inputs::digest(run().read.as_ref().unwrap()).unwrap();
        assert!(filters(&["--inputs", &digest]).unwrap().fits(&run()));
    }

    #[rstest]
    #[case(&["--commit", "abc"])]
    #[case(&["--commit", "ABCDEF0"])]
    #[case(&["--policy-hash", "a,b=cdef"])]
    #[case(&["--mine", "--requester", "anna"])]
    fn what_selects_nothing_is_refused(#[case] line: &[&str]) {
        assert!(filters(line).is_err());
    }
}
