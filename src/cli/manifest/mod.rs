//! From files to objects, strictly: what the API server would refuse for its shape is refused with file and line.

mod metadata;
mod scalar;
mod schema;
mod tree;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::metadata::{Names, Scope};
use self::tree::{Node, Tree};
use cofferdam_api::names::GROUP;
use cofferdam_api::{AgentRun, ClusterSandboxPolicy, SandboxCredential, SandboxPolicy, crds};

/// The definitions of our kinds, which take a moment to make.
static DEFINITIONS: LazyLock<Result<Vec<Value>, String>> =
    LazyLock::new(|| crds::documents().map_err(|error| error.to_string()));

/// An object of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Manifest {
    /// A run.
    Run(Box<AgentRun>),
    /// A namespace's policy.
    Policy(Box<SandboxPolicy>),
    /// A cluster's policy.
    ClusterPolicy(Box<ClusterSandboxPolicy>),
    /// A credential.
    Credential(Box<SandboxCredential>),
    /// A namespace.
    Namespace {
        /// Its name.
        name: String,
        /// Its labels.
        labels: BTreeMap<String, String>,
    },
    /// A `RuntimeClass`.
    RuntimeClass {
        /// Its name.
        name: String,
    },
    /// Something that bears on no decision.
    Other,
}

/// Something in a file that the API server would refuse, or that cannot be read at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file; `-` is standard input.
    pub file: String,
    /// Line, from 1; absent: the file as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The field; empty: the document as a whole.
    pub field: String,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Unreadable {
    /// It is not YAML or not an object; nothing can be said about it.
    Malformed(Vec<Problem>),
    /// It is an object of a known kind, and the API server would refuse it.
    Invalid(Vec<Problem>),
}

/// Reads every object of a file; a `List` is its items.
///
/// # Errors
/// Everything that is wrong in it.
pub fn read(file: &str, text: &str) -> Result<Vec<Manifest>, Unreadable> {
    read_changed(file, text, &mut str::to_owned)
}

/// The same, of a file whose texts are changed by `change` before they are looked at.
///
/// # Errors
/// Everything that is wrong in it then.
pub fn read_changed(
    file: &str,
    text: &str,
    change: &mut dyn FnMut(&str) -> String,
) -> Result<Vec<Manifest>, Unreadable> {
    let problem = |line, field: &str, what: String| Problem {
        file: file.to_owned(),
        line,
        field: field.to_owned(),
        what,
    };
    let mut documents = yaml::parse(text)
        .map_err(|error| Unreadable::Malformed(vec![problem(error.line, "", error.what)]))?;
    for document in &mut documents {
        document.change_texts(change);
    }
    let mut malformed = Vec::new();
    let mut invalid = Vec::new();
    let mut manifests = Vec::new();
    for document in documents.iter().flat_map(items) {
        match object(document) {
            Ok(manifest) => manifests.push(manifest),
            Err(Rejected::NoObject(what)) => malformed.push(problem(Some(document.line), "", what)),
            Err(Rejected::Flawed(flaws)) => {
                invalid.extend(
                    flaws
                        .into_iter()
                        .map(|flaw| problem(Some(flaw.line), &flaw.field, flaw.what)),
                );
            }
        }
    }
    if !malformed.is_empty() {
        malformed.extend(invalid);
        return Err(Unreadable::Malformed(malformed));
    }
    if invalid.is_empty() {
        Ok(manifests)
    } else {
        Err(Unreadable::Invalid(invalid))
    }
}

/// `kubectl get -o yaml` writes several objects as one `List`, programs as a list of their kind.
fn items(document: &Tree) -> Vec<&Tree> {
    let (version, kind) = kind(document);
    let is_list = (version, kind) == ("v1", "List") || is_ours(version) && kind.ends_with("List");
    match document.field("items").map(|items| &items.node) {
        Some(Node::List(items)) if is_list => items.iter().collect(),
        _ => vec![document],
    }
}

fn is_ours(version: &str) -> bool {
    version.split('/').next() == Some(GROUP)
}

fn kind(document: &Tree) -> (&str, &str) {
    let text = |name| document.field(name).and_then(Tree::text).unwrap_or_default();
    (text("apiVersion"), text("kind"))
}

enum Rejected {
    NoObject(String),
    Flawed(Vec<schema::Flaw>),
}

fn object(document: &Tree) -> Result<Manifest, Rejected> {
    let name = || {
        let name = document
            .field("metadata")
            .and_then(|metadata| metadata.field("name"));
        name.and_then(Tree::text).unwrap_or_default().to_owned()
    };
    let (version, kind) = kind(document);
    match (version, kind) {
        ("", _) | (_, "") => Err(Rejected::NoObject(
            "no object: apiVersion or kind is missing".to_owned(),
        )),
        ("v1", "Namespace") => {
            sound(metadata::check(document, Scope::Cluster, Names::Label))?;
            Ok(Manifest::Namespace {
                name: name(),
                labels: labels(document),
            })
        }
        ("node.k8s.io/v1", "RuntimeClass") => {
            sound(metadata::check(document, Scope::Cluster, Names::Subdomain))?;
            Ok(Manifest::RuntimeClass { name: name() })
        }
        (version, kind) if is_ours(version) => ours(version, kind, document),
        _ => Ok(Manifest::Other),
    }
}

fn sound(flaws: Vec<schema::Flaw>) -> Result<(), Rejected> {
    if flaws.is_empty() {
        Ok(())
    } else {
        Err(Rejected::Flawed(flaws))
    }
}

