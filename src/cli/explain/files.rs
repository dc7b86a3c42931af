//! The files of a command line: one run, and the policies beside it.

use std::fmt;
use std::io::Read as _;

use kube::ResourceExt as _;

use super::document::{Answer, Unknown};
use crate::manifest::{self, Manifest, Problem, Unreadable};
use cofferdam_api::AgentRun;

/// Spelling of standard input.
pub const STDIN: &str = "-";
/// Longest file in bytes: more than etcd holds in one object, so no honest manifest is longer.
const FILE_LIMIT: u64 = 8 << 20;

/// Why there is nothing to explain.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// Something is wrong in a file.
    Flawed(Vec<Problem>, Answer),
    /// A file cannot be read.
    Unknown(Vec<Unknown>),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = match self {
            Self::Flawed(problems, _) => problems.iter().map(ToString::to_string).collect(),
            Self::Unknown(unknown) => unknown
                .iter()
                .map(|unknown| format!("{} cannot be told: {}", unknown.what, unknown.why))
                .collect(),
        };
        f.write_str(&words.join("; "))
    }
}

/// Reads one file.
///
/// # Errors
/// It cannot be read, or is no text.
pub fn text(file: &str) -> Result<String, Stop> {
    let mut text = String::new();
    let read = if file == STDIN {
        std::io::stdin().take(FILE_LIMIT + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|open| open.take(FILE_LIMIT + 1).read_to_string(&mut text))
    };
    let unreadable = |why: String| {
        Stop::Unknown(vec![Unknown {
            what: format!("what stands in {file}"),
            why,
            help: "name a YAML file that can be read, or - for standard input".to_owned(),
        }])
    };
    read.map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > FILE_LIMIT {
        return Err(unreadable(format!("it is longer than {} MiB", FILE_LIMIT >> 20)));
    }
    Ok(text)
}

/// The run of a file. What is wrong with its shape is a refusal: the API server would refuse it too.
///
/// # Errors
/// There is not one run, or it is not what the API server would take.
pub fn run(file: &str, text: &str) -> Result<AgentRun, Stop> {
    run_of(file, text, &mut str::to_owned)
}

/// The same, of a file whose texts are changed by `change` before they are looked at.
///
/// # Errors
/// There is not one run then, or it is not what the API server would take.
pub fn run_of(file: &str, text: &str, change: &mut dyn FnMut(&str) -> String) -> Result<AgentRun, Stop> {
    let problem = |what: &str| {
        let problem = Problem {
            file: file.to_owned(),
            line: None,
            field: String::new(),
            what: what.to_owned(),
        };
        Stop::Flawed(vec![problem], Answer::CannotTell)
    };
    let manifests = manifest::read_changed(file, text, change).map_err(|unreadable| match unreadable {
        Unreadable::Malformed(problems) => Stop::Flawed(problems, Answer::CannotTell),
        Unreadable::Invalid(problems) => Stop::Flawed(problems, Answer::Refused),
    })?;
    let mut run: Option<AgentRun> = None;
    for manifest in manifests {
        match manifest {
            Manifest::Run(found) => {
                if let Some(first) = &run {
                    let (one, other) = (first.name_any(), found.name_any());
                    return Err(problem(&format!(
                        "holds more than one AgentRun, {one} and {other}: give one"
                    )));
                }
                run = Some(*found);
            }
            Manifest::Policy(_) | Manifest::ClusterPolicy(_) => {
                return Err(problem(
                    "holds a policy; give policies with --policy, or leave them to the cluster",
                ));
            }
            _ => {}
        }
    }
    run.ok_or_else(|| problem("holds no AgentRun of cofferdam.dev"))
}

/// The objects of a policy file. Under a policy that the API server would refuse nothing can be told.
///
/// # Errors
/// Something is wrong in it.
pub fn policies(file: &str, text: &str) -> Result<Vec<Manifest>, Stop> {
    manifest::read(file, text).map_err(|unreadable| match unreadable {
        Unreadable::Malformed(problems) | Unreadable::Invalid(problems) => {
            Stop::Flawed(problems, Answer::CannotTell)
        }
    })
}
