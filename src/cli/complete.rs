//! Completion: of words by a shell's script, and of names of the cluster by kubectl, which asks its plugins.

use std::time::Duration;

use clap::Command;
use clap_complete::Shell;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::ListParams;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::EXECUTABLE;
use crate::failure::{Exit, Failure};
use crate::place::{Cluster, Flags, Patience};
use crate::print::out;
use crate::run::template;
use cofferdam_api::{AgentRun, SandboxPolicy};

/// A shell that waits for a name longer than this has lost its user.
const WAIT: Duration = Duration::from_secs(3);
/// What kubectl runs to complete `kubectl cofferdam …`, wherever it lies on the PATH.
const FOR_KUBECTL: &str = "#!/bin/sh\n# kubectl asks kubectl_complete-cofferdam what comes next after `kubectl cofferdam`.\n\
     exec kubectl-cofferdam __complete \"$@\"\n";

/// For whom the script is.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The shell, for the executable kubectl-cofferdam; or kubectl: save that script as kubectl_complete-cofferdam on
    /// the PATH, and kubectl's own completion knows `kubectl cofferdam`, with the names of runs and policies.
    shell: Whom,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Whom {
    Bash,
    Zsh,
    Fish,
    Kubectl,
}

/// The words so far; the last one is not complete.
#[derive(clap::Args, Debug)]
pub struct Words {
    /// The words.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Writes the script.
pub fn script(args: &Args, command: &mut Command) -> Result<Exit, Failure> {
    let shell = match args.shell {
        Whom::Bash => Shell::Bash,
        Whom::Zsh => Shell::Zsh,
        Whom::Fish => Shell::Fish,
        Whom::Kubectl => return out(FOR_KUBECTL).map(|()| Exit::Done),
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, command, EXECUTABLE, &mut script);
    out(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// What can come next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    Words(Vec<String>),
    Names(Kind),
}

/// Names that the cluster knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Runs,
    Namespaces,
    Policies,
    Templates,
}

/// Writes what can come next, as kubectl reads it: a line each, then a directive (4: no names of files).
pub async fn main(words: &Words, command: &Command, flags: &Flags) -> Result<Exit, Failure> {
    let last = words.words.last().map_or("", String::as_str);
    let found = match next(command, &words.words) {
        Next::Words(found) => found,
        Next::Names(kind) => names(flags_of(&words.words, flags), kind).await,
    };
    let mut lines: Vec<String> = found.into_iter().filter(|word| word.starts_with(last)).collect();
    lines.push(":4\n".to_owned());
    out(&lines.join("\n"))?;
    Ok(Exit::Done)
}

/// What the words before the last one lead to. Pure.
fn next(root: &Command, words: &[String]) -> Next {
    let (last, before) = words
        .split_last()
        .map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    if let Some(flag) = before.last().filter(|word| word.starts_with('-')) {
        if let Some(kind) = kind_of(before, flag) {
            return Next::Names(kind);
        }
        if let Some(values) = values_of(root, before, flag) {
            return Next::Words(values);
        }
    }
    let command = before.iter().find_map(|word| root.find_subcommand(word));
    let flags = |command: &Command| {
        let own = command.get_arguments().chain(root.get_arguments());
        let mut flags: Vec<String> = own
            .filter_map(|arg| Some(format!("--{}", arg.get_long()?)))
            .collect();
        flags.dedup();
        flags
    };
    match command {
        _ if last.starts_with('-') => Next::Words(flags(command.unwrap_or(root))),
        None => Next::Words(
            root.get_subcommands()
                .filter(|command| !command.is_hide_set())
                .map(|command| command.get_name().to_owned())
                .collect(),
        ),
        Some(command) => {
            let takes_run = command.get_positionals().any(|arg| arg.get_id() == "run");
            let values = command.get_positionals().next().map(|arg| {
                let values = arg.get_possible_values();
                values.iter().map(|value| value.get_name().to_owned()).collect()
            });
            if takes_run {
                Next::Names(Kind::Runs)
            } else {
                Next::Words(values.unwrap_or_default())
            }
        }
    }
}

/// What a flag names, where that is something of the cluster: `explain --policy` is a file.
fn kind_of(before: &[String], flag: &str) -> Option<Kind> {
    let explains = before.iter().any(|word| word == "explain");
    match flag {
        "-n" | "--namespace" => Some(Kind::Namespaces),
        "--policy" if !explains => Some(Kind::Policies),
        "--template" => Some(Kind::Templates),
        _ => None,
    }
}

/// The values of a flag that takes one; none: it takes no value.
fn values_of(root: &Command, before: &[String], flag: &str) -> Option<Vec<String>> {
    let command = before.iter().find_map(|word| root.find_subcommand(word))?;
    let named = |arg: &&clap::Arg| {
        let long = arg.get_long().is_some_and(|long| flag == format!("--{long}"));
        long || arg.get_short().is_some_and(|short| flag == format!("-{short}"))
    };
    let arg = command.get_arguments().chain(root.get_arguments()).find(named)?;
    if !arg.get_action().takes_values() {
        return None;
    }
    let values = arg.get_possible_values();
    Some(values.iter().map(|value| value.get_name().to_owned()).collect())
}

/// The flags that stand among the words: clap gave all of them to the last argument.
fn flags_of(words: &[String], flags: &Flags) -> Flags {
    let value = |names: [&str; 2]| {
        let mut pairs = words.iter().zip(words.iter().skip(1));
        pairs
            .find(|(flag, _)| names.contains(&flag.as_str()))
            .map(|(_, value)| value.clone())
    };
    Flags {
        namespace: value(["-n", "--namespace"]).or_else(|| flags.namespace.clone()),
        context: value(["--context", "--context"]).or_else(|| flags.context.clone()),
        kubeconfig: value(["--kubeconfig", "--kubeconfig"])
            .map(Into::into)
            .or_else(|| flags.kubeconfig.clone()),
        ..flags.clone()
    }
}

/// Names from the cluster; none where it does not answer at once.
async fn names(flags: Flags, kind: Kind) -> Vec<String> {
    let ask = async {
        let cluster = flags.connect(Patience::Answer).await.ok()?;
        names_of(cluster, kind).await
    };
    tokio::time::timeout(WAIT, ask)
        .await
        .ok()
        .flatten()
        .unwrap_or_default()
}

async fn names_of(Cluster { client, namespace }: Cluster, kind: Kind) -> Option<Vec<String>> {
    match kind {
        Kind::Runs => {
            let api: Api<AgentRun> = Api::namespaced(client, &namespace);
            let mut names = listed(&api, None).await?;
            names.push("@latest".to_owned());
            Some(names)
        }
        Kind::Namespaces => listed(&Api::<Namespace>::all(client), None).await,
        Kind::Policies => listed(&Api::<SandboxPolicy>::namespaced(client, &namespace), None).await,
        Kind::Templates => {
            listed(
                &Api::<ConfigMap>::namespaced(client, &namespace),
                Some(template::LABEL),
            )
            .await
        }
    }
}

/// Names alone: of thousands of objects nothing else is asked for.
async fn listed<K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug>(
    api: &Api<K>,
    labels: Option<&str>,
) -> Option<Vec<String>> {
    let params = ListParams {
        label_selector: labels.map(str::to_owned),
        ..ListParams::default()
    };
    let found = api.list_metadata(&params).await.ok()?;
    Some(
        found
            .items
            .into_iter()
            .filter_map(|item| item.metadata.name)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::testing::{failure, server};

    fn asked(words: &[&str]) -> Next {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        next(&crate::Cli::command(), &words)
    }

    #[rstest]
    #[case(&["describe", ""], Next::Names(Kind::Runs))]
    #[case(&["cancel", "fix"], Next::Names(Kind::Runs))]
    #[case(&["-n", ""], Next::Names(Kind::Namespaces))]
    #[case(&["list", "--namespace", "te"], Next::Names(Kind::Namespaces))]
    #[case(&["run", "--policy", ""], Next::Names(Kind::Policies))]
    #[case(&["run", "--template", ""], Next::Names(Kind::Templates))]
    #[case(&["explain", "--policy", ""], Next::Words(Vec::new()))]
    #[case(&["explain", "-o", ""], Next::Words(vec!["text".to_owned(), "json".to_owned()]))]
    fn what_comes_next(#[case] words: &[&str], #[case] expected: Next) {
        assert_eq!(asked(words), expected);
    }

    #[tokio::test]
    async fn names_come_from_the_cluster_and_nothing_but_names_is_asked_for() {
        let (client, log) = server(|key| {
            let name = ["agentruns", "sandboxpolicies", "configmaps", "namespaces"]
                .into_iter()
                .find(|kind| key.contains(&format!("/{kind}?")));
            let items = [json!({"metadata": {"name": name.unwrap_or("other")}})];
            (
                200,
                json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": items}),
            )
        });
        for (kind, expected) in [
            (Kind::Runs, &["agentruns", "@latest"][..]),
            (Kind::Policies, &["sandboxpolicies"]),
            (Kind::Templates, &["configmaps"]),
            (Kind::Namespaces, &["namespaces"]),
        ] {
            let cluster = Cluster {
                client: client.clone(),
                namespace: "team-a".to_owned(),
            };
            assert_eq!(names_of(cluster, kind).await.unwrap(), expected);
        }
        {
            let log = log.lock();
            assert!(
                log[2]
                    .0
                    .contains("labelSelector=template.cofferdam.dev%2Ffor%3DAgentRun"),
                "{}",
                log[2].0
            );
            assert!(
                log[..3]
                    .iter()
                    .all(|(key, _)| key.contains("/namespaces/team-a/"))
            );
        }
        let (client, _) = server(|_| failure(403, "Forbidden", "you may not"));
        let namespace = "team-a".to_owned();
        assert_eq!(names_of(Cluster { client, namespace }, Kind::Runs).await, None);
    }

    #[test]
    fn words_are_those_of_the_command_line() {
        let Next::Words(commands) = asked(&[""]) else {
            panic!("no words")
        };
        assert!(
            commands.contains(&"describe".to_owned()) && !commands.contains(&"__complete".to_owned()),
            "{commands:?}"
        );
        let Next::Words(flags) = asked(&["list", "--"]) else {
            panic!("no words")
        };
        assert!(
            flags.contains(&"--mine".to_owned()) && flags.contains(&"--context".to_owned()),
            "{flags:?}"
        );
    }

    #[test]
    fn every_shell_gets_a_script_for_the_executable() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut crate::Cli::command(), EXECUTABLE, &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(
                script.contains(EXECUTABLE) && script.contains("namespace-label"),
                "{shell}"
            );
        }
    }
}
