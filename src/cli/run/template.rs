//! Parameters of a manifest, as Tekton writes them: `$(params.NAME)` in its texts. And templates: manifests that stand in a
//! ConfigMap of the namespace, whose other keys are the defaults of its parameters.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use crate::explain::files;
use crate::failure::Failure;
use cofferdam_api::{AgentRun, names};

/// Key of the manifest in a template.
pub const KEY: &str = "agentrun.yaml";
/// Label of the ConfigMaps that are templates, by which completion finds them.
pub const LABEL: &str = "template.cofferdam.dev/for=AgentRun";
/// Annotation of a run: which template it was made of, as `name@sha256:…` of its manifest.
pub const OF: &str = "template.cofferdam.dev/of";

const OPEN: &str = "$(params.";

/// A manifest with what is known of its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// As messages name it.
    pub what: String,
    /// The manifest.
    pub text: String,
    /// Values of parameters that are not given.
    pub defaults: BTreeMap<String, String>,
}

/// Reads the ConfigMap `name`.
///
/// # Errors
/// There is none, or it is no template.
pub async fn read(client: &Client, namespace: &str, name: &str) -> Result<Template, Failure> {
    let what = format!("template {namespace}/{name}");
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = api
        .get_opt(name)
        .await
        .map_err(|error| Failure::api(what.clone(), &error))?;
    let map = found.ok_or_else(|| {
        Failure::Absent(format!(
            "there is no ConfigMap {namespace}/{name}, so no such template"
        ))
    })?;
    of_map(what, map.data.unwrap_or_default())
}

fn of_map(what: String, mut data: BTreeMap<String, String>) -> Result<Template, Failure> {
    let text = data
        .remove(KEY)
        .ok_or_else(|| Failure::Usage(format!("{what} has no key {KEY}, so it is no template")))?;
    Ok(Template {
        what,
        text,
        defaults: data,
    })
}

impl Template {
    /// The digest of the manifest, which tells this state of the template from others.
    pub fn digest(&self) -> String {
        names::digest(self.text.as_bytes())
    }

