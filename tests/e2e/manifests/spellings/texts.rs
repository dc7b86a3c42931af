//! The manifests of this test, as text: one place of a good one is spelt in every way that somebody may think of.
//! `spellings.txt` has the ways, one a line under the name of its table, `⏎` for a new line.

/// How `explain` is given a manifest.
#[derive(Clone, Copy, Debug)]
pub enum Read {
    /// As the run.
    AsRun,
    /// As the policy of a good run.
    AsPolicy,
    /// Beside the good run's policy.
    BesidePolicy,
}

/// A manifest.
pub struct Spelt {
    /// What is spelt, and how.
    pub what: String,
    /// How `explain` is given it.
    pub read: Read,
    /// The manifest.
    pub text: String,
}

/// Where a spelling stands, `@` for it.
#[derive(Clone, Copy)]
enum Place {
    /// In a run's spec. Lines indented by four belong to the agent.
    Run(&'static str),
    /// In a policy's limits.
    Limits(&'static str),
    /// A run's metadata.
    RunMetadata(&'static str),
    /// A policy's metadata.
    PolicyMetadata(&'static str),
    /// In a Namespace.
    Namespace(&'static str),
    /// In a run as JSON.
    Json(&'static str),
}

use Place::{Json, Limits, Namespace, PolicyMetadata, Run, RunMetadata};

const SPELLINGS: &str = include_str!("spellings.txt");
const LABELLED: &str = "metadata:\n  name: default\n  namespace: NAMESPACE\n  labels: @";

/// Each place with the table of its spellings.
const PLACES: &[(&str, Place)] = &[
    ("numbers", Run("  activeDeadlineSeconds: @\n")),
    ("numbers", Run("  ttlSecondsAfterFinished: @\n")),
    (
        "numbers",
        Run(
            "  repositories:\n  - name: work\n    url: https://git.internet.test/x\n    clone:\n      depth: @\n",
        ),
    ),
    (
        "numbers",
        Run(
            "  egress:\n    mode: AllowList\n    rules:\n    - name: a\n      hosts: [allowed.internet.test]\n      ports:\n      - @\n",
        ),
    ),
    ("numbers", Limits("    maxRunning: @\n")),
    ("words", Run("  suspend: @\n")),
    (
        "texts",
        Run("  repositories:\n  - name: work\n    url: https://git.internet.test/x\n    ref: @\n"),
    ),
    ("texts", Run("    args:\n    - @\n")),
    (
        "access",
        Run("  repositories:\n  - name: work\n    url: https://git.internet.test/x\n    access: @\n"),
    ),
    ("amounts", Run("  resources:\n    limits:\n      memory: @\n")),
    (
        "amounts",
        Run("  resources:\n    limits:\n      ephemeral-storage: @\n"),
    ),
    ("cores", Run("  resources:\n    limits:\n      cpu: @\n")),
    ("amounts", Limits("    maxResources:\n      memory: @\n")),
    (
        "patterns",
        Limits("    images:\n      mode: AllowList\n      allowed:\n      - @\n"),
    ),
    (
        "hosts",
        Limits(
            "    egress:\n      mode: AllowList\n      rules:\n      - name: a\n        tls: Tunnel\n        hosts:\n        - @\n",
        ),
    ),
    (
        "urls",
        Limits("    repositories:\n      mode: AllowList\n      clone:\n      - name: a\n        url: @\n"),
    ),
    ("metadata", RunMetadata("metadata: @")),
    ("metadata", PolicyMetadata("metadata: @")),
    ("labels", RunMetadata(LABELLED)),
    (
        "labels",
        RunMetadata("metadata:\n  name: a\n  namespace: NAMESPACE\n  annotations: @"),
    ),
    ("labels", PolicyMetadata(LABELLED)),
    ("labels", Namespace("  labels: @\n")),
    ("json_numbers", Json("\"activeDeadlineSeconds\": @")),
];

/// All of them.
pub fn all(namespace: &str) -> Vec<Spelt> {
    let spelt = |(table, place): &(&str, Place)| {
        let place = *place;
        let spell = move |spelling: &str| {
            let (read, template, text) = manifest(place, &spelling.replace('⏎', "\n"));
            Spelt {
                what: format!("{template:?} with {spelling}"),
                read,
                text: text.replace("NAMESPACE", namespace),
            }
        };
        table_of(table).map(spell).collect::<Vec<_>>()
    };
    PLACES.iter().flat_map(spelt).collect()
}

fn table_of(name: &str) -> impl Iterator<Item = &'static str> {
    let header = format!("[{name}]");
    let mut lines = SPELLINGS.lines().skip_while(move |line| *line != header);
    assert!(lines.next().is_some(), "there is no table {name}");
    lines.take_while(|line| !line.is_empty())
}

fn manifest(place: Place, spelling: &str) -> (Read, &'static str, String) {
    let spell = |template: &str| template.replace('@', spelling);
    match place {
        Run(it) => (Read::AsRun, it, run("NAMESPACE", &spell(it))),
        Limits(it) => {
            let metadata = "metadata:\n  name: default\n  namespace: NAMESPACE";
            let text = document("SandboxPolicy", metadata, &policy_spec(&spell(it)));
            (Read::AsPolicy, it, text)
        }
        RunMetadata(it) => (Read::AsRun, it, document("AgentRun", &spell(it), &spec(""))),
        PolicyMetadata(it) => (
            Read::AsPolicy,
            it,
            document("SandboxPolicy", &spell(it), &policy_spec("")),
        ),
        Namespace(it) => {
            let head = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: e2e-manifests-elsewhere\n";
            (Read::BesidePolicy, it, format!("{head}{}", spell(it)))
        }
        Json(it) => {
            let head = r#"{"apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun",
"metadata": {"name": "a", "namespace": "NAMESPACE"},
"spec": {"task": {"prompt": "x"}, "agent": {"image": "cofferdam.test/x:1"}, "#;
            (Read::AsRun, it, format!("{head}{}}}}}", spell(it)))
        }
    }
}

/// A run that its policy allows, with more lines of its spec.
pub fn run(namespace: &str, more: &str) -> String {
    let metadata = format!("metadata:\n  name: spelt\n  namespace: {namespace}");
    document("AgentRun", &metadata, &spec(more))
}

fn spec(more: &str) -> String {
    format!("  task: {{prompt: x}}\n  agent:\n    image: cofferdam.test/x:1\n{more}")
}

/// What the run needs, unless it is spelt.
fn policy_spec(more: &str) -> String {
    let images = if more.starts_with("    images:") {
        ""
    } else {
        "    images: {mode: AllowList, allowed: [\"cofferdam.test/**\"]}\n"
    };
    format!("  limits:\n    runtime: {{runtimeClassNames: [gvisor]}}\n{images}{more}")
}

fn document(kind: &str, metadata: &str, spec: &str) -> String {
    format!("apiVersion: cofferdam.dev/v1alpha1\nkind: {kind}\n{metadata}\nspec:\n{spec}")
}