fn labels(document: &Tree) -> BTreeMap<String, String> {
    let labels = document
        .field("metadata")
        .and_then(|metadata| metadata.field("labels"));
    let labels = labels.map(Tree::to_json);
    let pairs = labels.as_ref().and_then(Value::as_object).into_iter().flatten();
    pairs
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn ours(version: &str, kind: &str, document: &Tree) -> Result<Manifest, Rejected> {
    let definitions = DEFINITIONS
        .as_ref()
        .map_err(|error| Rejected::NoObject(error.clone()))?;
    let definition = definitions.iter().find(|definition| {
        let versions = definition
            .pointer("/spec/versions/0/name")
            .and_then(Value::as_str);
        definition.pointer("/spec/names/kind").and_then(Value::as_str) == Some(kind)
            && versions.is_some_and(|served| version == format!("{GROUP}/{served}"))
    });
    let part = |pointer| definition.and_then(|definition| definition.pointer(pointer));
    let Some(schema) = part("/spec/versions/0/schema/openAPIV3Schema") else {
        return Err(Rejected::NoObject(format!(
            "there is no kind {kind} in {version}"
        )));
    };
    let scope = match part("/spec/scope").and_then(Value::as_str) {
        Some("Namespaced") => Scope::Namespaced,
        _ => Scope::Cluster,
    };
    let mut flaws = metadata::check(document, scope, Names::Label);
    flaws.extend(schema::check(schema, document));
    sound(flaws)?;
    let json = document.to_json();
    match kind {
        "AgentRun" => typed(json, document).map(Manifest::Run),
        "SandboxPolicy" => typed(json, document).map(Manifest::Policy),
        "SandboxCredential" => typed(json, document).map(Manifest::Credential),
        _ => typed(json, document).map(Manifest::ClusterPolicy),
    }
}

fn typed<T: DeserializeOwned>(json: Value, document: &Tree) -> Result<Box<T>, Rejected> {
    let object = serde_json::from_value(json).map_err(|error| {
        Rejected::Flawed(vec![schema::Flaw {
            line: document.line,
            field: String::new(),
            what: error.to_string(),
        }])
    })?;
    Ok(Box::new(object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const RUN: &str = include_str!("../../../examples/agentrun.yaml");
    const POLICY: &str = include_str!("../../../examples/sandboxpolicy.yaml");
    const CLUSTER: &str = include_str!("../../../examples/clustersandboxpolicy.yaml");

    fn problems(text: &str) -> Vec<String> {
        match read("run.yaml", text) {
            Ok(manifests) => panic!("read: {manifests:?}"),
            Err(Unreadable::Malformed(problems) | Unreadable::Invalid(problems)) => {
                problems.iter().map(Problem::to_string).collect()
            }
        }
    }

    #[test]
    fn the_examples_are_read_and_so_is_what_kubectl_writes() {
        let all = [RUN, POLICY, CLUSTER].join("\n---\n");
        let manifests = read("all.yaml", &all).unwrap();
        assert!(matches!(
            manifests[..],
            [Manifest::Run(_), Manifest::Policy(_), Manifest::ClusterPolicy(_)]
        ));
        let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: node.k8s.io/v1\n  kind: RuntimeClass\n  handler: runsc\n  metadata: {name: gvisor}\n- apiVersion: v1\n  kind: Namespace\n  metadata:\n    name: team-a\n    labels: {tier: gold}\n- {apiVersion: v1, kind: ConfigMap}\n";
        assert_eq!(
            read("-", list).unwrap(),
            [
                Manifest::RuntimeClass {
                    name: "gvisor".into()
                },
                Manifest::Namespace {
                    name: "team-a".into(),
                    labels: BTreeMap::from([("tier".into(), "gold".into())])
                },
                Manifest::Other,
            ]
        );
    }

    #[rstest]
    #[case(&[("    prompt: |", "    promt: |")], "run.yaml:13: spec.task.promt: unknown field; known here: prompt, promptFrom")]
    #[case(&[("activeDeadlineSeconds: 1800", "activeDeadlineSeconds: half an hour")], "run.yaml:34: spec.activeDeadlineSeconds: must be of type integer")]
    #[case(&[("activeDeadlineSeconds: 1800", "activeDeadlineSeconds: 0")], "run.yaml:34: spec.activeDeadlineSeconds: 0: at least 1 needed")]
    #[case(&[("access: ReadOnly", "access: Write")], "run.yaml:29: spec.repositories[1].access: must be one of ReadOnly, ReadWrite")]
    #[case(&[("name: style-guide", "name: app")], "run.yaml:27: spec.repositories[1]: duplicate entry")]
    #[case(&[("      url: https://github.com/team-a/style-guide\n", "")], "run.yaml:27: spec.repositories[1].url: is required")]
    #[case(&[("cofferdam.dev/v1alpha1", "cofferdam.dev/v1")], "run.yaml:3: there is no kind AgentRun in cofferdam.dev/v1")]
    #[case(&[("kind: AgentRun", "")], "run.yaml:3: no object: apiVersion or kind is missing")]
    fn what_the_api_server_would_refuse_is_named_by_its_line(
        #[case] changes: &[(&str, &str)],
        #[case] problem: &str,
    ) {
        let mut text = RUN.to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        assert_eq!(problems(&text), [problem]);
    }

    #[test]
    fn what_is_not_yaml_is_malformed_and_names_its_line() {
        let Err(Unreadable::Malformed(problems)) = read("bad.yaml", "a: 1\nb: [\n") else {
            panic!("read")
        };
        assert!(problems[0].to_string().starts_with("bad.yaml:"), "{problems:?}");
        assert!(!problems[0].what.contains('\n'), "{problems:?}");
    }
}