    /// The run that `given` makes of it.
    ///
    /// # Errors
    /// A parameter has no value, or a value no parameter, or what comes out is no AgentRun.
    pub fn fill(&self, given: &[(String, String)]) -> Result<AgentRun, Failure> {
        let mut values: BTreeMap<&str, &str> = self
            .defaults
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        values.extend(given.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let (mut used, mut missing) = (BTreeSet::new(), BTreeSet::new());
        let read = files::run_of(&self.what, &self.text, &mut |text| {
            expand(text, |name| {
                used.insert(name.to_owned());
                let value = values.get(name).copied();
                if value.is_none() {
                    missing.insert(name.to_owned());
                }
                value
            })
        });
        // What is missing is the reason of what else is wrong.
        if !missing.is_empty() {
            let names: Vec<String> = missing.into_iter().collect();
            return Err(Failure::Usage(format!(
                "{} wants a value of {}: give it with --param NAME=VALUE",
                self.what,
                names.join(", ")
            )));
        }
        let run = read.map_err(|stop| Failure::Usage(stop.to_string()))?;
        match given.iter().find(|(name, _)| !used.contains(name)) {
            Some((name, _)) => Err(Failure::Usage(format!(
                "{} has no parameter {name}{}",
                self.what,
                listed(&used)
            ))),
            None => Ok(run),
        }
    }
}

fn listed(used: &BTreeSet<String>) -> String {
    if used.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = used.iter().map(String::as_str).collect();
    format!("; it has: {}", names.join(", "))
}

/// A text with its parameters replaced; values are not looked through again. What `value` does not know stays.
fn expand<'a>(text: &str, mut value: impl FnMut(&str) -> Option<&'a str>) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once(OPEN) {
        out.push_str(before);
        let name = after
            .split_once(')')
            .map(|(name, _)| name)
            .filter(|name| is_name(name));
        let Some(name) = name else {
            out.push_str(OPEN);
            rest = after;
            continue;
        };
        match value(name) {
            Some(value) => out.push_str(value),
            None => out.extend([OPEN, name, ")"]),
        }
        rest = after.get(name.len() + 1..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// A key of a ConfigMap.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=253).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::failure::Exit;

    fn template(text: &str, defaults: &[(&str, &str)]) -> Template {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let data = defaults.iter().chain(&[(KEY, text)]).map(pair).collect();
        of_map("template team-a/fix".to_owned(), data).unwrap()
    }

    const MANIFEST: &str = "apiVersion: cofferdam.dev/v1alpha1\nkind: AgentRun\nmetadata:\n  generateName: fix-\nspec:\n  task:\n    \
        prompt: |\n      Fix issue $(params.issue) on $(params.branch).\n  agent:\n    image: ghcr.io/a/agent:1\n  \
        repositories:\n  - name: app\n    url: https://git.test/$(params.repository)\n    ref: $(params.branch)\n";

    fn given(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn parameters_are_given_or_have_their_defaults() {
        let template = template(MANIFEST, &[("branch", "main")]);
        let run = template
            .fill(&given(&[("issue", "12"), ("repository", "app")]))
            .unwrap();
        assert_eq!(run.spec.task.prompt.as_deref(), Some("Fix issue 12 on main.\n"));
        assert_eq!(run.spec.repositories[0].url, "https://git.test/app");
        let run = template
            .fill(&given(&[
                ("issue", "12"),
                ("repository", "app"),
                ("branch", "next"),
            ]))
            .unwrap();
        assert_eq!(run.spec.repositories[0].reference.as_deref(), Some("next"));
    }

    #[test]
    fn a_parameter_without_a_value_and_a_value_without_a_parameter_are_refused() {
        let template = template(MANIFEST, &[("branch", "main")]);
        for (pairs, said) in [
            (
                &[("issue", "1")][..],
                "template team-a/fix wants a value of repository: give it with --param NAME=VALUE",
            ),
            (
                &[("issue", "1"), ("repository", "a"), ("isue", "2")],
                "template team-a/fix has no parameter isue; it has: branch, issue, repository",
            ),
        ] {
            let failure = template.fill(&given(pairs)).unwrap_err();
            assert_eq!(
                (failure.to_string().as_str(), failure.exit()),
                (said, Exit::CannotTell)
            );
        }
        assert!(
            of_map("x".to_owned(), BTreeMap::new())
                .unwrap_err()
                .to_string()
                .contains("agentrun.yaml")
        );
    }

    /// A value is text of the field that it stands in, whatever YAML would make of it.
    #[test]
    fn a_value_never_becomes_a_field() {
        let value = "1\n  agent:\n    image: evil.test/agent:1 # \"'$(params.issue)";
        let run = template(MANIFEST, &[("branch", "main")])
            .fill(&given(&[("issue", value), ("repository", "app")]))
            .unwrap();
        assert_eq!(run.spec.agent.image.as_deref(), Some("ghcr.io/a/agent:1"));
        assert_eq!(
            run.spec.task.prompt.unwrap(),
            format!("Fix issue {value} on main.\n")
        );
    }

    #[test]
    fn what_comes_out_is_held_to_what_the_api_server_takes() {
        let failure = template(MANIFEST, &[("branch", "main")])
            .fill(&given(&[("issue", "1"), ("repository", "app"), ("branch", "")]))
            .unwrap_err();
        assert!(
            failure
                .to_string()
                .contains("template team-a/fix:14: spec.repositories[0].ref"),
            "{failure}"
        );
    }

    #[test]
    fn what_is_no_parameter_stays() {
        for text in [
            "$(params.)",
            "$(params.a b)",
            "$(params.a",
            "$(HOME) $params.a",
            "$(params.$(params.a b)",
        ] {
            assert_eq!(expand(text, |_| Some("x")), text);
        }
        assert_eq!(expand("$(params.$(params.a)", |_| Some("x")), "$(params.x");
    }

    proptest! {
        #[test]
        fn values_are_not_looked_through(before in ".{0,20}", value in ".{0,40}", after in "[^)]{0,20}") {
            prop_assume!(!before.contains(OPEN) && !after.contains(OPEN) && !before.ends_with('$'));
            let text = format!("{before}$(params.a){after}");
            prop_assert_eq!(expand(&text, |_| Some(&value)), format!("{before}{value}{after}"));
        }
    }
}
